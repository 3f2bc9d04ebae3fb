use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use types::{Datagram, Entropy, LegId};
use webrtc_peer::{Peer, PeerOutput};

use super::drops::{DropCause, Drops};
use super::ear::{Ear, Tally};
use super::early::Early;
use super::extended::Heard;
use super::filling::Filling;
use super::mouth::{LONGEST_OWN, Mouth};
use super::negotiate::Negotiation;
use super::outbox::Outbox;
use super::play::{Paused, Playing};
use super::secured::{Contexts, Kind, Retired, Secured};
use super::watch::Watch;
use super::{MediaSetup, Output};
use crate::control::{Codec, Event, LegKind, LegParams, LegStats, Source};
use crate::dtmf;
use crate::quality::Monitor;
use crate::rtp::{InStats, Latch, OutStream, RtpHeader, RtpPacket, SourceId, Stamp};
use crate::sdp::{Agreed, EventFormat, Fingerprint, IceCredentials, RtcpTerms, clock_rate};

/// Frames per second that we send.
const FRAMES: u32 = 50;
/// Length of one frame that we send.
pub(super) const FRAME_TIME: Duration = Duration::from_millis(20);
/// How long after the last packet of the source a trunk gets filling of ours (field problem 35), where nothing conceals.
pub(super) const FORWARDING_PAUSED: Duration = Duration::from_millis(100);
/// Silence of a peer that promised media before signalling is told (field problem 1).
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(3);
/// Between two reports, RTCP of RTP legs and statistics alike (RFC 3550 §6.2: five seconds).
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// The same towards a browser (RFC 4585 §3.4): it adds FEC by the loss that we report, so that must not be stale.
const BROWSER_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Names filling among the sources of a leg, for cutting it into packets.
const FILLING: u64 = 1;
/// What SDP says nothing of: the name of an RTP leg's stream.
const CNAME: &str = "webtrunk";

/// One leg: a peer, what it sends us, what it hears from us.
pub(super) struct Leg {
    pub id: LegId,
    pub params: LegParams,
    pub path: Path,
    pub sdp: Negotiation,
    /// What we send; none before the first agreement.
    pub agreed: Option<Agreed>,
    /// The description allows us to send.
    pub sends: bool,
    /// The description promises media from the peer, from there.
    pub promised: Option<String>,
    pub inbound: Inbound,
    /// What came before anybody could hear it, while it may still be heard.
    pub early: Option<Box<Early>>,
    pub source: Source,
    /// Number of the present source, unique in the call.
    pub binding: u64,
    pub out: OutStream,
    /// Apart: what is passed on needs none of it.
    pub mouth: Box<Mouth>,
    pub tone: Option<Playing>,
    /// Music that it does not hear now.
    pub paused: Paused,
    /// Played over everything else.
    pub once: Option<Playing>,
    /// When filling of ours goes out unless something else does first.
    pub fill_at: Option<Instant>,
    /// How long a slot waits to be filled: whoever speaks again finds his own free.
    pub fill_lag: Duration,
    /// When it first got audio of whom it listens to.
    pub first_heard: Option<Instant>,
    fill_timestamp: u32,
    pub filling: Filling,
    /// Packets of the present source have another length than this peer asked for: they are cut anew.
    pub reframes: bool,
    pub stats_in: InStats,
    pub watch: Watch,
    pub monitor: Monitor,
    /// How RTCP travels and what it tells, as agreed.
    pub rtcp: RtcpTerms,
    pub extended: Heard,
    pub ear: Option<Box<Ear>>,
    pub events_in: dtmf::Receiver,
    /// Of digits in the audio, while they are looked for.
    pub tones_in: Option<Box<dtmf::Detector>>,
    pub events_out: dtmf::Sender,
    pub tones_out: dtmf::Tones,
    pub presses: dtmf::Presses,
    pub counters: Counters,
    pub connected: bool,
    pub silent_at: Option<Instant>,
    pub stats_at: Instant,
    /// When RTCP is due.
    pub report_at: Instant,
    /// How often it was sent.
    pub reports: u32,
}

