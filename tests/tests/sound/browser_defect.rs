//! A media worker that ends by a defect: strace has the kernel refuse it the wait for its sockets, in the binary as it is.

use e2e::gateway::{Gateway, Setup, WORKERS};
use e2e::phone::Phone;
use e2e::process::{Process, wait_for};
use e2e::sipp::Sipp;
use e2e::speech::speech;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn measured(gateway: &Gateway, line: &str) -> bool {
    gateway.get("/metrics").is_some_and(|(_, all)| all.lines().any(|one| one == line))
}

/// The thread of this media worker.
fn thread_of(gateway: &Gateway, worker: u16) -> String {
    let threads = std::fs::read_dir(format!("/proc/{}/task", gateway.process.id())).expect("threads");
    let named = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == format!("media-{worker}"))
    };
    let path = threads.map(|entry| entry.expect("thread").path()).find(named).expect("a media thread");
    path.file_name().expect("id").to_string_lossy().into_owned()
}

#[test]
fn a_dead_worker_ends_its_call_with_a_sentence_and_healthz_with_503_and_the_next_call_works() {
    let mut sipp = Sipp::scenario("outbound_answer_echo").echo();
    (sipp.timeout, sipp.count) = (60, 2);
    let gateway = Gateway::run(&Setup::with_trunk(sipp.port));
    let sipp = sipp.start();
    let mut phone = Phone::chromium(Some(&speech().long_microphone));
    phone.open(&gateway.url());
    phone.sign_in("alice");
    phone.wait_status("^Ready", LIMIT);
    phone.dial("+12025550100");
    phone.wait_status("^In call$", LIMIT);
    assert_eq!(gateway.get("/healthz").map(|(status, _)| status), Some(200));
    let has_it =
        |worker: &u16| measured(&gateway, &format!("webtrunk_worker_calls{{worker=\"{worker}\"}} 1"));
    let worker = wait_for(LIMIT, "the call's worker", || (0..WORKERS).find(has_it));
    let calls = ["-e", "trace=/^epoll_p?wait$", "-e", "inject=/^epoll_p?wait$:error=EBADF"];
    let mut strace = Command::new("strace");
    let _strace = Process::start("strace", strace.args(["-p", &thread_of(&gateway, worker)]).args(calls));
    phone.wait_status("^Call ended: The gateway had an internal error; the log has the details.$", LIMIT);
    let sick = || gateway.get("/healthz").filter(|(status, _)| *status == 503);
    wait_for(LIMIT, "/healthz says it", sick);
    assert!(measured(&gateway, &format!("webtrunk_worker_alive{{worker=\"{worker}\"}} 0")));
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "internal");
    phone.dial("+12025550100");
    phone.wait_status("^In call$", LIMIT);
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    sipp.finish().must_pass();
    assert_eq!(gateway.wait_cdrs(2)[1]["reason"], "hung-up");
}
