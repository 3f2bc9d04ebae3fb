//! `webtrunk.toml`: strict, and every problem is said at once. `config/webtrunk.example.toml` shows each key.

mod addresses;
mod check;
mod numbers;
mod preset;
pub mod reader;
mod sections;
mod servers;
mod sounds;
mod trunk;
mod turn;
pub mod values;
mod warnings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use b2bua::{Country, Did, IpNet, RouteConfig, TrunkProfile, UserConfig};
use sip_ua::Credentials;
use sip_ua::digest::Algorithm;
use toml::de::DeTable;
use types::Advertised;
use webrtc_peer::turn::Turn;

use media_bridge::sound::SoundId;
pub use reader::Problem;
use reader::{Findings, Section};
pub use sounds::{RecordingConfig, RecordingFormat, SoundFile, SoundSource};
use values::{Server, SipListen};

/// A configuration that has been checked as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[http]`
    pub http: HttpConfig,
    /// `[sip]`
    pub sip: SipConfig,
    /// `[media]`
    pub media: MediaConfig,
    /// `[turn]`: relays for browsers.
    pub turn: Option<Turn>,
    /// `[dns] servers`; empty: the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// `[cdr] file`; none: call records go to the log only.
    pub cdr_file: Option<PathBuf>,
    /// `[shutdown] drain_seconds`: how long running calls go on after SIGTERM.
    pub drain: Duration,
    /// `[[users]]`
    pub users: Vec<UserConfig>,
    /// `[[trunks]]`
    pub trunks: Vec<Trunk>,
    /// `[[routes]]`
    pub routes: Vec<RouteConfig>,
    /// `[music] hold`
    pub hold_music: Option<SoundId>,
    /// `[recording]`: where recordings go, and how.
    pub recording: Option<RecordingConfig>,
    /// `[recording] notice`
    pub record_notice: Option<SoundId>,
    /// What sounds are named by.
    pub sounds: Vec<SoundFile>,
}

/// How the page, or SIP over TLS, is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tls {
    /// Plain HTTP: good on loopback, or behind a proxy that does TLS.
    Off,
    /// PEM files.
    Files {
        /// Certificate chain.
        cert: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// A certificate made at start.
    SelfSigned,
}

/// The HTTP listener.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where.
    pub listen: SocketAddr,
    /// How.
    pub tls: Tls,
    /// Pages of other hosts that may open WebSockets, as browsers write them in Origin.
    pub origins: Vec<String>,
}

/// The SIP side.
#[derive(Clone, Debug)]
pub struct SipConfig {
    /// Our domain, also the digest realm.
    pub domain: String,
    /// What devices may prove their password with; empty: what serves every user.
    pub digest: Vec<Algorithm>,
    /// Listeners; at least one.
    pub listen: Vec<SipListen>,
    /// What SIP over TLS shows; off: what the page shows.
    pub tls: Tls,
    /// Addresses that Contact and Via carry; none of a family: the one a peer reaches us on.
    pub advertise: Advertised,
    /// Where users and trunks are that name no country of their own.
    pub country: Option<Country>,
    /// Whose SIP requests hear nothing.
    pub deny: Vec<IpNet>,
}

/// The media side.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// First of `workers` consecutive UDP ports for browsers.
    pub webrtc_port: u16,
    /// First and last RTP port for trunks and softphones.
    pub rtp_ports: (u16, u16),
    /// Media worker threads.
    pub workers: u8,
    /// Addresses that `c=` and candidates carry; none of a family: our own.
    pub advertise: Advertised,
}

