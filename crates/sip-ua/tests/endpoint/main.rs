//! The endpoint as its owner sees it, in virtual time.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "test helpers")]

mod auth;
mod calls;
mod early_offer;
mod glare;
mod keep_alive;
mod kit;
mod network;
mod paths;
mod refer;
mod registration;
mod reinvite;
mod reliable;
mod replaces;
mod session_timer;
mod timers;
mod torture;
mod uac;
mod uas;
mod update;
