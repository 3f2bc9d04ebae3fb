//! `Peer` against a browser that str0m plays with full ICE. The independent second browser is in the end-to-end tests.
#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use std::time::Duration;

use str0m::config::DtlsVersion;
use webrtc_peer::{PeerFactory, PeerOutput, SrtpProfile};
use world::{World, creds, ice, is_dtls};

#[test]
fn a_connected_session_has_a_path_and_keys_and_neither_before() {
    let mut w = World::new();
    assert_eq!((w.peer.path(), w.keys()), (None, None));
    w.connect();
    assert_eq!(w.peer.path(), Some((w.ours, w.theirs).into()));
    let keys = w.keys().unwrap();
    assert_eq!(keys.profile(), SrtpProfile::AeadAes256Gcm);
    let connection = w.peer.connection().unwrap().to_string();
    assert_eq!(connection, "udp over IPv4, DTLS 1.2, AEAD_AES_256_GCM");
    assert_ne!(keys.ours(), keys.theirs());
    assert_eq!((keys.ours().len(), keys.theirs().len()), (44, 44));
    let connected = |o: &&PeerOutput| matches!(o, PeerOutput::Connected { .. });
    assert_eq!(w.heard.iter().filter(connected).count(), 1);
}

#[test]
fn we_can_be_the_dtls_client() {
    let mut w = World::with(|p| p.active = true, DtlsVersion::Dtls12);
    w.connect();
    assert!(w.keys().is_some());
}

fn told(w: &World, what: &PeerOutput) -> usize {
    w.heard.iter().filter(|o| *o == what).count()
}

#[test]
fn a_silence_of_15_s_is_told_and_one_of_30_s_is_the_end_once() {
    let mut w = World::new();
    w.connect();
    w.browser_silent = true;
    w.run(Duration::from_secs(13));
    assert_eq!(told(&w, &PeerOutput::PathLost), 0, "13 s of silence is a network change");
    w.run(Duration::from_secs(4));
    assert_eq!(told(&w, &PeerOutput::PathLost), 1);
    w.run(Duration::from_secs(11));
    assert_eq!(w.disconnected(), None, "a lost path alone is no end");
    w.run(Duration::from_secs(5));
    assert_eq!(w.disconnected(), Some("nothing came from the browser for 30 s"));
    w.run(Duration::from_secs(30));
    let ends = w.heard.iter().filter(|o| matches!(o, PeerOutput::Disconnected { .. })).count();
    assert_eq!((ends, told(&w, &PeerOutput::PathLost), told(&w, &PeerOutput::PathRestored)), (1, 1, 0));
    assert_eq!(w.peer.poll_timeout(), None);
}

#[test]
fn a_browser_that_comes_back_after_25_s_goes_on_with_its_keys() {
    let mut w = World::new();
    w.connect();
    w.browser_silent = true;
    w.run(Duration::from_secs(25));
    assert_eq!((told(&w, &PeerOutput::PathLost), told(&w, &PeerOutput::PathRestored)), (1, 0));
    w.browser_silent = false;
    restart(&mut w, "203.0.113.99:7000");
    w.run(Duration::from_secs(30));
    assert_eq!(told(&w, &PeerOutput::PathRestored), 1);
    assert_eq!((w.disconnected(), w.peer.path()), (None, Some((w.ours, w.theirs).into())));
    w.browser_silent = true;
    w.run(Duration::from_secs(20));
    assert_eq!(told(&w, &PeerOutput::PathLost), 2, "each loss is told");
    let connected = |o: &&PeerOutput| matches!(o, PeerOutput::Connected { .. });
    assert_eq!(w.heard.iter().filter(connected).count(), 1);
}

#[test]
fn media_without_checks_keeps_the_path() {
    // RFC 7675 §5.2: whoever sends to us is there.
    let mut w = World::new();
    w.connect();
    w.browser_silent = true;
    for _ in 0..10 {
        w.run(Duration::from_secs(6));
        assert!(!w.peer.handle_sign(w.now), "nothing to tell");
    }
    assert_eq!((w.disconnected(), told(&w, &PeerOutput::PathLost)), (None, 0));
    w.run(Duration::from_secs(20));
    assert_eq!(told(&w, &PeerOutput::PathLost), 1);
    assert!(w.peer.handle_sign(w.now));
    w.run(Duration::from_millis(1));
    assert_eq!(told(&w, &PeerOutput::PathRestored), 1);
    assert!(w.peer.path().is_some(), "and media goes on over the path of before");
}

