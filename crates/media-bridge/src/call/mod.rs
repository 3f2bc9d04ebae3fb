//! `MediaCall`: every leg of one call, what each hears, and the streams between them. Sans-IO.
//!
//! A leg has one outgoing stream for the whole call, whatever feeds it. Packets of the listener's own codec are forwarded
//! at once, in the memory that they came in; others go through an `Ear` (decoding, in order) and the listener's `Mouth` (encoding in frames of 20 ms),
//! within the same call of `handle_*`: nothing is held but what waits for a reordered packet.

mod adopt;
mod digits;
mod drops;
mod ear;
mod early;
mod extended;
mod filling;
mod flow;
mod leg;
mod mouth;
mod negotiate;
mod outbox;
mod play;
pub mod record;
mod report;
mod secured;
#[cfg(test)]
mod tests;
mod watch;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use types::{CallId, Datagram, Entropy, LegId, RecordingId, Wall};
use webrtc_peer::{PeerFactory, PeerOutput, Route, SrtpKeys};

use crate::control::{Command, Event, LegKind, LegParams, Source};
use crate::dtmf::Way;
use crate::effort::Effort;
use crate::rtp::{LatchVerdict, RtpPacket};
use crate::sdp;
use crate::sound::Sound;
pub use adopt::GivenLeg;
pub use drops::{DropCause, Drops};
use leg::{FORWARDING_PAUSED, FRAME_TIME, Leg, Path, SILENT_AFTER};
use outbox::Outbox;
use record::Recorder;
use secured::{Contexts, Kind};

/// What all calls of one worker share.
pub struct MediaSetup {
    /// Certificate and DTLS configuration of the process.
    pub peers: PeerFactory,
    /// Socket addresses of the worker's shared browser socket, as candidates offered to browsers: one per address of
    /// the host (or the advertised one), best first.
    pub candidates: Vec<SocketAddr>,
    /// What can be played, by [`crate::sound::SoundId`].
    pub sounds: Arc<[Sound]>,
    /// The same of its listener for browsers that can not send UDP; empty without one.
    pub tcp: Vec<SocketAddr>,
}

/// What the worker has to do for a call. A datagram is left in the one given to [`MediaCall::poll_output`].
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Send the buffer from the leg's RTP socket.
    Rtp {
        /// Whose socket.
        leg: LegId,
        /// Destination.
        to: SocketAddr,
    },
    /// Send the buffer from the leg's RTCP socket (RTP port + 1).
    Rtcp {
        /// Whose socket.
        leg: LegId,
        /// Destination.
        to: SocketAddr,
    },
    /// Send the buffer to a browser.
    Browser {
        /// Which leg.
        leg: LegId,
        /// From the shared socket with our address as source, or by the connection between the two.
        route: Route,
    },
    /// Route STUN with this local ufrag, authenticated by this password, to the leg; replaces the leg's earlier one.
    AcceptUfrag {
        /// Which leg.
        leg: LegId,
        /// Our ICE user fragment.
        ufrag: String,
        /// Our ICE password.
        password: String,
    },
    /// The leg is gone (or was never made: its set-up was refused): drop its lease and demultiplexer entries.
    ReleaseLeg {
        /// Which leg.
        leg: LegId,
    },
    /// A frame of the recording ([`record::FRAME_BYTES`]); numbers that are left out are gaps of 20 ms each.
    Recorded {
        /// Which recording.
        recording: RecordingId,
        /// Counted from 0.
        number: u32,
    },
    /// The recording has no more frames.
    RecordingOver(RecordingId),
    /// Tell signalling. `Event::Closed` is the call's last output.
    Event(Event),
}

/// Which socket pair a command needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortNeed {
    /// That of a new leg.
    First {
        /// Where its description wants media, if it says so already.
        peer: Option<IpAddr>,
    },
    /// One more, because the leg's peer names an address of the other family (RFC 6157 §4).
    OtherFamily {
        /// The leg.
        leg: LegId,
        /// The address.
        peer: IpAddr,
    },
}

/// All media of one call: legs, sources, codecs, negotiation state.
pub struct MediaCall {
    id: CallId,
    setup: Arc<MediaSetup>,
    entropy: Box<dyn Entropy>,
    /// At most `LEGS_PER_CALL`: looked through, not indexed.
    legs: Vec<Leg>,
    outbox: Outbox,
    /// Sources set so far.
    bindings: u64,
    /// The newest time that we were told.
    now: Option<Instant>,
    closed: bool,
    /// Of its encoders.
    effort: Effort,
    drops: Drops,
    recorder: Option<Box<Recorder>>,
}

