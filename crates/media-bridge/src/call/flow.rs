//! The way of a packet: from the leg that it came on to every leg that listens.

use std::ops::Range;
use std::time::{Duration, Instant};

use types::{Datagram, LegId};

use super::digits::Telling;
use super::ear::{Chunk, Ear, late_after};
use super::filling::law_of;
use super::leg::{FORWARDING_PAUSED, FRAME_TIME, Leg, Meaning, Origin};
use super::{DropCause, MediaCall};
use crate::codec::{Comfort, Law, NARROW, opus_packet, own_rate};
use crate::control::{Codec, Event, LegKind, Source};
use crate::dtmf::Way;
use crate::rtp::{Arrival, Head, Incoming, RtpHeader, RtpPacket, Stamp};
use crate::sdp::clock_rate;

/// A listener of an ear waits longer than that conceals.
const FILLED_WITHOUT_EAR: Duration = Duration::from_millis(200);
/// Packets of filling sent at once at most: as long as a jittery network is waited for.
const FILLED_AT_ONCE: u32 = 10;

/// How a listener gets a packet.
enum Path {
    /// As it is.
    Same,
    /// Sample by sample from this law to the other: nothing to keep, nothing to wait for.
    Recode(Law),
    /// Through samples, in order.
    Transcode,
}

fn path(from: Codec, to: &Leg) -> Option<Path> {
    let agreed = to.agreed?;
    Some(match (from, agreed.codec) {
        (from, to_codec) if to.reframes && from == to_codec => Path::Transcode,
        (Codec::Pcmu | Codec::Pcma, Codec::Pcmu | Codec::Pcma) if to.reframes => Path::Transcode,
        (Codec::Pcmu, Codec::Pcma) => Path::Recode(Law::Mu),
        (Codec::Pcma, Codec::Pcmu) => Path::Recode(Law::A),
        (from, to) if from == to => Path::Same,
        (Codec::Opus | Codec::Pcmu | Codec::Pcma | Codec::G722, _) => Path::Transcode,
    })
}

/// How long a packet's sound lasts, in ticks of its clock; of a damaged one as long as usual.
fn length(codec: Codec, payload: &[u8]) -> u32 {
    match codec {
        Codec::Opus => opus_packet::samples(payload, 48_000).map_or(960, |samples| samples as u32),
        // Of G.722 two samples a byte under half the clock (RFC 3551 §4.5.2).
        Codec::Pcmu | Codec::Pcma | Codec::G722 => payload.len() as u32,
    }
}

/// A packet that a listener gets at once, under numbers of its own.
pub(super) struct Relayed {
    listener: usize,
    stamp: Stamp,
    pt: u8,
    /// Sample by sample from this law to the other.
    law: Option<Law>,
    /// Where the payload is.
    payload: Range<usize>,
}

/// Whether `listener` hears what the leg `from` says.
pub(super) fn hears(listener: &Leg, from: LegId) -> bool {
    match listener.source {
        Source::Leg(id) => id == from,
        Source::Echo => listener.id == from,
        Source::Nothing | Source::Tone(_) | Source::Music(_) => false,
    }
}

impl MediaCall {
    /// An authentic packet of a leg's peer; gives what is left to be done, with its memory.
    pub(super) fn on_packet(&mut self, a: usize, packet: &RtpPacket<'_>, now: Instant) -> Option<Relayed> {
        if packet.payload.is_empty() {
            return None;
        }
        match self.legs[a].inbound.meaning(packet.payload_type) {
            Meaning::Audio(codec) => return self.on_audio(a, codec, packet, now),
            Meaning::Event { clock } => self.on_event(a, clock, packet, now),
            Meaning::Noise => self.on_noise(a, packet, now),
            Meaning::Unknown => {
                let own = self.legs[a].stats_in.ssrc() == Some(packet.ssrc);
                match self.legs[a].inbound.stray_event(packet).filter(|_| own) {
                    Some(clock) => self.on_event(a, clock, packet, now),
                    None => {
                        self.legs[a].watch.stray(packet.payload_type);
                        self.legs[a].reject(DropCause::UnknownPayload);
                    }
                }
            }
        }
        None
    }

