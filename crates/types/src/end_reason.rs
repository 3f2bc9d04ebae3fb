//! Why a call ended: one table from which every protocol, log, metric and person gets its form.

/// Who caused the end, as the call record says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndedBy {
    /// The party that called.
    Caller,
    /// The party that was called, or its network.
    Callee,
    /// webtrunk itself.
    Gateway,
}

macro_rules! end_reasons {
    ($($(#[$doc:meta])* $name:ident: $sip:expr, $q850:expr, $word:expr, $sentence:expr;)*) => {
        /// Every way in which a call can end. One row each: SIP status, Q.850 cause, word for CDR and metrics, sentence.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum EndReason { $($(#[$doc])* $name,)* }

        impl EndReason {
            /// All rows, in table order.
            pub const ALL: &'static [EndReason] = &[$(EndReason::$name,)*];

            /// The SIP status that refuses an unanswered call for this reason (RFC 3261 §21); 200 where nothing failed.
            pub fn sip_status(self) -> u16 {
                match self { $(EndReason::$name => $sip,)* }
            }

            /// The Q.850 cause for a `Reason` header (RFC 3326, RFC 8606).
            pub fn q850(self) -> u8 {
                match self { $(EndReason::$name => $q850,)* }
            }

            /// The word in CDRs, metric labels and browser messages: lower case, hyphens, stable.
            pub fn word(self) -> &'static str {
                match self { $(EndReason::$name => $word,)* }
            }

            /// The sentence that a person reads.
            pub fn sentence(self) -> &'static str {
                match self { $(EndReason::$name => $sentence,)* }
            }
        }
    };
}

end_reasons! {
    /// An answered call was hung up by either side.
    HungUp: 200, 16, "hung-up", "The call was hung up.";
    /// This call's other party goes on in another call, joined with its partner there (RFC 5589).
    Transferred: 487, 16, "transferred", "The call was transferred.";
    /// The caller gave up while it rang.
    Cancelled: 487, 16, "cancelled", "The caller hung up before anyone answered.";
    /// Another device of the same user answered.
    AnsweredElsewhere: 200, 26, "answered-elsewhere", "Answered on another device.";
    /// The called party is in a call.
    Busy: 486, 17, "busy", "The line is busy.";
    /// It rang and nobody answered.
    NoAnswer: 480, 19, "no-answer", "Nobody answered.";
    /// The called party pressed Decline.
    Declined: 603, 21, "declined", "The call was declined.";
    /// No user, extension or route for the number.
    UnknownNumber: 404, 1, "unknown-number", "This number does not exist here: no user and no route matches it.";
    /// The network says that the number does not exist.
    NumberNotInService: 404, 1, "number-not-in-service", "The other network says that this number is not in service.";
    /// The number is not complete or not valid.
    InvalidNumber: 484, 28, "invalid-number", "The number is incomplete or not valid.";
    /// The user exists but no device of theirs is reachable.
    NotRegistered: 480, 20, "not-registered", "The person is not signed in on any device.";
    /// Caller may not call this destination.
    Forbidden: 403, 21, "forbidden", "You are not allowed to call this number.";
    /// The carrier refused our credentials.
    TrunkRefusedCredentials: 503, 21, "trunk-refused-credentials", "The carrier refused our user name or password.";
    /// The carrier refused the call as not allowed.
    TrunkForbade: 403, 21, "trunk-forbade", "The carrier does not allow this call.";
    /// No trunk could be reached.
    TrunkUnreachable: 503, 38, "trunk-unreachable", "The carrier could not be reached.";
    /// The carrier failed with a 5xx.
    TrunkFailed: 503, 41, "trunk-failed", "The carrier reported a failure of its own.";
    /// No codec in common.
    NoCommonCodec: 488, 65, "no-common-codec", "Both sides have no audio codec in common.";
    /// One side demands encrypted audio, the other has none or none of its kind.
    NoCommonEncryption: 488, 65, "no-common-encryption",
        "One side demands encrypted audio and the other does not agree; the call record says what to change.";
    /// The session description could not be used.
    BadSdp: 488, 95, "bad-sdp", "The other side sent a session description that cannot be used.";
    /// Media could not be connected.
    MediaNotConnected: 480, 41, "media-not-connected", "The audio connection to the browser could not be set up.";
    /// Media stopped and the peer is gone.
    MediaLost: 480, 27, "media-lost", "The audio connection was lost.";
    /// The signalling connection of the browser went away.
    SignallingLost: 480, 27, "signalling-lost", "The browser's connection was lost.";
    /// The SIP peer of an answered call no longer answers (RFC 4028 §10).
    PeerGone: 408, 27, "peer-gone", "The other side stopped answering in the middle of the call.";
    /// The other side's acknowledgement never came (field problem 27).
    NoAck: 408, 102, "no-ack",
        "The caller never acknowledged our answer: it probably cannot reach the address in our Contact header.";
    /// Another SIP failure; the status is in the call record.
    RemoteFailure: 500, 31, "remote-failure", "The other side refused the call.";
    /// Too many calls for the user, trunk or gateway.
    TooManyCalls: 486, 17, "too-many-calls", "The limit of simultaneous calls is reached.";
    /// Too many calls were started on the trunk within one second.
    RateLimited: 503, 42, "rate-limited", "The carrier takes no more new calls in this second; try again in a moment.";
    /// Gateway is overloaded.
    GatewayOverloaded: 503, 42, "gateway-overloaded", "The gateway is at its limit; try again in a moment.";
    /// Gateway is stopping.
    GatewayStopping: 503, 41, "gateway-stopping", "The gateway is being stopped.";
    /// The call reached the maximum duration.
    MaxDuration: 200, 31, "max-duration", "The call reached its maximum duration.";
    /// A defect of ours ended this one call.
    Internal: 500, 41, "internal", "The gateway had an internal error; the log has the details.";
}

