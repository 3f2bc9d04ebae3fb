//! Who may speak to this port: `Host` defeats DNS rebinding, `Origin` keeps other pages' scripts out.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;

/// Refuses requests for a name that is not ours.
pub async fn check_host(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let host = host_of(request.headers());
    if host.is_some_and(|h| is_ours(h, &app.domain, app.tls)) {
        return next.run(request).await;
    }
    let sentence = format!(
        "webtrunk does not serve the host name {:?}: open it by its address, as localhost, or by the name set as \
         [sip] domain\n",
        host.unwrap_or("")
    );
    (StatusCode::MISDIRECTED_REQUEST, sentence).into_response()
}

/// Whether a WebSocket may be opened: no Origin (not a browser), the same host and port that it connects to, or a page
/// of `[http] origins` (RFC 6455 §10.2). The refusal names the key.
pub fn check_origin(headers: &HeaderMap, others: &[String]) -> Result<(), (StatusCode, String)> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let same = authority.is_some() && authority == host_of(headers);
    if same || others.iter().any(|other| other == origin) {
        return Ok(());
    }
    let sentence = format!(
        "a page of {origin:?} may not open this WebSocket: pages of this gateway's own host and port may, and those that \
         [http] origins names\n"
    );
    Err((StatusCode::FORBIDDEN, sentence))
}

fn host_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

fn is_ours(host: &str, domain: &str, tls: bool) -> bool {
    let name = without_port(host);
    let literal = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    tls || literal.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.eq_ignore_ascii_case(without_port(domain))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_rebound_to_our_address_is_refused() {
        assert!(!is_ours("evil.example:8080", "example.com", false));
        for good in
            ["127.0.0.1:8080", "[::1]:8080", "localhost", "localhost:8080", "example.com", "EXAMPLE.com:8443"]
        {
            assert!(is_ours(good, "example.com", false), "{good}");
        }
        assert!(is_ours("phones.example.org", "example.com", true), "the certificate vouches for the name");
    }

    #[test]
    fn another_page_can_not_open_our_websocket() {
        let headers = |origin: Option<&str>| {
            let mut map = HeaderMap::new();
            map.insert(header::HOST, "localhost:8080".parse().expect("host"));
            if let Some(origin) = origin {
                map.insert(header::ORIGIN, origin.parse().expect("origin"));
            }
            map
        };
        let named = ["https://phone.example".to_owned()];
        let opens = |origin: Option<&str>| check_origin(&headers(origin), &named).is_ok();
        assert!(opens(None));
        assert!(opens(Some("http://localhost:8080")));
        assert!(opens(Some("https://localhost:8080")), "TLS may end in front of us");
        assert!(opens(Some("https://phone.example")), "named in the file");
        for bad in [
            "http://localhost",
            "http://evil.example",
            "null",
            "",
            "http://localhost:8080.evil.example",
            "http://phone.example",
            "https://phone.example:8443",
            "https://phone.example.evil.example",
        ] {
            assert!(!opens(Some(bad)), "{bad}");
        }
    }
}
