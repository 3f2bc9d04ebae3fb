//! Everything on the HTTP port: the page, the SDK, signalling, SIP over WebSocket, health and metrics.

mod access;
mod page;
mod serve;
mod sip;
mod ws;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use sip_ua::io::Guests;
use tokio::sync::{mpsc, oneshot};

use crate::shell::CoreInput;

pub use serve::{Acceptor, Seat, bind, serve};
pub use sip::listener as sip_listener;

/// What every handler may use.
pub struct App {
    /// The signalling core.
    pub core: mpsc::Sender<CoreInput>,
    /// Takes in SIP over WebSocket.
    pub sip: Guests,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// Whether calls are accepted; false while starting and stopping.
    pub ready: Arc<AtomicBool>,
    /// False once a media worker has ended by a defect: only a restart brings it back.
    pub alive: Arc<AtomicBool>,
    /// Our domain, a valid `Host`.
    pub domain: String,
    /// Pages of other hosts that may open WebSockets, as browsers write them in Origin.
    pub origins: Vec<String>,
    /// Whether this port speaks TLS: then the certificate already vouches for the name.
    pub tls: bool,
    /// Numbers the browser sessions.
    pub next_session: AtomicU64,
    /// Browser sessions open now.
    pub sessions: AtomicU64,
}

/// Both ends of the connection, put beside each request by the accept loop.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Our address, as the peer reached it.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self' ws: wss:; media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// How long `/metrics` waits for fresh values.
const MEASURE_PATIENCE: Duration = Duration::from_secs(2);

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    page::routes()
        .route("/ws", get(ws::upgrade))
        .route("/sip", get(sip::upgrade))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/metrics", get(render_metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "nothing here\n") })
        .layer(axum::middleware::map_response(security_headers))
        .layer(axum::middleware::from_fn_with_state(app.clone(), access::check_host))
        .with_state(app)
}

async fn security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("permissions-policy"), "microphone=(self), camera=(), geolocation=()"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn healthy(State(app): State<Arc<App>>) -> Response {
    if app.alive.load(Ordering::Relaxed) {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "a media worker has ended by a defect: restart\n").into_response()
    }
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.ready.load(Ordering::Relaxed) {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not taking calls\n").into_response()
    }
}

async fn render_metrics(State(app): State<Arc<App>>) -> Response {
    let (done, measured) = oneshot::channel();
    // A core that has stopped or hangs leaves the last values standing.
    if app.core.try_send(CoreInput::Measure(done)).is_ok() {
        let _ = tokio::time::timeout(MEASURE_PATIENCE, measured).await;
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render()).into_response()
}
