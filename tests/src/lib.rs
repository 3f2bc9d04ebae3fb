//! End-to-end test tools: drivers for the built binary and for the real clients around it.
//!
//! Drivers panic with a sentence when something is missing or late: in a test that is the verdict.

pub mod baresip;
pub mod browser;
pub mod bystanders;
pub mod dialled;
pub mod digest;
pub mod document;
pub mod gateway;
pub mod http;
pub mod launch;
pub mod library;
pub mod linphone;
pub mod netns;
pub mod pesq;
pub mod phone;
pub mod playing;
pub mod ports;
pub mod process;
pub mod rawsip;
pub mod relay;
pub mod rtp;
pub mod sipp;
pub mod speech;
pub mod tls;
pub mod tone;
pub mod tool;
pub mod trunk;
pub mod turn;
pub mod ws;
