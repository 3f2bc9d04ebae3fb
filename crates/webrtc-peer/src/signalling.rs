//! Browser signalling, version 1: JSON over a WebSocket. `docs/SIGNALLING.md` is its description for people.
//!
//! The browser always makes the offer, also for an incoming call (pre-connect), so the gateway only ever answers.

use serde::{Deserialize, Serialize};

/// The version spoken here.
pub const VERSION: u32 = 1;

/// Browser to gateway. `call` is chosen by the browser for calls it makes (at most 32 characters), by the gateway
/// for calls it announces.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromBrowser {
    /// First message: who am I.
    Hello {
        /// Protocol version that the browser speaks.
        version: u32,
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// Call a number or user.
    Call {
        /// New id.
        call: String,
        /// What was dialled.
        to: String,
        /// Offer.
        sdp: String,
    },
    /// Offer for an announced call (pre-connect), or a new offer in any call (ICE restart).
    Offer {
        /// Which call.
        call: String,
        /// Offer.
        sdp: String,
    },
    /// Take the announced call.
    Answer {
        /// Which call.
        call: String,
    },
    /// Refuse the announced call.
    Decline {
        /// Which call.
        call: String,
    },
    /// Hang up.
    Bye {
        /// Which call.
        call: String,
    },
    /// Press a digit.
    Dtmf {
        /// Which call.
        call: String,
        /// One of `0-9*#A-D`.
        digit: char,
        /// Milliseconds.
        #[serde(default)]
        ms: Option<u32>,
    },
    /// Put an answered call on hold: the far end hears music, this browser nothing.
    Hold {
        /// Which call.
        call: String,
    },
    /// Take it off hold again.
    Resume {
        /// Which call.
        call: String,
    },
    /// Begin or end recording an answered call.
    Record {
        /// Which call.
        call: String,
        /// Begin.
        on: bool,
    },
    /// Hand an answered call over: to a number (`to`), or to the far end of another call of this browser (`with`).
    Transfer {
        /// Which call.
        call: String,
        /// Whom to call instead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// Whose far end takes over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<String>,
    },
    /// A trickled candidate. Accepted and not needed: the gateway is ICE-lite and learns addresses from checks.
    Candidate {
        /// Which call.
        call: String,
        /// As the browser gives it; null or absent at the end.
        #[serde(default)]
        candidate: Option<String>,
    },
    /// Keep-alive.
    Ping {},
}

/// State of a call as the page shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallState {
    /// Asked for, nothing rings yet.
    Calling,
    /// A real 180 came (field problem 12).
    Ringing,
    /// The network plays something before answering.
    EarlyMedia,
    /// Answered.
    InCall,
}

/// How a transfer goes. Success is the call's `ended` with the reason `transferred`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransferState {
    /// The new party is being called; the old one hears music.
    Trying,
    /// It rings there.
    Ringing,
    /// It did not work: this browser has its call back.
    Failed,
}

/// Which way to the gateway is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// This browser's.
    Near,
    /// The other party's.
    Far,
}

/// Gateway to browser.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToBrowser {
    /// Signed in.
    Welcome {
        /// Protocol version in use.
        version: u32,
        /// User name.
        user: String,
        /// Own extension, if any.
        extension: Option<String>,
        /// Calls may be recorded by `record`.
        record: bool,
    },
    /// Something was wrong with a message; the connection stays.
    Error {
        /// Stable word, e.g. `bad-message`, `not-signed-in`, `wrong-password`, `unknown-call`, `too-many-calls`, `bad-sdp`.
        code: String,
        /// A sentence for people that names the thing and the fix.
        message: String,
        /// The call concerned.
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<String>,
    },
    /// Answer to the browser's offer.
    Sdp {
        /// Which call.
        call: String,
        /// The answer.
        sdp: String,
    },
    /// Progress.
    State {
        /// Which call.
        call: String,
        /// Now.
        state: CallState,
    },
    /// Who holds an answered call now; nobody did at its start. Also the confirmation of `hold` and `resume`.
    Held {
        /// Which call.
        call: String,
        /// This browser does.
        local: bool,
        /// The far end does; this browser hears music.
        remote: bool,
    },
    /// Whether an answered call is recorded now; it was not at its start. Also the confirmation of `record`.
    Recording {
        /// Which call.
        call: String,
        /// It is.
        on: bool,
        /// This browser had it begin and may end it.
        mine: bool,
    },
    /// How the transfer goes that this browser asked for.
    Transfer {
        /// Which call.
        call: String,
        /// Now.
        state: TransferState,
        /// Why it failed: `EndReason` word.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The sentence.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// How one party's connection sounded during the last five seconds. Not told of seconds in which too little was heard.
    Quality {
        /// Which call.
        call: String,
        /// Whose connection.
        side: Side,
        /// Mean opinion score of its worse direction, 1 to 4.5, two decimals.
        mos: f64,
        /// What makes it worse than its codec, in a few words.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Somebody else is at the far end from now on: it was transferred.
    Party {
        /// Which call.
        call: String,
        /// Number or user name.
        number: String,
    },
    /// Someone calls. The browser may `offer` at once, and `answer` or `decline` when its person decides.
    Incoming {
        /// Id.
        call: String,
        /// Number or user name.
        from: String,
        /// Display name, may be empty.
        name: String,
    },
    /// A digit was pressed at the far end.
    Dtmf {
        /// Which call.
        call: String,
        /// The digit.
        digit: char,
        /// Milliseconds.
        ms: u32,
    },
    /// Something about a way on which audio travels, of a call that goes on. A lost one may come back: the browser makes a
    /// new offer with new ICE credentials for its own. After half a minute its part of the call ends.
    Path {
        /// Which call.
        call: String,
        /// It is the way between this browser and the gateway, not that of the other side's browser.
        local: bool,
        /// Nothing has come on it for 15 seconds; false: something comes again.
        lost: bool,
    },
    /// Relays that may be used by connections made from now on (RFC 8656), for networks that let nothing else through. Sent
    /// after `welcome`, and again with new credentials before the last ones expire.
    Turn {
        /// `turn:` and `turns:` URIs (RFC 7065).
        urls: Vec<String>,
        /// Good for a while, it says itself until when.
        username: String,
        /// Its password.
        credential: String,
    },
    /// The call is over; last message of a call.
    Ended {
        /// Which call.
        call: String,
        /// `EndReason` word.
        reason: String,
        /// The sentence.
        text: String,
    },
    /// Answer to `ping`.
    Pong {},
}
