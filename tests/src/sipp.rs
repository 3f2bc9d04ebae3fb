//! SIPp runs one scenario file as a carrier, a PBX or a softphone: an oracle that shares no code with the gateway.

use crate::gateway::PASSWORD;
use crate::ports::{free_ports, root, tools_dir};
use crate::process::Process;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How to run a scenario. Begin with [`Sipp::scenario`].
pub struct Sipp {
    file: PathBuf,
    /// SIP port of SIPp on 127.0.0.1.
    pub port: u16,
    /// Port of an RTP party that its SDP announces, as `[rtp_port]`; none: SIPp's own, which can echo.
    pub rtp_port: Option<u16>,
    /// Port of the other side; a caller needs it, a callee does not.
    pub remote: Option<u16>,
    /// User part of the Request-URI: the number called, or the name to register.
    pub service: String,
    /// Name for digest and, as `[user]`, in From and Contact.
    pub user: String,
    /// Milliseconds of a `<pause/>` without a length of its own.
    pub pause: u32,
    /// Password for digest.
    pub password: String,
    /// `-key NAME VALUE` pairs, in the scenario `[NAME]`.
    pub keys: Vec<(String, String)>,
    /// Send RTP back to whoever sends it.
    pub rtp_echo: bool,
    /// TCP instead of UDP.
    pub tcp: bool,
    /// Calls, by Call-ID, after which it is done; a registration is one.
    pub count: u32,
    /// Seconds after which SIPp gives up and fails.
    pub timeout: u32,
}

/// A SIPp at work.
pub struct Running {
    process: Process,
    dir: PathBuf,
    timeout: u32,
    name: String,
}

/// What a finished SIPp left.
pub struct Verdict {
    /// Exit code; 0 when every call went as the scenario says.
    pub code: i32,
    /// Its error log, where it says what was unexpected.
    pub errors: String,
    /// Every message sent and received.
    pub messages: String,
    /// What `<log>` actions wrote.
    pub logs: String,
    name: String,
}

impl Sipp {
    /// Prepares `sipp-scenarios/NAME.xml` on free ports.
    pub fn scenario(name: &str) -> Sipp {
        let file = root().join("sipp-scenarios").join(format!("{name}.xml"));
        assert!(file.exists(), "no scenario {}", file.display());
        Sipp {
            file,
            port: free_ports(2),
            rtp_port: None,
            remote: None,
            service: "service".into(),
            user: "carrier".into(),
            pause: 500,
            password: PASSWORD.into(),
            keys: Vec::new(),
            rtp_echo: false,
            tcp: false,
            count: 1,
            timeout: 30,
        }
    }

    /// Sets a `[NAME]` of the scenario.
    pub fn key(mut self, name: &str, value: &str) -> Sipp {
        self.keys.push((name.into(), value.into()));
        self
    }

    /// Where requests go first.
    pub fn to(mut self, port: u16) -> Sipp {
        self.remote = Some(port);
        self
    }

    /// Who it is: name for digest, in From and in Contact.
    pub fn user(mut self, user: &str) -> Sipp {
        self.user = user.into();
        self
    }

    /// The number to call, or the name to register.
    pub fn calls(mut self, number: &str) -> Sipp {
        self.service = number.into();
        self
    }

    /// Length of a `<pause/>`.
    pub fn pause(mut self, ms: u32) -> Sipp {
        self.pause = ms;
        self
    }

    /// Echo of RTP.
    pub fn echo(mut self) -> Sipp {
        self.rtp_echo = true;
        self
    }

    /// TCP instead of UDP.
    pub fn over_tcp(mut self) -> Sipp {
        self.tcp = true;
        self
    }

    fn command(&self, dir: &std::path::Path) -> Command {
        let mut command = Command::new("sipp");
        if let Some(remote) = self.remote {
            command.arg(format!("127.0.0.1:{remote}"));
        }
        command.arg("-sf").arg(&self.file).current_dir(dir);
        let media = free_ports(4);
        command.args(["-key", "rtp_port", &self.rtp_port.unwrap_or(media).to_string()]);
        let numbers = [
            ("-p", u32::from(self.port)),
            ("-mp", u32::from(media)),
            ("-cp", u32::from(free_ports(2))),
            ("-m", self.count),
            ("-d", self.pause),
            ("-timeout", self.timeout),
        ];
        for (flag, value) in numbers {
            command.args([flag, &value.to_string()]);
        }
        command.args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-t", if self.tcp { "t1" } else { "u1" }]);
        command.args([
            "-s",
            &self.service,
            "-au",
            &self.user,
            "-ap",
            &self.password,
            "-key",
            "user",
            &self.user,
        ]);
        command.args(["-timeout_error", "-nostdin", "-trace_err", "-trace_msg", "-trace_logs"]);
        command.args(["-error_file", "errors.log", "-message_file", "messages.log", "-log_file", "logs.log"]);
        if let Some(remote) = self.remote {
            // RFC 3261 §22.4: the digest covers the Request-URI, which for REGISTER has no user part (§10.2).
            let name =
                self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let user = if name.contains("register") { String::new() } else { format!("{}@", self.service) };
            command.args(["-auth_uri", &format!("{user}127.0.0.1:{remote}")]);
        }
        for (name, value) in &self.keys {
            command.args(["-key", name, value]);
        }
        if self.rtp_echo {
            command.arg("-rtp_echo");
        }
        command
    }

    /// Starts it. A callee is listening when this returns.
    pub fn start(self) -> Running {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("sipp/{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tools_dir().join(id);
        std::fs::create_dir_all(&dir).expect("directory of this SIPp");
        let name = self.file.file_stem().expect("scenario name").to_string_lossy().into_owned();
        let process = Process::start("sipp", &mut self.command(&dir));
        let port = self.port;
        let listening = || {
            let taken = if self.tcp {
                std::net::TcpListener::bind(("127.0.0.1", port)).is_err()
            } else {
                std::net::UdpSocket::bind(("127.0.0.1", port)).is_err()
            };
            taken.then_some(())
        };
        if self.remote.is_none() {
            crate::process::wait_for(Duration::from_secs(30), "SIPp listens", listening);
        }
        Running { process, dir, timeout: self.timeout, name }
    }

    /// Runs it to its end.
    pub fn run(self) -> Verdict {
        self.start().finish()
    }
}

impl Running {
    /// Waits for its end.
    pub fn finish(mut self) -> Verdict {
        let status = self.process.wait(Duration::from_secs(u64::from(self.timeout) + 10));
        let read = |file: &str| std::fs::read(self.dir.join(file)).unwrap_or_default();
        let text = |file: &str| String::from_utf8_lossy(&read(file)).into_owned();
        Verdict {
            code: status.code().unwrap_or(-1),
            errors: text("errors.log"),
            messages: text("messages.log"),
            logs: text("logs.log"),
            name: self.name.clone(),
        }
    }

    /// Messages exchanged so far.
    pub fn messages(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.join("messages.log")).unwrap_or_default())
            .into_owned()
    }
}

impl Verdict {
    /// Panics with errors and messages unless every call went as the scenario says.
    pub fn must_pass(&self) -> &Verdict {
        assert!(
            self.code == 0,
            "scenario {} failed with code {}:\n{}\n{}",
            self.name,
            self.code,
            self.errors,
            self.messages
        );
        self
    }
}
