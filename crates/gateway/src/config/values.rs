//! The small languages inside configuration strings: listeners, servers, port ranges, networks.

use std::net::{IpAddr, SocketAddr};

use sip_ua::Transport;
use sip_ua::digest::Algorithm;

/// An algorithm that phones are offered: `MD5`, `SHA-256`, `SHA-512-256`. The session forms are for a registrar that does not
/// hold the passwords itself.
pub fn digest(text: &str) -> Result<Algorithm, String> {
    let known = Algorithm::parse(text).filter(|algorithm| !algorithm.session);
    known.ok_or_else(|| "expected \"MD5\", \"SHA-256\" or \"SHA-512-256\"".into())
}

use super::addresses::{unfit, without_zone};

/// A SIP listener, `udp:0.0.0.0:5060`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SipListen {
    /// How.
    pub transport: Transport,
    /// Where.
    pub addr: SocketAddr,
}

/// A trunk's server: `sip.example.net`, `192.0.2.10:5080`, `tcp:sip.example.net:5060`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// How; none: what DNS says, else UDP.
    pub transport: Option<Transport>,
    /// Name or address literal.
    pub host: String,
    /// Port; none: what DNS says, else 5060, or 5061 over TLS.
    pub port: Option<u16>,
}

impl Server {
    /// `host` or `host:port` where the port is not SIP's own, as it stands in a SIP URI.
    pub fn uri_host(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            None => host,
            Some(port) if port == self.default_port() => host,
            Some(port) => format!("{host}:{port}"),
        }
    }

    /// The port where neither the file nor DNS names one (RFC 3263 §4.2).
    pub fn default_port(&self) -> u16 {
        self.transport.unwrap_or(Transport::Udp).default_port()
    }
}

fn transport(text: &str) -> (Option<Transport>, &str) {
    for (prefix, transport) in [("udp:", Transport::Udp), ("tcp:", Transport::Tcp), ("tls:", Transport::Tls)]
    {
        if let Some(rest) = text.strip_prefix(prefix) {
            return (Some(transport), rest);
        }
    }
    (None, text)
}

/// Parses `udp:ADDRESS:PORT`, `tcp:ADDRESS:PORT` or `tls:ADDRESS:PORT`.
pub fn sip_listen(text: &str) -> Result<SipListen, String> {
    without_zone(text)?;
    const WANT: &str = "expected \"udp:ADDRESS:PORT\", \"tcp:…\" or \"tls:…\", for example \"udp:0.0.0.0:5060\" or \"udp:[::]:5060\"";
    let (transport, rest) = transport(text);
    let transport = transport.ok_or(WANT)?;
    let addr: SocketAddr = rest.parse().map_err(|_| WANT)?;
    match unfit(addr.ip()) {
        Some(words) => Err(words),
        None => Ok(SipListen { transport, addr }),
    }
}

/// Parses `ADDRESS:PORT`.
pub fn socket_addr(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected ADDRESS:PORT, for example \"127.0.0.1:8080\"".to_owned())
}

/// Parses a DNS server, `ADDRESS` or `ADDRESS:PORT`.
pub fn dns_server(text: &str) -> Result<SocketAddr, String> {
    const WANT: &str = "expected ADDRESS or ADDRESS:PORT, for example \"192.0.2.53\"";
    let plain = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    plain.or_else(|_| text.parse()).map_err(|_| WANT.to_owned())
}

/// Parses an address to be written into messages for others.
pub fn advertised(text: &str) -> Result<IpAddr, String> {
    const WANT: &str =
        "expected an IP address without brackets, for example \"203.0.113.5\" or \"2001:db8::5\"";
    without_zone(text)?;
    let ip: IpAddr = text.parse().map_err(|_| WANT)?;
    match unfit(ip) {
        Some(words) => Err(words),
        None if ip.is_unspecified() => Err(WANT.to_owned()),
        None => Ok(ip),
    }
}