/// How media travels.
pub(super) enum Path {
    Rtp(Box<RtpPath>),
    WebRtc(Box<WebRtcPath>),
}

pub(super) struct RtpPath {
    /// What the peer is told.
    pub local: SocketAddr,
    /// Of the other address family, once the peer named one (RFC 6157 §4).
    pub other: Option<SocketAddr>,
    /// Where the peer's signalling comes from.
    pub signalling: Option<IpAddr>,
    /// None until a description names an address.
    pub latch: Option<Latch>,
    /// Where the description wants RTCP.
    pub rtcp: Option<SocketAddr>,
    /// RTCP goes where RTP goes (RFC 5761).
    pub mux: bool,
    /// None: packets are plain.
    pub secured: Option<Box<Secured>>,
    pub retired: Retired,
}

pub(super) struct WebRtcPath {
    /// Of the worker that the leg began on: the browser sends to that one's socket, wherever the leg goes.
    pub home: Arc<MediaSetup>,
    /// Ours.
    pub ice: IceCredentials,
    /// Theirs, as last negotiated.
    pub remote_ice: Option<IceCredentials>,
    pub fingerprint: Option<Fingerprint>,
    /// None while our offer waits for its answer.
    pub peer: Option<Peer>,
    pub cname: String,
    /// Of the present DTLS association, once it is up.
    pub contexts: Option<Box<Contexts>>,
    /// The peer may have outputs.
    pub dirty: bool,
}

/// What the numbers in received packets mean.
#[derive(Default)]
pub(super) struct Inbound {
    /// Within the leg, as every packet is looked up in it.
    pub formats: SmallVec<[(u8, Codec); 4]>,
    /// Comfort noise, where it was agreed.
    pub noise: Option<u8>,
    pub events: Vec<EventFormat>,
}

/// Meaning of a payload type.
#[derive(Clone, Copy)]
pub(super) enum Meaning {
    Audio(Codec),
    Event { clock: u32 },
    Noise,
    Unknown,
}

/// Counters that nothing else keeps.
#[derive(Default)]
pub(super) struct Counters {
    pub packets_out: u64,
    pub drops: Drops,
    /// Those that the worker knows of.
    pub told: Drops,
    pub late: u64,
    pub tally: Tally,
    pub remote_fraction_lost: u8,
    pub rtt: Option<Duration>,
}

impl Path {
    /// Whether packets can be sent.
    pub fn is_ready(&self) -> bool {
        match self {
            Path::Rtp(rtp) => rtp.latch.is_some(),
            Path::WebRtc(rtc) => rtc.contexts.is_some(),
        }
    }

    /// Encrypts a packet where that is agreed, and sends it to where packets of its kind go.
    pub fn send(&mut self, leg: LegId, kind: Kind, mut packet: Datagram, outbox: &mut Outbox) -> bool {
        let (contexts, output) = match self {
            Path::Rtp(rtp) => {
                let output = rtp.destination(kind).map(|to| match kind {
                    Kind::Rtcp if !rtp.mux => Output::Rtcp { leg, to },
                    Kind::Rtp | Kind::Rtcp => Output::Rtp { leg, to },
                });
                (rtp.secured.as_mut().map(|secured| &mut secured.contexts), output)
            }
            Path::WebRtc(rtc) => {
                let path = rtc.peer.as_ref().and_then(Peer::path);
                let output = path.filter(|_| rtc.contexts.is_some());
                (rtc.contexts.as_deref_mut(), output.map(|route| Output::Browser { leg, route }))
            }
        };
        match output {
            Some(output) if contexts.is_none_or(|contexts| contexts.protect(kind, &mut packet)) => {
                outbox.datagram(output, packet);
                true
            }
            Some(_) | None => {
                outbox.give_back(packet);
                false
            }
        }
    }