#[test]
fn a_browser_that_closes_its_session_disconnects_it_at_once_and_is_answered() {
    // RFC 5246 §7.2.1: close_notify is answered with one.
    let mut w = World::new();
    w.connect();
    w.dtls_sent.clear();
    w.browser.close().unwrap();
    w.run(Duration::from_millis(100));
    assert_eq!(w.disconnected(), Some("the browser closed the session"));
    assert_eq!(w.dtls_sent.iter().filter(|data| data[0] == 21).count(), 1, "one alert");
}

#[test]
fn a_wrong_certificate_ends_the_session() {
    // RFC 8122 §6.2: the certificate must match the fingerprint of the signed description.
    let mut w = World::with(|p| p.remote_fingerprint.1[3] ^= 1, DtlsVersion::Dtls12);
    w.run(Duration::from_secs(3));
    assert!(w.disconnected().unwrap().contains("fingerprint"), "{:?}", w.disconnected());
    assert_eq!(w.keys(), None, "no keys for whoever that is");
}

#[test]
fn garbage_from_the_browsers_own_address_does_not_end_the_call() {
    let mut w = World::new();
    w.connect();
    let (from, to) = (w.theirs, w.ours);
    for first in 0..=255_u8 {
        for len in [0, 1, 2, 11, 12, 13, 20, 100] {
            let mut data = vec![first; len];
            if len > 20 {
                data[1] = 254;
                data[2] = 253;
            }
            w.arrive(from, to, &data);
        }
    }
    w.run(Duration::from_secs(20));
    assert_eq!(w.disconnected(), None);
    assert!(w.peer.is_connected() && w.peer.dropped() > 1_000);
}

/// Splits the ClientHello into handshake fragments of 40 bytes, one datagram each, last first (RFC 6347 §4.2.3). The
/// handshake hash covers the whole message, so this is invisible to both ends.
fn fragment_hello(data: Vec<u8>) -> Vec<Vec<u8>> {
    let is_plain_record = data.len() > 25 && data[0] == 22 && data[3..5] == [0, 0];
    if !is_plain_record {
        return vec![data];
    }
    if data[13] != 1 {
        // Later plain records: step over the record numbers that the fragments took.
        let mut out = data;
        let mut at = 0;
        while at + 13 <= out.len() {
            if out[at + 3..at + 5] == [0, 0] {
                out[at + 8] = 1;
            }
            at += 13 + usize::from(u16::from_be_bytes([out[at + 11], out[at + 12]]));
        }
        return vec![out];
    }
    let (record, message) = data.split_at(13);
    let (header, body) = message.split_at(12);
    let mut fragments: Vec<Vec<u8>> = body
        .chunks(40)
        .enumerate()
        .map(|(i, chunk)| {
            let mut out = record[..10].to_vec();
            out.push(record[10] * 64 + i as u8);
            out.extend_from_slice(&(12 + chunk.len() as u16).to_be_bytes());
            out.extend_from_slice(&header[..6]);
            out.extend_from_slice(&(i as u32 * 40).to_be_bytes()[1..]);
            out.extend_from_slice(&(chunk.len() as u32).to_be_bytes()[1..]);
            out.extend_from_slice(chunk);
            out
        })
        .collect();
    fragments.reverse();
    fragments
}

#[test]
fn a_client_hello_in_many_fragments_in_any_order_connects() {
    // Field problem 5: post-quantum key shares make browsers fragment their hello.
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13] {
        let mut w = World::with(|_| {}, version);
        w.tamper = fragment_hello;
        w.connect();
        assert!(w.most_parts >= 3, "the hello was too short to be fragmented");
    }
}

