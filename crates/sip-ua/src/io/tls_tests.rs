//! TLS connections between real sockets on loopback, with certificates made here.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use types::limits;

use super::{Inbound, Sockets, TlsClient, TlsSetup};
use crate::{Flow, Target, TlsPeer, Transport};

const OPTIONS: &str = "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK1\r\n\
    From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

/// A certificate with its key.
struct Identity {
    cert: CertificateDer<'static>,
    key: KeyPair,
}

impl Identity {
    fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.cert.clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

/// A certificate authority.
struct Authority {
    params: CertificateParams,
    identity: Identity,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap().der().clone();
    Authority { params, identity: Identity { cert, key } }
}

impl Authority {
    /// Signs for a DNS name, a `sip:` URI or an address, until the end of a year.
    fn sign(&self, name: &str, year: i32) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![match name.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) if name.contains(':') => SanType::URI(name.try_into().unwrap()),
            Err(_) => SanType::DnsName(name.try_into().unwrap()),
        }];
        params.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.identity.key);
        let cert = params.signed_by(&key, &issuer).unwrap().der().clone();
        Identity { cert, key }
    }
}

const LONG: i32 = 2500;

fn listen(identity: &Identity) -> (Sockets, Receiver<Inbound>, SocketAddr) {
    let setup = TlsSetup { server: Some(identity.server()), peers: Vec::new() };
    let listen = [(Transport::Tls, "127.0.0.1:0".parse().unwrap())];
    let (sockets, inbound) = Sockets::bind(&listen, setup).unwrap();
    let local = sockets.local_addrs().next().unwrap().1;
    (sockets, inbound, local)
}

/// Sockets that trust `authority` to tell who has these names.
fn client(names: &[&str], authority: &Identity) -> (Sockets, Receiver<Inbound>) {
    let authorities = [authority.cert.clone()];
    let host = |name: &str| if name.starts_with('*') { "edge.example.net".into() } else { name.to_owned() };
    let peers = names.iter().map(|n| TlsClient::new(&host(n), n, &authorities, None).unwrap()).collect();
    Sockets::bind(&[], TlsSetup { server: None, peers }).unwrap()
}

fn to(peer: u16, remote: SocketAddr) -> Target {
    Target::Tls { peer: TlsPeer(peer), remote, local: None }
}

async fn message(inbound: &mut Receiver<Inbound>) -> Flow {
    match inbound.recv().await {
        Some(Inbound::Message { flow, bytes }) => {
            assert_eq!(bytes, OPTIONS.as_bytes());
            flow
        }
        other => panic!("expected a message, got {other:?}"),
    }
}

/// What a client that wants `name` says of a server with this certificate; none: it is content.
async fn complaint(name: &str, authority: &Identity, server: &Identity) -> Option<String> {
    let (_server, mut arrived, local) = listen(server);
    let (sockets, mut inbound) = client(&[name], authority);
    sockets.send(to(0, local), None, OPTIONS.as_bytes().into()).unwrap();
    tokio::select! {
        flow = message(&mut arrived) => {
            assert_eq!((flow.transport, flow.local), (Transport::Tls, local));
            None
        }
        said = inbound.recv() => match said {
            Some(Inbound::Unreachable { target, why }) => {
                assert_eq!(target, to(0, local));
                assert_eq!(sockets.connections(), 0);
                Some(why)
            }
            other => panic!("{other:?}"),
        },
    }
}

