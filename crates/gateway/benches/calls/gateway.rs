//! The built gateway on one core, and what it uses.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Core of the gateway; SIPp has the other one.
const CORE: &str = "0";
/// Where the gateway takes SIP, and where SIPp calls from and is called.
pub const SIP: u16 = 15_060;
pub const CALLER: u16 = 15_070;
pub const CALLEE: u16 = 15_080;
const HTTP: u16 = 15_090;
/// Kernel clock ticks in a second: what `/proc` counts in, the same on every Linux.
const TICKS: f64 = 100.0;

/// A running gateway. Dropping it ends it.
pub struct Gateway(Child);

impl Gateway {
    /// Two trunks, a route from one to the other, one media worker, ports and call records as in production.
    pub fn start(dir: &Path, users: usize) -> Gateway {
        let mut toml = format!(
            "[http]\nlisten = \"127.0.0.1:{HTTP}\"\n[sip]\ncountry = \"US\"\ndomain = \"127.0.0.1\"\nlisten = [\"udp:127.0.0.1:{SIP}\"]\n\
             [media]\nwebrtc_port = 15100\nrtp_ports = \"20000-29999\"\nworkers = 1\n[cdr]\nfile = \"{}\"\n\
             [[trunks]]\nname = \"caller\"\nserver = \"127.0.0.1:{CALLER}\"\n\
             [[trunks]]\nname = \"callee\"\nserver = \"127.0.0.1:{CALLEE}\"\n\
             [[routes]]\nmatch = \"+1*\"\nfrom = [\"trunk:caller\"]\nto = [\"trunk:callee\"]\n",
            dir.join("cdr.jsonl").display()
        );
        for n in 0..users {
            toml += &format!("[[users]]\nname = \"user{n}\"\npassword = \"secret\"\n");
        }
        let file = dir.join("webtrunk.toml");
        std::fs::write(&file, toml).expect("configuration written");
        let log = std::fs::File::create(dir.join("gateway.log")).expect("log file");
        let child = Command::new("taskset")
            .args(["-c", CORE, env!("CARGO_BIN_EXE_webtrunk"), "run", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("taskset starts the gateway");
        let gateway = Gateway(child);
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", HTTP)).is_err() {
            assert!(Instant::now() < until, "the gateway does not start; see {}", dir.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        gateway
    }

    /// Its process: taskset has become it.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processor time that a process has used, in seconds.
pub fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th field behind it.
    let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = behind.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS
}

/// Resident memory in MB.
pub fn rss(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}