fn recorded(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn chromiums_recorded_post_quantum_hello_is_answered_in_either_order() {
    // Chromium 156: an X25519MLKEM768 key share makes two datagrams of its ClientHello (field problem 5).
    let parts =
        [include_str!("chromium-156-hello-1.hex"), include_str!("chromium-156-hello-2.hex")].map(recorded);
    for order in [[0, 1], [1, 0]] {
        let mut w = World::new();
        w.tamper = |data| if is_dtls(&data) { Vec::new() } else { vec![data] };
        w.run(Duration::from_secs(1));
        let (from, to) = (w.theirs, w.ours);
        // The answer is for Chromium, not for the browser that did ICE here.
        w.theirs = "192.0.2.99:9".parse().unwrap();
        w.arrive(from, to, &parts[order[0]]);
        w.run(Duration::from_millis(30));
        assert!(w.dtls_sent.is_empty(), "half a hello has no answer");
        w.arrive(from, to, &parts[order[1]]);
        w.run(Duration::from_millis(30));
        let answer = w.dtls_sent.first().expect("an answer to the whole hello");
        assert_eq!((answer[0], answer[13]), (22, 2), "a handshake record with a ServerHello");
        assert_eq!(w.peer.dropped(), 0);
    }
}

#[test]
fn a_client_that_prefers_dtls_1_3_connects() {
    let mut w = World::with(|_| {}, DtlsVersion::Auto);
    w.connect();
    assert!(w.peer.connection().unwrap().dtls13);
}

#[test]
fn a_check_with_a_wrong_password_gets_no_answer() {
    let mut w = World::new();
    w.browser
        .direct_api()
        .set_remote_ice_credentials(ice((creds("ours").0, "guessed-password-of-length".into())));
    w.run(Duration::from_secs(5));
    assert!(w.demux.unknown() > 3);
    assert!(w.heard.is_empty());
    assert!(!w.browser_connected);
}

#[test]
fn as_dtls_client_we_wait_for_a_browser_that_takes_its_time() {
    let mut w = World::with(|p| p.active = true, DtlsVersion::Dtls12);
    w.browser_silent = true;
    w.run(Duration::from_secs(90));
    assert_eq!((w.disconnected(), w.dtls_sent.len()), (None, 0));
}

/// A further offer of the browser with new credentials, which from now on is at `address`.
fn restart(w: &mut World, address: &str) {
    let (ours, theirs) = (creds("ours2"), creds("theirs2"));
    w.peer.restart_ice(ours.clone(), theirs.clone());
    assert!(w.demux.insert_ufrag(&ours.0, &ours.1, 7));
    let old = str0m::Candidate::host(w.theirs, "udp").unwrap();
    w.theirs = address.parse().unwrap();
    let new = str0m::Candidate::host(w.theirs, "udp").unwrap();
    let mut api = w.browser.direct_api();
    api.set_local_ice_credentials(ice(theirs));
    api.set_remote_ice_credentials(ice(ours));
    api.invalidate_candidate(&old);
    w.browser.add_local_candidate(new);
}

#[test]
fn an_ice_restart_keeps_the_keys_and_moves_to_the_new_address() {
    let mut w = World::new();
    w.connect();
    let before = w.theirs;
    restart(&mut w, "203.0.113.99:7000");
    assert_eq!(w.peer.path(), Some((w.ours, before).into()), "media goes on over the old path meanwhile");
    w.run(Duration::from_secs(2));
    assert_eq!(
        w.peer.path(),
        Some((w.ours, w.theirs).into()),
        "what we send must follow the browser to its new address"
    );
    w.run(Duration::from_secs(40));
    assert_eq!(w.disconnected(), None);
    let connected = |o: &&PeerOutput| matches!(o, PeerOutput::Connected { .. });
    assert_eq!(w.heard.iter().filter(connected).count(), 1, "the keys are those of before");
}

#[test]
fn unusable_parameters_are_refused_in_words() {
    let factory = PeerFactory::new().unwrap();
    let ours = "192.0.2.1:5000".parse().unwrap();
    let mut params = world::params(("sha-256".to_owned(), vec![0; 32]), ours);
    params.remote_fingerprint.0 = "md5".to_owned();
    let refused = webrtc_peer::Peer::new(&factory, params, std::time::Instant::now()).unwrap_err();
    assert_eq!(refused.to_string(), "session description: no fingerprint is checked by the hash \"md5\"");
}
