//! `webtrunk trunk test` against carriers that answer, refuse and keep silent.

use e2e::gateway::{Gateway, PASSWORD, Setup, binary};
use e2e::ports::{free_ports, tools_dir};
use e2e::sipp::Sipp;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Exit code and everything said about the trunk `carrier` with these keys.
fn test_trunk(server: &str, keys: &str, flags: &[&str]) -> (Option<i32>, String) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("trunk-test/{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = tools_dir().join(name);
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join("webtrunk.toml");
    let text = format!(
        "[sip]\ndomain = \"127.0.0.1\"\ncountry = \"US\"\n[[trunks]]\nname = \"carrier\"\nserver = \"{server}\"\n{keys}\n"
    );
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(binary());
    command.args(["trunk", "test"]).args(flags).arg(&file).arg("carrier");
    let output = command.output().expect("webtrunk trunk test");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn login(user: &str, password: &str) -> String {
    format!("username = \"{user}\"\npassword = \"{password}\"\nregister = true")
}

#[test]
fn a_carrier_that_answers_and_registers_us_is_usable_and_is_left_unregistered() {
    let mut sipp = Sipp::scenario("outbound_trunk-test_accepted");
    sipp.count = 2;
    let port = sipp.port;
    let sipp = sipp.start();
    let keys = login("trunkuser", "trunk secret");
    let (code, said) = test_trunk(&format!("127.0.0.1:{port}"), &keys, &["-v"]);
    assert_eq!(code, Some(0), "{said}");
    sipp.finish().must_pass();
    for step in ["resolve   good", "options   good", "register  good", "The trunk is usable."] {
        assert!(said.contains(step), "{step}:\n{said}");
    }
    assert!(said.contains("SIP/2.0 401 Unauthorized"), "-v shows the messages:\n{said}");
    assert!(!said.contains("trunk secret"), "{said}");
}

#[test]
fn a_wrong_password_is_named_as_the_probable_cause() {
    let carrier = Gateway::run(&Setup::default());
    let server = format!("127.0.0.1:{}", carrier.sip);
    let (code, said) = test_trunk(&server, &login("alice", "wrong"), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("options   good") && said.contains("register  FAILED"), "{said}");
    assert!(said.contains("User name or password is wrong"), "{said}");
    let (code, said) = test_trunk(&server, &login("alice", PASSWORD), &[]);
    assert_eq!(code, Some(0), "the right one registers:\n{said}");
}

#[test]
fn silence_a_closed_port_and_an_unknown_name_are_told_apart() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let port = silent.local_addr().expect("its port").port();
    let (code, said) = test_trunk(&format!("udp:127.0.0.1:{port}"), "", &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("did not answer OPTIONS") && said.contains("firewall"), "{said}");
    let (code, said) = test_trunk(&format!("tcp:127.0.0.1:{}", free_ports(2)), "", &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("options   FAILED") && said.contains("refused"), "{said}");
    let (code, said) = test_trunk("no-such-host.invalid", "", &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("resolve   FAILED") && said.contains("misspelt"), "{said}");
}

#[test]
fn a_trunk_that_the_file_does_not_have_is_a_usage_error() {
    let gateway = Gateway::run(&Setup::with_trunk(free_ports(2)));
    let file = gateway.dir.join("webtrunk.toml");
    let output =
        Command::new(binary()).args(["trunk", "test"]).arg(file).arg("karrier").output().expect("run");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no trunk karrier; it has: carrier"), "{said}");
}
