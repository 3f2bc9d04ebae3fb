//! What must hold for any bytes: no panic, bounded memory, and the invariants that each target names. `make test` runs
//! every target over the kept corpus and a bounded number of seeded mutations of it, `make soak` for as long as one likes,
//! guided by coverage where cargo-fuzz is there.

#![allow(clippy::panic, reason = "a target says by a panic what does not hold")]

mod choices;
pub mod corpus;
mod digest;
mod endpoint;
mod entrance;
mod framer;
mod headers;
mod media_call;
mod message;
mod mutate;
mod rtcp;
mod rtp;
mod sdp;
mod srtp;

pub use digest::fuzz_digest;
pub use endpoint::{ENDPOINT_OPERATIONS, endpoint_operations, fuzz_endpoint};
pub use entrance::fuzz_entrance;
pub use framer::fuzz_framer;
pub use headers::{fuzz_headers, fuzz_uri};
pub use media_call::{
    MEDIA_CALL_OPERATIONS, SESSION_OPERATIONS, fuzz_media_call, fuzz_session, media_call_operations,
    session_operations,
};
pub use message::fuzz_message;
pub use mutate::{Random, mutate};
pub use rtcp::fuzz_rtcp;
pub use rtp::fuzz_rtp;
pub use sdp::fuzz_sdp;
pub use srtp::fuzz_srtp;

/// One target: what it is called, and what is run.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its folder in `fuzz/corpus`, and its name for cargo-fuzz.
    pub name: &'static str,
    /// Panics where something does not hold.
    pub run: fn(&[u8]),
    /// Words that mutations put in.
    pub words: &'static [&'static str],
}

const SIP_WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "\r\n ",
    "SIP/2.0",
    "INVITE",
    "Via: ",
    "v:",
    "l: ",
    "Content-Length: 0",
    "%",
    "%00",
    "\"",
    "\\",
    "<",
    ">",
    ";",
    ",",
    "*",
    "sip:",
    "sips:",
    "tel:",
    "[::1]",
    "[",
    "]",
    "@",
    ":",
    "?",
    "=",
    "z9hG4bK",
    "tag=",
    "4294967296",
    "-1",
    "18446744073709551616",
    "\0",
    "\u{feff}",
    ";lr",
    ";received=",
    ";rport",
    "q=",
    "expires=",
];

const DIGEST_WORDS: &[&str] = &[
    "Digest ",
    "Basic ",
    "realm=",
    "nonce=",
    "uri=",
    "qop=auth",
    "qop=\"auth,auth-int\"",
    "nc=00000001",
    "cnonce=\"c\"",
    "response=",
    "algorithm=MD5",
    "algorithm=SHA-256",
    "algorithm=MD5-sess",
    "\"",
    "\\\"",
    ",",
    "=",
    "username*=UTF-8''a",
    "stale=true",
    "opaque=\"o\"",
];

const SDP_WORDS: &[&str] = &[
    "\r\n",
    "v=0",
    "o=- 0 0 IN IP4 127.0.0.1",
    "s=-",
    "c=IN IP4 0.0.0.0",
    "c=IN IP6 ::",
    "t=0 0",
    "m=audio ",
    "m=video 0 ",
    "a=rtpmap:",
    "a=fmtp:",
    "a=sendonly",
    "a=inactive",
    "a=ptime:",
    "a=group:BUNDLE ",
    "a=mid:",
    "a=rtcp:",
    "a=crypto:1 ",
    "a=fingerprint:sha-256 ",
    "a=setup:actpass",
    "a=ice-ufrag:",
    "RTP/AVP",
    "UDP/TLS/RTP/SAVPF",
    "65536",
    "18446744073709551616",
    "opus/48000/2",
    "telephone-event/8000",
    "\u{ff}",
];

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "message", run: fuzz_message, words: SIP_WORDS },
    Target { name: "headers", run: fuzz_headers, words: SIP_WORDS },
    Target { name: "uri", run: fuzz_uri, words: SIP_WORDS },
    Target { name: "digest", run: fuzz_digest, words: DIGEST_WORDS },
    Target { name: "framer", run: fuzz_framer, words: SIP_WORDS },
    Target { name: "sdp", run: fuzz_sdp, words: SDP_WORDS },
    Target { name: "srtp", run: fuzz_srtp, words: &[] },
    Target { name: "rtp", run: fuzz_rtp, words: &[] },
    Target { name: "rtcp", run: fuzz_rtcp, words: &[] },
    Target { name: "entrance", run: fuzz_entrance, words: &[] },
    Target { name: "media_call", run: fuzz_media_call, words: &[] },
    Target { name: "session", run: fuzz_session, words: &[] },
    Target { name: "endpoint", run: fuzz_endpoint, words: &[] },
];