    /// Something authentic came from the peer.
    pub fn signed(&mut self, now: Instant) {
        if let Path::WebRtc(rtc) = self
            && let Some(peer) = &mut rtc.peer
        {
            rtc.dirty |= peer.handle_sign(now);
        }
    }

    /// Between two reports.
    pub fn report_interval(&self) -> Duration {
        match self {
            Path::Rtp(_) => REPORT_INTERVAL,
            Path::WebRtc(_) => BROWSER_REPORT_INTERVAL,
        }
    }

    /// The name of our stream (RFC 3550 §6.5.1), as SDP has it.
    pub fn cname(&self) -> &str {
        match self {
            Path::Rtp(_) => CNAME,
            Path::WebRtc(rtc) => &rtc.cname,
        }
    }
}

impl RtpPath {
    fn destination(&self, kind: Kind) -> Option<SocketAddr> {
        let latch = self.latch.as_ref()?;
        match kind {
            Kind::Rtp => Some(latch.destination()),
            Kind::Rtcp if self.mux => Some(latch.destination()),
            Kind::Rtcp => self.rtcp.map(|described| latch.rtcp_destination(described)),
        }
    }

    /// Whether a socket of ours has this address's family.
    pub fn reaches(&self, ip: IpAddr) -> bool {
        self.local.is_ipv4() == ip.is_ipv4() || self.other.is_some()
    }

    /// From now on the peer is told of our socket of this address's family.
    pub fn face(&mut self, ip: IpAddr) {
        if let Some(other) = self.other.as_mut().filter(|o| o.is_ipv4() == ip.is_ipv4()) {
            std::mem::swap(other, &mut self.local);
        }
    }
}

impl Inbound {
    pub fn meaning(&self, pt: u8) -> Meaning {
        if let Some((_, codec)) = self.formats.iter().find(|(p, _)| *p == pt) {
            return Meaning::Audio(*codec);
        }
        if let Some(event) = self.events.iter().find(|e| e.pt == pt) {
            return Meaning::Event { clock: event.clock };
        }
        // RFC 3551 §6: what is static means the same to everybody. Some change to it without a word.
        match pt {
            0 => Meaning::Audio(Codec::Pcmu),
            8 => Meaning::Audio(Codec::Pcma),
            9 => Meaning::Audio(Codec::G722),
            13 | 19 => Meaning::Noise,
            pt if self.noise == Some(pt) => Meaning::Noise,
            _ => Meaning::Unknown,
        }
    }

    /// The clock of a packet that is an event by all signs but its payload type (RFC 4733 §2.3, field problem 16).
    pub fn stray_event(&self, packet: &RtpPacket<'_>) -> Option<u32> {
        let looks = matches!(*packet.payload, [0..=15, flags, _, _] if flags & 0x40 == 0);
        let dynamic = (96..=127).contains(&packet.payload_type);
        self.events.first().filter(|_| looks && dynamic).map(|events| events.clock)
    }

    /// Whether this codec was agreed.
    pub fn has(&self, codec: Codec) -> bool {
        self.formats.iter().any(|(_, agreed)| *agreed == codec)
    }

    pub fn knows(&self, pt: u8) -> bool {
        !matches!(self.meaning(pt), Meaning::Unknown)
    }
}

