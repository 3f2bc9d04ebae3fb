//! A process under measurement: on a core of its own, its processor time and memory from `/proc`.

use std::fs::{File, read_dir, read_to_string};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use crate::Fallible;

/// The core of whoever is measured.
pub const MEASURED: usize = 0;
/// The core of this process.
pub const OWN: usize = 1;

/// Keeps this thread on a core, where there is more than one, lets its sleeps end when they should, and puts it before all
/// ordinary threads: what a machine's own threads hold up comes as a burst afterwards, and is late on whoever is measured.
pub fn keep_to(core: usize) {
    // Without it sleeps are 50 microseconds longer, no more.
    let _ = nix::sys::prctl::set_timerslack(1);
    let mut set = CpuSet::new();
    if set.set(core).is_ok() {
        // With one core only there is nothing to choose.
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let lowest = ThreadPriorityValue::try_from(1).map(ThreadPriority::Crossplatform);
    let permitted =
        lowest.is_ok_and(|p| set_thread_priority_and_policy(thread_native_id(), p, policy).is_ok());
    if !permitted {
        crate::out(
            "No real-time scheduling is permitted here: latencies include what else this machine does.",
        );
    }
}

/// A running child on the measured core. Dropping it ends it.
pub struct Measured(Child);

impl Measured {
    /// Starts it; what it writes goes to `log`.
    ///
    /// # Errors
    /// When it can not be started.
    pub fn start(program: &Path, arguments: &[&str], log: &Path) -> Fallible<Measured> {
        let log = File::create(log)?;
        // Its scheduling is its own affair.
        let child = Command::new("chrt")
            .args(["--other", "0", "taskset", "-c", &MEASURED.to_string()])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Measured(child))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Processor time of all its threads so far, milliseconds.
    pub fn cpu_ms(&self) -> f64 {
        let tasks = read_dir(format!("/proc/{}/task", self.0.id())).into_iter().flatten().flatten();
        let one = |task: std::fs::DirEntry| {
            let text = read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        };
        tasks.filter_map(one).sum::<f64>() / 1e6
    }

    /// Resident memory now, KiB.
    pub fn rss_kib(&self) -> f64 {
        let status = read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default()
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Datagrams that the kernel dropped because a socket of anybody's was full.
pub fn full_sockets() -> u64 {
    let text = read_to_string("/proc/net/snmp").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "RcvbufErrors");
    found.and_then(|(_, count)| count.parse().ok()).unwrap_or_default()
}

/// Processor time of this process so far, milliseconds.
pub fn own_cpu_ms() -> f64 {
    let text = read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default() / 1e6
}
