//! One leg of a call: who is there, how to talk to them, how far it got.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use media_bridge::control::{Bandwidth, Codec, DtmfMode, LegKind, LegParams, LegStats, Srtp};
use sip_ua::message::Uri;
use sip_ua::{Flow, Invite, SipLeg, Target, Transport};
use types::{Advertised, CallId, LegId, SessionId, UserName};

use super::hold::Hold;
use super::record::Shown;
use crate::output::CdrParty;
use crate::profile::{CodecPolicy, TrunkProfile};
use crate::shared::{Permit, Shared};

/// Commands that the media plane still has to answer for one leg. Full: the peer's further offers are refused.
pub(crate) const MEDIA_OPS: usize = 4;

/// Whom a leg connects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Party {
    User(UserName),
    Trunk(usize),
}

/// How a leg's peer is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Device {
    /// A signed-in browser, and the call's name there.
    Browser { session: SessionId, name: String },
    /// A SIP peer.
    Sip(SipLeg),
    /// Nobody: the call is made for the parties of another call, one of whom has asked for a transfer.
    Proxy(Proxy),
}

/// Whom a call is made for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Proxy {
    /// The call that waits.
    pub of: CallId,
    /// The call that is made.
    pub by: CallId,
    /// Whoever has asked for it.
    pub transferor: CdrParty,
}

/// How far a leg is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Our offer is being made; the INVITE waits for it.
    Preparing(Box<Invite>),
    /// Asked, nothing heard yet; of a caller: it hears nothing yet.
    Trying,
    /// It rings there; of a caller: it was told so.
    Ringing,
    /// Answered.
    Up,
    /// Told to end; its last event is to come.
    Stopping,
    /// Over.
    Over,
}

/// What an answer of the media plane will be for; answers come in the order of the commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MediaOp {
    /// Answer to the peer's first offer.
    Answer,
    /// Answer to the same offer again, now with the codec that the other side chose.
    AnswerAgain,
    /// Our offer.
    Offer,
    /// Taking the peer's answer.
    SetAnswer,
    /// Answer to the peer's re-INVITE or new browser offer.
    Reanswer,
    /// Our offer for a re-INVITE without one (RFC 3261 §14.2); its answer comes in the ACK.
    Reoffer,
    /// Our offer for an UPDATE.
    Update,
}

#[derive(Debug)]
pub(crate) struct Leg {
    pub id: LegId,
    pub party: Party,
    pub device: Device,
    /// What its media is; independent of how it is signalled.
    pub kind: LegKind,
    /// Number or name by which the others know this party.
    pub shown: String,
    pub phase: Phase,
    /// What the media plane still has to answer.
    pub ops: VecDeque<MediaOp>,
    /// The media plane knows this leg.
    pub has_media: bool,
    /// Its media is in this other call already, under this name: whoever waits there hears it before it is answered.
    pub lent: Option<(CallId, LegId)>,
    /// What the peer offered first, for answering it once more.
    pub offer: Option<Vec<u8>>,
    /// Our latest description for the peer.
    pub local_sdp: Option<Vec<u8>>,
    /// The peer's latest answer.
    pub remote_sdp: Option<Vec<u8>>,
    /// The peer has seen `local_sdp` as an answer: it stays (RFC 3261 §13.2.1).
    pub answer_sent: bool,
    /// Its INFO has digits as `application/dtmf`: it gets them so.
    pub says_dtmf: bool,
    /// We offered in answer to a re-INVITE: the ACK holds their answer.
    pub reoffered: bool,
    /// A caller who acknowledges our provisional answers and knows UPDATE (RFC 3311): the answer can still be changed.
    pub updatable: bool,
    /// Our UPDATE with an offer waits for its answer.
    pub offering: bool,
    /// The codec for which the caller's answer was last made.
    pub preferred: Option<Codec>,
    pub codec: Option<Codec>,
    /// Whether its peer holds the call.
    pub hold: Hold,
    /// What its browser was told of recordings.
    pub recording: Shown,
    /// Media flows, or can.
    pub connected: bool,
    /// Since when its media is gone, and why.
    pub lost: Option<(Instant, String)>,
    /// Our address that this peer uses, and those to show it.
    pub local: Option<IpAddr>,
    pub advertise: Advertised,
    /// Where this peer's signalling comes from.
    pub remote: Option<IpAddr>,
    /// Max-Forwards of its INVITE.
    pub hops: Option<u32>,
    /// The way to a SIP device of a user.
    pub flow: Option<Flow>,
    /// Of a phone that we call: its address there.
    pub contact: Option<Uri>,
    /// Of a phone: whether its audio is encrypted, where more is known than its flow tells.
    pub srtp: Option<Srtp>,
    /// Of a trunk that we call: which of its targets.
    pub target: Option<Target>,
    /// Of a trunk that we call, until it says anything: when the next target is tried instead.
    pub unheard: Option<Instant>,
    pub stats: Option<LegStats>,
    /// Since when its count of packets has stood still.
    pub quiet: Option<Instant>,
    /// Given back when the leg is over.
    pub permit: Option<Permit>,
}

