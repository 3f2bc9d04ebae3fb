//! Ports that no other test process uses: blocks below the ephemeral range, claimed by a file lock for a process's life.

use std::fs::File;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

const FIRST: u16 = 10_000;
const BLOCK: u16 = 100;
const BLOCKS: u16 = 200;

/// Locks of the blocks claimed so far, with the next free port of the last one.
static CLAIMED: Mutex<(Vec<File>, u16, u16)> = Mutex::new((Vec::new(), 0, 0));

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_path_buf()
}

/// Where tools and intermediate files of the tests live; made when missing.
pub fn tools_dir() -> PathBuf {
    let dir = root().join("target/test-tools");
    std::fs::create_dir_all(&dir).expect("target/test-tools can be made");
    dir
}

/// This machine's addresses beside loopback, to which Firefox connects alone: the first of each family, with its name.
pub fn addresses() -> Vec<(&'static str, IpAddr)> {
    let out =
        Command::new("ip").args(["-o", "address", "show", "scope", "global"]).output().expect("ip runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let found = |family: &str| {
        let word = text.lines().find_map(|line| line.split_once(&format!(" {family} "))?.1.split('/').next());
        word.and_then(|word| word.parse().ok())
    };
    let all = [("IPv4", found("inet")), ("IPv6", found("inet6"))];
    all.into_iter().filter_map(|(name, ip)| Some((name, ip?))).collect()
}

fn claim_block(claimed: &mut (Vec<File>, u16, u16)) {
    let dir = tools_dir().join("ports");
    std::fs::create_dir_all(&dir).expect("lock directory");
    for step in 0..BLOCKS {
        // Start at a place of our own, so that most processes find a free block at once.
        let block = ((std::process::id() % u32::from(BLOCKS)) as u16 + step) % BLOCKS;
        let file = File::create(dir.join(block.to_string())).expect("lock file");
        if file.try_lock().is_ok() {
            claimed.0.push(file);
            claimed.1 = FIRST + block * BLOCK;
            claimed.2 = claimed.1 + BLOCK;
            return;
        }
    }
    panic!("all {BLOCKS} port blocks are in use");
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind(("0.0.0.0", port)).is_ok() && TcpListener::bind(("0.0.0.0", port)).is_ok()
}

/// The first of `count` consecutive ports, free for UDP and TCP on every IPv4 address. It is even.
pub fn free_ports(count: u16) -> u16 {
    assert!(count <= BLOCK, "at most {BLOCK} ports at once");
    let mut claimed = CLAIMED.lock().expect("no test thread died here");
    loop {
        let first = claimed.1 + claimed.1 % 2;
        if claimed.0.is_empty() || first + count > claimed.2 {
            claim_block(&mut claimed);
            continue;
        }
        claimed.1 = first + count;
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}
