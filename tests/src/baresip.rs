//! baresip as a softphone: registers, calls, is called; steered by its `ctrl_tcp` module.

use crate::gateway::PASSWORD;
use crate::ports::{free_ports, tools_dir};
use crate::process::{Process, wait_for};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A running baresip.
pub struct Baresip {
    /// The process, with its output.
    pub process: Process,
    /// Its SIP port, UDP and TCP.
    pub sip: u16,
    control: TcpStream,
    events: Arc<Mutex<Vec<Value>>>,
    dir: PathBuf,
}

/// The account of a softphone and what it plays.
pub struct Account<'a> {
    /// User name at the gateway.
    pub user: &'a str,
    /// Password.
    pub password: &'a str,
    /// The gateway's address; the phone has the same one.
    pub host: IpAddr,
    /// SIP port of the gateway.
    pub gateway: u16,
    /// `udp`, `tcp` or `tls`.
    pub transport: &'a str,
    /// For TLS: who may vouch for the gateway.
    pub ca: Option<&'a Path>,
    /// Whether it registers.
    pub register: bool,
    /// Its `mediaenc`, e.g. `srtp-mand`; none: plain RTP.
    pub encryption: Option<&'a str>,
    /// Mono WAV that it says when in a call, 8 kHz, or 16 kHz for G.722; the call ends with it.
    pub speech: &'a Path,
    /// It has G.722 and nothing else; else PCMU.
    pub g722: bool,
    /// Length of the packets that it asks for, ms, and sends unless the gateway asks for others.
    pub ptime: u8,
}

impl<'a> Account<'a> {
    /// A user of the test gateway over UDP.
    pub fn new(user: &'a str, gateway: u16, speech: &'a Path) -> Account<'a> {
        let (host, password) = (Ipv4Addr::LOCALHOST.into(), PASSWORD);
        let (transport, register) = ("udp", true);
        Account {
            user,
            password,
            host,
            gateway,
            transport,
            ca: None,
            register,
            encryption: None,
            speech,
            g722: false,
            ptime: 20,
        }
    }
}

fn modules() -> PathBuf {
    let listed = Command::new("dpkg").args(["-L", "baresip-core"]).output().expect("dpkg runs");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let file = listed.lines().find(|line| line.ends_with("/g711.so")).expect("baresip-core has its modules");
    Path::new(file).parent().expect("in a directory").to_path_buf()
}

fn configure(dir: &Path, account: &Account<'_>, sip: u16, control: u16, rtp: u16) {
    let config = format!(
        "sip_listen {own}\nnet_interface {host}\ncall_max_calls 4\n\
         audio_source aufile,{speech}\naudio_player aubridge,nil\naudio_alert aubridge,nil\n\
         audio_srate {rate}-{rate}\naudio_channels 1-1\nrtp_ports {rtp}-{last}\nrtp_timeout 60\n\
         ctrl_tcp_listen 127.0.0.1:{control}\nsnd_path {dir}\nmodule_path {modules}\n\
         module {codec}.so\nmodule aufile.so\nmodule aubridge.so\nmodule sndfile.so\n\
         module_app account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n{srtp}{ca}",
        own = SocketAddr::new(account.host, sip),
        host = account.host,
        rate = if account.g722 { 16_000 } else { 8_000 },
        codec = if account.g722 { "g722" } else { "g711" },
        srtp = account.encryption.map(|_| "module srtp.so\n").unwrap_or_default(),
        ca = account.ca.map(|ca| format!("sip_cafile {}\n", ca.display())).unwrap_or_default(),
        speech = account.speech.display(),
        last = rtp + 9,
        dir = dir.display(),
        modules = modules().display(),
    );
    let Account { user, password, transport, .. } = account;
    let gateway = SocketAddr::new(account.host, account.gateway);
    let line = format!(
        "<sip:{user}@{gateway};transport={transport}>;auth_user={user};auth_pass={password};\
         audio_codecs={};regint={};answermode=manual;ptime={}{}\n",
        if account.g722 { "G722/16000/1" } else { "PCMU/8000/1" },
        if account.register { 60 } else { 0 },
        account.ptime,
        account.encryption.map(|kind| format!(";mediaenc={kind}")).unwrap_or_default(),
    );
    std::fs::write(dir.join("config"), config).expect("config");
    std::fs::write(dir.join("accounts"), line).expect("accounts");
    std::fs::write(dir.join("contacts"), "").expect("contacts");
    let unique = format!("{:08x}-0000-4000-8000-{:012x}", std::process::id(), sip);
    std::fs::write(dir.join("uuid"), unique).expect("uuid");
}