impl Leg {
    pub fn new(
        id: LegId,
        params: LegParams,
        path: Path,
        codec: Codec,
        entropy: &mut dyn Entropy,
        now: Instant,
    ) -> Leg {
        let clock = clock_rate(codec);
        let interval = path.report_interval();
        let early = params.called.then(Box::default);
        Leg {
            id,
            params,
            path,
            sdp: Negotiation::new(entropy),
            agreed: None,
            sends: false,
            promised: None,
            inbound: Inbound::default(),
            early,
            source: Source::Nothing,
            binding: 0,
            out: OutStream::new(entropy, clock, clock / FRAMES),
            mouth: Box::default(),
            tone: None,
            paused: None,
            once: None,
            fill_at: None,
            fill_lag: Duration::ZERO,
            first_heard: None,
            fill_timestamp: 0,
            filling: Filling::default(),
            reframes: false,
            stats_in: InStats::new(clock),
            watch: Watch::default(),
            monitor: Monitor::default(),
            rtcp: RtcpTerms::default(),
            extended: Heard::default(),
            reports: 0,
            ear: None,
            events_in: dtmf::Receiver::new(8_000),
            tones_in: None,
            events_out: dtmf::Sender::new(8_000),
            tones_out: dtmf::Tones::default(),
            presses: dtmf::Presses::default(),
            counters: Counters::default(),
            connected: false,
            silent_at: None,
            stats_at: now + REPORT_INTERVAL,
            report_at: now + interval,
        }
    }

    pub fn kind(&self) -> LegKind {
        match self.path {
            Path::Rtp(_) => LegKind::Rtp,
            Path::WebRtc(_) => LegKind::WebRtc,
        }
    }

    /// What to send with, if anything can be sent now.
    pub fn sending(&self) -> Option<Agreed> {
        self.agreed.filter(|_| self.path.is_ready() && self.sends)
    }

    /// Agreement reached: formats of both directions.
    pub fn agree(&mut self, agreed: Agreed, inbound: Inbound) {
        let clock = clock_rate(agreed.codec);
        self.out.set_format(clock, clock / 1_000 * u32::from(agreed.packet_ms()));
        self.reframes = false;
        match agreed.events {
            Some(events) => self.events_out.set_clock(events.clock),
            // Else audio would wait for the end of a digit that never comes.
            None => self.events_out.clear(),
        }
        self.agreed = Some(agreed);
        self.inbound = inbound;
        self.tones_in = None;
    }

    /// Sends one packet whose numbers are `stamp`.
    pub fn send(&mut self, stamp: Stamp, pt: u8, payload: &[u8], outbox: &mut Outbox) {
        let Leg { path, out, counters, id, .. } = self;
        transmit(path, out, counters, *id, (stamp, pt), (payload, outbox));
    }

    /// Sends a received packet on in its own memory: our header takes the place of the end of its header, which may be the
    /// longer one (RFC 3550 §5.1), ours has neither contributors nor extension.
    pub fn relay(
        &mut self,
        stamp: Stamp,
        pt: u8,
        (mut packet, payload): (Datagram, Range<usize>),
        outbox: &mut Outbox,
    ) {
        packet.truncate(payload.end);
        packet.skip(payload.start - RtpHeader::LENGTH);
        let header = self.out.header(stamp, pt, payload.len());
        packet[..RtpHeader::LENGTH].copy_from_slice(&header.to_bytes());
        if self.path.send(self.id, Kind::Rtp, packet, outbox) {
            self.counters.packets_out += 1;
        }
    }

    /// Audio of the present source went out: filling of ours is due only if nothing more does for `lag` beyond its end.
    pub fn spoke(&mut self, now: Instant, lag: Duration) {
        if self.first_heard.is_none() && self.sending().is_some() {
            self.first_heard = Some(now);
        }
        self.fill_lag = lag;
        self.fill_at = match self.path {
            Path::Rtp(_) => Some(self.out.next_slot().unwrap_or(now) + lag),
            Path::WebRtc(_) => None,
        };
    }

    /// Encodes and sends samples of the present source; counts frames that came too late on whoever spoke.
    pub fn speak(
        &mut self,
        source: SourceId,
        chunk: &super::ear::Chunk<'_>,
        outbox: &mut Outbox,
        now: Instant,
    ) -> u64 {
        if self.is_interrupted() {
            return 0;
        }
        if !chunk.own && !chunk.concealed {
            self.filling.heard(chunk.pcm);
        }
        self.utter(source, chunk, outbox, now)
    }

    /// Whether a digit is being sent or something is played over everything: audio is left out meanwhile, so that no
    /// receiver hears a digit twice.
    pub fn is_interrupted(&self) -> bool {
        self.once.is_some() || self.events_out.is_sounding() || self.tones_out.is_sounding()
    }

