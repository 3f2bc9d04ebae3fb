//! What the signalling side says to the media plane and hears from it. Session descriptions are made and
//! understood here only; signalling carries them as opaque bytes.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use types::{Advertised, CallId, LegId, RecordingId, WorkerId};

use crate::quality::{Moment, Quality};
pub use crate::sdp::Direction;
pub use crate::sound::SoundId;
pub use webrtc_peer::{Connection, SetUp};

/// Audio codecs that a leg can carry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// Opus, RTP clock 48 kHz (RFC 7587).
    Opus,
    /// G.711 mu-law (RFC 3551, payload type 0).
    Pcmu,
    /// G.711 A-law (RFC 3551, payload type 8).
    Pcma,
    /// G.722 at 64 kbit/s: 16 kHz under an RTP clock of 8 kHz (RFC 3551 §4.5.2, payload type 9).
    G722,
}

/// What kind of transport a leg's peer speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LegKind {
    /// DTLS-SRTP with ICE towards a browser.
    WebRtc,
    /// RTP towards a trunk or softphone, plain or encrypted ([`Srtp`]).
    Rtp,
}

impl Codec {
    /// Every one of them.
    pub const ALL: [Codec; 4] = [Codec::Opus, Codec::Pcmu, Codec::Pcma, Codec::G722];

    /// In lower case, as in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::Pcmu => "pcmu",
            Codec::Pcma => "pcma",
            Codec::G722 => "g722",
        }
    }
}

/// How much of the sound is of use to whoever hears it (RFC 6716 §2, table 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Bandwidth {
    /// 8 kHz, as G.711.
    Narrow,
    /// 16 kHz, as G.722.
    Wide,
    /// 48 kHz.
    #[default]
    Full,
}

impl Bandwidth {
    /// What a codec carries.
    pub fn of(codec: Codec) -> Bandwidth {
        match codec {
            Codec::Opus => Bandwidth::Full,
            Codec::Pcmu | Codec::Pcma => Bandwidth::Narrow,
            Codec::G722 => Bandwidth::Wide,
        }
    }
}

/// How digits are sent to a leg's peer. However they come from it, they are understood, and once each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum DtmfMode {
    /// Telephone-events where they were agreed, else tones.
    #[default]
    Auto,
    /// Telephone-events (RFC 4733) or nothing.
    Rfc4733,
    /// SIP INFO, which is signalling's: nothing is sent here.
    Info,
    /// Tones in the audio; telephone-events are not offered.
    Inband,
}

impl DtmfMode {
    /// As in configuration.
    pub fn name(self) -> &'static str {
        match self {
            DtmfMode::Auto => "auto",
            DtmfMode::Rfc4733 => "rfc4733",
            DtmfMode::Info => "info",
            DtmfMode::Inband => "inband",
        }
    }
}

/// Whether a leg of RTP is encrypted by keys in the descriptions (RFC 4568).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Srtp {
    /// Never: encrypted offers are refused.
    #[default]
    Off,
    /// Taken where the peer offers it, not offered by us.
    IfOffered,
    /// Offered beside plain RTP (RFC 8643), and taken where the peer has it.
    Optional,
    /// Always: whoever does not encrypt is refused.
    Required,
}

impl Srtp {
    /// As in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Srtp::Off => "off",
            Srtp::IfOffered => "if-offered",
            Srtp::Optional => "optional",
            Srtp::Required => "required",
        }
    }
}