impl MediaCall {
    /// A call without legs.
    pub fn new(id: CallId, setup: Arc<MediaSetup>, entropy: Box<dyn Entropy>) -> MediaCall {
        let outbox = Outbox::default();
        let (legs, effort, drops) = (Vec::new(), Effort::default(), Drops::default());
        let (bindings, now, closed, recorder) = (0, None, false, None);
        MediaCall { id, setup, entropy, legs, outbox, bindings, now, closed, effort, drops, recorder }
    }

    /// How much work encoders may take from now on, those that run and those to come.
    pub fn set_effort(&mut self, effort: Effort) {
        self.effort = effort;
        self.legs.iter_mut().for_each(|leg| leg.mouth.set_effort(effort));
    }

    /// Which call this is.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Which socket pair must be leased before this command is done.
    pub fn needs_port(&self, command: &Command) -> Option<PortNeed> {
        let new_rtp =
            |leg: LegId, params: &LegParams| params.kind == LegKind::Rtp && self.find(leg).is_none();
        match command {
            Command::Answer { leg, params, offer } if new_rtp(*leg, params) => {
                Some(PortNeed::First { peer: sdp::media_address(offer) })
            }
            Command::Offer { leg, params } if new_rtp(*leg, params) => Some(PortNeed::First { peer: None }),
            Command::Answer { leg, offer: theirs, .. } | Command::SetAnswer { leg, answer: theirs } => {
                let Path::Rtp(rtp) = &self.legs[self.find(*leg)?].path else { return None };
                let peer = sdp::media_address(theirs).filter(|ip| !rtp.reaches(*ip))?;
                Some(PortNeed::OtherFamily { leg: *leg, peer })
            }
            Command::Offer { .. }
            | Command::SetSource { .. }
            | Command::Play { .. }
            | Command::Record { .. }
            | Command::EndRecording
            | Command::SendDtmf { .. }
            | Command::Pressed { .. }
            | Command::Adopt { .. }
            | Command::Remove { .. }
            | Command::Close => None,
        }
    }

    /// Does one command. `rtp_local` is the bound RTP address (even port, RTCP on port + 1) of the pair that
    /// [`MediaCall::needs_port`] asked for; a refused set-up gives it back by [`Output::ReleaseLeg`].
    pub fn handle_command(
        &mut self,
        command: Command,
        rtp_local: Option<SocketAddr>,
        now: Instant,
        wall: Wall,
    ) {
        if self.closed {
            return;
        }
        self.now = Some(now);
        match command {
            Command::Answer { leg, params, offer } => self.answer(leg, params, &offer, rtp_local, now),
            Command::Offer { leg, params } => self.offer(leg, params, rtp_local, now),
            Command::SetAnswer { leg, answer } => self.set_answer(leg, &answer, rtp_local, now),
            Command::SetSource { leg, source } => self.set_source(leg, source, now),
            Command::Record { recording, left, right } => {
                self.start_recording(recording, [left, right], now);
            }
            Command::EndRecording => self.end_recording(),
            Command::Play { leg, sound } => self.play_once(leg, sound, now),
            Command::SendDtmf { leg, digit, duration } => {
                if let Some(index) = self.find(leg) {
                    self.send_digit(index, digit, duration, now);
                }
            }
            Command::Pressed { leg, digit, duration } => {
                if let Some(index) = self.find(leg) {
                    self.pressed(index, (digit, duration), Way::Signalling, now);
                }
            }
            // The worker moves legs; this one it has not found.
            Command::Adopt { leg, .. } => {
                let why = "its media was not found".to_owned();
                self.outbox.tell(Event::Lost { leg, why });
            }
            Command::Remove { leg } => {
                if let Some(index) = self.find(leg) {
                    self.remove(index, now, wall);
                }
            }
            Command::Close => {
                while !self.legs.is_empty() {
                    self.remove(0, now, wall);
                }
                self.end_recording();
                self.closed = true;
                self.outbox.tell(Event::Closed);
            }
        }
        self.drain_peers(now);
    }

    /// A datagram on the leg's own RTP port (RTP, or multiplexed RTCP, RFC 5761). What is in it afterwards is undefined; a
    /// packet that is relayed takes its memory along, which comes back by [`MediaCall::poll_output`].
    pub fn handle_rtp(
        &mut self,
        leg: LegId,
        source: SocketAddr,
        data: &mut Datagram,
        now: Instant,
        wall: Wall,
    ) {
        self.now = Some(now);
        let Some(index) = self.find(leg) else { return };
        self.on_datagram(index, Kind::of(data), (source, data), now, wall);
    }

    /// A datagram on the leg's RTCP port, which is opened where it lies.
    pub fn handle_rtcp(
        &mut self,
        leg: LegId,
        source: SocketAddr,
        data: &mut Datagram,
        now: Instant,
        wall: Wall,
    ) {
        self.now = Some(now);
        if let Some(index) = self.find(leg) {
            self.on_datagram(index, Kind::Rtcp, (source, data), now, wall);
        }
    }

