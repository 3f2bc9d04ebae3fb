//! SIPp at both ends: its own built-in caller and callee, and its own counts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::gateway::{CALLEE, CALLER, SIP, cpu};

/// Core of SIPp, caller and callee together.
const CORE: &str = "1";
/// Sockets hold what comes while SIPp waits for its core: a loss there would be counted as the gateway's.
const BUFFER: &str = "4194304";

/// Calls at once, at most: where the machine stops for a moment, the caller waits instead of using up all RTP ports.
const MOST: &str = "2000";

/// One SIPp. Dropping it ends it.
pub struct Sipp {
    child: Child,
    statistics: PathBuf,
}

/// What the caller and the callee counted, and what they used.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Calls that went as they should.
    pub done: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Messages that either had to send again.
    pub repeated: u64,
    /// Calls done in a second.
    pub rate: f64,
    /// Processor time of both, in seconds.
    pub cpu: f64,
}

impl Counted {
    /// Every call went well and nothing was sent twice, at the rate asked for.
    pub fn is_clean(&self, asked: u32) -> bool {
        self.failed == 0 && self.repeated == 0 && self.rate > f64::from(asked) * 0.97
    }
}

/// The port that a caller calls.
#[derive(Clone, Copy)]
pub enum Through {
    /// The gateway.
    Gateway,
    /// The callee itself: what SIPp alone can do here.
    Nobody,
}

impl Sipp {
    fn start(dir: &Path, name: &str, port: u16, arguments: &[&str]) -> Sipp {
        let statistics = dir.join(format!("{name}.csv"));
        // A file of an earlier run would be read for this one's.
        let _ = std::fs::remove_file(&statistics);
        let child = Command::new("taskset")
            .args(["-c", CORE, "sipp", "-i", "127.0.0.1", "-mi", "127.0.0.1", "-p", &port.to_string()])
            .args(["-nostdin", "-buff_size", BUFFER, "-trace_stat", "-fd", "1", "-stf"])
            .arg(&statistics)
            .args(arguments)
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("SIPp is installed");
        Sipp { child, statistics }
    }

    /// Waits for its end; ends it where that takes too long.
    fn finish(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A counter of the last line that it wrote.
    fn counter(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(&self.statistics).unwrap_or_default();
        let mut lines = text.lines();
        let names = lines.next().unwrap_or_default().split(';');
        let last = lines.next_back().unwrap_or_default().split(';');
        let values: HashMap<_, _> = names.zip(last).collect();
        values.get(name).and_then(|v| v.parse().ok()).unwrap_or_default()
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls at `rate` a second for `seconds`, hung up at once when answered.
pub fn calls(dir: &Path, through: Through, rate: u32, seconds: u32) -> Counted {
    let callee = Sipp::start(dir, "callee", CALLEE, &["-sn", "uas", "-mp", "30500", "-cp", "15091"]);
    std::thread::sleep(Duration::from_millis(300));
    let port = match through {
        Through::Gateway => SIP,
        Through::Nobody => CALLEE,
    };
    let (to, total) = (format!("127.0.0.1:{port}"), rate * seconds);
    let numbers = [rate, total, seconds * 3].map(|n| n.to_string());
    let arguments =
        ["-sn", "uac", &to, "-s", "+12025550100", "-d", "0", "-l", MOST, "-mp", "30600", "-cp", "15092"];
    let more = ["-r", &numbers[0], "-m", &numbers[1], "-timeout", &numbers[2]];
    let start = Instant::now();
    let mut caller = Sipp::start(dir, "caller", CALLER, &[&arguments[..], &more[..]].concat());
    let (mut used, mut took) = (0.0, 0.0);
    // What a process has used is gone with it: the last look before its end counts.
    while matches!(caller.child.try_wait(), Ok(None)) && took < f64::from(seconds) * 3.0 + 10.0 {
        used = cpu(caller.child.id());
        std::thread::sleep(Duration::from_millis(10));
        took = start.elapsed().as_secs_f64();
    }
    // The callee writes its counts once a second.
    std::thread::sleep(Duration::from_millis(1500));
    let done = caller.counter("SuccessfulCall(C)");
    Counted {
        done,
        failed: caller.counter("FailedCall(C)"),
        repeated: caller.counter("Retransmissions(C)") + callee.counter("Retransmissions(C)"),
        rate: done as f64 / took,
        cpu: used + cpu(callee.child.id()),
    }
}

/// Each of `users` registers once, `rate` a second; says how many did and what was sent twice.
pub fn registrations(dir: &Path, users: usize, rate: u32) -> Counted {
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/calls/register.xml");
    let mut names = String::from("SEQUENTIAL\n");
    (0..users)
        .for_each(|n| names += &format!("user{n};[authentication username=user{n} password=secret];\n"));
    std::fs::write(dir.join("users.csv"), names).expect("users written");
    let (to, total, rate) = (format!("127.0.0.1:{SIP}"), users.to_string(), rate.to_string());
    let scenario = scenario.display().to_string();
    let arguments = ["-sf", &scenario, "-inf", "users.csv", &to, "-r", &rate, "-m", &total, "-timeout", "60"];
    let start = Instant::now();
    let mut phones = Sipp::start(dir, "phones", CALLER + 1, &arguments);
    phones.finish(Duration::from_secs(70));
    let done = phones.counter("SuccessfulCall(C)");
    Counted {
        done,
        failed: phones.counter("FailedCall(C)"),
        repeated: phones.counter("Retransmissions(C)"),
        rate: done as f64 / start.elapsed().as_secs_f64(),
        cpu: 0.0,
    }
}