/// How a leg is to be set up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegParams {
    /// Its transport.
    pub kind: LegKind,
    /// Codecs we offer or accept, best first. For an answer: the first of these that the offer has is the one answered.
    pub codecs: Vec<Codec>,
    /// What the far side can hear: an Opus peer is asked for no more, at the bitrate that keeps FEC alive (design §1).
    pub bandwidth: Bandwidth,
    /// Addresses of ours to write into `c=` of an RTP leg; none of its family: the worker's own for this peer.
    pub advertise: Advertised,
    /// The local address on which the peer's signalling reached us: media binds and answers there.
    pub local: Option<IpAddr>,
    /// The address that the peer's signalling comes from: its media may come from there too, whatever its description
    /// says (field problem 36). None: only from the description's address.
    pub remote: Option<IpAddr>,
    /// How digits are sent to the peer.
    pub dtmf: DtmfMode,
    /// Whether a leg of RTP is encrypted.
    pub srtp: Srtp,
    /// We call this peer: what it says about the time of its answer is kept until somebody can hear it.
    pub called: bool,
}

impl LegParams {
    /// Of a leg about which signalling has nothing else to say.
    pub fn new(kind: LegKind, codecs: &[Codec]) -> LegParams {
        LegParams {
            kind,
            codecs: codecs.to_vec(),
            bandwidth: Bandwidth::default(),
            advertise: Advertised::default(),
            local: None,
            remote: None,
            dtmf: DtmfMode::default(),
            srtp: Srtp::default(),
            called: false,
        }
    }
}

/// Sound that the gateway makes itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// 425 Hz, 1 s on, 4 s off.
    Ringback,
    /// 425 Hz, 0.48 s on, 0.48 s off.
    Busy,
    /// A quiet synthesised tune.
    Music,
}

/// What a leg sends to its peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Silence (the leg's stream is kept up once it was begun).
    Nothing,
    /// A sound of ours.
    Tone(Tone),
    /// A recorded sound, again and again; heard before by this leg it goes on where it was. An unknown one is silence.
    Music(SoundId),
    /// Audio from another leg of the same call.
    Leg(LegId),
    /// Its own audio back.
    Echo,
}

/// Commands to the media plane. `Answer`, `Offer` and `SetAnswer` are answered by exactly one event each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// The peer offered: make a leg (or renegotiate an existing one) and answer. Event: `LocalSdp` or `Refused`.
    Answer {
        /// The leg to make or change.
        leg: LegId,
        /// How; ignored for a leg that exists, except `codecs`.
        params: LegParams,
        /// The peer's offer.
        offer: Vec<u8>,
    },
    /// Make a leg and an offer for it (or offer anew on an existing one). Event: `LocalSdp` or `Refused`.
    Offer {
        /// The leg to make.
        leg: LegId,
        /// How.
        params: LegParams,
    },
    /// The peer's answer to our offer. May come again with other content (early media, then 200). Event: `Negotiated` or `Refused`.
    SetAnswer {
        /// Which leg.
        leg: LegId,
        /// Their answer.
        answer: Vec<u8>,
    },
    /// What the leg's peer hears from now on. The stream's SSRC, sequence and timestamps go on.
    SetSource {
        /// Which leg.
        leg: LegId,
        /// What it hears.
        source: Source,
    },
    /// Play a recorded sound once over whatever the leg hears, which is left out meanwhile. Event: `Played`, at once where
    /// there is no such leg or sound.
    Play {
        /// Which leg.
        leg: LegId,
        /// What it hears.
        sound: SoundId,
    },
    /// Record what these two say, on a channel each, beginning now or going on with others than before.
    Record {
        /// Which recording.
        recording: RecordingId,
        /// Heard on the left.
        left: LegId,
        /// Heard on the right.
        right: LegId,
    },
    /// Record no more.
    EndRecording,
    /// Send one DTMF digit (0-9, `*`, `#`, A-D) to the leg's peer, queued behind others.
    SendDtmf {
        /// Which leg.
        leg: LegId,
        /// The digit.
        digit: char,
        /// How long; 70-6000 ms are kept, others are brought into that range.
        duration: Duration,
    },
    /// The leg's peer pressed a digit and said so outside its media: it counts like a telephone-event of that peer, once
    /// if it comes both ways. Event: `Dtmf`, unless it is the second report of one press.
    Pressed {
        /// Whose peer.
        leg: LegId,
        /// The digit.
        digit: char,
        /// How long.
        duration: Duration,
    },
    /// Take a leg over from another call, of this worker or another, under a new name: its description, ports, peer and
    /// streams go on as they are. Later commands to this call find it there. A leg that is not there: event `Lost`.
    Adopt {
        /// Its name here.
        leg: LegId,
        /// Whose it was.
        from: CallId,
        /// Where that call is.
        worker: WorkerId,
        /// Its name there.
        their: LegId,
    },
    /// Tear one leg down and return its ports. Unknown legs are ignored.
    Remove {
        /// Which leg.
        leg: LegId,
    },
    /// Tear the whole call down. Event: `Closed`, the call's last.
    Close,
}

