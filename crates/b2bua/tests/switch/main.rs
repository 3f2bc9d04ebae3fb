//! The Switch between a SIP endpoint, a media plane and browsers that a test plays, in virtual time.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "test helpers")]

mod access;
mod announce;
mod calls;
mod codecs;
mod early_update;
mod explain;
mod failover;
mod health;
mod hold;
mod load;
mod midcall;
mod profile;
mod reasons;
mod record;
mod registrar;
mod rig;
mod ringing;
mod routing;
mod transfer;
mod webrtc_contacts;