/// A SIP carrier or PBX.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Name in routes.
    pub name: String,
    /// Where requests go; at least one, the first names the trunk in its requests.
    pub servers: Vec<RankedServer>,
    /// PEM file of the authorities that may vouch for a TLS server; none: those of this machine.
    pub ca: Option<PathBuf>,
    /// What its certificate must name; none: the host of the next hop.
    pub tls_name: Option<String>,
    /// What we show to a server that asks who we are.
    pub certificate: Tls,
    /// For challenges.
    pub credentials: Option<Credentials>,
    /// Whether we register there.
    pub register: bool,
    /// Further addresses from which it may call.
    pub inbound_from: Vec<IpNet>,
    /// Where requests go instead of straight to the server (RFC 3261 §8.1.2).
    pub outbound_proxy: Option<Server>,
    /// Its name there: address of record and Contact; not always the digest user name.
    pub username: Option<String>,
    /// What it wants otherwise.
    pub profile: TrunkProfile,
    /// Calls at once; none: no limit.
    pub max_calls: Option<u32>,
    /// It transfers calls by itself when asked by REFER.
    pub refer: bool,
    /// Calls that we start there in a second; none: no limit.
    pub calls_per_second: Option<u32>,
    /// Where its numbers are read; none: as `[sip] country`.
    pub country: Option<Country>,
    /// Our numbers there.
    pub dids: Vec<Did>,
    /// What its parties hear on hold.
    pub hold_music: Option<SoundId>,
}

impl Trunk {
    /// Where its requests go first.
    pub fn next_hops(&self) -> Vec<RankedServer> {
        let proxy = self.outbound_proxy.clone().map(RankedServer::only);
        proxy.map_or_else(|| self.servers.clone(), |proxy| vec![proxy])
    }

    /// The first of them: its name is what a certificate proves, of whichever server (RFC 5922 §4).
    pub fn next_hop(&self) -> &Server {
        self.outbound_proxy.as_ref().unwrap_or_else(|| self.server())
    }

    /// The server that stands in its URIs.
    pub fn server(&self) -> &Server {
        &self.servers[0].server
    }
}

/// One of a trunk's servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RankedServer {
    /// Which.
    pub server: Server,
    /// The lowest is tried first.
    pub priority: u16,
    /// Share of the calls among servers of one priority.
    pub weight: u16,
}

impl RankedServer {
    /// A server without alternatives.
    pub fn only(server: Server) -> RankedServer {
        RankedServer { server, priority: 0, weight: 1 }
    }
}

/// Reads and checks a whole file.
///
/// # Errors
/// Every problem found, in the order of the file.
pub fn load(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<Config, Vec<Problem>> {
    let mut found = Findings::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        found.add(&error.span().unwrap_or(0..0), "", error.message().to_owned());
    }
    let mut root = Section::new("", document.get_ref(), 0..0);
    let http = sections::http(&mut root, &mut found);
    let sip = sections::sip(&mut root, &mut found);
    let media = sections::media(&mut root, &mut found);
    let turn = turn::turn(&mut root, &mut found, &env);
    let dns_servers = sections::dns(&mut root, &mut found);
    let cdr_file = sections::cdr(&mut root, &mut found);
    let drain = sections::shutdown(&mut root, &mut found);
    let hold_music = sections::music(&mut root, &mut found);
    let (recording, record_notice) = sounds::recording(&mut root, &mut found);
    let users = sections::users(&mut root, &mut found, &env);
    let trunks = trunk::trunks(&mut root, &mut found, &env);
    let routes = sections::routes(&mut root, &mut found);
    sounds::has_directory(recording.as_ref(), &routes, &mut found);
    check::digest(sip.as_ref().map_or(&[], |s| &s.digest), &users, &mut found);
    check::across(&users, &trunks, &routes, &mut found);
    addresses::reachable(sip.as_ref().map_or(&[], |s| &s.listen), &trunks, &mut found);
    check::countries(sip.as_ref().and_then(|s| s.country), &users, &trunks, &routes, &mut found);
    root.finish(&mut found);
    let sounds = std::mem::take(&mut found.sounds);
    let problems = found.into_sorted();
    match (http, sip, media) {
        (Some(http), Some(sip), Some(media)) if problems.is_empty() => Ok(Config {
            http,
            sip,
            media,
            turn,
            dns_servers,
            cdr_file,
            drain,
            users: users.into_iter().map(|(u, _)| u).collect(),
            trunks: trunks.into_iter().map(|(t, _)| t).collect(),
            routes: routes.into_iter().map(|(r, _)| r).collect(),
            hold_music,
            recording,
            record_notice,
            sounds,
        }),
        _ => Err(problems),
    }
}

#[cfg(test)]
mod tests;