/// Why the media plane could not do what was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The description can not be parsed; the words say where.
    Unparsable(String),
    /// No codec in common; both lists in words for the Warning header.
    NoCommonCodec {
        /// What they have.
        theirs: String,
        /// What we have.
        ours: String,
    },
    /// One side demands encryption that the other has not; the words say what to change.
    Srtp(String),
    /// Parsed, but not usable (no audio, no fingerprint, no address …).
    Unusable(String),
    /// No free RTP port, or the socket could not be bound.
    NoPort(String),
    /// No such call or leg.
    Unknown,
}

/// What is odd about what a peer sends, in all of a leg's life so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Oddities {
    /// A codec that was not agreed; it was played all the same.
    pub unagreed: Option<Codec>,
    /// Length of its packets, ms, where that is not the one asked for.
    pub packet_ms: Option<u8>,
    /// Its timestamps ran at another speed than its codec's clock; they were put right.
    pub wrong_clock: bool,
    /// Nothing but silence, for ten seconds of packets or more.
    pub silent: bool,
    /// A payload type that was never agreed and means nothing by itself, the newest, and how many packets of such were dropped.
    pub stray: Option<(u8, u32)>,
}

/// Counters of one leg, cumulative.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct LegStats {
    /// RTP packets received and accepted.
    pub packets_in: u64,
    /// RTP packets sent.
    pub packets_out: u64,
    /// Lost in our receiving direction (RFC 3550 cumulative).
    pub lost: i64,
    /// Interarrival jitter in microseconds.
    pub jitter_us: u32,
    /// Round trip in microseconds, if RTCP told us.
    pub rtt_us: Option<u32>,
    /// Loss that the peer reports for what we send, 0-255 (RFC 3550 fraction lost).
    pub remote_fraction_lost: u8,
    /// The most loss that our Opus encoder has counted on so far, percent; none: we do not encode Opus.
    pub expected_loss: Option<u8>,
    /// Frames recovered by in-band FEC.
    pub fec_frames: u64,
    /// Frames concealed.
    pub plc_frames: u64,
    /// Packets dropped because they were not of this stream (wrong source, bad header).
    pub rejected: u64,
    /// Packets dropped because their place was filled already.
    pub late: u64,
    /// Packets that came a second time, dropped; of encrypted ones also those too old to tell.
    pub duplicates: u32,
    /// How it sounded since the last time these were told; none: too little came and went to say.
    pub moment: Option<Moment>,
    /// How it has sounded so far.
    pub quality: Option<Quality>,
    /// What a browser's leg runs over.
    pub connection: Option<Connection>,
    /// How long a browser's leg took to come up.
    pub set_up: Option<SetUp>,
    /// When its peer first got audio of whom it talks with.
    pub first_heard: Option<Instant>,
    /// What is odd about its stream.
    pub oddities: Oddities,
    /// What the peer says of how we sound there (RFC 3611 §4.7.5), 1 to 5.
    pub mos_by_peer: Option<f32>,
}

