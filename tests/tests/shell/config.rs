//! `check-config`, `run` and `demo` before anything runs: every problem at once, in words, with the right exit code, and
//! nothing left behind.

use e2e::gateway::PASSWORD;
use e2e::http::get_page;
use e2e::launch::{Launched, Outcome, fresh_dir, webtrunk};
use e2e::ports::{free_ports, root};
use e2e::process::wait_for;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

fn check(dir: &Path, toml: &str) -> Outcome {
    let file = dir.join("webtrunk.toml");
    std::fs::write(&file, toml).expect("configuration written");
    webtrunk(dir, &["check-config", "webtrunk.toml"])
}

#[test]
fn the_example_configuration_loads() {
    let example = root().join("config/webtrunk.example.toml").display().to_string();
    let outcome = webtrunk(&fresh_dir("config"), &["check-config", &example]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    assert!(outcome.stdout.contains("good"), "{outcome:?}");
}

#[test]
fn the_trunk_in_the_readme_loads_and_takes_at_most_eight_lines() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let toml =
        readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a TOML block");
    let outcome = check(&fresh_dir("config"), toml);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let from_trunk = toml.lines().skip_while(|line| *line != "[[trunks]]");
    let trunk = from_trunk.take_while(|line| *line != "[[routes]]").count();
    assert!((2..=8).contains(&trunk), "{trunk} lines");
}

#[test]
fn a_sound_file_that_can_not_be_played_is_told_with_its_line_and_what_to_do() {
    let dir = fresh_dir("config");
    std::fs::write(dir.join("hold.mp3"), b"ID3 no sound that we know").expect("written");
    let toml = "[sip]\ndomain = \"example.com\"\n[music]\nhold = \"hold.mp3\"\n\
                [[routes]]\nmatch = \"9\"\nto = \"user:alice\"\nhold_music = \"none.wav\"\n\
                [[users]]\nname = \"alice\"\npassword = \"x\"\n";
    let outcome = check(&dir, toml);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let told = |what: &str| assert!(outcome.stderr.contains(what), "{what}: {}", outcome.stderr);
    told("line 4, column 8: music.hold: hold.mp3 is neither WAV nor Ogg/Opus; convert it");
    told("line 8, column 14: routes[0].hold_music: none.wav can not be opened");
    told("2 problems; nothing was started");
}

#[test]
fn every_problem_is_told_at_once_with_line_column_key_and_nearest_key() {
    let toml = "[http]\nlisen = \"127.0.0.1:8080\"\n[sip]\ndomain = \"example.com\"\nlisten = [\"udp:127.0.0.1\"]\n\
                [media]\nrtp_ports = \"30000-20000\"\nworkers = 99\n[[users]]\nname = \"alice\"\npasword = \"x\"\n\
                [[trunks]]\nname = \"a\"\nserver = \"192.0.2.1\"\ncodecs = [\"g729\"]\ncodec_policy = \"none\"\n\
                [[routes]]\nmatch = \"+*\"\nto = [\"trunk:b\"]\ncountries = \"*\"\n[media2]\n";
    let outcome = check(&fresh_dir("config"), toml);
    assert_eq!(outcome.code, Some(1));
    let problems: Vec<&str> = outcome.stderr.lines().collect();
    for (place, key, words) in [
        ("line 2, column 1", "http.lisen", "`listen`"),
        ("line 5, column 11", "sip.listen[0]", "udp:ADDRESS:PORT"),
        ("line 7, column 13", "media.rtp_ports", "FIRST-LAST"),
        ("line 8, column 11", "media.workers", "1 to 64"),
        ("line 9, column 1", "users[0].password", "needs one of"),
        ("line 11, column 1", "users[0].pasword", "`password`"),
        ("line 15, column 11", "trunks[0].codecs[0]", "opus, g722, pcmu, pcma"),
        ("line 16, column 16", "trunks[0].codec_policy", "auto, opus, passthrough"),
        ("line 17, column 1", "routes", "no trunk named \"b\""),
        ("line 21, column 2", "media2", "`media`"),
    ] {
        let told = problems.iter().any(|p| p.contains(&format!("{place}: {key}: ")) && p.contains(words));
        assert!(told, "{place}: {key}: … {words} is not among\n{}", outcome.stderr);
    }
    assert_eq!(problems.len(), 11, "ten problems and their sum:\n{}", outcome.stderr);
    assert!(problems[10].contains("10 problems"), "{}", problems[9]);
}

