//! The binary between SIPp, softphones, other stacks and strangers.

mod bad_requests;
mod digest;
mod disturbances;
mod dns;
mod dtmf_tones;
mod first_words;
mod flood;
mod hold;
mod ipv6;
mod keep_alive;
mod latching;
mod libsrtp;
mod many_calls;
mod midcall;
mod operations;
mod ptime;
mod sip_websocket;
mod sipp;
mod sipp_cases;
mod sipp_presets;
mod spandsp;
mod strangers;
mod tls;
mod torture;
mod trunk_test;
mod two_workers;