    fn on_audio(&mut self, a: usize, codec: Codec, packet: &RtpPacket<'_>, now: Instant) -> Option<Relayed> {
        let MediaCall { legs, outbox, .. } = self;
        let leg = &mut legs[a];
        let (clock, length) = (clock_rate(codec), length(codec, packet.payload));
        leg.stats_in.set_clock(clock);
        let agreed = leg.inbound.has(codec);
        let timestamp = leg.watch.packet(packet, (codec, agreed), length, now);
        let packet = &RtpPacket { timestamp, ..*packet };
        let arrival = leg.stats_in.received(packet, now);
        let extended = leg.place(arrival)?;
        leg.heard(outbox, now);
        leg.watch.look(codec, packet.payload, extended);
        self.record(a, codec, packet, now);
        let incoming =
            Incoming { extended, timestamp: packet.timestamp, clock, marker: packet.marker, length };
        // What is decoded for several listeners is decoded for the best of them.
        let mut decoded = None;
        let mut relayed = None;
        for b in 0..self.legs.len() {
            if !hears(&self.legs[b], self.legs[a].id) {
                continue;
            }
            let spared = self.legs[b].is_spared_tones_of(&self.legs[a]);
            let leg = &mut self.legs[b];
            let Some(agreed) = leg.agreed else { continue };
            leg.reframes |= codec != Codec::Opus
                && agreed.ptime.is_some()
                && length * 1_000 != u32::from(agreed.packet_ms()) * clock;
            let law = match path(codec, leg).unwrap_or(Path::Transcode) {
                // To be replaced, it must be samples.
                Path::Same | Path::Recode(_) if spared => {
                    decoded = decoded.max(Some(own_rate(codec).unwrap_or(NARROW)));
                    continue;
                }
                Path::Same => None,
                Path::Recode(from) => Some(from),
                Path::Transcode => {
                    decoded = decoded.max(Some(own_rate(agreed.codec).unwrap_or(NARROW)));
                    continue;
                }
            };
            // The last of several gets the packet itself, those before it copies.
            if let Some(next) = self.forward((a, b), (packet, law), incoming, now)
                && let Some(before) = relayed.replace(next)
            {
                self.relay_copy(before, packet.payload);
            }
        }
        let looks_for_digits = self.legs[a].speaks_tones();
        if let Some(rate) = decoded.or(looks_for_digits.then_some(NARROW)) {
            self.hear_in_order(a, (codec, rate), packet, extended, now);
            if looks_for_digits {
                self.take_digits(a, now);
            }
        } else {
            self.legs[a].ear = None;
            if relayed.is_some() {
                self.legs[a].watch.passed_on(codec, packet.payload, length);
            }
        }
        relayed
    }

