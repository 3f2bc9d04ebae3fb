//! Browser signalling (`docs/SIGNALLING.md`) spoken by hand over a WebSocket.

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::browser::RustBrowser;
use crate::gateway::PASSWORD;

/// Longest time for what should come at once.
pub const SOON: Duration = Duration::from_secs(30);

/// One connection.
pub struct Ws {
    socket: WebSocket<TcpStream>,
    waiting: VecDeque<Value>,
    closed: Option<Option<CloseFrame>>,
}

fn connect(source: Option<IpAddr>, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into()).expect("an address of this machine");
    }
    socket.connect(&to.into()).expect("the HTTP port is open");
    socket.into()
}

impl Ws {
    /// Connects from any address.
    pub fn open(to: SocketAddr) -> Ws {
        Ws::over(connect(None, to), to)
    }

    /// Connects from this address of ours.
    pub fn open_from(source: IpAddr, to: SocketAddr) -> Ws {
        Ws::over(connect(Some(source), to), to)
    }

    /// Over a connection made by the test.
    pub fn over_stream(stream: TcpStream, to: SocketAddr) -> Ws {
        Ws::over(stream, to)
    }

    fn over(stream: TcpStream, to: SocketAddr) -> Ws {
        let mut request = format!("ws://{to}/ws").into_client_request().expect("a request");
        let protocol = "webtrunk.v1".parse().expect("a header value");
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
        let (socket, answer) = tungstenite::client(request, stream).expect("a WebSocket");
        assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "webtrunk.v1");
        socket.get_ref().set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
        Ws { socket, waiting: VecDeque::new(), closed: None }
    }

    /// A connection on which this user has signed in.
    pub fn signed_in(to: SocketAddr, user: &str) -> Ws {
        let mut ws = Ws::open(to);
        let welcome = ws.hello(user, PASSWORD);
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        ws
    }

    /// Sends one message.
    pub fn send(&mut self, message: &Value) {
        self.send_frame(Message::text(message.to_string()));
    }

    /// Sends any frame.
    pub fn send_frame(&mut self, frame: Message) {
        self.socket.send(frame).expect("the gateway reads");
    }

    /// Sends any frame to a gateway that may be closing already.
    pub fn try_send_frame(&mut self, frame: Message) {
        drop(self.socket.send(frame));
    }

    /// Sends a frame and reads nothing; false once the gateway has closed.
    pub fn send_unread(&mut self, frame: Message) -> bool {
        let stream = self.socket.get_ref();
        stream.set_write_timeout(Some(Duration::from_millis(100))).expect("timeout");
        match self.socket.send(frame) {
            Ok(()) => true,
            Err(tungstenite::Error::Io(error)) => {
                [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut].contains(&error.kind())
            }
            Err(tungstenite::Error::WriteBufferFull(_)) => true,
            Err(_) => false,
        }
    }

    /// Signs in; `welcome`, or the error.
    pub fn hello(&mut self, user: &str, password: &str) -> Value {
        self.send(&json!({ "type": "hello", "version": 1, "username": user, "password": password }));
        self.wait("welcome or error", SOON, |m| m["type"] == "welcome" || m["type"] == "error")
    }

    fn read(&mut self) {
        match self.socket.read() {
            Ok(Message::Text(text)) => {
                self.waiting.push_back(serde_json::from_str(&text).expect("a JSON message"));
            }
            Ok(Message::Close(frame)) => self.closed = Some(frame),
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => {
                self.closed.get_or_insert(None);
            }
        }
    }

    /// Waits for the first message that fits, among those not taken yet, and takes it.
    pub fn wait(&mut self, what: &str, limit: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + limit;
        loop {
            if let Some(at) = self.waiting.iter().position(&fits) {
                return self.waiting.remove(at).expect("found");
            }
            assert!(self.closed.is_none(), "closed with {:?} before {what}", self.closed);
            assert!(Instant::now() < until, "no {what} within {limit:?}, but {:?}", self.waiting);
            self.read();
        }
    }

    /// Waits for a message of this type.
    pub fn wait_type(&mut self, kind: &str) -> Value {
        self.wait(kind, SOON, |message| message["type"] == kind)
    }

    /// Waits until a call of ours is in this state.
    pub fn wait_state(&mut self, state: &str) -> Value {
        self.wait(state, SOON, |message| message["type"] == "state" && message["state"] == state)
    }

    /// Waits until the gateway closes; the code and words of its close frame, none if it had none.
    pub fn wait_closed(&mut self, limit: Duration) -> Option<(u16, String)> {
        let until = Instant::now() + limit;
        while self.closed.is_none() {
            assert!(Instant::now() < until, "still open after {limit:?}");
            self.read();
        }
        let frame = self.closed.clone().flatten();
        frame.map(|frame| (frame.code.into(), frame.reason.to_string()))
    }

    /// Begins a call with this browser's offer and gives the browser the gateway's answer.
    pub fn call(&mut self, browser: &RustBrowser, id: &str, to: &str) {
        self.send(&json!({ "type": "call", "call": id, "to": to, "sdp": browser.offer() }));
        let answer = self.wait_type("sdp");
        assert_eq!(answer["call"], id);
        browser.set_answer(answer["sdp"].as_str().expect("text"));
    }

    /// Hangs up.
    pub fn bye(&mut self, id: &str) {
        self.send(&json!({ "type": "bye", "call": id }));
    }

    /// Waits for the end of a call; its reason.
    pub fn wait_ended(&mut self, id: &str) -> String {
        let ended = self.wait("ended", SOON, |m| m["type"] == "ended" && m["call"] == id);
        assert!(ended["text"].as_str().is_some_and(|text| text.ends_with('.')), "{ended}");
        ended["reason"].as_str().expect("a word").to_owned()
    }
}