/// Parses a trunk server.
pub fn server(text: &str) -> Result<Server, String> {
    const WANT: &str = "expected HOST, HOST:PORT, tcp:HOST or tls:HOST without a URI scheme, for example \"sip.example.net\"";
    without_zone(text)?;
    let (transport, rest) = transport(text);
    let literal = match rest.parse::<SocketAddr>() {
        Ok(addr) => Some((addr.ip(), Some(addr.port()))),
        Err(_) => bare_address(rest).map(|ip| (ip, None)),
    };
    if let Some((ip, port)) = literal {
        let host = ip.to_string();
        return unfit(ip).map_or(Ok(Server { transport, host, port }), Err);
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().map_err(|_| WANT)?)),
        None => (rest, None),
    };
    let valid = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        && !matches!(host, "sip" | "sips");
    if valid { Ok(Server { transport, host: host.to_owned(), port }) } else { Err(WANT.into()) }
}

/// An address, IPv6 with or without brackets.
fn bare_address(text: &str) -> Option<IpAddr> {
    text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text).parse().ok()
}

/// Parses a page's origin (RFC 6454 §6.2) into the form in which browsers write it.
pub fn origin(text: &str) -> Result<String, String> {
    const WANT: &str =
        "expected https://HOST or https://HOST:PORT without a path, for example \"https://phone.example\"";
    let lower = text.to_ascii_lowercase();
    let (scheme, usual) = if lower.starts_with("https://") { ("https", ":443") } else { ("http", ":80") };
    let authority = lower.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).ok_or(WANT)?;
    let authority = authority.strip_suffix(usual).unwrap_or(authority);
    let server = server(authority).map_err(|_| WANT)?;
    if server.transport.is_some() { Err(WANT.into()) } else { Ok(format!("{scheme}://{authority}")) }
}

/// Parses `20000-29999`: RTP ports, at least one even/odd pair, none privileged.
pub fn port_range(text: &str) -> Result<(u16, u16), String> {
    const WANT: &str =
        "expected FIRST-LAST with FIRST >= 1024 and room for a pair, for example \"20000-29999\"";
    let (first, last) = text.split_once('-').ok_or(WANT)?;
    let first: u16 = first.trim().parse().map_err(|_| WANT)?;
    let last: u16 = last.trim().parse().map_err(|_| WANT)?;
    let even = first + first % 2;
    if first >= 1024 && even < last { Ok((first, last)) } else { Err(WANT.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_names_addresses_and_ports_but_no_uris() {
        assert_eq!(
            server("sip.example.net"),
            Ok(Server { transport: None, host: "sip.example.net".into(), port: None })
        );
        assert_eq!(
            server("tcp:192.0.2.1:5080").map(|s| (s.transport, s.port)),
            Ok((Some(Transport::Tcp), Some(5080)))
        );
        assert_eq!(server("[2001:db8::1]:5060").map(|s| s.uri_host()), Ok("[2001:db8::1]".into()));
        assert_eq!(server("2001:db8::1").map(|s| s.uri_host()), Ok("[2001:db8::1]".into()));
        assert_eq!(
            server("tcp:[2001:DB8:0::1]").map(|s| s.uri_host()),
            Ok("[2001:db8::1]".into()),
            "RFC 5952"
        );
        for bad in ["sip:sip.example.net", "", "a b", "host:port", "user@host"] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port_as_browsers_write_it() {
        for (text, written) in [
            ("https://phone.example", "https://phone.example"),
            ("HTTPS://Phone.Example:443", "https://phone.example"),
            ("http://192.0.2.1:8000", "http://192.0.2.1:8000"),
            ("http://localhost:80", "http://localhost"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(written));
        }
        for bad in
            ["phone.example", "https://phone.example/", "wss://phone.example", "*", "https://", "https://a b"]
        {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn port_ranges_need_room_for_one_pair() {
        assert_eq!(port_range("20000-20001"), Ok((20000, 20001)));
        for bad in ["20001-20002", "20000-20000", "80-90", "30000-20000", "20000", "a-b"] {
            assert!(port_range(bad).is_err(), "{bad}");
        }
    }
}
