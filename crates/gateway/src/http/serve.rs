//! The accept loop, plain or TLS, one task a connection.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use types::Places;
use types::limits::HTTP_CONNECTIONS;

use super::Peer;

/// How connections are accepted.
#[derive(Clone)]
pub enum Acceptor {
    /// Plain HTTP.
    Plain,
    /// TLS with our certificate.
    Tls(TlsAcceptor),
}

/// A TLS handshake or request head that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Binds the port.
///
/// # Errors
/// One sentence that names the port and the option that chose it.
pub async fn bind(addr: SocketAddr, option: &str) -> Result<TcpListener, String> {
    TcpListener::bind(addr).await.map_err(|e| crate::shell::bind_error(option, "tcp", addr, &e))
}

/// Accepts until the task is dropped.
pub async fn serve(listener: TcpListener, acceptor: Acceptor, router: Router) {
    let all = Arc::new(Semaphore::new(HTTP_CONNECTIONS));
    let places = Arc::new(Mutex::new(Places::default()));
    loop {
        let Ok(one) = all.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors or the like: wait a little instead of spinning.
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = Place::take(&places, peer.ip()) else { continue };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            connection(stream, peer, acceptor, router, Arc::new((one, place))).await;
        });
    }
}

/// What a connection holds as long as it lives, as a WebSocket too: hyper lets go of it at the upgrade.
pub type Seat = Arc<(OwnedSemaphorePermit, Place)>;

/// A connection's place among those of its address, given back when it is dropped.
pub struct Place {
    places: Arc<Mutex<Places>>,
    from: IpAddr,
}

impl Place {
    fn take(places: &Arc<Mutex<Places>>, from: IpAddr) -> Option<Place> {
        if places.lock().unwrap_or_else(PoisonError::into_inner).take(from) {
            return Some(Place { places: places.clone(), from });
        }
        metrics::counter!("webtrunk_connections_refused_total", "port" => "http").increment(1);
        tracing::debug!("{from} has too many HTTP connections");
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).give_back(self.from);
    }
}

async fn connection(stream: TcpStream, remote: SocketAddr, acceptor: Acceptor, router: Router, seat: Seat) {
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let peer = Peer { local, remote };
    match acceptor {
        Acceptor::Plain => http(stream, peer, router, seat).await,
        Acceptor::Tls(tls) => match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, peer, router, seat).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        },
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    seat: Seat,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(seat.clone());
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(router.oneshot(request.map(Body::new)).await.unwrap_or_else(|e| match e {}))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "HTTP connection ended");
    }
}
