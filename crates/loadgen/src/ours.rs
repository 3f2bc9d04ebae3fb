//! The built gateway as one that calls go through: browsers sign in at `/ws`, a route leads to the SIP parties.

use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::Fallible;
use crate::party::Parties;
use crate::process::Measured;
use crate::sdp::Codec;
use crate::subject::News;

/// Of each browser's WebSocket, bytes: a message of signalling.
const READ_BUFFER: usize = 2_048;

/// Calls of one browser connection, as many as it may have.
const CALLS_PER_SESSION: usize = 8;
/// A signed-in browser says so often that it is there.
const PING: Duration = Duration::from_secs(25);
/// RTP ports, two for each call.
const RTP_PORTS: &str = "20000-31999";
const PASSWORD: &str = "bench";

/// What the SIP parties speak, and how the gateway is told to come to it.
#[derive(Clone, Debug)]
pub struct Dialled {
    /// Their codec.
    pub codec: Codec,
    /// Further keys of the trunk.
    pub trunk_keys: &'static str,
    /// Where call records are to be written.
    pub records: Option<PathBuf>,
}

struct Session {
    socket: WebSocket<TcpStream>,
    calls: usize,
    pinged: Instant,
}

/// The gateway.
pub struct Ours {
    /// Its process.
    pub process: Measured,
    http: u16,
    parties: Parties,
    codec: Codec,
    sessions: Vec<Session>,
    by_number: HashMap<String, u32>,
    session_of: HashMap<u32, usize>,
}

fn free_tcp() -> Fallible<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn free_udp() -> Fallible<u16> {
    Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port())
}

fn config(dialled: &Dialled, http: u16, parties: u16) -> Fallible<String> {
    let (sip, webrtc) = (free_udp()?, free_udp()?);
    let file = |path: &PathBuf| format!("[cdr]\nfile = \"{}\"\n", path.display());
    let records = dialled.records.as_ref().map(file).unwrap_or_default();
    Ok(format!(
        "[http]\nlisten = \"127.0.0.1:{http}\"\n\
         [sip]\ncountry = \"US\"\ndomain = \"127.0.0.1\"\nlisten = [\"udp:127.0.0.1:{sip}\"]\n\
         [media]\nwebrtc_port = {webrtc}\nrtp_ports = \"{RTP_PORTS}\"\nworkers = 1\nadvertise = [\"127.0.0.1\"]\n\
         {records}[[users]]\nname = \"bench\"\npassword = \"{PASSWORD}\"\n\
         [[trunks]]\nname = \"parties\"\nserver = \"127.0.0.1:{parties}\"\n{}\n\
         [[routes]]\nmatch = \"+1*\"\nto = [\"trunk:parties\"]\n",
        dialled.trunk_keys
    ))
}

