//! `webtrunk demo`: a configuration made up on the spot, and the plan for the built-in carrier.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use b2bua::{Countries, Country, Pattern, RouteConfig, RouteTo, Secret, Treatment, TrunkProfile, UserConfig};
use sip_ua::Transport;
use types::{Advertised, Entropy, UserName};

use crate::config::values::{Server, SipListen};
use crate::config::{Config, HttpConfig, MediaConfig, RankedServer, SipConfig, Tls, Trunk};
use crate::shell::SystemEntropy;

/// What the demo's flags ask for.
pub struct Plan {
    pub http: SocketAddr,
    pub sip: SocketAddr,
    pub carrier: SocketAddr,
    pub webrtc_port: u16,
    pub rtp_ports: (u16, u16),
    pub password: Option<String>,
}

/// What the built-in carrier needs to know.
#[derive(Clone, Debug)]
pub struct CarrierPlan {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the gateway is reached.
    pub gateway: SocketAddr,
    /// Its RTP ports.
    pub rtp_ports: (u16, u16),
}

/// A demo that is ready to start.
#[derive(Debug)]
pub struct Demo {
    pub config: Config,
    pub carrier: CarrierPlan,
    /// For standard output only: it holds the passwords.
    pub greeting: Vec<String>,
}

impl Plan {
    /// Checks the flags and makes both configurations, with what a person needs to read once they run.
    ///
    /// # Errors
    /// One sentence about the flag that does not fit.
    pub fn build(self) -> Result<Demo, String> {
        self.must_be_private()?;
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 64)) as u8;
        let (own, theirs) = split(self.rtp_ports)?;
        let mut entropy = SystemEntropy;
        let mut greeting = vec!["webtrunk demo".to_owned()];
        let mut user = |name: &str, extension: &str, caller_id: &str| {
            let password = self.password.clone().unwrap_or_else(|| entropy.token(12));
            let line = if self.password.is_some() { "as given" } else { password.as_str() };
            greeting.push(format!("  {name:<6} extension {extension}, password {line}"));
            UserConfig {
                name: UserName::new(name),
                secret: Secret::Password(password),
                extension: Some(extension.into()),
                caller_id: Some(caller_id.into()),
                max_calls: None,
                country: None,
            }
        };
        let users = vec![user("alice", "100", "+12025550110"), user("bob", "101", "+12025550111")];
        greeting.extend(numbers());
        let config = Config {
            http: HttpConfig { listen: self.http, tls: Tls::Off, origins: Vec::new() },
            sip: SipConfig {
                domain: "webtrunk.localhost".into(),
                listen: [Transport::Udp, Transport::Tcp]
                    .map(|transport| SipListen { transport, addr: self.sip })
                    .into(),
                digest: Vec::new(),
                tls: Tls::Off,
                advertise: Advertised::default(),
                country: Country::parse("US").ok(),
                deny: Vec::new(),
            },
            media: MediaConfig {
                webrtc_port: self.webrtc_port,
                rtp_ports: own,
                workers,
                advertise: Advertised::default(),
            },
            turn: None,
            dns_servers: Vec::new(),
            cdr_file: None,
            drain: types::limits::DRAIN_DURATION,
            users,
            trunks: vec![carrier_trunk(self.carrier)],
            routes: vec![RouteConfig {
                pattern: Pattern::parse("+*")?,
                from: Vec::new(),
                to: vec![RouteTo::Trunk("carrier".into())],
                rewrite: None,
                countries: Countries::Named(Vec::new()),
                premium: false,
                treatment: Treatment::default(),
            }],
            hold_music: None,
            recording: None,
            record_notice: None,
            sounds: Vec::new(),
        };
        let gateway = if self.sip.ip().is_unspecified() {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.sip.port())
        } else {
            self.sip
        };
        let carrier = CarrierPlan { listen: self.carrier, gateway, rtp_ports: theirs };
        Ok(Demo { config, carrier, greeting })
    }
}

impl Plan {
    /// The page's passwords stand in the terminal: whoever else can reach it gets one that somebody chose.
    fn must_be_private(&self) -> Result<(), String> {
        let open =
            [("--http", self.http), ("--sip", self.sip)].into_iter().find(|(_, a)| !a.ip().is_loopback());
        match (open, &self.password) {
            (Some((flag, addr)), None) => Err(format!(
                "{flag} {addr} can be reached from other machines: choose a password with --password, \
                 or listen on 127.0.0.1"
            )),
            (Some(_), Some(_)) | (None, _) => Ok(()),
        }
    }
}

/// First and last port.
type Ports = (u16, u16);

fn split((first, last): Ports) -> Result<(Ports, Ports), String> {
    let middle = first + (last - first) / 2;
    let middle = middle + middle % 2;
    if middle < first + 2 || middle + 1 > last {
        return Err(
            "--rtp-ports needs room for at least two pairs: one for the gateway, one for the carrier".into(),
        );
    }
    Ok(((first, middle - 1), (middle, last)))
}

fn carrier_trunk(addr: SocketAddr) -> Trunk {
    Trunk {
        name: "carrier".into(),
        servers: vec![RankedServer::only(Server {
            transport: Some(Transport::Udp),
            host: addr.ip().to_string(),
            port: Some(addr.port()),
        })],
        outbound_proxy: None,
        username: None,
        ca: None,
        tls_name: None,
        certificate: Tls::Off,
        credentials: None,
        register: false,
        inbound_from: Vec::new(),
        profile: TrunkProfile::default(),
        max_calls: None,
        refer: false,
        calls_per_second: None,
        country: None,
        dids: Vec::new(),
        hold_music: None,
    }
}

fn numbers() -> Vec<String> {
    let mut lines = vec!["Call one of these through the built-in carrier:".to_owned()];
    for (number, what) in [
        ("+12025550100", "echo: hear yourself"),
        ("+12025550101", "music"),
        ("+12025550102", "busy"),
        ("+12025550103", "rings and never answers"),
        ("+12025550104", "sends back the digits that you press"),
        ("+12025550105", "early media, then an answer"),
        ("+12025550199", "hangs up and calls you back"),
    ] {
        lines.push(format!("  {number}  {what}"));
    }
    lines.push("  100 and 101   alice and bob".to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            http: "127.0.0.1:8080".parse().expect("address"),
            sip: "127.0.0.1:5060".parse().expect("address"),
            carrier: "127.0.0.1:5080".parse().expect("address"),
            webrtc_port: 8443,
            rtp_ports: (20_000, 20_999),
            password: None,
        }
    }

    #[test]
    fn gateway_and_carrier_share_the_port_range_without_overlap() {
        let Demo { config, carrier, .. } = plan().build().expect("good");
        assert_eq!(config.media.rtp_ports, (20_000, 20_499));
        assert_eq!(carrier.rtp_ports, (20_500, 20_999));
    }

    #[test]
    fn listening_for_other_machines_needs_a_chosen_password() {
        let open = Plan { http: "0.0.0.0:8080".parse().expect("address"), ..plan() };
        let sentence = open.build().expect_err("refused");
        assert!(sentence.contains("--http") && sentence.contains("--password"), "{sentence}");
        let chosen =
            Plan { http: "0.0.0.0:8080".parse().expect("address"), password: Some("x".into()), ..plan() };
        assert!(chosen.build().is_ok());
    }
}
