//! coturn, the relay that most people run: what browsers make of our credentials is its judgement.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use crate::ports::{free_ports, tools_dir};
use crate::process::{Process, wait_for};

/// What coturn and the gateway share.
pub const SECRET: &str = "north-by-northwest";

/// A relay on all addresses of this machine, gone when it is dropped.
pub struct Turn {
    _process: Process,
    /// Where it listens, by UDP and TCP.
    pub port: u16,
}

impl Turn {
    /// Starts it and waits until it listens. It relays to loopback, which coturn otherwise refuses.
    pub fn start() -> Turn {
        let (port, relays) = (free_ports(2), free_ports(40));
        let dir = tools_dir().join(format!("turn-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let mut command = Command::new("turnserver");
        command.current_dir(&dir).args(["-n", "--no-cli", "--no-tls", "--no-dtls", "--allow-loopback-peers"]);
        command.args([
            "--log-file=stdout",
            "--simple-log",
            "--verbose",
            "--realm=example.com",
            "--use-auth-secret",
        ]);
        command.arg(format!("--static-auth-secret={SECRET}")).arg(format!("--listening-port={port}"));
        command.arg("--allocation-default-address-family=keep");
        command.arg(format!("--min-port={relays}")).arg(format!("--max-port={}", relays + 39));
        command.arg(format!("--userdb={}", dir.join("db").display()));
        command.arg(format!("--pidfile={}", dir.join("pid").display()));
        let process = Process::start("turnserver", &mut command);
        wait_for(Duration::from_secs(30), "that coturn listens", || {
            let udp = UdpSocket::bind(("127.0.0.1", port)).is_err();
            (udp && TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(())
        });
        Turn { _process: process, port }
    }

    /// `[turn]` of a gateway whose browsers find it at these addresses.
    pub fn toml(&self, addresses: &[IpAddr]) -> String {
        let url = |ip: &IpAddr| format!("\"turn:{}?transport=udp\"", SocketAddr::new(*ip, self.port));
        let urls: Vec<String> = addresses.iter().map(url).collect();
        format!("[turn]\nurls = [{}]\nsecret = \"{SECRET}\"\n", urls.join(", "))
    }
}