impl Ours {
    /// Starts the binary and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(binary: &Path, dir: &Path, dialled: &Dialled) -> Fallible<Ours> {
        let (http, parties) = (free_tcp()?, Parties::listen()?);
        let file = dir.join("webtrunk.toml");
        std::fs::write(&file, config(dialled, http, parties.port())?)?;
        let log = dir.join("webtrunk.log");
        let text = file.to_str().ok_or("a directory whose name is no text")?;
        let mut process = Measured::start(binary, &["run", "--config", text], &log)?;
        let until = Instant::now() + Duration::from_secs(30);
        while !get(http, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            if !process.runs() || Instant::now() > until {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("webtrunk does not start: {said}").into());
            }
            parties.turn(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9), dialled.codec)?;
            std::thread::sleep(Duration::from_millis(20));
        }
        let (by_number, session_of) = (HashMap::new(), HashMap::new());
        Ok(Ours { process, http, parties, codec: dialled.codec, sessions: Vec::new(), by_number, session_of })
    }

    /// Signs in as many browsers as so many calls need.
    ///
    /// # Errors
    /// When one is refused.
    pub fn sign_in(&mut self, calls: usize) -> Fallible<()> {
        while self.sessions.len() * CALLS_PER_SESSION < calls {
            let socket = sign_in(self.http)?;
            self.sessions.push(Session { socket, calls: 0, pinged: Instant::now() });
        }
        Ok(())
    }

    /// The number that this call dials.
    pub fn number(n: u32) -> String {
        format!("+1202555{:04}", n % 10_000)
    }

    /// Calls the parties with this offer.
    ///
    /// # Errors
    /// When no browser is free, or its connection is gone.
    pub fn call(&mut self, n: u32, offer: &str) -> Fallible<()> {
        let free = self.sessions.iter().position(|session| session.calls < CALLS_PER_SESSION);
        let at = free.ok_or("every browser has all the calls that it may have")?;
        let number = Ours::number(n);
        let message = json!({ "type": "call", "call": n.to_string(), "to": number, "sdp": offer });
        self.by_number.insert(number, n);
        self.session_of.insert(n, at);
        self.sessions[at].calls += 1;
        self.sessions[at].send(&message)
    }

    /// Hangs up.
    ///
    /// # Errors
    /// When the browser's connection is gone.
    pub fn hang_up(&mut self, n: u32) -> Fallible<()> {
        let Some(at) = self.session_of.get(&n) else { return Ok(()) };
        self.sessions[*at].send(&json!({ "type": "bye", "call": n.to_string() }))
    }

    /// What has happened.
    ///
    /// # Errors
    /// When a connection fails or the gateway complains.
    pub fn turn(&mut self, party: SocketAddrV4) -> Fallible<Vec<News>> {
        let mut news = Vec::new();
        for invited in self.parties.turn(party, self.codec)? {
            let n = self.by_number.get(&invited.number).ok_or("a call to a number that nobody dialled")?;
            news.push(News::Party { n: *n, peer: invited.media.0, pt: invited.media.1 });
        }
        for session in &mut self.sessions {
            while let Some(message) = session.read()? {
                let n = message["call"].as_str().and_then(|call| call.parse().ok());
                match (message["type"].as_str(), n) {
                    (Some("sdp"), Some(n)) => {
                        news.push(News::Answer {
                            n,
                            sdp: message["sdp"].as_str().unwrap_or_default().to_owned(),
                        });
                    }
                    (Some("ended"), Some(n)) => {
                        session.calls -= 1;
                        self.session_of.remove(&n);
                        news.push(News::Ended { n, why: message["reason"].to_string() });
                    }
                    (Some("error"), Some(n)) if message["code"] == "busy-gateway" => {
                        session.calls -= 1;
                        self.session_of.remove(&n);
                        news.push(News::Refused { n });
                    }
                    // Audio that is late in coming is counted as loss here.
                    (Some("error"), _) if message["code"] == "no-audio" => {}
                    (Some("error"), _) => return Err(format!("the gateway says {message}").into()),
                    _ => {}
                }
            }
            if session.pinged.elapsed() > PING {
                session.pinged = Instant::now();
                session.send(&json!({ "type": "ping" }))?;
            }
        }
        Ok(news)
    }

    /// A level of `/metrics`, the first that has this label; any where it is empty.
    pub fn level(&self, name: &str, label: &str) -> Option<f64> {
        let text = get(self.http, "/metrics").ok()?;
        let fits = |line: &&str| line.split([' ', '{']).next() == Some(name) && line.contains(label);
        let line = text.lines().find(fits)?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// What the gateway has dropped, by label.
    pub fn dropped(&self) -> BTreeMap<String, u64> {
        let text = get(self.http, "/metrics").unwrap_or_default();
        let counters = text.lines().filter_map(|line| line.strip_prefix("webtrunk_media_dropped_total{"));
        counters
            .filter_map(|line| {
                let (label, count) = line.rsplit_once("} ")?;
                Some((label.to_owned(), count.parse().ok()?))
            })
            .collect()
    }
}

impl Session {
    fn send(&mut self, message: &Value) -> Fallible<()> {
        let stream = self.socket.get_ref();
        stream.set_nonblocking(false)?;
        self.socket.send(Message::text(message.to_string()))?;
        Ok(self.socket.get_ref().set_nonblocking(true)?)
    }

    fn read(&mut self) -> Fallible<Option<Value>> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Some(serde_json::from_str(&text)?)),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn sign_in(http: u16) -> Fallible<WebSocket<TcpStream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, http))?;
    stream.set_nodelay(true)?;
    let mut request = format!("ws://127.0.0.1:{http}/ws").into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", "webtrunk.v1".parse()?);
    // It is filled with zeros at each read, of each browser, again and again.
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let client = tungstenite::client::client_with_config(request, stream, Some(config));
    let (mut socket, _) = client.map_err(|error| error.to_string())?;
    let hello = json!({ "type": "hello", "version": 1, "username": "bench", "password": PASSWORD });
    socket.send(Message::text(hello.to_string()))?;
    let welcome = socket.read()?.into_text()?;
    if !welcome.contains("\"welcome\"") {
        return Err(format!("a browser is not welcome: {welcome}").into());
    }
    socket.get_ref().set_nonblocking(true)?;
    Ok(socket)
}

fn get(http: u16, path: &str) -> Fallible<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, http))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{http}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
