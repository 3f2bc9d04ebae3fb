//! Starting, stopping and being asked: what an operator does with the binary.

use e2e::gateway::{Gateway, Setup, binary};
use e2e::ports::{free_ports, root, tools_dir};
use e2e::sipp::Sipp;
use std::net::UdpSocket;
use std::process::{Command, Output};
use std::time::Duration;

fn webtrunk(args: &[&str]) -> Output {
    Command::new(binary()).args(args).output().expect("the binary runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn public_paths_answer_200() {
    let gateway = Gateway::run(&Setup::default());
    for path in ["/", "/healthz", "/readyz", "/metrics", "/sdk/webtrunk.js"] {
        let (status, body) = gateway.get(path).unwrap_or_else(|| panic!("nothing answers {path}"));
        assert_eq!(status, 200, "{path}: {body}");
    }
    assert_eq!(gateway.get("/nothing-here").map(|answer| answer.0), Some(404));
}

#[test]
fn termination_during_a_call_says_bye_to_both_and_exits_0() {
    let sipp = Sipp::scenario("outbound_answer_echo");
    let gateway = Gateway::run(&Setup::with_trunk(sipp.port));
    let callee = sipp.start();
    let caller = Sipp::scenario("inbound_call_hung-up-by-callee")
        .user("alice")
        .calls("+12025550100")
        .to(gateway.sip)
        .start();
    let live = || caller.messages().contains("ACK sip:").then_some(());
    e2e::process::wait_for(Duration::from_secs(30), "the call is up", live);
    std::thread::sleep(Duration::from_millis(500));
    let dir = gateway.dir.clone();
    let status = gateway.interrupt();
    assert_eq!(status.code(), Some(0));
    caller.finish().must_pass();
    callee.finish().must_pass();
    let cdr = std::fs::read_to_string(dir.join("cdr.jsonl")).expect("call records");
    assert!(cdr.contains("gateway-stopping"), "{cdr}");
}

#[test]
fn port_in_use_is_said_in_one_sentence_and_exits_1() {
    let port = free_ports(2);
    let _taken = UdpSocket::bind(("127.0.0.1", port)).expect("free port");
    let carrier = free_ports(2);
    let output = webtrunk(&[
        "demo",
        "--http",
        &format!("127.0.0.1:{}", free_ports(2)),
        "--sip",
        &format!("127.0.0.1:{port}"),
        "--carrier",
        &format!("127.0.0.1:{carrier}"),
        "--webrtc-port",
        &free_ports(8).to_string(),
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains(&port.to_string()) && !text.contains("panicked"), "{text}");
}

#[test]
fn bad_configuration_is_refused_with_every_error_and_nothing_starts() {
    let file = tools_dir().join(format!("bad-{}.toml", std::process::id()));
    let bad = "[http]\nlisten = \"nonsense\"\n[sip]\ndomian = \"x\"\n[[users]]\nname = \"alice\"\n";
    std::fs::write(&file, bad).expect("written");
    for args in [["check-config", ""], ["run", "--config"]] {
        let mut args: Vec<&str> = args.into_iter().filter(|arg| !arg.is_empty()).collect();
        args.push(file.to_str().expect("path"));
        let output = webtrunk(&args);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for word in ["line 2", "line 4", "domain", "line 5"] {
            assert!(text.contains(word), "`{word}` in:\n{text}");
        }
    }
}

#[test]
fn example_configuration_is_good() {
    let example = root().join("config/webtrunk.example.toml");
    let output = webtrunk(&["check-config", example.to_str().expect("path")]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn wrong_usage_exits_2() {
    assert_eq!(webtrunk(&["no-such-command"]).status.code(), Some(2));
}

#[test]
fn demo_off_loopback_without_a_password_is_refused() {
    let output = webtrunk(&["demo", "--http", "0.0.0.0:0"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(said(&output).contains("--password"), "{}", said(&output));
}