    /// Gives a packet the listener's own numbers, if it may have it.
    fn forward(
        &mut self,
        (a, b): (usize, usize),
        (packet, law): (&RtpPacket<'_>, Option<Law>),
        incoming: Incoming,
        now: Instant,
    ) -> Option<Relayed> {
        let (epoch, jitter) = (self.legs[a].stats_in.epoch(), self.legs[a].stats_in.jitter());
        let spared = self.legs[b].is_spared_audio_of(&self.legs[a]);
        let leg = &mut self.legs[b];
        let source = leg.source_id(Origin::Forwarded(epoch));
        let Some(agreed) = leg.sending().filter(|_| !leg.is_interrupted() && !spared) else {
            leg.out.skip(source, incoming.extended);
            return None;
        };
        let Some(stamp) = leg.out.forward(source, incoming, now) else {
            self.legs[a].counters.late += 1;
            return None;
        };
        let lag = leg.lag(jitter);
        leg.spoke(now, lag);
        let payload = packet.header..packet.header + packet.payload.len();
        Some(Relayed { listener: b, stamp, pt: agreed.pt, law, payload })
    }

    /// Sends a packet on where it lies.
    pub(super) fn relay(&mut self, relayed: Relayed, mut packet: Datagram) {
        let Relayed { listener, stamp, pt, law, payload } = relayed;
        if let Some(law) = law {
            law.recode(&mut packet[payload.clone()]);
        }
        let leg = &mut self.legs[listener];
        match leg.agreed.and_then(|agreed| law_of(agreed.codec)) {
            // A browser conceals what is missing itself.
            Some(law) if leg.kind() == LegKind::Rtp => leg.filling.pass(law, &mut packet[payload.clone()]),
            Some(_) | None => leg.filling.pass_unheard(),
        }
        leg.relay(stamp, pt, (packet, payload), &mut self.outbox);
    }

    fn relay_copy(&mut self, relayed: Relayed, payload: &[u8]) {
        let mut copy = self.outbox.buffer();
        copy.extend_from_slice(&[0; RtpHeader::LENGTH]);
        copy.extend_from_slice(payload);
        self.relay(Relayed { payload: RtpHeader::LENGTH..copy.len(), ..relayed }, copy);
    }

    fn hear_in_order(
        &mut self,
        a: usize,
        (codec, rate): (Codec, u32),
        packet: &RtpPacket<'_>,
        extended: u64,
        now: Instant,
    ) {
        let leg = &mut self.legs[a];
        if leg.ear.as_ref().is_none_or(|e| !e.is_for(codec, rate)) {
            leg.ear = Ear::new(codec, rate);
        }
        let jitter = leg.stats_in.jitter();
        let head = head(packet, extended);
        self.with_ear(a, now, |ear, sink| ear.accept(head, packet.payload, jitter, now, sink));
    }

    /// Lets a leg's ear work, its sound going to every listener that needs samples.
    fn with_ear<R>(
        &mut self,
        a: usize,
        now: Instant,
        work: impl FnOnce(&mut Ear, &mut dyn FnMut(Chunk<'_>)) -> R,
    ) -> Option<R> {
        // Taken out meanwhile: the listener may be the leg itself.
        let mut ear = self.legs[a].ear.take()?;
        let codec = ear.codec();
        let (mut late, mut peak, mut heard) = (0, 0, Duration::ZERO);
        let done = work(&mut ear, &mut |chunk| {
            if !chunk.concealed && law_of(codec).is_none() {
                peak = chunk.pcm.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0).max(peak);
                heard += FRAME_TIME * chunk.pcm.len() as u32 / (chunk.rate / 50);
            }
            late += self.tell_listeners(a, codec, &chunk, now);
        });
        let leg = &mut self.legs[a];
        leg.watch.level(peak, heard);
        let tally = ear.take_tally();
        leg.counters.tally.fec += tally.fec;
        leg.counters.tally.concealed += tally.concealed;
        leg.counters.tally.damaged += tally.damaged;
        leg.counters.tally.late += tally.late + late;
        leg.ear = Some(ear);
        Some(done)
    }

    fn tell_listeners(&mut self, a: usize, codec: Codec, chunk: &Chunk<'_>, now: Instant) -> u64 {
        let MediaCall { legs, outbox, .. } = self;
        let suspect = legs[a].detect(chunk, now);
        let silent = chunk.silent();
        let mut late = 0;
        for b in 0..legs.len() {
            let spared = legs[b].is_spared_tones_of(&legs[a]);
            let wants = matches!(path(codec, &legs[b]), Some(Path::Transcode));
            if !(wants || spared) || !hears(&legs[b], legs[a].id) {
                continue;
            }
            let hidden = (spared && suspect) || legs[b].is_spared_audio_of(&legs[a]);
            let source = legs[b].source_id(Origin::Decoded(chunk.timeline));
            late += legs[b].speak(source, if hidden { &silent } else { chunk }, outbox, now);
            legs[b].spoke(now, FILLED_WITHOUT_EAR);
        }
        late
    }

    /// A telephone-event packet: never forwarded, the digit is made anew for each listener (field problem 16).
    fn on_event(&mut self, a: usize, clock: u32, packet: &RtpPacket<'_>, now: Instant) {
        let MediaCall { legs, outbox, .. } = self;
        let leg = &mut legs[a];
        let arrival = leg.stats_in.received_event(packet);
        // Events with an SSRC of their own have no place among the audio.
        let apart = leg.stats_in.ssrc().is_some_and(|ssrc| ssrc != packet.ssrc);
        let extended = if apart { None } else { leg.place(arrival) };
        if extended.is_none() && !apart {
            return;
        }
        leg.heard(outbox, now);
        leg.events_in.set_clock(clock);
        leg.events_in.handle_packet(packet.ssrc, packet.timestamp, packet.payload, now);
        if let Some(extended) = extended {
            self.hold_place(a, packet, extended, now);
        }
        self.take_digits(a, now);
    }

    /// A packet that nobody hears as it is has its number among those that they hear.
    fn hold_place(&mut self, a: usize, packet: &RtpPacket<'_>, extended: u64, now: Instant) {
        let legs = &mut self.legs;
        let leg = &legs[a];
        let epoch = leg.stats_in.epoch();
        let from = leg.id;
        for listener in legs.iter_mut().filter(|l| hears(l, from)) {
            let source = listener.source_id(Origin::Forwarded(epoch));
            listener.out.skip(source, extended);
        }
        // It has a place in the order, and its sender is quiet meanwhile.
        let head = head(packet, extended);
        self.with_ear(a, now, |ear, sink| {
            ear.accept(head, &[], Default::default(), now, sink);
            ear.expect_nothing();
        });
    }

    /// The peer says what its background is like, and nothing else until further notice (RFC 3389): listeners get that noise.
    fn on_noise(&mut self, a: usize, packet: &RtpPacket<'_>, now: Instant) {
        let MediaCall { legs, outbox, .. } = self;
        let leg = &mut legs[a];
        let arrival = leg.stats_in.received(packet, now);
        let (Some(extended), Some(comfort)) = (leg.place(arrival), Comfort::parse(packet.payload)) else {
            return;
        };
        leg.heard(outbox, now);
        let jitter = leg.stats_in.jitter();
        self.hold_place(a, packet, extended, now);
        for b in 0..self.legs.len() {
            if hears(&self.legs[b], self.legs[a].id) {
                let leg = &mut self.legs[b];
                leg.filling.said(comfort);
                leg.fill_lag = late_after(jitter);
                leg.fill_at = Some(leg.out.next_slot().unwrap_or(now) + leg.fill_lag);
            }
        }
    }

    /// Reports finished digits and queues them for those who listen.
    pub(super) fn take_digits(&mut self, a: usize, now: Instant) {
        while let Some(heard) = self.legs[a].events_in.poll_digit() {
            self.pressed(a, (heard.digit, heard.duration), Way::Media, now);
        }
        while let Some(heard) = self.legs[a].tones_in.as_mut().and_then(|tones| tones.poll_digit()) {
            self.pressed(a, (heard.digit, heard.duration), Way::Tones, now);
        }
    }

    /// A leg's peer pressed a digit: reported, and queued for those who listen.
    pub(super) fn pressed(&mut self, a: usize, (digit, duration): (char, Duration), way: Way, now: Instant) {
        if !self.legs[a].presses.is_new((digit, duration), way, now) {
            return;
        }
        let from = self.legs[a].id;
        self.outbox.tell(Event::Dtmf { leg: from, digit, duration });
        for b in 0..self.legs.len() {
            // Who gets tones has heard these.
            let heard = way == Way::Tones && !self.legs[b].is_spared_tones_of(&self.legs[a]);
            if self.legs[b].source == Source::Leg(from) && !heard {
                self.send_digit(b, digit, duration, now);
            }
        }
    }

    /// Queues a digit and begins it if nothing else sounds. A full queue or a leg that has no way for it drops it.
    pub(super) fn send_digit(&mut self, b: usize, digit: char, duration: Duration, now: Instant) {
        let leg = &mut self.legs[b];
        if leg.agreed.is_none() {
            return;
        }
        let queued = match leg.telling() {
            Telling::Events => leg.events_out.push(digit, duration),
            Telling::Tones => leg.tones_out.push(digit, duration),
            Telling::Info | Telling::Nothing => return,
        };
        if queued.is_ok() {
            self.pump_events(b, now);
        }
    }

    fn pump_events(&mut self, b: usize, now: Instant) {
        let MediaCall { legs, outbox, .. } = self;
        let leg = &mut legs[b];
        leg.sound_digits(outbox, now);
        let Some(events) = leg.sending().and_then(|agreed| agreed.events) else { return };
        while let Some(packet) = leg.events_out.next_packet(now) {
            let stamp = leg.out.event(packet.first, packet.offset, packet.marker, now);
            leg.send(stamp, events.pt, &packet.payload, outbox);
        }
    }

    /// Everything on one leg that waits for time to pass.
    pub(super) fn media_timeout(&mut self, a: usize, now: Instant) {
        self.digits_timeout(a, now);
        self.pump_events(a, now);
        self.with_ear(a, now, |ear, sink| ear.release(now, sink));
        self.conceal(a, now);
        self.play(a, now);
        self.fill_gap(a, now);
    }

    /// Towards a trunk a missing frame is made up once it is overdue; a browser does that itself, and where much is missing, better.
    fn conceal(&mut self, a: usize, now: Instant) {
        let leg = &self.legs[a];
        if leg.ear.as_ref().and_then(|e| e.overdue_at()).is_none_or(|at| now < at) {
            return;
        }
        let to_trunk = |l: &Leg| l.kind() == LegKind::Rtp && hears(l, leg.id);
        if !self.legs.iter().any(to_trunk) {
            self.with_ear(a, now, |ear, _| ear.leave_to_browsers());
            return;
        }
        let paused = self.with_ear(a, now, |ear, sink| ear.conceal_overdue(now, sink)).unwrap_or(false);
        if paused {
            let from = self.legs[a].id;
            for listener in self.legs.iter_mut().filter(|l| hears(l, from)) {
                listener.fill_at = listener.fill_at.map(|_| now);
                let due = listener.out.next_slot().unwrap_or(now);
                listener.fill_lag = now.saturating_duration_since(due);
            }
        }
    }

    /// Sends what a listener is owed by now, if its source has not spoken for too long.
    fn fill_gap(&mut self, a: usize, now: Instant) {
        let MediaCall { legs, outbox, .. } = self;
        let leg = &mut legs[a];
        if leg.sending().is_none() || leg.fill_at.is_none_or(|at| now < at) {
            return;
        }
        if leg.is_interrupted() {
            if leg.events_out.is_sounding() {
                leg.out.owe_nothing(now);
            }
            leg.fill_at = Some(now + FRAME_TIME);
            return;
        }
        let mut next = now;
        for _ in 0..FILLED_AT_ONCE {
            leg.fill(outbox, now);
            next = leg.out.next_slot().unwrap_or(now) + leg.fill_lag;
            if next > now {
                break;
            }
        }
        leg.fill_at = Some(next.max(now + FRAME_TIME / 4));
    }
}

impl Leg {
    /// How late the next packet of a source that is passed on may be. Only of G.711 one is made up soon; of other codecs
    /// the receiver knows more.
    fn lag(&self, jitter: Duration) -> Duration {
        match self.agreed.and_then(|agreed| law_of(agreed.codec)) {
            Some(_) => late_after(jitter),
            None => FORWARDING_PAUSED - FRAME_TIME,
        }
    }

    /// Extended sequence number of an accepted packet.
    fn place(&mut self, arrival: Arrival) -> Option<u64> {
        match arrival {
            Arrival::Begins(extended) => {
                if let Some(ear) = &mut self.ear {
                    ear.reset();
                }
                Some(extended)
            }
            Arrival::Newer(extended) | Arrival::Older(extended) => Some(extended),
            Arrival::Rejected => {
                self.reject(DropCause::OutOfSequence);
                None
            }
        }
    }
}

fn head(packet: &RtpPacket<'_>, extended: u64) -> Head {
    Head { extended, timestamp: packet.timestamp, payload_type: packet.payload_type, marker: packet.marker }
}