#[test]
fn route_explain_tells_the_deciding_rule_and_whether_it_leads_anywhere() {
    let example = root().join("config/webtrunk.example.toml").display().to_string();
    let ask = |rest: &[&str]| {
        let all: Vec<&str> = ["route", "explain", &example].into_iter().chain(rest.iter().copied()).collect();
        webtrunk(&fresh_dir("config"), &all)
    };
    let told = ask(&["+12025550100"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.starts_with("+12025550100, called by user alice:\n"), "{}", told.stdout);
    assert!(told.stdout.contains("route 1 (match \"+*\"): takes it, to trunk:carrier"), "{}", told.stdout);
    assert!(told.stdout.contains("as sip:+12025550100@sip.carrier.example"), "{}", told.stdout);
    let told = ask(&["999", "--from", "bob"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stdout.contains("goes nowhere (404)"), "{}", told.stdout);
    assert_eq!(ask(&["999", "--from", "mallory"]).code, Some(1));
    assert_eq!(ask(&[]).code, Some(2), "no number is a usage error");
}

#[test]
fn broken_toml_is_told_with_its_place() {
    let outcome = check(&fresh_dir("config"), "[sip]\ndomain = \"example.com\nlisten = [\n");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("webtrunk.toml: line 2, column "), "{}", outcome.stderr);
}

#[test]
fn run_with_a_bad_file_starts_nothing() {
    let (dir, port) = (fresh_dir("config"), free_ports(2));
    let toml = format!(
        "[http]\nlisten = \"127.0.0.1:{port}\"\n[sip]\ndomain = \"example.com\"\nlisten = [\"udp:127.0.0.1:{port}\"]\n\
         [cdr]\nfile = \"cdr.jsonl\"\n[media]\nworker = 2\n"
    );
    std::fs::write(dir.join("webtrunk.toml"), toml).expect("configuration written");
    let outcome = webtrunk(&dir, &["run", "--config", "webtrunk.toml"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
    assert!(
        outcome.stderr.contains("media.worker: unknown key; did you mean `workers`?"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("nothing was started"), "{}", outcome.stderr);
    assert!(!dir.join("cdr.jsonl").exists(), "not even the call record file was made");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = fresh_dir("config");
    std::fs::write(dir.join("latin1.toml"), b"# caf\xe9\n").expect("file");
    for (args, name) in [
        (vec!["check-config", "no-such.toml"], "no-such.toml"),
        (vec!["run", "--config", "no-such.toml"], "no-such.toml"),
        (vec!["check-config", "."], "."),
        (vec!["check-config", "latin1.toml"], "latin1.toml"),
    ] {
        let outcome = webtrunk(&dir, &args);
        assert_eq!(outcome.code, Some(1), "{args:?}: {outcome:?}");
        assert!(
            outcome.stderr.starts_with(&format!("webtrunk: {name}: cannot be read")),
            "{}",
            outcome.stderr
        );
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    }
}

#[test]
fn wrong_usage_exits_2_and_help_exits_0() {
    let dir = fresh_dir("config");
    for args in [
        vec![],
        vec!["frobnicate"],
        vec!["run"],
        vec!["check-config"],
        vec!["check-config", "a.toml", "b.toml"],
        vec!["demo", "--http", "nonsense"],
        vec!["demo", "--rtp-ports", "1-2"],
        vec!["demo", "--rtp-ports", "20000-20001"],
        vec!["demo", "--tls", "maybe"],
        vec!["demo", "--webrtc-port", "65536"],
    ] {
        let outcome = webtrunk(&dir, &args);
        assert_eq!(outcome.code, Some(2), "{args:?}: {outcome:?}");
        assert!(!outcome.stderr.is_empty(), "{args:?} is explained");
    }
    for args in [vec!["--help"], vec!["demo", "--help"], vec!["--version"]] {
        assert_eq!(webtrunk(&dir, &args).code, Some(0), "{args:?}");
    }
}

/// The listeners of one gateway, each on a port of its own.
#[derive(Clone)]
struct Ports {
    http: u16,
    sip: u16,
    carrier: u16,
    webrtc: u16,
    rtp: (u16, u16),
}

impl Ports {
    fn free() -> Ports {
        let rtp = free_ports(8);
        let (sip, carrier, webrtc) = (free_ports(2), free_ports(2), free_ports(8));
        Ports { http: free_ports(2), sip, carrier, webrtc, rtp: (rtp, rtp + 7) }
    }

    fn run(&self, dir: &Path) -> Launched {
        let toml = format!(
            "[http]\nlisten = \"127.0.0.1:{}\"\n\
             [sip]\ndomain = \"example.com\"\nlisten = [\"udp:127.0.0.1:{}\", \"tcp:127.0.0.1:{}\"]\n\
             [media]\nwebrtc_port = {}\nrtp_ports = \"{}-{}\"\nworkers = 2\n",
            self.http, self.sip, self.sip, self.webrtc, self.rtp.0, self.rtp.1
        );
        std::fs::write(dir.join("webtrunk.toml"), toml).expect("configuration written");
        Launched::start(dir, &["run", "--config", "webtrunk.toml"])
    }

    fn demo(&self, dir: &Path, further: &[&str]) -> Launched {
        let values = [
            ("--http", format!("127.0.0.1:{}", self.http)),
            ("--sip", format!("127.0.0.1:{}", self.sip)),
            ("--carrier", format!("127.0.0.1:{}", self.carrier)),
            ("--webrtc-port", self.webrtc.to_string()),
            ("--rtp-ports", format!("{}-{}", self.rtp.0, self.rtp.1)),
        ];
        let mut args = vec!["demo"];
        args.extend(values.iter().flat_map(|(flag, value)| [*flag, value.as_str()]));
        args.extend(further);
        Launched::start(dir, &args)
    }

    fn udp(port: u16) -> UdpSocket {
        UdpSocket::bind(("127.0.0.1", port)).unwrap_or_else(|e| panic!("UDP port {port}: {e}"))
    }

    fn tcp(port: u16) -> TcpListener {
        TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|e| panic!("TCP port {port}: {e}"))
    }

    /// Panics unless every port is free again.
    fn must_be_free(&self) {
        drop((Ports::tcp(self.http), Ports::tcp(self.sip)));
        drop([self.sip, self.carrier, self.webrtc, self.webrtc + 1].map(Ports::udp));
        drop((self.rtp.0..=self.rtp.1).map(Ports::udp).collect::<Vec<_>>());
    }
}

/// One sentence that holds these words, exit 1, nothing else said.
fn refused(gateway: Launched, words: &[&str]) {
    let outcome = gateway.finish(Duration::from_secs(8));
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "one sentence: {}", outcome.stderr);
    assert!(words.iter().all(|word| outcome.stderr.contains(word)), "{words:?} in {}", outcome.stderr);
    assert_eq!(outcome.stdout, "", "nothing was promised");
}

#[test]
fn a_port_in_use_is_named_with_its_configuration_key_and_nothing_stays() {
    let (dir, ports) = (fresh_dir("ports"), Ports::free());
    let taken = |port: u16| port.to_string();
    let squatter = Ports::tcp(ports.http);
    refused(ports.run(&dir), &["[http] listen", "tcp", &taken(ports.http), "in use"]);
    drop(squatter);
    let squatter = Ports::udp(ports.sip);
    refused(ports.run(&dir), &["[sip] listen", "udp", &taken(ports.sip), "in use"]);
    drop(squatter);
    let squatter = Ports::tcp(ports.sip);
    refused(ports.run(&dir), &["[sip] listen", "tcp", &taken(ports.sip), "in use"]);
    drop(squatter);
    let squatter = Ports::udp(ports.webrtc + 1);
    refused(ports.run(&dir), &["[media] webrtc_port", &taken(ports.webrtc + 1), "in use"]);
    drop(squatter);
    let squatters: Vec<_> = (ports.rtp.0..=ports.rtp.1).step_by(2).map(Ports::udp).collect();
    let range = format!("{}-{}", ports.rtp.0, ports.rtp.1);
    refused(ports.run(&dir), &["[media] rtp_ports", &range, "in use"]);
    drop(squatters);
    ports.must_be_free();
}

#[test]
fn a_port_in_use_is_named_with_its_flag_in_the_demo_and_nothing_stays() {
    let (dir, ports) = (fresh_dir("ports"), Ports::free());
    let squatter = Ports::tcp(ports.http);
    refused(ports.demo(&dir, &[]), &["--http", &ports.http.to_string(), "in use"]);
    drop(squatter);
    let squatter = Ports::udp(ports.sip);
    refused(ports.demo(&dir, &[]), &["--sip", &ports.sip.to_string(), "in use"]);
    drop(squatter);
    let squatter = Ports::udp(ports.carrier);
    refused(ports.demo(&dir, &[]), &["--carrier", &ports.carrier.to_string(), "in use"]);
    drop(squatter);
    let squatter = Ports::udp(ports.webrtc);
    refused(ports.demo(&dir, &[]), &["--webrtc-port", &ports.webrtc.to_string(), "in use"]);
    drop(squatter);
    for half in [ports.rtp.0..ports.rtp.0 + 4, ports.rtp.0 + 4..ports.rtp.1 + 1] {
        let squatters: Vec<_> = half.map(Ports::udp).collect();
        refused(ports.demo(&dir, &[]), &["--rtp-ports", "in use"]);
        drop(squatters);
    }
    ports.must_be_free();
}

#[test]
fn an_address_that_is_not_ours_is_named() {
    let dir = fresh_dir("ports");
    let ports = Ports::free();
    let toml = format!(
        "[http]\nlisten = \"203.0.113.7:{}\"\n[sip]\ndomain = \"example.com\"\nlisten = [\"udp:127.0.0.1:{}\"]\n",
        ports.http, ports.sip
    );
    std::fs::write(dir.join("webtrunk.toml"), toml).expect("configuration written");
    let gateway = Launched::start(&dir, &["run", "--config", "webtrunk.toml"]);
    refused(gateway, &["[http] listen", "203.0.113.7", "no address of this machine"]);
}

#[test]
fn the_demo_is_not_opened_to_other_machines_without_a_chosen_password() {
    let dir = fresh_dir("demo");
    for args in [
        ["demo", "--http", "0.0.0.0:18080"],
        ["demo", "--sip", "0.0.0.0:15060"],
        ["demo", "--sip", "192.0.2.9:15060"],
    ] {
        let outcome = webtrunk(&dir, &args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome:?}");
        assert!(
            outcome.stderr.contains(args[1]) && outcome.stderr.contains("--password"),
            "{}",
            outcome.stderr
        );
    }
    let ports = Ports::free();
    let http = format!("0.0.0.0:{}", ports.http);
    let (sip, carrier) = (format!("127.0.0.1:{}", ports.sip), format!("127.0.0.1:{}", ports.carrier));
    let (webrtc, rtp) = (ports.webrtc.to_string(), format!("{}-{}", ports.rtp.0, ports.rtp.1));
    let args = ["demo", "--http", &http, "--sip", &sip, "--carrier", &carrier, "--webrtc-port", &webrtc];
    let more = ["--rtp-ports", &rtp, "--password", PASSWORD];
    let gateway = Launched::start(&dir, &[&args[..], &more[..]].concat());
    wait_ready(ports.http);
    gateway.signal("INT");
    let outcome = gateway.finish(Duration::from_secs(8));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        !outcome.stdout.contains(PASSWORD) && !outcome.stderr.contains(PASSWORD),
        "a chosen one is not repeated"
    );
}

fn wait_ready(http: u16) {
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], http));
    let there = || std::net::TcpStream::connect(to).ok();
    wait_for(Duration::from_secs(30), "the page's port is open", there);
    assert_eq!(get_page(to, "/readyz").status, 200);
}