/// What the media plane reports.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The description to send to the leg's peer. `codec` is known when this answers an offer.
    LocalSdp {
        /// Which leg.
        leg: LegId,
        /// The description.
        sdp: Vec<u8>,
        /// The codec agreed, for answers.
        codec: Option<Codec>,
    },
    /// The peer's answer was taken.
    Negotiated {
        /// Which leg.
        leg: LegId,
        /// The codec agreed.
        codec: Codec,
    },
    /// The peer's descriptions let media flow another way than before (at first: both ways), as the peer sees it. A
    /// null address counts as not receiving (RFC 3264 §8.4). Before the `LocalSdp` or `Negotiated` that agrees to it.
    Direction {
        /// Which leg.
        leg: LegId,
        /// Which way from now on.
        direction: Direction,
    },
    /// The command failed; an existing session stays as it was.
    Refused {
        /// Which leg.
        leg: LegId,
        /// Why.
        why: Refusal,
    },
    /// ICE and DTLS are up (WebRTC), or the first packet came (RTP). Once per leg.
    Connected {
        /// Which leg.
        leg: LegId,
    },
    /// Nothing has come from the peer for 15 s, neither media nor a check of its path (WebRTC). It may come back.
    PathLost {
        /// Which leg.
        leg: LegId,
    },
    /// Something came again after `PathLost`.
    PathRestored {
        /// Which leg.
        leg: LegId,
    },
    /// The peer's media is gone for good (WebRTC): nothing came for 30 s, or it closed its session.
    Lost {
        /// Which leg.
        leg: LegId,
        /// Why, in words for the record.
        why: String,
    },
    /// Nothing received for 3 s though the description promised it (field problem 1). Once per silence.
    Silent {
        /// Which leg.
        leg: LegId,
        /// Where their description says that media comes from.
        expected: String,
    },
    /// The peer pressed a digit; reported once per press, at its end.
    Dtmf {
        /// Which leg.
        leg: LegId,
        /// The digit.
        digit: char,
        /// How long it was pressed.
        duration: Duration,
    },
    /// A sound was played to its end.
    Played {
        /// Which leg.
        leg: LegId,
    },
    /// Counters, about every 5 s and at the end of a leg.
    Stats {
        /// Which leg.
        leg: LegId,
        /// Cumulative.
        stats: LegStats,
    },
    /// The call's media is gone, ports returned.
    Closed,
    /// A defect ended this call's media; other calls live on.
    Crashed,
}

impl Command {
    /// The leg that it is for, to be named anew when that has moved to another call.
    pub fn leg_mut(&mut self) -> Option<&mut LegId> {
        match self {
            Command::Answer { leg, .. }
            | Command::Offer { leg, .. }
            | Command::SetAnswer { leg, .. }
            | Command::SetSource { leg, .. }
            | Command::Play { leg, .. }
            | Command::SendDtmf { leg, .. }
            | Command::Pressed { leg, .. }
            | Command::Adopt { leg, .. }
            | Command::Remove { leg } => Some(leg),
            Command::Record { .. } | Command::EndRecording | Command::Close => None,
        }
    }
}

impl Event {
    /// The leg that it is about, to be named anew when it has moved to another call.
    pub fn leg_mut(&mut self) -> Option<&mut LegId> {
        match self {
            Event::LocalSdp { leg, .. }
            | Event::Negotiated { leg, .. }
            | Event::Direction { leg, .. }
            | Event::Refused { leg, .. }
            | Event::Connected { leg }
            | Event::PathLost { leg }
            | Event::PathRestored { leg }
            | Event::Lost { leg, .. }
            | Event::Silent { leg, .. }
            | Event::Dtmf { leg, .. }
            | Event::Played { leg }
            | Event::Stats { leg, .. } => Some(leg),
            Event::Closed | Event::Crashed => None,
        }
    }
}

/// A command with its call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallCommand {
    /// Which call.
    pub call: CallId,
    /// What.
    pub command: Command,
}

/// An event with its call.
#[derive(Clone, PartialEq, Debug)]
pub struct CallEvent {
    /// Which call.
    pub call: CallId,
    /// What.
    pub event: Event,
}
