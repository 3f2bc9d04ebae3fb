//! Linphone's console phone as a softphone: registers, calls, is called, holds, transfers; steered by its standard input.

use crate::gateway::PASSWORD;
use crate::ports::{free_ports, tools_dir};
use crate::process::{Process, wait_for};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// A running `linphonec`.
pub struct Linphone {
    /// The process, with its output.
    pub process: Process,
    input: ChildStdin,
    seen: usize,
    dir: PathBuf,
}

/// It takes its network for absent where there is no default route, unless it is told not to look.
fn configuration(sip: u16, rtp: u16, encrypted: bool) -> String {
    let encryption =
        if encrypted { "[sip]\nmedia_encryption=srtp\nmedia_encryption_mandatory=1\n" } else { "[sip]\n" };
    format!(
        "{encryption}auto_net_state_mon=0\nregister_only_when_network_is_up=0\nsip_port={sip}\nsip_tcp_port=0\nsip_tls_port=0\nuse_ipv6=0\nguess_hostname=0\n\
         [net]\nfirewall_policy=0\n[rtp]\naudio_rtp_port={rtp}\n\
         [audio_codec_0]\nmime=PCMU\nrate=8000\nchannels=1\nenabled=1\n"
    )
}

impl Linphone {
    /// Starts it; it says the 8 or 16 kHz mono WAV file and writes down what it hears.
    pub fn start(speech: &Path) -> Linphone {
        Linphone::configured(speech, false)
    }

    /// One that talks encrypted or not at all, with its keys in the session description.
    pub fn encrypted(speech: &Path) -> Linphone {
        Linphone::configured(speech, true)
    }

    fn configured(speech: &Path, encrypted: bool) -> Linphone {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("linphone/{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tools_dir().join(name);
        for made in [".local/share/linphone", ".config/linphone"] {
            std::fs::create_dir_all(dir.join(made)).expect("directories of this linphone");
        }
        let rc = dir.join("linphonerc");
        std::fs::write(&rc, configuration(free_ports(2), free_ports(2), encrypted)).expect("configuration");
        let mut command = Command::new("linphonec");
        command.arg("-c").arg(&rc).current_dir(&dir).env("HOME", &dir);
        let mut process = Process::start("linphonec", &mut command);
        let input = process.stdin();
        let mut linphone = Linphone { process, input, seen: 0, dir };
        linphone.say("soundcard use files");
        linphone.wait("it uses files", "Using wav files");
        linphone.say(&format!("play {}", speech.display()));
        linphone.say(&format!("record {}", linphone.heard().display()));
        linphone
    }

    /// Types a command, e.g. `call sip:100@127.0.0.1`, `answer`, `pause 1`, `transfer 1 sip:101@127.0.0.1`.
    pub fn say(&mut self, command: &str) {
        writeln!(self.input, "{command}").expect("linphone reads");
    }

    /// Waits for output with this text, after what was waited for before.
    pub fn wait(&mut self, what: &str, text: &str) {
        let (seen, process) = (self.seen, &self.process);
        let find = || process.lines().iter().skip(seen).position(|line| line.contains(text));
        let at = wait_for(LIMIT, &format!("{what}, {text:?} in:\n{}", process.tail(30)), find);
        self.seen += at + 1;
    }

    /// Registers `user` at the gateway.
    pub fn register(&mut self, user: &str, gateway: u16) {
        self.say(&format!("register sip:{user}@127.0.0.1 sip:127.0.0.1:{gateway} {PASSWORD}"));
        let until = Instant::now() + LIMIT;
        loop {
            self.say("status register");
            let seen = self.seen;
            self.wait("its state", "registered");
            let line = self.process.lines()[seen..self.seen].last().cloned().unwrap_or_default();
            if line.contains("registered, identity=") {
                return;
            }
            assert!(Instant::now() < until, "not registered:\n{}", self.process.tail(30));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What it heard, as a WAV file.
    pub fn heard(&self) -> PathBuf {
        self.dir.join("heard.wav")
    }
}
