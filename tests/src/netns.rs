//! Two machines on one cable: a pair of network namespaces joined by a veth, gone when the test is over. Needs root.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

/// One network namespace with loopback and one address on the cable.
pub struct Netns {
    name: String,
    /// Its address on the cable, in a /24.
    pub address: Ipv4Addr,
}

fn ip(args: &[&str]) {
    let out = Command::new("ip").args(args).output().expect("ip runs; `make setup-test` gets the test tools");
    assert!(out.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Two namespaces, 10.79.N.1 and 10.79.N.2, joined by a cable.
pub fn pair() -> [Netns; 2] {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let id = format!("{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let ends =
        [1, 2].map(|end| Netns { name: format!("wt{id}x{end}"), address: Ipv4Addr::new(10, 79, 1, end) });
    for end in &ends {
        ip(&["netns", "add", &end.name]);
        ip(&["-n", &end.name, "link", "set", "lo", "up"]);
    }
    let [a, b] = &ends;
    ip(&["-n", &a.name, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &b.name]);
    for end in &ends {
        ip(&["-n", &end.name, "address", "add", &format!("{}/24", end.address), "dev", "cable"]);
        ip(&["-n", &end.name, "link", "set", "cable", "up"]);
        // A browser joins the multicast group of mDNS, whether it needs it or not.
        ip(&["-n", &end.name, "route", "add", "224.0.0.0/4", "dev", "cable"]);
    }
    ends
}

impl Netns {
    /// One more address on this device, `cable` or `lo`.
    pub fn add_address(&self, address: Ipv4Addr, device: &str) {
        ip(&["-n", &self.name, "address", "add", &format!("{address}/32"), "dev", device]);
    }

    /// A command that runs inside; its process id is the program's own.
    pub fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `f` on a thread inside: sockets that it opens and threads that it starts belong here.
    pub fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("the namespace");
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
                f()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Takes its end of the cable along, and with it the other.
        let deleted = Command::new("ip").args(["netns", "del", &self.name]).status();
        if !deleted.is_ok_and(|status| status.success()) {
            eprintln!("network namespace {} could not be deleted", self.name);
        }
    }
}
