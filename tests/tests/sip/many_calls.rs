//! Many calls through the set-up of `make bench`: SIPp's own caller and callee, trunk to trunk by an explicit route.

use e2e::gateway::{Gateway, Setup};
use e2e::ports::{free_ports, tools_dir};
use e2e::process::{Process, wait_for};
use std::process::Command;
use std::time::Duration;

const CALLS: usize = 200;

/// SIPp with one of its built-in scenarios; it repeats nothing, so a message that is lost fails its call.
fn sipp(name: &str, port: u16, more: &[&str]) -> Process {
    let dir = tools_dir().join(format!("sipp/many-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("directory of this SIPp");
    let (port, media, control) = (port.to_string(), free_ports(4).to_string(), free_ports(2).to_string());
    let mut command = Command::new("sipp");
    command.args([
        "-sn",
        name,
        "-i",
        "127.0.0.1",
        "-mi",
        "127.0.0.1",
        "-p",
        &port,
        "-mp",
        &media,
        "-cp",
        &control,
    ]);
    command.args(["-nr", "-nostdin", "-timeout", "120", "-timeout_error"]).args(more).current_dir(dir);
    Process::start("sipp", &mut command)
}

#[test]
fn two_hundred_calls_from_trunk_to_trunk_need_no_repetition_and_give_every_port_back() {
    let (caller, callee) = (free_ports(2), free_ports(2));
    let toml = format!(
        "[[trunks]]\nname = \"caller\"\nserver = \"127.0.0.1:{caller}\"\n\
         [[routes]]\nmatch = \"00*\"\nfrom = [\"trunk:caller\"]\nto = [\"trunk:carrier\"]\n"
    );
    let gateway = Gateway::run(&Setup { toml, ..Setup::with_trunk(callee) });
    let gauge = |name: &str| -> Option<f64> {
        let (_, text) = gateway.get("/metrics")?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let free = gauge("webtrunk_rtp_port_pairs_free ").expect("a gauge of free ports");
    let mut callee_sipp = sipp("uas", callee, &[]);
    wait_for(Duration::from_secs(30), "SIPp listens", || {
        std::net::UdpSocket::bind(("127.0.0.1", callee)).is_err().then_some(())
    });
    let to = format!("127.0.0.1:{}", gateway.sip);
    let count = CALLS.to_string();
    let mut calls =
        sipp("uac", caller, &[&to, "-s", "0012025550100", "-d", "0", "-r", "50", "-l", "5", "-m", &count]);
    let status = calls.wait(Duration::from_secs(130));
    assert_eq!(status.code(), Some(0), "every call went as SIPp's scenario says:\n{}", calls.tail(60));
    assert!(callee_sipp.ended().is_none(), "the callee is still there");
    let records = gateway.wait_cdrs(CALLS);
    assert!(
        records.iter().all(|r| r["reason"] == "hung-up" && r["callee"]["trunk"] == "carrier"),
        "{records:?}"
    );
    let returned = || (gauge("webtrunk_rtp_port_pairs_free ") == Some(free)).then_some(());
    wait_for(Duration::from_secs(30), "every RTP port is free again", returned);
}
