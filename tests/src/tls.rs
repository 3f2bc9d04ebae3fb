//! Certificates and TLS peers made by OpenSSL's command line: another implementation than the gateway's.

use crate::launch::fresh_dir;
use crate::ports::free_ports;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::process::wait_for;
use crate::trunk::Message;

fn openssl(dir: &Path, args: &[&str]) {
    let done = Command::new("openssl").args(args).current_dir(dir).output().expect("openssl runs");
    assert!(done.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A certificate authority of the test's own.
pub struct Authority {
    dir: PathBuf,
    /// Its certificate, for those who trust it.
    pub identity: Identity,
}

const EC: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

impl Authority {
    /// Makes one.
    pub fn new() -> Authority {
        let dir = fresh_dir("tls");
        let identity = self_signed(&dir, "authority", "DNS:authority.example");
        Authority { dir, identity }
    }

    /// Signs a certificate for `names`, e.g. `DNS:sip.example.net`, that lives this many days; -1: it has expired.
    pub fn sign(&self, file: &str, names: &str, days: i32) -> Identity {
        let (cert, key) = (self.dir.join(format!("{file}.pem")), self.dir.join(format!("{file}.key")));
        let (key_file, request) = (format!("{file}.key"), format!("{file}.csr"));
        let subject = ["-keyout", &key_file, "-out", &request, "-subj", "/CN=test"];
        openssl(&self.dir, &[&["req"], &EC[..], &subject].concat());
        std::fs::write(self.dir.join("names"), format!("subjectAltName={names}\n")).expect("extension file");
        let (days, out) = (days.to_string(), format!("{file}.pem"));
        let by = ["-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial"];
        let rest = ["-days", &days, "-extfile", "names", "-out", &out];
        openssl(&self.dir, &[&["x509", "-req", "-in", &request], &by[..], &rest].concat());
        Identity { cert, key }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

/// What `openssl req -x509` makes: a certificate that signs itself and claims to be an authority.
pub fn self_signed(dir: &Path, file: &str, names: &str) -> Identity {
    let (cert, key) = (dir.join(format!("{file}.pem")), dir.join(format!("{file}.key")));
    let (cert_file, key_file, names) =
        (format!("{file}.pem"), format!("{file}.key"), format!("subjectAltName={names}"));
    let subject = format!("/CN={file}");
    let rest =
        ["-keyout", &key_file, "-out", &cert_file, "-subj", &subject, "-days", "30", "-addext", &names];
    openssl(dir, &[&["req", "-x509"], &EC[..], &rest].concat());
    Identity { cert, key }
}

/// SIP by hand inside `openssl s_server` or `s_client`.
pub struct Party {
    child: Child,
    input: ChildStdin,
    seen: Arc<Mutex<Vec<u8>>>,
    /// Its port, where it is the server.
    pub port: u16,
}

impl Party {
    /// A server on 127.0.0.1 that shows this certificate and takes one connection at a time.
    pub fn serve(identity: &Identity) -> Party {
        let port = free_ports(2);
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
        command.arg("-cert").arg(&identity.cert).arg("-key").arg(&identity.key);
        let party = Party::start(command, port);
        let listens = || TcpStream::connect(("127.0.0.1", port)).ok();
        wait_for(Duration::from_secs(30), "openssl s_server listens", listens);
        party
    }

    /// The same, and insists on a certificate of the client signed by `authority`.
    pub fn serve_to_known(identity: &Identity, authority: &Identity) -> Party {
        let port = free_ports(2);
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-Verify", "2", "-verify_return_error", "-CAfile"]);
        command.arg(&authority.cert).args(["-accept", &format!("127.0.0.1:{port}")]);
        command.arg("-cert").arg(&identity.cert).arg("-key").arg(&identity.key);
        let party = Party::start(command, port);
        let listens = || TcpStream::connect(("127.0.0.1", port)).ok();
        wait_for(Duration::from_secs(30), "openssl s_server listens", listens);
        party
    }

    /// A client that insists on a server certificate for `name` signed by `authority`.
    pub fn connect(port: u16, name: &str, authority: &Identity) -> Party {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-verify_quiet", "-connect", &format!("127.0.0.1:{port}")]);
        command.args(["-verify_return_error", "-verify_hostname", name, "-CAfile"]).arg(&authority.cert);
        Party::start(command, 0)
    }

    fn start(mut command: Command, port: u16) -> Party {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl runs");
        let input = child.stdin.take().expect("piped");
        let mut output = child.stdout.take().expect("piped");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                into.lock().expect("reader").extend_from_slice(&buffer[..n]);
            }
        });
        Party { child, input, seen, port }
    }

    /// Writes these bytes into the connection.
    pub fn send(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).and_then(|()| self.input.flush()).expect("openssl reads");
    }

    /// Everything that came, as bytes.
    pub fn raw(&self) -> Vec<u8> {
        self.seen.lock().expect("reader").clone()
    }

    /// Every whole message that came.
    pub fn seen(&self) -> Vec<Message> {
        let text = String::from_utf8_lossy(&self.raw()).into_owned();
        let mut rest = text.trim_start();
        let mut all = Vec::new();
        while let Some(end) = rest.find("\r\n\r\n") {
            let head = end + 4;
            let from = ([127, 0, 0, 1], self.port).into();
            let Some(message) = Message::parse(&rest.as_bytes()[..head], from) else { break };
            let length: usize = message.header("content-length").parse().unwrap_or(0);
            let Some(body) = rest.get(head..head + length) else { break };
            all.push(Message { body: body.to_owned(), ..message });
            rest = rest[head + length..].trim_start();
        }
        all
    }

    /// Waits for the first message that fits.
    pub fn wait(&self, what: &str, fits: impl Fn(&Message) -> bool) -> Message {
        wait_for(Duration::from_secs(30), what, || self.seen().into_iter().find(|m| fits(m)))
    }

    /// Answers a request with these further header lines and this session description.
    pub fn reply(&mut self, request: &Message, status: &str, headers: &str, body: &str) {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for (name, value) in &request.headers {
            match name.as_str() {
                "via" | "from" | "call-id" | "cseq" => text += &format!("{name}: {value}\r\n"),
                "to" if value.contains("tag=") => text += &format!("to: {value}\r\n"),
                "to" => text += &format!("to: {value};tag=tls\r\n"),
                _ => {}
            }
        }
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        text += &format!("{headers}{kind}Content-Length: {}\r\n\r\n{body}", body.len());
        self.send(&text);
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            for message in self.seen() {
                eprintln!("TLS party saw {} {}", message.start, message.header("cseq"));
            }
        }
    }
}