impl Leg {
    pub fn new(id: LegId, party: Party, device: Device, phase: Phase) -> Self {
        let kind = match device {
            Device::Browser { .. } => LegKind::WebRtc,
            Device::Sip(_) | Device::Proxy(_) => LegKind::Rtp,
        };
        Leg {
            id,
            party,
            device,
            kind,
            shown: String::new(),
            phase,
            ops: VecDeque::new(),
            has_media: false,
            lent: None,
            offer: None,
            local_sdp: None,
            remote_sdp: None,
            answer_sent: false,
            says_dtmf: false,
            reoffered: false,
            updatable: false,
            offering: false,
            preferred: None,
            codec: None,
            hold: Hold::default(),
            recording: Shown::default(),
            connected: false,
            lost: None,
            local: None,
            advertise: Advertised::default(),
            hops: None,
            remote: None,
            flow: None,
            contact: None,
            srtp: None,
            target: None,
            unheard: None,
            stats: None,
            quiet: None,
            permit: None,
        }
    }

    /// It may still become or is part of the conversation.
    pub fn alive(&self) -> bool {
        match self.phase {
            Phase::Preparing(_) | Phase::Trying | Phase::Ringing | Phase::Up => true,
            Phase::Stopping | Phase::Over => false,
        }
    }

    /// Nothing is outstanding in the media plane.
    pub fn idle(&self) -> bool {
        self.ops.is_empty()
    }

    /// Media parameters with the codecs that this peer may use, `first` before the others.
    pub fn params(&self, shared: &Shared, first: Option<Codec>, bandwidth: Bandwidth) -> LegParams {
        let profile = self.profile(shared);
        let mut codecs = match profile {
            Some(profile) => profile.codecs.clone(),
            None => vec![Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma],
        };
        let first = match profile.map(|p| p.codec_policy) {
            Some(CodecPolicy::Opus) => Some(Codec::Opus),
            Some(CodecPolicy::Auto | CodecPolicy::Passthrough) | None => first,
        };
        if let Some(at) = codecs.iter().position(|c| Some(*c) == first) {
            codecs[..=at].rotate_right(1);
        }
        LegParams {
            kind: self.kind,
            codecs,
            bandwidth,
            advertise: self.advertise,
            local: self.local,
            remote: self.remote,
            dtmf: profile.map_or(DtmfMode::Auto, |p| p.dtmf),
            srtp: profile.map_or_else(|| self.phone_srtp(), |p| p.srtp),
            called: false,
        }
    }

    /// A phone may always encrypt. Unasked, keys of ours are offered only where nobody on the way reads them (RFC 4568 §8.3).
    fn phone_srtp(&self) -> Srtp {
        let usual = || match self.flow.map(|flow| flow.transport) {
            Some(Transport::Tls | Transport::Wss) => Srtp::Optional,
            Some(Transport::Udp | Transport::Tcp | Transport::Ws) | None => Srtp::IfOffered,
        };
        self.srtp.unwrap_or_else(usual)
    }

    /// What the trunk of this leg wants.
    pub fn profile<'a>(&self, shared: &'a Shared) -> Option<&'a TrunkProfile> {
        match (&self.device, &self.party) {
            (Device::Sip(_), Party::Trunk(trunk)) => Some(&shared.config.trunks[*trunk].profile),
            (Device::Sip(_), Party::User(_)) | (Device::Browser { .. } | Device::Proxy(_), _) => None,
        }
    }

    pub fn cdr_party(&self, shared: &Shared) -> CdrParty {
        match (&self.party, &self.device) {
            (_, Device::Proxy(proxy)) => proxy.transferor.clone(),
            (Party::Trunk(trunk), _) => CdrParty::Trunk(shared.config.trunks[*trunk].name.clone()),
            (Party::User(user), Device::Browser { .. }) => CdrParty::Browser(user.clone()),
            (Party::User(user), Device::Sip(_)) => CdrParty::Softphone(user.clone()),
        }
    }
}