#[tokio::test]
async fn messages_pass_both_ways_over_one_tls_connection() {
    let ca = authority();
    let (server, mut arrived, local) = listen(&ca.sign("sip.example.net", LONG));
    let (sockets, mut inbound) = client(&["sip.example.net"], &ca.identity);
    for _ in 0..3 {
        sockets.send(to(0, local), None, OPTIONS.as_bytes().into()).unwrap();
    }
    let flow = message(&mut arrived).await;
    assert_eq!(message(&mut arrived).await, flow);
    assert_eq!(message(&mut arrived).await, flow);
    // RFC 5923 §5: what the peer opened is used for our requests to it.
    server.send(Target::Flow(flow), None, OPTIONS.as_bytes().into()).unwrap();
    let back = message(&mut inbound).await;
    assert_eq!((back.transport, back.remote), (Transport::Tls, local));
    assert_eq!((server.connections(), sockets.connections()), (1, 1));

    drop(sockets);
    match arrived.recv().await {
        Some(Inbound::Closed { flow: closed, .. }) => assert_eq!(closed, flow),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_expected_name_has_a_connection_of_its_own() {
    // RFC 5922 §7.3: a connection to one domain says nothing about another at the same address.
    let ca = authority();
    let (_server, mut arrived, local) = listen(&ca.sign("one.example.net", LONG));
    let (sockets, mut inbound) = client(&["one.example.net", "two.example.net"], &ca.identity);
    sockets.send(to(0, local), None, OPTIONS.as_bytes().into()).unwrap();
    message(&mut arrived).await;
    sockets.send(to(1, local), None, OPTIONS.as_bytes().into()).unwrap();
    match inbound.recv().await {
        Some(Inbound::Unreachable { target, why }) => {
            assert_eq!(target, to(1, local));
            assert_eq!(why, "its certificate is for one.example.net, not for two.example.net");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(sockets.connections(), 1);
}

#[tokio::test]
async fn names_are_found_as_rfc_5922_says() {
    // RFC 5922 §7.1: a DNS name or a sip: URI without user; §7.2: no case, and a wildcard matches nothing.
    let ca = authority();
    for (wanted, named) in [
        ("sip.example.net", "SIP.Example.net"),
        ("sip.example.net", "sip:sip.example.net"),
        ("127.0.0.1", "127.0.0.1"),
        ("*.example.net", "*.example.net"),
    ] {
        assert_eq!(complaint(wanted, &ca.identity, &ca.sign(named, LONG)).await, None, "{named}");
    }
    for (wanted, named) in [
        ("sip.example.net", "example.net"),
        ("example.net", "sip.example.net"),
        ("sip.example.net", "sip:alice@sip.example.net"),
        ("sip.example.net", "sips:sip.example.net"),
        ("127.0.0.1", "127.0.0.2"),
    ] {
        let why = complaint(wanted, &ca.identity, &ca.sign(named, LONG)).await.expect("refused");
        assert!(why.contains(wanted), "{named}: {why}");
    }
    let why =
        complaint("a.example.net", &ca.identity, &ca.sign("*.example.net", LONG)).await.expect("refused");
    assert!(why.contains("wildcard") && why.contains("tls_name = \"*.example.net\""), "{why}");
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_is_refused_in_words() {
    let ca = authority();
    let name = "sip.example.net";
    let why = complaint(name, &ca.identity, &ca.sign(name, 2020)).await.expect("refused");
    assert_eq!(why, "its certificate expired on 2020-12-31");
    for server in [authority().sign(name, LONG), authority().identity] {
        let why = complaint(name, &ca.identity, &server).await.expect("refused");
        assert!(why.contains("signed by itself or by an authority that we do not know"), "{why}");
        assert!(why.contains("trunk's ca"), "{why}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_accepted_where_it_is_named_as_authority() {
    let name = "pbx.example.net";
    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        for (year, expected) in [(LONG, None), (2020, Some("its certificate expired on 2020-12-31"))] {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.is_ca = is_ca;
            params.not_after = date_time_ymd(year, 12, 31);
            let key = KeyPair::generate().unwrap();
            let cert = params.self_signed(&key).unwrap().der().clone();
            let pbx = Identity { cert, key };
            assert_eq!(complaint(name, &pbx, &pbx).await.as_deref(), expected, "{is_ca:?} {year}");
            let why = complaint("other.example.net", &pbx, &pbx).await;
            assert!(why.is_some(), "{is_ca:?}: the name counts all the same");
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_is_said_to_speak_none() {
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (sockets, mut inbound) = client(&["sip.example.net"], &authority().identity);
    sockets.send(to(0, peer.local_addr().unwrap()), None, OPTIONS.as_bytes().into()).unwrap();
    let (mut stream, _) = peer.accept().await.unwrap();
    stream.write_all(b"SIP/2.0 400 Bad Request\r\n\r\n").await.unwrap();
    match inbound.recv().await {
        Some(Inbound::Unreachable { why, .. }) => assert_eq!(why, "it does not speak TLS on this port"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_gets_nowhere_ends_at_its_deadline_in_both_roles() {
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (sockets, mut inbound) = client(&["sip.example.net"], &authority().identity);
    let started = tokio::time::Instant::now();
    sockets.send(to(0, peer.local_addr().unwrap()), None, OPTIONS.as_bytes().into()).unwrap();
    let _silent = peer.accept().await.unwrap();
    match inbound.recv().await {
        Some(Inbound::Unreachable { why, .. }) => assert_eq!(why, "no answer to the TLS handshake"),
        other => panic!("{other:?}"),
    }
    assert!(started.elapsed() >= limits::SIP_TLS_DEADLINE);

    let (server, _arrived, local) = listen(&authority().identity);
    let mut silent = TcpStream::connect(local).await.unwrap();
    assert_eq!(silent.read(&mut [0; 10]).await.unwrap(), 0);
    assert_eq!(server.connections(), 0);
}
