//! Runs one case: ports, a configuration, a gateway, its parties, and what came out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::case::{Case, TRUNK};
use super::ladder::Ladder;
use super::party;
use super::report::Outcome;

/// Password of alice, bob and carol.
pub const PASSWORD: &str = "correct-horse";
/// A number that leads to the trunk.
pub const NUMBER: &str = "+12025550100";
/// Ports for one case.
const PORTS: u16 = 80;
const RTP_PORTS: u16 = 24;
/// Below the range that systems hand out by themselves.
const FIRST: u16 = 30_000;
const LAST: u16 = 32_700;
/// Another program may take a port between our look and its use: then everything begins again elsewhere.
const TRIES: u32 = 4;
/// Longest wait for the gateway to be ready, and for its call records.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The ports of one case; taken one after the other out of a block that was free.
pub struct Ports {
    pub sip: u16,
    pub http: u16,
    webrtc: u16,
    rtp: u16,
    next: u16,
    named: BTreeMap<String, u16>,
    /// The block's first port, held so that no other run takes the block.
    _lock: TcpListener,
}

impl Ports {
    fn find(case: &Case) -> Option<Ports> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let blocks = u32::from((LAST - FIRST) / PORTS);
        let own = std::process::id();
        for _ in 0..blocks {
            let block = (own + NEXT.fetch_add(1, Ordering::Relaxed)) % blocks;
            let first = FIRST + PORTS * u16::try_from(block).ok()?;
            let Ok(lock) = TcpListener::bind(("0.0.0.0", first)) else { continue };
            if (first + 1..first + PORTS).all(is_free) {
                let (next, named) = (first + 2, BTreeMap::new());
                let mut ports = Ports { sip: 0, http: 0, webrtc: 0, rtp: 0, next, named, _lock: lock };
                (ports.rtp, ports.sip) = (ports.more(RTP_PORTS), ports.more(2));
                (ports.http, ports.webrtc) = (ports.more(2), ports.more(2));
                for place in case.places() {
                    let port = ports.more(2);
                    ports.named.insert(place.to_owned(), port);
                }
                return Some(ports);
            }
        }
        None
    }

    /// The first of so many ports that nobody else of this case has.
    pub fn more(&mut self, count: u16) -> u16 {
        self.next += count;
        self.next - count
    }

    /// The port of a place, or one of its own.
    pub fn of(&mut self, place: Option<&str>) -> u16 {
        let known = place.and_then(|name| self.named.get(name).copied());
        known.unwrap_or_else(|| self.more(2))
    }

    /// A text with `{NAME}` replaced by the port of that name.
    pub fn fill(&self, text: &str) -> String {
        let own = [("sip", self.sip), ("http", self.http)];
        let named = self.named.iter().map(|(name, port)| (name.as_str(), *port));
        own.into_iter().chain(named).fold(text.to_owned(), |text, (name, port)| {
            text.replace(&format!("{{{name}}}"), &port.to_string())
        })
    }

    fn config(&self, case: &Case, dir: &Path) -> String {
        let Ports { sip, http, webrtc, rtp, .. } = self;
        let too = if case.uses_ipv6() {
            format!(", \"udp:[::1]:{sip}\", \"tcp:[::1]:{sip}\"")
        } else {
            String::new()
        };
        let mut toml = format!(
            "[http]\nlisten = \"127.0.0.1:{http}\"\n\n[sip]\ncountry = \"US\"\ndomain = \"127.0.0.1\"\n\
             listen = [\"udp:127.0.0.1:{sip}\", \"tcp:127.0.0.1:{sip}\"{too}]\n\n\
             [media]\nwebrtc_port = {webrtc}\nrtp_ports = \"{rtp}-{}\"\nworkers = 2\n\n[cdr]\nfile = {:?}\n",
            rtp + RTP_PORTS - 1,
            records_file(dir)
        );
        for (name, extension) in [("alice", 100), ("bob", 101), ("carol", 102)] {
            let _ = write!(
                toml,
                "\n[[users]]\nname = \"{name}\"\npassword = \"{PASSWORD}\"\nextension = \"{extension}\"\n\
                 caller_id = \"+1202555{:04}\"\n",
                extension + 10
            );
        }
        let transport = if case.trunk_tcp { "tcp:" } else { "" };
        let trunk = self.named.get(TRUNK).copied().unwrap_or_default();
        let host = if case.trunk_ipv6 { "[::1]" } else { "127.0.0.1" };
        let (keys, more) = (self.fill(&case.trunk), self.fill(&case.config));
        let _ = write!(
            toml,
            "\n[[trunks]]\nname = \"carrier\"\nserver = \"{transport}{host}:{trunk}\"\n{keys}\n\
             \n[[routes]]\nmatch = \"+1*\"\nto = [\"trunk:carrier\"]\n\n{more}\n"
        );
        toml
    }
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind(("0.0.0.0", port)).is_ok() && TcpListener::bind(("0.0.0.0", port)).is_ok()
}

