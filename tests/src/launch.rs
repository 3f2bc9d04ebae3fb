//! The built binary with any arguments, run to its end: what it says on each stream, and how it leaves.

use crate::gateway::binary;
use crate::ports::tools_dir;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A directory of its own for one test's files.
pub fn fresh_dir(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let unique = format!("{name}/{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = tools_dir().join(unique);
    std::fs::create_dir_all(&dir).expect("a directory for this test");
    dir
}

/// A running binary whose two streams are kept apart. Killed on drop.
pub struct Launched {
    child: Child,
    streams: Vec<JoinHandle<String>>,
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before a broken pipe is still worth reading.
        drop(stream.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Launched {
    /// Starts `webtrunk` with these arguments in `dir`.
    pub fn start(dir: &Path, args: &[&str]) -> Launched {
        let mut command = Command::new(binary());
        command.args(args).current_dir(dir).env_remove("WEBTRUNK_LOG");
        Launched::spawn(&mut command)
    }

    /// Starts a prepared command.
    pub fn spawn(command: &mut Command) -> Launched {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let streams =
            vec![collect(child.stdout.take().expect("piped")), collect(child.stderr.take().expect("piped"))];
        Launched { child, streams }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    /// Waits for its end, or panics with what it said.
    pub fn finish(mut self, limit: Duration) -> Outcome {
        let until = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break Some(status);
            }
            if Instant::now() > until {
                drop(self.child.kill());
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        drop(self.child.wait());
        let mut text = self.streams.drain(..).map(|stream| stream.join().expect("collector"));
        let (stdout, stderr) = (text.next().unwrap_or_default(), text.next().unwrap_or_default());
        let Some(status) = status else {
            panic!("webtrunk still ran after {limit:?}\nstdout: {stdout}\nstderr: {stderr}");
        };
        Outcome { code: status.code(), stdout, stderr }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // Both fail only when it has ended, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs `webtrunk` with these arguments to its end, within five seconds.
pub fn webtrunk(dir: &Path, args: &[&str]) -> Outcome {
    Launched::start(dir, args).finish(Duration::from_secs(5))
}