    /// Sends the digits that go out as tones, as far as they are due.
    pub fn sound_digits(&mut self, outbox: &mut Outbox, now: Instant) {
        if self.sending().is_none() {
            return;
        }
        while let Some((timestamp, pcm)) = self.tones_out.next_frame(now) {
            let chunk = super::ear::Chunk::own(timestamp, &pcm);
            let source = self.source_id(Origin::Digit(self.tones_out.begun()));
            self.utter(source, &chunk, outbox, now);
            self.spoke(now, FORWARDING_PAUSED - FRAME_TIME);
        }
    }

    /// The same whatever else sounds.
    pub fn utter(
        &mut self,
        source: SourceId,
        chunk: &super::ear::Chunk<'_>,
        outbox: &mut Outbox,
        now: Instant,
    ) -> u64 {
        let Some(agreed) = self.sending() else { return 0 };
        let Leg { path, out, counters, id, mouth, .. } = self;
        let stamps = std::cell::RefCell::new(out);
        mouth.speak(
            agreed,
            source,
            chunk,
            &mut |timestamp| stamps.borrow_mut().next(source, timestamp, chunk.clock, now),
            &mut |stamp, payload| {
                let mut out = stamps.borrow_mut();
                transmit(path, &mut out, counters, *id, (stamp, agreed.pt), (payload, outbox));
            },
        )
    }

    /// One packet of filling, so that a trunk's stream never stops (field problem 35): what the missing one may have been, then
    /// comfort noise; silence where nobody speaks at all.
    pub fn fill(&mut self, outbox: &mut Outbox, now: Instant) {
        let Some(agreed) = self.sending() else { return };
        let speaks = self.source != Source::Nothing;
        let Leg { path, out, counters, id, mouth, filling, .. } = self;
        if let Some(pt) = agreed.noise.filter(|_| speaks && filling.is_noise()) {
            let stamp = out.fill(now);
            transmit(path, out, counters, *id, (stamp, pt), (&filling.comfort().payload(), outbox));
            return;
        }
        let mut pcm = [0; LONGEST_OWN];
        let pcm = &mut pcm[..usize::from(agreed.packet_ms()) * 8];
        if speaks {
            filling.fill(pcm);
        }
        let chunk = super::ear::Chunk::own(self.fill_timestamp, pcm);
        self.fill_timestamp = self.fill_timestamp.wrapping_add(pcm.len() as u32);
        let source = SourceId(self.binding << 32 | FILLING);
        let stamps = std::cell::RefCell::new(out);
        mouth.speak(
            agreed,
            source,
            &chunk,
            &mut |_| Some(stamps.borrow_mut().fill(now)),
            &mut |stamp, payload| {
                let mut out = stamps.borrow_mut();
                transmit(path, &mut out, counters, *id, (stamp, agreed.pt), (payload, outbox));
            },
        );
    }

    /// Names a timeline that feeds this leg now.
    pub fn source_id(&self, origin: Origin) -> SourceId {
        let low = match origin {
            Origin::Own => 0,
            Origin::Digit(digit) => (u64::from(digit) & 0x3fff_ffff) << 2,
            Origin::Once => 9,
            Origin::Forwarded(epoch) => (epoch & 0x3fff_ffff) << 2 | 2,
            Origin::Decoded(timeline) => (timeline & 0x3fff_ffff) << 2 | 3,
        };
        SourceId(self.binding << 32 | low)
    }

    /// A packet of the peer was accepted.
    pub fn heard(&mut self, outbox: &mut Outbox, now: Instant) {
        if !self.connected {
            self.connected = true;
            outbox.tell(Event::Connected { leg: self.id });
        }
        self.silent_at = self.promised.as_ref().map(|_| now + SILENT_AFTER);
    }

