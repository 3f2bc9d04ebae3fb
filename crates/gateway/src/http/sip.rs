//! SIP over WebSocket (RFC 7118) on the HTTP port: frames in and out; the endpoint is that of all other SIP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use sip_ua::Transport;
use sip_ua::io::Guest;
use tokio::time::{Instant, sleep_until, timeout};
use types::limits;

use super::ws::{CLOSE_PATIENCE, is_too_large};
use super::{App, Peer, Seat, access};

/// RFC 7118 §4.1.
const SUBPROTOCOL: &str = "sip";

pub async fn upgrade(
    State(app): State<Arc<App>>,
    Extension(Peer { local, remote }): Extension<Peer>,
    Extension(seat): Extension<Seat>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(refusal) = access::check_origin(&headers, &app.origins) {
        return refusal.into_response();
    }
    let upgrade = upgrade.protocols([SUBPROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        return (
            StatusCode::BAD_REQUEST,
            "this is SIP over WebSocket: ask for the subprotocol `sip` (RFC 7118)\n",
        )
            .into_response();
    }
    let transport = if app.tls { Transport::Wss } else { Transport::Ws };
    let upgrade =
        upgrade.max_message_size(limits::SIP_MESSAGE_BYTES).read_buffer_size(limits::WEBSOCKET_READ);
    upgrade.on_upgrade(move |socket| async move {
        Connection::new(socket, app.sip.enter(transport, local, remote)).run().await;
        drop(seat);
    })
}

struct Connection {
    socket: WebSocket,
    guest: Guest,
    /// When it is given up unless something comes: a first message, then the answer to a ping.
    deadline: Instant,
    /// When it is pinged next.
    ping_at: Instant,
    /// A SIP message has come.
    greeted: bool,
}

/// Why the connection ends, in words for the log, and what the peer is told.
struct End {
    why: &'static str,
    close: Option<(u16, &'static str)>,
}

impl End {
    const GONE: End = End { why: "closed by the peer", close: None };
    const STUCK: End = End { why: "the peer does not read", close: None };
}

impl Connection {
    fn new(socket: WebSocket, guest: Guest) -> Connection {
        let now = Instant::now();
        Connection {
            socket,
            guest,
            deadline: now + limits::SIP_MESSAGE_DEADLINE,
            ping_at: now + limits::SIP_WS_PING,
            greeted: false,
        }
    }

    async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.step().await {
                break end;
            }
        };
        if let Some((code, reason)) = end.close {
            self.close(code, reason).await;
        }
        self.guest.leave(end.why).await;
    }

    async fn step(&mut self) -> Result<(), End> {
        tokio::select! {
            out = self.guest.next() => match out {
                Some(bytes) => self.send(frame(&bytes)).await,
                None => Err(End { why: "closed by us", close: Some((close_code::AWAY, "too slow, or the gateway stops")) }),
            },
            message = self.socket.recv() => match message {
                Some(Ok(message)) => self.handle(message).await,
                Some(Err(error)) if is_too_large(&error) => Err(End {
                    why: "a message is too large",
                    close: Some((close_code::SIZE, "a SIP message is too large")),
                }),
                Some(Err(_)) | None => Err(End::GONE),
            },
            () = sleep_until(self.deadline) => Err(End {
                why: "silent too long",
                close: Some((close_code::POLICY, "nothing came for too long")),
            }),
            () = sleep_until(self.ping_at) => self.ping().await,
        }
    }

    async fn handle(&mut self, message: Message) -> Result<(), End> {
        let bytes: Bytes = match message {
            Message::Text(text) => text.into(),
            Message::Binary(bytes) => bytes,
            Message::Ping(_) | Message::Pong(_) => {
                self.heard();
                return Ok(());
            }
            Message::Close(_) => return Err(End::GONE),
        };
        if bytes.iter().all(|b| matches!(b, b'\r' | b'\n')) {
            self.heard();
            // A double CRLF asks whether we are there (RFC 5626 §3.5.1); a single one answers such a question.
            let asks = bytes.as_ref() == b"\r\n\r\n";
            return if asks { self.send(frame(b"\r\n")).await } else { Ok(()) };
        }
        self.greeted = true;
        self.heard();
        self.guest.deliver(bytes.into()).await;
        Ok(())
    }

    /// The peer is there. Before its first SIP message that buys it no time.
    fn heard(&mut self) {
        if self.greeted {
            let now = Instant::now();
            self.ping_at = now + limits::SIP_WS_PING;
            self.deadline = self.ping_at + limits::SIP_WS_PONG;
        }
    }

    /// Browsers answer pings by themselves (RFC 6455 §5.5.3), even for a page in the background.
    async fn ping(&mut self) -> Result<(), End> {
        self.ping_at = Instant::now() + limits::SIP_WS_PING;
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(limits::SIP_WRITE_DEADLINE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::GONE),
            Err(_) => Err(End::STUCK),
        }
    }

    /// Closes and waits a moment for the peer to do the same (RFC 6455 §7.1.1).
    async fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code, reason: reason.into() };
        if self.send(Message::Close(Some(frame))).await.is_ok() {
            let goodbye = async { while let Some(Ok(_)) = self.socket.recv().await {} };
            let _ = timeout(CLOSE_PATIENCE, goodbye).await;
        }
    }
}

/// One message is one frame: text where it is UTF-8, else binary (RFC 7118 §5).
fn frame(bytes: &[u8]) -> Message {
    match Utf8Bytes::try_from(Bytes::copy_from_slice(bytes)) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(Bytes::copy_from_slice(bytes)),
    }
}

/// How the page's port takes part in SIP.
pub fn listener(listen: SocketAddr, tls: bool, advertise: types::Advertised) -> sip_ua::Listener {
    let transport = if tls { Transport::Wss } else { Transport::Ws };
    sip_ua::Listener { transport, local: listen, advertise: advertise.like(listen.ip()) }
}