    /// RTP or RTCP of a leg; nothing but what opens under the peer's key goes further, once there is one. A browser's
    /// never goes further without.
    fn on_datagram(
        &mut self,
        index: usize,
        kind: Kind,
        (source, data): (SocketAddr, &mut Datagram),
        now: Instant,
        wall: Wall,
    ) {
        if kind == Kind::Rtp && self.keep_early(index, source, data, now) {
            return;
        }
        if self.open(index, kind, data, now) {
            match kind {
                Kind::Rtp => self.on_rtp(index, source, data, now),
                Kind::Rtcp => self.on_rtcp(index, source, data, now, wall),
            }
        }
    }

    /// Opens what is encrypted; whether it may go further.
    fn open(&mut self, index: usize, kind: Kind, data: &mut Datagram, now: Instant) -> bool {
        let leg = &mut self.legs[index];
        let contexts = match &mut leg.path {
            Path::Rtp(rtp) => rtp.secured.as_mut().map(|secured| &mut secured.contexts),
            Path::WebRtc(rtc) => match &mut rtc.contexts {
                Some(contexts) => Some(&mut **contexts),
                None => {
                    leg.reject(DropCause::TooEarly);
                    return false;
                }
            },
        };
        if let Some(contexts) = contexts
            && let Err(why) = contexts.unprotect(kind, data, &mut self.outbox)
        {
            leg.reject(why.into());
            return false;
        }
        leg.path.signed(now);
        true
    }

    fn on_rtp(&mut self, index: usize, source: SocketAddr, data: &mut Datagram, now: Instant) {
        let leg = &mut self.legs[index];
        let Ok(packet) = RtpPacket::parse(data) else { return leg.reject(DropCause::Damaged) };
        let verdict = match &mut leg.path {
            Path::Rtp(rtp) => match &mut rtp.latch {
                Some(latch) => latch.check(source, &packet, leg.inbound.knows(packet.payload_type)),
                None => return leg.reject(DropCause::TooEarly),
            },
            Path::WebRtc(_) => LatchVerdict::Accepted,
        };
        match verdict {
            LatchVerdict::Accepted => {
                if let Some(relayed) = self.on_packet(index, &packet, now) {
                    self.relay(relayed, std::mem::take(data));
                }
            }
            LatchVerdict::Probing => {}
            LatchVerdict::Refused => leg.reject(DropCause::WrongSource),
        }
    }

    /// A datagram of a browser that came this way. As with [`MediaCall::handle_rtp`] its memory may go along.
    pub fn handle_browser(
        &mut self,
        leg: LegId,
        route: impl Into<Route>,
        data: &mut Datagram,
        now: Instant,
        wall: Wall,
    ) {
        self.now = Some(now);
        let (Some(index), route) = (self.find(leg), route.into()) else { return };
        // RFC 7983 §7.
        if matches!(data.first(), Some(128..=191)) {
            return self.on_datagram(index, Kind::of(data), (route.remote, data), now, wall);
        }
        let Path::WebRtc(rtc) = &mut self.legs[index].path else { return };
        let Some(peer) = rtc.peer.as_mut() else { return };
        peer.handle_datagram(route, data, now);
        rtc.dirty = true;
        self.drain_peers(now);
    }