    /// The next output of the peer connection.
    pub fn poll_peer(&mut self, buf: &mut Vec<u8>) -> Option<PeerOutput> {
        match &mut self.path {
            Path::WebRtc(rtc) => rtc.peer.as_mut()?.poll_output(buf),
            Path::Rtp(_) => None,
        }
    }

    fn peer(&self) -> Option<&Peer> {
        match &self.path {
            Path::WebRtc(rtc) => rtc.peer.as_ref(),
            Path::Rtp(_) => None,
        }
    }

    pub fn stats(&self) -> LegStats {
        let c = &self.counters;
        let twice = self.stats_in.losses().duplicates();
        let dropped = |(cause, count)| if cause == DropCause::Late { 0 } else { count };
        LegStats {
            packets_in: self.stats_in.packets(),
            packets_out: c.packets_out,
            lost: self.stats_in.lost(),
            jitter_us: u32::try_from(self.stats_in.jitter().as_micros()).unwrap_or(u32::MAX),
            rtt_us: c.rtt.map(|d| u32::try_from(d.as_micros()).unwrap_or(u32::MAX)),
            remote_fraction_lost: c.remote_fraction_lost,
            expected_loss: self.mouth.most_loss(),
            fec_frames: c.tally.fec,
            plc_frames: c.tally.concealed,
            rejected: self.drops().counts().map(dropped).sum(),
            late: self.late().saturating_sub(twice),
            duplicates: u32::try_from(twice + c.drops.of(DropCause::Replayed)).unwrap_or(u32::MAX),
            oddities: self.watch.found(),
            moment: None,
            quality: self.monitor.quality(),
            connection: self.peer().and_then(Peer::connection),
            set_up: self.peer().map(Peer::set_up),
            first_heard: self.first_heard,
            mos_by_peer: self.extended.mos(),
        }
    }

    /// Packets dropped for coming late or twice.
    pub fn late(&self) -> u64 {
        self.counters.late + self.counters.tally.late
    }

    /// The earliest of the leg's timers. `now`: the newest time known.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        // Asked after every packet: one comparison after the other is what costs least.
        let mut first = self.stats_at;
        let mut or = |at: Option<Instant>| first = at.map_or(first, |at| at.min(first));
        if let Path::WebRtc(rtc) = &self.path {
            or(rtc.peer.as_ref().and_then(Peer::poll_timeout));
        }
        or(self.path.is_ready().then_some(self.report_at));
        if let Some(ear) = &self.ear {
            or(ear.release_at());
            or(ear.overdue_at());
        }
        or(self.events_in.poll_timeout());
        or(self.tones_in.as_ref().and_then(|tones| tones.poll_timeout()));
        or(self.silent_at);
        if let Some(agreed) = self.sending() {
            or(agreed.events.and_then(|_| self.events_out.poll_timeout(now)));
            or(self.tone.as_ref().map(|tone| tone.next_at));
            or(self.once.as_ref().map(|once| once.next_at));
            or(self.fill_at);
            or(self.tones_out.poll_timeout(now));
        }
        Some(first)
    }
}

/// Where audio for a leg comes from, as its stream sees it.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// A tone of ours.
    Own,
    /// A digit as tones, the first is 1.
    Digit(u32),
    /// A sound that is played once.
    Once,
    /// Packets of a leg as they are; its reception epoch.
    Forwarded(u64),
    /// Samples of a leg; its decoding timeline.
    Decoded(u64),
}

fn transmit(
    path: &mut Path,
    out: &mut OutStream,
    counters: &mut Counters,
    leg: LegId,
    (stamp, pt): (Stamp, u8),
    (payload, outbox): (&[u8], &mut Outbox),
) {
    if !path.is_ready() {
        return;
    }
    let mut packet = outbox.buffer();
    packet.extend_from_slice(&out.header(stamp, pt, payload.len()).to_bytes());
    packet.extend_from_slice(payload);
    if path.send(leg, Kind::Rtp, packet, outbox) {
        counters.packets_out += 1;
    }
}
