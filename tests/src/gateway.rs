//! The built binary as a user runs it: own ports, own directory, two workers, logs kept, ended by process id.

use crate::ports::{free_ports, root, tools_dir};
use crate::process::{Process, wait_for};
use crate::tls::Identity;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Password of every user of a test gateway.
pub const PASSWORD: &str = "correct-horse";
/// Media workers of a test gateway.
pub const WORKERS: u16 = 2;

/// What a test wants of its gateway beyond users, listeners and ports, which are always there.
#[derive(Default)]
pub struct Setup {
    /// A trunk named `carrier` at this port of 127.0.0.1, with a route `+1*` to it.
    pub trunk_port: Option<u16>,
    /// Keys of that trunk, e.g. `codecs = ["pcma"]`.
    pub trunk_keys: String,
    /// Reach that trunk over TCP.
    pub trunk_tcp: bool,
    /// Also listen for SIP on ::1, same ports.
    pub ipv6: bool,
    /// Also listen for SIP over TLS, one port above, with this certificate.
    pub tls: Option<Identity>,
    /// Further keys of `[sip]`, e.g. `digest = ["SHA-256", "MD5"]`.
    pub sip_keys: String,
    /// Keys of `[http]`, e.g. `origins = ["https://phone.example"]`.
    pub http_keys: String,
    /// Further TOML at the end of the file.
    pub toml: String,
    /// Media workers are ordinary threads, whoever runs the test.
    pub ordinary: bool,
}

impl Setup {
    /// A gateway with the trunk `carrier` at `port`.
    pub fn with_trunk(port: u16) -> Setup {
        Setup { trunk_port: Some(port), ..Setup::default() }
    }
}

/// A running gateway.
pub struct Gateway {
    /// The process, with its log lines.
    pub process: Process,
    /// TCP port of the page and of browser signalling.
    pub http: u16,
    /// SIP port, UDP and TCP.
    pub sip: u16,
    /// First UDP port for browsers; worker n has this one plus n.
    pub webrtc: u16,
    /// First UDP port for RTP.
    pub rtp: u16,
    /// Its directory: configuration and call records.
    pub dir: PathBuf,
}

fn new_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("run/{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = tools_dir().join(name);
    std::fs::create_dir_all(&dir).expect("directory of this run");
    dir
}

/// The binary under test: `WEBTRUNK_BIN`, or built now.
pub fn binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        if let Some(given) = std::env::var_os("WEBTRUNK_BIN") {
            return PathBuf::from(given);
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built =
            Command::new(cargo).args(["build", "--quiet", "-p", "gateway"]).current_dir(root()).status();
        assert!(built.is_ok_and(|status| status.success()), "cargo build -p gateway failed");
        let own = std::env::current_exe().expect("path of this test");
        let debug = own.parent().and_then(|deps| deps.parent()).expect("target/debug/deps/test");
        debug.join("webtrunk")
    };
    BUILT.get_or_init(build).clone()
}

/// The gateway without the right to schedule its threads in real time, which only root has.
fn without_real_time() -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        return Command::new(binary());
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-sys_nice", "--inh-caps=-sys_nice"]).arg(binary());
    command
}

fn config(setup: &Setup, http: u16, sip: u16, webrtc: u16, rtp: u16, dir: &std::path::Path) -> String {
    let (tls, keys) = setup.tls.as_ref().map_or_else(Default::default, |identity| {
        let (cert, key) = (identity.cert.display(), identity.key.display());
        let keys = format!("tls_cert = \"{cert}\"\ntls_key = \"{key}\"\n");
        (format!(", \"tls:127.0.0.1:{}\"", sip + 1), keys)
    });
    let ipv4 = format!("\"udp:127.0.0.1:{sip}\", \"tcp:127.0.0.1:{sip}\"{tls}");
    let ipv6 = if setup.ipv6 { format!(", {}", ipv4.replace("127.0.0.1", "[::1]")) } else { String::new() };
    let mut toml = format!(
        "[http]\nlisten = \"127.0.0.1:{http}\"\n{}\n\
         [sip]\ncountry = \"US\"\ndomain = \"127.0.0.1\"\nlisten = [{ipv4}{ipv6}]\n{keys}{}\n\
         [media]\nwebrtc_port = {webrtc}\nrtp_ports = \"{rtp}-{}\"\nworkers = {WORKERS}\n\
         [cdr]\nfile = \"{}\"\n",
        setup.http_keys,
        setup.sip_keys,
        rtp + 39,
        dir.join("cdr.jsonl").display()
    );
    for (name, extension) in [("alice", 100), ("bob", 101), ("carol", 102)] {
        toml += &format!(
            "[[users]]\nname = \"{name}\"\npassword = \"{PASSWORD}\"\nextension = \"{extension}\"\n\
             caller_id = \"+1202555{:04}\"\n",
            extension + 10
        );
    }
    if let Some(port) = setup.trunk_port {
        let transport = if setup.trunk_tcp { "tcp:" } else { "" };
        toml += &format!(
            "[[trunks]]\nname = \"carrier\"\nserver = \"{transport}127.0.0.1:{port}\"\n{}\n\
             [[routes]]\nmatch = \"+1*\"\nto = [\"trunk:carrier\"]\n",
            setup.trunk_keys
        );
    }
    toml + &setup.toml
}

