//! The carrier's task: its own SIP port and media plane around `logic::Carrier`.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use media_io::{MediaConfig, MediaPlane};
use sip_ua::io::TlsSetup;
use sip_ua::{Target, Transport};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use types::WorkerId;

use super::logic::{Carrier, Output};
use crate::config::values::SipListen;
use crate::demo::CarrierPlan;
use crate::shell::{MediaEvents, SipPort, clocks, rtp_ports_left, start_media};

/// The running carrier; dropping it ends its task.
pub struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts the carrier.
///
/// # Errors
/// One sentence that names the port which is in use.
pub async fn start(plan: CarrierPlan) -> Result<Running, String> {
    let listen = [SipListen { transport: Transport::Udp, addr: plan.listen }];
    let sip =
        SipPort::open("--carrier", &listen, types::Advertised::default(), None, TlsSetup::default(), false)?;
    rtp_ports_left("--rtp-ports", plan.rtp_ports)?;
    let (media, events) = start_media(MediaConfig {
        candidates: Vec::new(),
        // It has no browsers; its one socket for them is nobody else's business.
        webrtc_bind: Ipv4Addr::LOCALHOST.into(),
        rtp_bind: plan.listen.ip(),
        rtp_ports: plan.rtp_ports.0..=plan.rtp_ports.1,
        ..MediaConfig::default()
    })
    .map_err(|e| format!("the demo's carrier: {e}"))?;
    let target =
        Target::Address { transport: Transport::Udp, remote: plan.gateway, local: Some(plan.listen.ip()) };
    let carrier = Carrier::new(target, plan.gateway.to_string(), plan.listen.to_string());
    Ok(Running(tokio::spawn(run(sip, media, events, carrier))))
}

async fn run(mut sip: SipPort, media: MediaPlane, events: MediaEvents, mut carrier: Carrier) {
    let mut batch = VecDeque::new();
    loop {
        let far = Instant::now() + Duration::from_secs(3600);
        let timer = [sip.poll_timeout(), carrier.poll_timeout()].into_iter().flatten().min().unwrap_or(far);
        tokio::select! {
            input = sip.recv() => {
                let (now, wall) = clocks();
                sip.handle(input, None, now, wall);
            }
            () = events.ready() => {
                events.take(&mut batch);
                batch.drain(..).for_each(|event| carrier.handle_media(event, Instant::now()));
            }
            () = sleep_until(timer.into()) => {
                let (now, wall) = clocks();
                sip.handle_timeout(now, wall);
                carrier.handle_timeout(now);
            }
        }
        pump(&mut sip, &media, &mut carrier);
    }
}

fn pump(sip: &mut SipPort, media: &MediaPlane, carrier: &mut Carrier) {
    loop {
        let (now, wall) = clocks();
        if let Some(event) = sip.next_event(now, wall) {
            carrier.handle_sip(event, now);
            continue;
        }
        match carrier.poll_output() {
            Some(Output::Sip(command)) => sip.command(command, now, wall),
            Some(Output::Media(command)) => {
                if media.send(WorkerId(0), command).is_err() {
                    tracing::warn!("the demo's carrier is overloaded");
                }
            }
            None => return,
        }
    }
}