impl EndReason {
    /// The Q.850 cause that a SIP status stands for (RFC 3398 §8.2.6.1).
    pub fn q850_of_status(status: u16) -> u8 {
        match status {
            404 | 485 | 604 => 1,
            486 | 600 => 17,
            480 => 18,
            401..=403 | 407 | 603 => 21,
            410 => 22,
            482 | 483 => 25,
            484 => 28,
            502 => 38,
            400 | 481 | 500 | 503 => 41,
            405 => 63,
            488 | 606 => 65,
            406 | 415 | 501 => 79,
            408 | 504 => 102,
            _ => 127,
        }
    }

    /// What a Q.850 cause says more exactly than a general SIP failure beside it (RFC 3398 §7.2.4.1, RFC 8606); none for
    /// causes that say no more.
    pub fn from_q850(cause: u8) -> Option<EndReason> {
        match cause {
            1 | 22 => Some(EndReason::NumberNotInService),
            17 => Some(EndReason::Busy),
            18 | 19 => Some(EndReason::NoAnswer),
            21 => Some(EndReason::Declined),
            28 => Some(EndReason::InvalidNumber),
            _ => None,
        }
    }

    /// What a final SIP failure response to our INVITE means (RFC 3261 §21.4-21.6). Statuses below 300 are not failures.
    pub fn from_sip_status(status: u16) -> EndReason {
        match status {
            401 | 407 => EndReason::TrunkRefusedCredentials,
            403 => EndReason::TrunkForbade,
            404 | 410 | 604 => EndReason::NumberNotInService,
            408 => EndReason::TrunkUnreachable,
            480 => EndReason::NoAnswer,
            484 | 416 => EndReason::InvalidNumber,
            486 | 600 => EndReason::Busy,
            487 => EndReason::Cancelled,
            488 | 606 | 415 => EndReason::NoCommonCodec,
            603 => EndReason::Declined,
            500..=599 => EndReason::TrunkFailed,
            _ => EndReason::RemoteFailure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn words_are_unique_and_stable_tokens() {
        let words: HashSet<_> = EndReason::ALL.iter().map(|r| r.word()).collect();
        assert_eq!(words.len(), EndReason::ALL.len());
        assert!(words.iter().all(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }

    #[test]
    fn causes_and_statuses_go_over_into_each_other() {
        // RFC 3398 §7.2.4.1 and §8.2.6.1.
        for (cause, status) in [(1, 404), (17, 486), (28, 484)] {
            assert_eq!(EndReason::from_q850(cause).map(EndReason::sip_status), Some(status));
            assert_eq!(EndReason::q850_of_status(status), cause);
        }
        assert_eq!(EndReason::from_q850(41), None);
        assert_eq!(EndReason::q850_of_status(503), 41);
    }

    #[test]
    fn a_busy_answer_becomes_busy_again_on_the_other_leg() {
        assert_eq!(EndReason::from_sip_status(486).sip_status(), 486);
        assert_eq!(EndReason::from_sip_status(603).sip_status(), 603);
        assert_eq!(EndReason::from_sip_status(404).sip_status(), 404);
    }
}