fn records_file(dir: &Path) -> PathBuf {
    dir.join("calls.jsonl")
}

/// The gateway's process, ended when dropped.
struct Gateway(Child);

impl Gateway {
    fn start(dir: &Path, http: u16) -> io::Result<Gateway> {
        let log = File::create(dir.join("gateway.log"))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["run", "--sip-trace", "--config", "webtrunk.toml"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut gateway = Gateway(child);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", http)).is_err() {
            if gateway.0.try_wait()?.is_some() {
                let said = std::fs::read_to_string(dir.join("gateway.log")).unwrap_or_default();
                return Err(io::Error::other(format!("the gateway did not start: {}", said.trim())));
            }
            if Instant::now() > until {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the gateway is not ready"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(gateway)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs one case in a directory of its own, which stays only when something went wrong.
pub fn run(case: &Case) -> Outcome {
    let begun = Instant::now();
    let dir = std::env::temp_dir().join(format!("webtrunk-sipp-{}-{}", std::process::id(), case.name));
    let mut ladder = String::new();
    let mut tries = 0;
    let wrong = loop {
        tries += 1;
        match play(case, &dir, &mut ladder) {
            Ok(wrong) => break wrong,
            Err(_) if tries < TRIES => {}
            Err(error) => break vec![error.to_string()],
        }
    };
    if wrong.is_empty() {
        // What stays behind is small and in the system's own place for it.
        let _ = std::fs::remove_dir_all(&dir);
    }
    let (name, shows) = (case.name.clone(), case.shows.clone());
    Outcome { name, shows, wrong, ladder, dir, took: begun.elapsed() }
}

fn play(case: &Case, dir: &Path, ladder: &mut String) -> io::Result<Vec<String>> {
    if case.uses_ipv6() {
        UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).map_err(|e| {
            io::Error::other(format!(
                "this machine has no IPv6 loopback address ::1, which the case needs: {e}"
            ))
        })?;
    }
    std::fs::create_dir_all(dir)?;
    let mut ports = Ports::find(case).ok_or_else(|| io::Error::other("no free block of ports was found"))?;
    std::fs::write(dir.join("webtrunk.toml"), ports.config(case, dir))?;
    let (mut running, mut wrong) = (Vec::new(), Vec::new());
    let listeners_first = case.parties.iter().enumerate().take_while(|(_, party)| party.listens).count();
    let mut gateway = None;
    for (n, one) in case.parties.iter().enumerate() {
        if n == listeners_first {
            gateway = Some(Gateway::start(dir, ports.http)?);
        }
        let mut started = party::start(one, dir.join(format!("party-{n}")), &mut ports)?;
        started.wait_said()?;
        if one.wait {
            wrong.extend(started.finish());
        } else {
            running.push(started);
        }
    }
    if gateway.is_none() {
        gateway = Some(Gateway::start(dir, ports.http)?);
    }
    // Our own other side of a bare scenario is there to be spoken with; whether it liked that is no matter.
    let (ours, given): (Vec<_>, Vec<_>) = running.into_iter().partition(party::Running::is_ours);
    wrong.extend(given.into_iter().flat_map(party::Running::finish));
    drop(ours);
    if let Some(reasons) = &case.records {
        wrong.extend(check_records(reasons, dir));
    }
    drop(gateway);
    let names: Vec<(u16, String)> = ports.named.iter().map(|(name, port)| (*port, name.clone())).collect();
    let trace = std::fs::read(dir.join("gateway.log"))?;
    let seen = Ladder::read(&String::from_utf8_lossy(&trace));
    for (method, sent) in case.once.iter().map(|method| (method, seen.sent(method))).filter(|(_, n)| *n != 1)
    {
        wrong.push(format!("the gateway sent {method} {sent} times instead of once"));
    }
    *ladder = seen.draw(&names);
    Ok(wrong)
}

/// Waits for as many call records as were foretold and compares their reasons.
fn check_records(reasons: &[String], dir: &Path) -> Option<String> {
    let until = Instant::now() + PATIENCE;
    let mut wanted = reasons.to_vec();
    wanted.sort();
    loop {
        let text = std::fs::read_to_string(records_file(dir)).unwrap_or_default();
        let reason = |line: &str| {
            let record: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(record.get("reason")?.as_str()?.to_owned())
        };
        let mut have: Vec<String> = text.lines().filter_map(reason).collect();
        have.sort();
        if have == wanted {
            return None;
        }
        if have.len() >= wanted.len() || Instant::now() > until {
            return Some(format!("the call records say {have:?}, not {wanted:?}"));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