impl Gateway {
    /// Starts `webtrunk run` with a configuration made from `setup` and waits until it is ready.
    pub fn run(setup: &Setup) -> Gateway {
        let (http, sip, webrtc, rtp) = (free_ports(2), free_ports(2), free_ports(WORKERS), free_ports(40));
        let dir = new_dir();
        let file = dir.join("webtrunk.toml");
        std::fs::write(&file, config(setup, http, sip, webrtc, rtp, &dir)).expect("configuration written");
        let mut command = if setup.ordinary { without_real_time() } else { Command::new(binary()) };
        command.args(["run", "--sip-trace", "--config"]).arg(&file).current_dir(&dir);
        Gateway::start(command, http, sip, webrtc, rtp, dir)
    }

    /// Starts `webtrunk demo` on free ports, with `PASSWORD` for alice and bob.
    pub fn demo() -> Gateway {
        let (http, sip, webrtc, rtp) = (free_ports(2), free_ports(2), free_ports(WORKERS), free_ports(80));
        let carrier = free_ports(2);
        let dir = new_dir();
        let mut command = Command::new(binary());
        let pairs = [
            ("--http", format!("127.0.0.1:{http}")),
            ("--sip", format!("127.0.0.1:{sip}")),
            ("--carrier", format!("127.0.0.1:{carrier}")),
            ("--webrtc-port", webrtc.to_string()),
            ("--rtp-ports", format!("{rtp}-{}", rtp + 79)),
            ("--password", PASSWORD.into()),
        ];
        command.arg("demo").current_dir(&dir);
        for (flag, value) in pairs {
            command.args([flag, &value]);
        }
        Gateway::start(command, http, sip, webrtc, rtp, dir)
    }

    fn start(mut command: Command, http: u16, sip: u16, webrtc: u16, rtp: u16, dir: PathBuf) -> Gateway {
        let process = Process::start("webtrunk", &mut command);
        let mut gateway = Gateway { process, http, sip, webrtc, rtp, dir };
        let until = Instant::now() + Duration::from_secs(30);
        while gateway.get("/readyz").is_none_or(|(status, _)| status != 200) {
            let ended = gateway.process.ended();
            assert!(ended.is_none(), "webtrunk ended at once, {ended:?}:\n{}", gateway.process.tail(40));
            assert!(Instant::now() < until, "/readyz is not 200 after 10 s:\n{}", gateway.process.tail(40));
            std::thread::sleep(Duration::from_millis(20));
        }
        gateway
    }

    /// The page's address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.http)
    }

    /// GET of a path: status and body; none when nothing answers.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let host = format!("127.0.0.1:{}", self.http);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The call records written so far.
    pub fn cdrs(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.dir.join("cdr.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a call record is a JSON object")).collect()
    }

    /// Waits for `count` call records, shows that no more come within a moment, and returns them.
    pub fn wait_cdrs(&self, count: usize) -> Vec<serde_json::Value> {
        let what = format!("{count} call records");
        wait_for(Duration::from_secs(30), &what, || (self.cdrs().len() >= count).then_some(()));
        std::thread::sleep(Duration::from_millis(300));
        let all = self.cdrs();
        assert_eq!(all.len(), count, "one record per call: {all:?}");
        all
    }

    /// SIGINT, which ends all calls at once, then the exit status; fails if that takes more than 8 s.
    pub fn interrupt(mut self) -> ExitStatus {
        self.process.signal("INT");
        self.process.wait(Duration::from_secs(8))
    }
}
