//! What descriptions say of RTCP: on RTP's port (RFC 5761), in short (RFC 5506), with extended reports (RFC 3611).

use std::fmt::Write;

use super::remote::MediaLine;

/// Terms of RTCP, theirs or agreed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RtcpTerms {
    /// On the port of RTP. Of a leg of RTP only: browsers know nothing else.
    pub mux: bool,
    /// Reports may come without the canonical name.
    pub reduced: bool,
    /// Receivers ask for the round trip and are answered (RFC 3611 §4.4, §4.5).
    pub round_trip: bool,
    /// VoIP metrics are wanted (RFC 3611 §4.7).
    pub voip: bool,
}

impl RtcpTerms {
    /// What of an offer's terms is taken. RTCP on RTP's port needs payload types that can be told from it
    /// (RFC 5761 §4), RTCP in short needs a profile with feedback (RFC 5506 §5).
    pub fn answering(line: &MediaLine, separable: bool) -> RtcpTerms {
        let offered = line.rtcp_terms;
        let reduced = offered.reduced && line.proto.to_ascii_uppercase().ends_with("AVPF");
        RtcpTerms { mux: offered.mux && separable, reduced, ..offered }
    }

    /// What an answer leaves of what we offered. Metrics may be asked for unasked (RFC 3611 §5.2).
    pub fn answered(self, line: &MediaLine) -> RtcpTerms {
        let theirs = line.rtcp_terms;
        RtcpTerms {
            mux: self.mux && theirs.mux,
            reduced: self.reduced && theirs.reduced,
            round_trip: self.round_trip && theirs.round_trip,
            voip: theirs.voip,
        }
    }

    /// Reads the words of `a=rtcp-xr` (RFC 3611 §5.1); what we do not do is not taken.
    pub(super) fn extended(value: &str) -> RtcpTerms {
        let mut terms = RtcpTerms::default();
        for word in value.split_ascii_whitespace() {
            match word.split(['=', ':']).next() {
                Some("rcvr-rtt") => terms.round_trip = true,
                Some("voip-metrics") => terms.voip = true,
                _ => {}
            }
        }
        terms
    }

    /// The lines of a leg of RTP.
    pub(super) fn write(self, out: &mut String) -> std::fmt::Result {
        if self.mux {
            out.push_str("a=rtcp-mux\r\n");
        }
        let words = match (self.round_trip, self.voip) {
            (true, true) => "rcvr-rtt=all voip-metrics",
            (true, false) => "rcvr-rtt=all",
            (false, true) => "voip-metrics",
            (false, false) => return Ok(()),
        };
        write!(out, "a=rtcp-xr:{words}\r\n")
    }
}
