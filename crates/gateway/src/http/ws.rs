//! Browser signalling over a WebSocket: bytes in and out; the session's rules are `webrtc_peer::session`'s.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite;
use types::SessionId;
use types::limits::{SESSIONS, SIGNAL_MESSAGE_BYTES, SIGNAL_QUEUE, WEBSOCKET_READ};
use webrtc_peer::session::{CloseReason, Received, SUBPROTOCOL, Session};
use webrtc_peer::signalling::{FromBrowser, ToBrowser, VERSION};

use super::{App, Peer, Seat, access};
use crate::shell::{CoreInput, ToSession};

/// A message that the browser does not take for this long ends the connection.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// How long the browser has to close its side.
pub const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

pub async fn upgrade(
    State(app): State<Arc<App>>,
    Extension(Peer { remote: peer, .. }): Extension<Peer>,
    Extension(seat): Extension<Seat>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(refusal) = access::check_origin(&headers, &app.origins) {
        return refusal.into_response();
    }
    if app.sessions.load(Ordering::Relaxed) >= SESSIONS as u64 {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many browsers are connected; try again later\n")
            .into_response();
    }
    upgrade
        .protocols([SUBPROTOCOL])
        // The session answers an oversized message in words before it closes; twice its limit is never read.
        .max_message_size(2 * SIGNAL_MESSAGE_BYTES)
        .read_buffer_size(WEBSOCKET_READ)
        .on_upgrade(move |socket| async move {
            app.sessions.fetch_add(1, Ordering::Relaxed);
            let id = SessionId(app.next_session.fetch_add(1, Ordering::Relaxed));
            Connection { socket, session: Session::new(Instant::now()), id, core: app.core.clone() }
                .run(peer.ip())
                .await;
            app.sessions.fetch_sub(1, Ordering::Relaxed);
            drop(seat);
        })
}

struct Connection {
    socket: WebSocket,
    session: Session,
    id: SessionId,
    core: mpsc::Sender<CoreInput>,
}

/// The connection is over; there is nobody to tell why.
struct Gone;

impl Connection {
    async fn run(mut self, source: IpAddr) {
        let (sender, mut outbox) = mpsc::channel(SIGNAL_QUEUE);
        let opened = CoreInput::SessionOpened { id: self.id, source, outbox: sender };
        if self.core.send(opened).await.is_err() {
            return;
        }
        while let Ok(()) = self.step(&mut outbox).await {}
        let _ = self.core.send(CoreInput::SessionClosed { id: self.id }).await;
    }

    async fn step(&mut self, outbox: &mut mpsc::Receiver<ToSession>) -> Result<(), Gone> {
        let deadline = self.session.poll_timeout().map(tokio::time::Instant::from_std);
        tokio::select! {
            out = outbox.recv() => match out {
                Some(ToSession::Message(message)) => self.deliver(message).await,
                Some(ToSession::Close(reason)) => self.close(reason).await,
                // The core let go of us: our queue was full.
                None => self.close(CloseReason::SlowReader).await,
            },
            message = self.socket.recv() => match message {
                Some(Ok(message)) => self.handle(message).await,
                Some(Err(error)) if is_too_large(&error) => self.close(CloseReason::TooLarge).await,
                Some(Err(_)) | None => Err(Gone),
            },
            () = until(deadline) => match self.session.handle_timeout(Instant::now()) {
                Some(reason) => self.close(reason).await,
                None => Ok(()),
            },
        }
    }

    async fn handle(&mut self, message: Message) -> Result<(), Gone> {
        let received = match message {
            Message::Text(text) => self.session.handle_text(&text, Instant::now()),
            Message::Binary(_) => self.session.handle_binary(Instant::now()),
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(Gone),
        };
        match received {
            Received::SignIn { user, password } => {
                let hello = FromBrowser::Hello {
                    version: VERSION,
                    username: user.as_str().to_owned(),
                    password: password.as_str().to_owned(),
                };
                self.pass_on(hello).await
            }
            Received::Request(request) => self.pass_on(request).await,
            Received::Reply(reply) => self.write(&reply).await,
            Received::ReplyThenClose(reply, reason) => {
                self.write(&reply).await?;
                self.close(reason).await
            }
        }
    }

    async fn pass_on(&mut self, message: FromBrowser) -> Result<(), Gone> {
        self.core.send(CoreInput::FromBrowser { id: self.id, message }).await.map_err(|_| Gone)
    }

    /// Sends what the core says; the verdict on a sign-in passes through the session.
    async fn deliver(&mut self, message: ToBrowser) -> Result<(), Gone> {
        let now = Instant::now();
        let verdict = match &message {
            ToBrowser::Welcome { extension, record, .. } => {
                self.session.accept(extension.as_deref(), *record, now)
            }
            ToBrowser::Error { code, .. } if code == "wrong-password" => self.session.refuse(now),
            ToBrowser::Error { .. }
            | ToBrowser::Sdp { .. }
            | ToBrowser::State { .. }
            | ToBrowser::Incoming { .. }
            | ToBrowser::Dtmf { .. }
            | ToBrowser::Held { .. }
            | ToBrowser::Recording { .. }
            | ToBrowser::Transfer { .. }
            | ToBrowser::Party { .. }
            | ToBrowser::Quality { .. }
            | ToBrowser::Ended { .. }
            | ToBrowser::Turn { .. }
            | ToBrowser::Path { .. }
            | ToBrowser::Pong {} => Some(message),
        };
        match verdict {
            Some(message) => self.write(&message).await,
            None => Ok(()),
        }
    }

    async fn write(&mut self, message: &ToBrowser) -> Result<(), Gone> {
        let text = serde_json::to_string(message).map_err(|_| Gone)?;
        self.send(Message::Text(text.into())).await
    }

    /// Closes and waits a moment for the browser to do the same (RFC 6455 §7.1.1): a socket dropped at once, with data
    /// of the browser unread, would be reset and take the reason along.
    async fn close(&mut self, reason: CloseReason) -> Result<(), Gone> {
        let frame = CloseFrame { code: reason.code(), reason: reason.text().into() };
        self.send(Message::Close(Some(frame))).await?;
        let goodbye = async {
            loop {
                match self.socket.recv().await {
                    Some(Ok(Message::Close(_))) => return,
                    Some(Ok(_)) => {}
                    // After an oversized message nothing more can be read, but the browser may still be writing.
                    Some(Err(_)) | None if reason == CloseReason::TooLarge => std::future::pending().await,
                    Some(Err(_)) | None => return,
                }
            }
        };
        let _ = tokio::time::timeout(CLOSE_PATIENCE, goodbye).await;
        Err(Gone)
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match tokio::time::timeout(WRITE_DEADLINE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}

/// Whether a message was larger than what is ever read.
pub fn is_too_large(error: &axum::Error) -> bool {
    let error = error.source().and_then(|e| e.downcast_ref::<tungstenite::Error>());
    error.is_some_and(|e| matches!(e, tungstenite::Error::Capacity(_)))
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