/// The passwords of alice and bob as the demo prints them.
fn printed_passwords(dir: &Path, ports: &Ports) -> (Vec<String>, Outcome) {
    let gateway = ports.demo(dir, &["--sip-trace"]);
    wait_ready(ports.http);
    std::thread::sleep(Duration::from_millis(300));
    gateway.signal("TERM");
    let outcome = gateway.finish(Duration::from_secs(8));
    let words = outcome.stdout.lines().filter_map(|line| line.split(", password ").nth(1));
    (words.map(str::to_owned).collect(), outcome)
}

#[test]
fn the_demos_passwords_are_new_each_time_and_on_standard_output_only() {
    let (dir, ports) = (fresh_dir("demo"), Ports::free());
    let (first, outcome) = printed_passwords(&dir, &ports);
    let (second, _) = printed_passwords(&dir, &ports);
    let mut all = [first.clone(), second].concat();
    assert!(all.len() == 4 && all.iter().all(|password| password.len() >= 12), "{all:?}");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4, "each is another one");
    for password in &first {
        assert!(!outcome.stderr.contains(password.as_str()), "in the log: {}", outcome.stderr);
        assert_eq!(outcome.stdout.matches(password.as_str()).count(), 1);
    }
    assert!(outcome.stdout.contains(&format!("http://127.0.0.1:{}/", ports.http)), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("+12025550100"), "{}", outcome.stdout);
}

#[test]
fn running_as_root_is_warned_of() {
    let (dir, ports) = (fresh_dir("root"), Ports::free());
    let who = std::process::Command::new("id").arg("-u").output().expect("id runs");
    let root = String::from_utf8_lossy(&who.stdout).trim() == "0";
    let (_, outcome) = printed_passwords(&dir, &ports);
    assert_eq!(outcome.stderr.contains("running as root"), root, "{}", outcome.stderr);
}
