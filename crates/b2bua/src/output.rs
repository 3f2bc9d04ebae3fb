//! What the switch says to the world.

use media_bridge::control::{CallCommand, Codec, LegStats};
use sip_ua::Command;
use types::{CallId, EndReason, EndedBy, RecordingId, SessionId, UserName, Wall, WorkerId};
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

use std::net::IpAddr;
use std::time::Duration;

/// What a browser's connection brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignalIn {
    /// A WebSocket was accepted.
    Opened {
        /// The peer's address, for slowing down wrong passwords.
        source: IpAddr,
    },
    /// A well-formed message.
    Message(FromBrowser),
    /// It is gone.
    Closed,
}

/// Why the switch wants a browser connection closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseWhy {
    /// The table of sessions is full.
    TooManySessions,
    /// The gateway is being stopped.
    Stopping,
}

/// How important a log line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// May carry numbers and addresses.
    Debug,
    /// The usual course of things.
    Info,
    /// Someone should look at it.
    Warn,
}

/// One thing to do, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// For the SIP endpoint.
    Sip(Command),
    /// For one browser.
    Browser(SessionId, ToBrowser),
    /// Close a browser's connection after what was said to it.
    CloseBrowser(SessionId, CloseWhy),
    /// For one media worker.
    Media(WorkerId, CallCommand),
    /// What this call says is recorded from now on, perhaps anew: whoever writes it is told before the media plane begins.
    Record(Recording),
    /// A call's record: exactly one per call, its last output.
    Cdr(Box<Cdr>),
    /// A sentence for the log.
    Log(Level, Option<CallId>, String),
}

/// A recording that begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recording {
    /// Of which call.
    pub call: CallId,
    /// Which one.
    pub id: RecordingId,
    /// When.
    pub started: Wall,
    /// Who is on the left channel: who called.
    pub left: CdrParty,
    /// Who is on the right channel.
    pub right: CdrParty,
}

/// What kind of thing was at one end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CdrParty {
    /// A browser of a user.
    Browser(UserName),
    /// A SIP device of a user.
    Softphone(UserName),
    /// A trunk, by its name.
    Trunk(String),
}

/// One transfer in a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CdrTransfer {
    /// When the new party was there.
    pub at: Wall,
    /// Who was replaced.
    pub by: CdrParty,
    /// The number that was asked for; empty where the new party came by itself.
    pub to: String,
    /// The call that the new party came from; none: the trunk has done it.
    pub with: Option<CallId>,
}

/// The facts of one call.
#[derive(Clone, PartialEq, Debug)]
pub struct Cdr {
    /// Which call.
    pub call: CallId,
    /// When it was asked for.
    pub started: Wall,
    /// When it was answered.
    pub answered: Option<Wall>,
    /// When it was over.
    pub ended: Wall,
    /// Number or name of the caller as shown to the callee.
    pub from: String,
    /// The caller's number in international form, where it has one and may be known.
    pub from_e164: Option<String>,
    /// What was dialled.
    pub to: String,
    /// The same in international form, where it has one.
    pub to_e164: Option<String>,
    /// The caller asked for help.
    pub emergency: bool,
    /// Who called.
    pub caller: CdrParty,
    /// Who answered, or who was tried last.
    pub callee: Option<CdrParty>,
    /// Why it ended.
    pub reason: EndReason,
    /// The SIP status that a peer gave, if that was the cause.
    pub sip_status: Option<u16>,
    /// The Q.850 cause: the peer's, else the reason's own.
    pub q850: u8,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// From answer to end in milliseconds; 0 if never answered.
    pub duration_ms: u64,
    /// What the caller's leg carried.
    pub caller_codec: Option<Codec>,
    /// What the callee's leg carried.
    pub callee_codec: Option<Codec>,
    /// Counters of the caller's leg.
    pub caller_media: Option<LegStats>,
    /// Counters of the callee's leg.
    pub callee_media: Option<LegStats>,
    /// From the answer until the caller got the callee's audio; not of calls that were transferred.
    pub caller_first_audio: Option<Duration>,
    /// From the answer until the callee got the caller's audio; not of calls that were transferred.
    pub callee_first_audio: Option<Duration>,
    /// Digits pressed during the call, both directions together.
    pub digits: u32,
    /// Who was replaced by whom during the call, in order.
    pub transfers: Vec<CdrTransfer>,
    /// The call in which one of the parties goes on.
    pub continued_in: Option<CallId>,
    /// Whether it was recorded.
    pub recorded: bool,
    /// Sentences on what was strange.
    pub notes: Vec<String>,
    /// The sentence that people were told: the reason's own, or one that says more.
    pub text: String,
}
