//! Keeps the addresses of trunk servers up to date; the core never waits for DNS.

use std::net::IpAddr;
use std::time::Duration;

use sip_ua::Target;
use sip_ua::io::Sockets;
use tokio::sync::mpsc;

use super::{CoreInput, addresses};
use crate::config::values::Server;

/// How often a name is looked up again while it resolves.
const AGAIN: Duration = Duration::from_secs(60);
/// How soon after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Looks one server up for ever and tells the core of changes.
pub async fn follow(name: String, server: Server, advertise: Option<IpAddr>, core: mpsc::Sender<CoreInput>) {
    let mut known = Vec::new();
    loop {
        let found = tokio::net::lookup_host((server.host.as_str(), server.port)).await;
        let pause = match found {
            Ok(found) => {
                let targets: Vec<Target> = found
                    .map(|remote| {
                        let local = Sockets::source_towards(remote).ok();
                        Target::Address { transport: server.transport, remote, local }
                    })
                    .collect();
                if targets != known {
                    warn(&name, advertise, &targets);
                    known.clone_from(&targets);
                    if core.send(CoreInput::TrunkTargets { name: name.clone(), targets }).await.is_err() {
                        return;
                    }
                }
                AGAIN
            }
            Err(error) => {
                tracing::warn!(trunk = name, %error, "the trunk's server name does not resolve; the last addresses stay");
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn warn(name: &str, advertise: Option<IpAddr>, targets: &[Target]) {
    for target in targets {
        if let Target::Address { remote, local: Some(local), .. } = target
            && let Some(sentence) = addresses::doubt(name, *local, advertise, remote.ip())
        {
            tracing::warn!("{sentence}");
        }
    }
}
