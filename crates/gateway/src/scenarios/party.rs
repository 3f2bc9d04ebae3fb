//! One SIPp process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::case::{Party, Scenario};
use super::run::Ports;

/// Longest wait for a listening SIPp to listen, and for what one writes.
const LISTENING: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A SIPp at work, killed when dropped.
pub struct Running {
    child: Child,
    dir: PathBuf,
    party: Party,
    deadline: Instant,
}

/// Starts one in a directory of its own. One that listens does so when this returns.
///
/// # Errors
/// It could not be started, or does not listen in time.
pub fn start(party: &Party, dir: PathBuf, ports: &mut Ports) -> io::Result<Running> {
    std::fs::create_dir_all(&dir)?;
    let file = match &party.scenario {
        Scenario::File(path) => std::path::absolute(path)?,
        Scenario::Own(text) => {
            let path = dir.join("scenario.xml");
            std::fs::write(&path, text)?;
            path
        }
    };
    let port = ports.of(party.at.as_deref());
    let mut command = command(party, &file, port, ports);
    command.current_dir(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let deadline = Instant::now() + Duration::from_secs(u64::from(party.limit) + 10);
    let mut running = Running { child: command.spawn()?, dir, party: party.clone(), deadline };
    if party.listens {
        running.wait_listening(port)?;
    }
    Ok(running)
}

fn command(party: &Party, file: &Path, port: u16, ports: &mut Ports) -> Command {
    let mut command = Command::new("sipp");
    let loopback = loopback(party);
    if !party.listens {
        // RFC 3261 §22.4: the digest covers the Request-URI, which for REGISTER has no user part (§10.2).
        let register = file.file_name().is_some_and(|name| name.to_string_lossy().contains("register"));
        let user = if register { String::new() } else { format!("{}@", party.calls) };
        let gateway = SocketAddr::new(loopback, ports.sip);
        command.arg(gateway.to_string()).args(["-auth_uri", &format!("{user}{gateway}")]);
    }
    let media = ports.more(4);
    command.arg("-sf").arg(file);
    let ip = loopback.to_string();
    command.args(["-i", &ip, "-mi", &ip, "-t", if party.tcp { "t1" } else { "u1" }]);
    let numbers = [
        ("-p", u32::from(port)),
        ("-mp", u32::from(media)),
        ("-cp", u32::from(ports.more(2))),
        ("-m", party.times),
        ("-d", party.pause),
        ("-timeout", party.limit),
    ];
    for (flag, value) in numbers {
        command.args([flag, &value.to_string()]);
    }
    command.args(["-s", &party.calls, "-au", &party.user, "-ap", &party.password]);
    command.args(["-key", "user", &party.user, "-key", "rtp_port", &media.to_string()]);
    for (name, value) in &party.keys {
        command.args(["-key", name, &ports.fill(value)]);
    }
    command.args(["-timeout_error", "-nostdin", "-trace_err", "-trace_logs"]);
    command.args(["-error_file", "errors.log", "-log_file", "logs.log"]);
    if party.echo {
        command.arg("-rtp_echo");
    }
    command
}

fn loopback(party: &Party) -> IpAddr {
    if party.ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

impl Running {
    fn wait_listening(&mut self, port: u16) -> io::Result<()> {
        let until = Instant::now() + LISTENING;
        let ip = loopback(&self.party);
        loop {
            let taken = if self.party.tcp {
                TcpListener::bind((ip, port)).is_err()
            } else {
                UdpSocket::bind((ip, port)).is_err()
            };
            if self.child.try_wait()?.is_some() {
                let said = std::fs::read_to_string(self.dir.join("errors.log")).unwrap_or_default();
                return Err(io::Error::other(format!("SIPp did not listen: {}", said.trim())));
            }
            if taken {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "SIPp does not listen"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits until it has written what the next one waits for.
    ///
    /// # Errors
    /// It ends or takes long without a word of it.
    pub fn wait_said(&mut self) -> io::Result<()> {
        let Some(wanted) = self.party.until.clone() else { return Ok(()) };
        let until = Instant::now() + LISTENING;
        let said =
            |dir: &Path| std::fs::read_to_string(dir.join("logs.log")).unwrap_or_default().contains(&wanted);
        while !said(&self.dir) {
            if self.child.try_wait()?.is_some() || Instant::now() > until {
                return Err(io::Error::other(format!("SIPp never wrote {wanted:?}")));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Whether it plays a scenario of ours.
    pub fn is_ours(&self) -> bool {
        matches!(self.party.scenario, Scenario::Own(_))
    }

    /// Waits for its end; what went wrong, one sentence each.
    pub fn finish(mut self) -> Vec<String> {
        let name = match &self.party.scenario {
            Scenario::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Scenario::Own(_) => "the other side".into(),
        };
        let text = |file: &str| {
            let bytes = std::fs::read(self.dir.join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).trim().to_owned()
        };
        let code = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status.code(),
                Ok(None) if Instant::now() < self.deadline => std::thread::sleep(LOOK_AGAIN),
                Ok(None) | Err(_) => break None,
            }
        };
        let mut wrong = Vec::new();
        match code {
            Some(0) => {}
            Some(code) => wrong.push(format!("{name}: SIPp ended with {code}: {}", text("errors.log"))),
            None => wrong.push(format!("{name}: SIPp did not end within {} s", self.party.limit)),
        }
        let logs = text("logs.log");
        for wanted in self.party.log.iter().filter(|wanted| !logs.contains(wanted.as_str())) {
            wrong.push(format!("{name}: its log does not say {wanted:?} but {logs:?}"));
        }
        wrong
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