/// Splits `LENGTH:JSON,` records (netstrings) off the front of `buffer`.
fn netstrings(buffer: &mut Vec<u8>) -> Vec<Value> {
    let mut all = Vec::new();
    while let Some(colon) = buffer.iter().position(|byte| *byte == b':') {
        let length: usize = String::from_utf8_lossy(&buffer[..colon]).parse().expect("a netstring's length");
        if buffer.len() < colon + length + 2 {
            break;
        }
        let body: Vec<u8> = buffer.drain(..colon + length + 2).skip(colon + 1).take(length).collect();
        all.push(serde_json::from_slice(&body).expect("JSON in a netstring"));
    }
    all
}

impl Baresip {
    /// Starts it with one account.
    pub fn start(account: &Account<'_>) -> Baresip {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("baresip/{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tools_dir().join(name);
        std::fs::create_dir_all(&dir).expect("directory of this baresip");
        let (sip, control) = (free_ports(2), free_ports(2));
        configure(&dir, account, sip, control, free_ports(10));
        let mut command = Command::new("baresip");
        command.arg("-f").arg(&dir).current_dir(&dir);
        if account.host.is_ipv6() {
            command.arg("-6");
        }
        let mut process = Process::start("baresip", &mut command);
        let connect = || {
            let ended = process.ended();
            assert!(ended.is_none(), "baresip ended at once:\n{}", process.tail(40));
            TcpStream::connect(("127.0.0.1", control)).ok()
        };
        let stream = wait_for(Duration::from_secs(30), "baresip's control port is open", connect);
        let events = Arc::new(Mutex::new(Vec::new()));
        let (mut reading, into) = (stream.try_clone().expect("clone"), events.clone());
        std::thread::spawn(move || {
            let (mut buffer, mut chunk) = (Vec::new(), [0; 4096]);
            while let Ok(size @ 1..) = reading.read(&mut chunk) {
                buffer.extend(&chunk[..size]);
                into.lock().expect("events").extend(netstrings(&mut buffer));
            }
        });
        Baresip { process, sip, control: stream, events, dir }
    }

    /// A command of baresip's menu, e.g. `dial` with `sip:100@127.0.0.1`, `accept`, `hangup`, `sndcode` with digits.
    pub fn command(&mut self, command: &str, params: &str) {
        let body = json!({ "command": command, "params": params, "token": command }).to_string();
        write!(self.control, "{}:{body},", body.len()).expect("baresip reads");
    }

    /// Waits until it is registered. Its event may be sent before the control connection stands, so its output tells.
    pub fn wait_registered(&mut self, limit: Duration) {
        let bound = |line: &str| line.contains("200 OK") && line.contains("binding");
        self.process.wait_line(limit, "that it is registered", bound);
    }

    /// Events so far.
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().expect("events").clone()
    }

    /// Waits for an event by its type, e.g. `CALL_INCOMING`, `CALL_ESTABLISHED`, `CALL_CLOSED`.
    pub fn wait_event(&self, kind: &str, limit: Duration) -> Value {
        let find = || self.events().into_iter().find(|event| event["type"] == kind);
        wait_for(limit, &format!("baresip event {kind}; output:\n{}", self.process.tail(30)), find)
    }

    /// What it heard in its last call, as the WAV file that its `sndfile` module wrote.
    pub fn heard(&self) -> PathBuf {
        let entries = std::fs::read_dir(&self.dir).expect("directory");
        let mut dumps: Vec<PathBuf> = entries
            .map(|entry| entry.expect("entry").path())
            .filter(|path| path.to_string_lossy().ends_with("-dec.wav"))
            .collect();
        dumps.sort();
        dumps.pop().unwrap_or_else(|| panic!("baresip recorded nothing:\n{}", self.process.tail(30)))
    }
}