    /// Time has come to [`MediaCall::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant, wall: Wall) {
        self.now = Some(now);
        for index in 0..self.legs.len() {
            if let Path::WebRtc(rtc) = &mut self.legs[index].path
                && let Some(peer) = rtc.peer.as_mut()
                && peer.poll_timeout().is_some_and(|at| at <= now)
            {
                peer.handle_timeout(now);
                rtc.dirty = true;
            }
        }
        // What the peers held comes before what is made up for its absence.
        self.drain_peers(now);
        for index in 0..self.legs.len() {
            self.media_timeout(index, now);
            self.report_timeout(index, now, wall);
        }
        self.record_timeout(now);
        self.drain_peers(now);
    }

    /// When to call [`MediaCall::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let now = self.now?;
        let legs = self.legs.iter().filter_map(|leg| leg.poll_timeout(now)).min();
        let Some(recorder) = &self.recorder else { return legs };
        legs.into_iter().chain([recorder.next_at()]).min()
    }

    /// The next thing to do; poll until `None` after every other call. A datagram to send is left in `buf`, with its own
    /// memory for that of `buf`. Polled with the datagram that was handed in, a relayed packet never leaves its memory.
    pub fn poll_output(&mut self, buf: &mut Datagram) -> Option<Output> {
        self.outbox.pop(buf)
    }

    /// Packets dropped, as far as legs have told of them and nobody has asked: they tell with each [`Event::Stats`].
    pub fn take_drops(&mut self) -> Drops {
        std::mem::take(&mut self.drops)
    }

    fn find(&self, leg: LegId) -> Option<usize> {
        self.legs.iter().position(|l| l.id == leg)
    }

    fn set_source(&mut self, leg: LegId, source: Source, now: Instant) {
        let Some(index) = self.find(leg).filter(|i| self.legs[*i].source != source) else { return };
        self.bindings += 1;
        let leg = &mut self.legs[index];
        leg.source = source;
        leg.filling.new_source();
        leg.reframes = false;
        leg.binding = self.bindings;
        leg.answered(now);
        self.start_playing(index, source, now);
        self.settle(index, now);
    }

    /// The leg may send something else, or may send now: its timers begin.
    fn settle(&mut self, index: usize, now: Instant) {
        let leg = &mut self.legs[index];
        let begun = leg.out.packets() > 0;
        let trunk = leg.kind() == LegKind::Rtp;
        leg.fill_at = match leg.source {
            Source::Leg(_) | Source::Echo if trunk => Some(now + FRAME_TIME),
            Source::Nothing if trunk && begun => Some(now + FRAME_TIME),
            Source::Leg(_) | Source::Echo | Source::Nothing | Source::Tone(_) | Source::Music(_) => None,
        };
        // Packets that flow already are not to be cut into.
        leg.fill_lag = FRAME_TIME;
        if let (Some(at), Some(sent)) = (&mut leg.fill_at, leg.out.last_sent()) {
            *at = (*at).max(sent + FORWARDING_PAUSED);
        }
        self.hear_early(now);
        self.media_timeout(index, now);
    }

    fn remove(&mut self, index: usize, now: Instant, wall: Wall) {
        let stats = self.take_stats(index, wall);
        let mut leg = self.legs.remove(index);
        leg.farewell(&mut self.outbox, now, wall);
        let gone = leg.id;
        self.outbox.tell(Event::Stats { leg: gone, stats });
        self.outbox.push(Output::ReleaseLeg { leg: gone });
        self.silence_listeners(gone, now);
    }

    /// Whoever heard this leg hears nothing.
    fn silence_listeners(&mut self, gone: LegId, now: Instant) {
        let listeners: Vec<LegId> =
            self.legs.iter().filter(|l| l.source == Source::Leg(gone)).map(|l| l.id).collect();
        for listener in listeners {
            self.set_source(listener, Source::Nothing, now);
        }
    }

    /// Takes everything out of the peer connections; a packet of one may give another something to do.
    fn drain_peers(&mut self, now: Instant) {
        let dirty = |leg: &mut Leg| match &mut leg.path {
            Path::WebRtc(rtc) => std::mem::take(&mut rtc.dirty),
            Path::Rtp(_) => false,
        };
        while let Some(index) = self.legs.iter_mut().position(dirty) {
            self.drain_peer(index, now);
        }
    }

    fn drain_peer(&mut self, index: usize, now: Instant) {
        let leg = self.legs[index].id;
        loop {
            let MediaCall { legs, outbox, .. } = self;
            let mut polled = None;
            let buffer = outbox.written(|out| polled = legs[index].poll_peer(out));
            let Some(output) = polled else { return outbox.give_back(buffer) };
            match output {
                PeerOutput::Transmit(route) => {
                    self.outbox.datagram(Output::Browser { leg, route }, buffer);
                    continue;
                }
                PeerOutput::Connected { keys } => self.peer_connected(index, &keys, now),
                PeerOutput::PathLost => self.outbox.tell(Event::PathLost { leg }),
                PeerOutput::PathRestored => self.outbox.tell(Event::PathRestored { leg }),
                PeerOutput::Disconnected { why } => {
                    let leg = &mut self.legs[index];
                    leg.silent_at = None;
                    if let Path::WebRtc(rtc) = &mut leg.path {
                        rtc.contexts = None;
                    }
                    self.outbox.tell(Event::Lost { leg: leg.id, why });
                }
            }
            self.outbox.give_back(buffer);
        }
    }

    fn peer_connected(&mut self, index: usize, keys: &SrtpKeys, now: Instant) {
        let leg = &mut self.legs[index];
        if let Path::WebRtc(rtc) = &mut leg.path {
            rtc.contexts = Contexts::of_association(keys).map(Box::new);
        }
        leg.report_at = now + leg.path.report_interval();
        if !leg.connected {
            leg.connected = true;
            self.outbox.tell(Event::Connected { leg: leg.id });
        }
        leg.silent_at = leg.promised.as_ref().map(|_| now + SILENT_AFTER);
        self.settle(index, now);
    }
}
