//! A child process whose output is collected and which never outlives its test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A running child: its lines of stdout and stderr are kept, and it is killed on drop.
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

fn collect(
    source: impl Read + Send + 'static,
    lines: Arc<Mutex<Vec<String>>>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(source);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            lines.lock().expect("collector").push(text);
        }
    })
}

impl Process {
    /// Starts `command`. A missing program is the test's failure.
    pub fn start(name: &str, command: &mut Command) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{name} does not start ({error}); `make setup-test` gets the test tools")
        });
        let lines = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![
            collect(child.stdout.take().expect("piped"), lines.clone()),
            collect(child.stderr.take().expect("piped"), lines.clone()),
        ];
        Process { name: name.into(), child, lines, readers }
    }

    /// The child's standard input, once.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("taken once")
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All lines so far, stdout and stderr mixed as they came.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("collector").clone()
    }

    /// The last lines, for a failure message.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// Waits for the end, or panics with the last lines.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                for reader in self.readers.drain(..) {
                    reader.join().expect("collector");
                }
                return status;
            }
            assert!(Instant::now() < until, "{} still runs after {limit:?}:\n{}", self.name, self.tail(40));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a line satisfies `found`, and returns it.
    pub fn wait_line(&mut self, limit: Duration, what: &str, found: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + limit;
        loop {
            if let Some(line) = self.lines().iter().find(|line| found(line)) {
                return line.clone();
            }
            let over = Instant::now() >= until || self.ended().is_some();
            assert!(!over, "{} never said {what}:\n{}", self.name, self.tail(40));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal by name, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {}", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the child has ended, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- last lines of {}:\n{}", self.name, self.tail(60));
        }
    }
}

/// Polls `check` until it gives a value, or panics saying `what` did not happen.
pub fn wait_for<T>(limit: Duration, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < until, "after {limit:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Idle share of the processors over half a second, from `/proc/stat`; 1 where that does not exist.
fn idle_share() -> f64 {
    let read = || -> Option<(u64, u64)> {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        let counts: Vec<u64> =
            text.lines().next()?.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        Some((*counts.get(3)? + *counts.get(4)?, counts.iter().take(8).sum()))
    };
    let before = read();
    std::thread::sleep(Duration::from_millis(500));
    match (before, read()) {
        (Some((idle, all)), Some((idle_then, all_then))) if all_then > all => {
            (idle_then - idle) as f64 / (all_then - all) as f64
        }
        _ => 1.0,
    }
}

/// Waits, at most `limit`, until the processors are mostly idle: measurements of real time mean little before.
pub fn wait_calm(limit: Duration) {
    let until = Instant::now() + limit;
    while idle_share() < 0.6 && Instant::now() < until {}
}
