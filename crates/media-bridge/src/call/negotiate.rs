//! Offer and answer (RFC 3264). Everything is worked out first and put into effect last, so that a refused
//! description leaves the session as it was.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use types::limits::LEGS_PER_CALL;
use types::{Entropy, LegId};
use webrtc_peer::{Peer, PeerParams};

use super::leg::{Inbound, Leg, Path, RtpPath, SILENT_AFTER, WebRtcPath};
use super::{DropCause, MediaCall, Output};
use crate::control::{Codec, DtmfMode, Event, LegKind, LegParams, Refusal, Srtp};
use crate::rtp::Latch;
use crate::sdp::{
    self, Agreed, Body, Crypto, Direction, IceCredentials, LocalAudio, LocalTransport, MediaLine, Origin,
    Remote, RtcpTerms, Setup, WebRtcLocal,
};

/// Our tag when we offer.
const OUR_MID: &str = "0";

/// What was said so far on one leg.
pub(super) struct Negotiation {
    id: u64,
    version: u64,
    /// Our newest description.
    ours: Vec<u8>,
    /// Their newest one.
    theirs: Option<Remote>,
    /// Codecs of our offer that waits for an answer, or had one that may still be replaced (early media, then 200).
    offered: Option<Vec<Codec>>,
    /// Keys of our newest offer.
    crypto: Vec<Crypto>,
    /// Which way the peer lets media flow.
    direction: Direction,
    /// The same, where signalling does not know it yet.
    untold: Option<Direction>,
}

impl Negotiation {
    pub fn new(entropy: &mut dyn Entropy) -> Negotiation {
        // 62 bits: some read the session id into a signed number.
        Negotiation {
            id: entropy.u64() >> 2,
            version: 1,
            ours: Vec::new(),
            theirs: None,
            offered: None,
            crypto: Vec::new(),
            direction: Direction::SendRecv,
            untold: None,
        }
    }

    /// Keys of our newest offer.
    pub fn offered_crypto(&mut self) -> &mut Vec<Crypto> {
        &mut self.crypto
    }

    /// Something of theirs was accepted.
    pub fn is_begun(&self) -> bool {
        self.theirs.is_some()
    }

    /// Writes our description; its version grows only if something else changed (RFC 3264 §8).
    fn publish(&mut self, address: IpAddr, body: Body<'_>, audio: &LocalAudio) -> Vec<u8> {
        let mut origin = Origin { id: self.id, version: self.version, address };
        let mut text = sdp::write(origin, body, audio);
        if !self.ours.is_empty() && text != self.ours {
            self.version += 1;
            origin.version = self.version;
            text = sdp::write(origin, body, audio);
        }
        self.ours.clone_from(&text);
        text
    }
}

impl MediaCall {
    /// [`crate::control::Command::Answer`].
    pub(super) fn answer(
        &mut self,
        id: LegId,
        params: LegParams,
        offer: &[u8],
        rtp_local: Option<SocketAddr>,
        now: Instant,
    ) {
        let known = self.find(id);
        let done = match known {
            Some(index) => {
                self.widen(index, rtp_local);
                self.answer_again(index, &params.codecs, offer, now)
            }
            None => self.answer_first(id, params, offer, rtp_local, now),
        };
        match done {
            Ok((sdp, codec)) => {
                self.tell_direction(id);
                self.outbox.tell(Event::LocalSdp { leg: id, sdp, codec: Some(codec) });
            }
            Err(why) => self.refuse(id, why, known.is_none()),
        }
    }

    /// [`crate::control::Command::Offer`].
    pub(super) fn offer(
        &mut self,
        id: LegId,
        params: LegParams,
        rtp_local: Option<SocketAddr>,
        now: Instant,
    ) {
        let known = self.find(id);
        let codecs = params.codecs.clone();
        let index = match known {
            Some(index) => Ok(index),
            None => self.add_leg(id, params, rtp_local, now),
        };
        match index {
            Ok(index) => {
                let sdp = self.write_offer(index, codecs);
                self.outbox.tell(Event::LocalSdp { leg: id, sdp, codec: None });
            }
            Err(why) => self.refuse(id, why, known.is_none()),
        }
    }

    /// [`crate::control::Command::SetAnswer`].
    pub(super) fn set_answer(
        &mut self,
        id: LegId,
        answer: &[u8],
        rtp_local: Option<SocketAddr>,
        now: Instant,
    ) {
        let done = match self.find(id) {
            Some(index) => {
                self.widen(index, rtp_local);
                self.take_answer(index, answer, now)
            }
            None => Err(Refusal::Unknown),
        };
        match done {
            Ok(codec) => {
                self.tell_direction(id);
                self.outbox.tell(Event::Negotiated { leg: id, codec });
            }
            Err(why) => self.refuse(id, why, false),
        }
    }

    /// The leg has got a socket pair of the other address family.
    fn widen(&mut self, index: usize, other: Option<SocketAddr>) {
        if let Path::Rtp(rtp) = &mut self.legs[index].path {
            rtp.other = other.or(rtp.other);
        }
    }

    /// Says it if media now flows another way than was said last.
    fn tell_direction(&mut self, id: LegId) {
        let Some(index) = self.find(id) else { return };
        let negotiation = &mut self.legs[index].sdp;
        if let Some(direction) = negotiation.untold.take() {
            self.outbox.tell(Event::Direction { leg: id, direction });
        }
    }

    fn refuse(&mut self, leg: LegId, why: Refusal, release: bool) {
        self.outbox.tell(Event::Refused { leg, why });
        if release {
            self.outbox.push(Output::ReleaseLeg { leg });
        }
    }

    fn answer_first(
        &mut self,
        id: LegId,
        params: LegParams,
        offer: &[u8],
        rtp_local: Option<SocketAddr>,
        now: Instant,
    ) -> Result<(Vec<u8>, Codec), Refusal> {
        let remote = Remote::parse(offer)?;
        let audio = remote.usable_audio(params.kind, params.srtp)?;
        let agreed = sdp::choose_for_answer(&remote.lines[audio], &params.codecs)?;
        let index = self.add_leg(id, params, rtp_local, now)?;
        let done = self.put_answer(index, remote, audio, agreed, now);
        if done.is_err() {
            self.legs.remove(index);
        }
        done
    }

    fn answer_again(
        &mut self,
        index: usize,
        codecs: &[Codec],
        offer: &[u8],
        now: Instant,
    ) -> Result<(Vec<u8>, Codec), Refusal> {
        let leg = &self.legs[index];
        let remote = Remote::parse(offer)?;
        let audio = remote.usable_audio(leg.kind(), leg.params.srtp)?;
        let line = &remote.lines[audio];
        let mut agreed = sdp::choose_for_answer(line, codecs)?;
        // What runs goes on if it still may: nothing to switch, nothing to hear.
        if let Some(now_used) = leg.agreed.filter(|a| codecs.contains(&a.codec))
            && let Ok(same) = sdp::choose_for_answer(line, &[now_used.codec])
        {
            agreed = same;
        }
        self.put_answer(index, remote, audio, agreed, now)
    }

    /// Makes a leg without any agreement.
    fn add_leg(
        &mut self,
        id: LegId,
        params: LegParams,
        rtp_local: Option<SocketAddr>,
        now: Instant,
    ) -> Result<usize, Refusal> {
        if self.legs.len() >= LEGS_PER_CALL {
            return Err(Refusal::Unusable(format!("the call has {LEGS_PER_CALL} legs already")));
        }
        let Some(codec) = params.codecs.first().copied() else {
            let theirs = "a codec that the trunk does not list".to_owned();
            return Err(Refusal::NoCommonCodec { theirs, ours: "nothing but the trunk's codecs".to_owned() });
        };
        let path = match params.kind {
            LegKind::Rtp => {
                let Some(local) = rtp_local else {
                    return Err(Refusal::NoPort("no RTP port was leased".to_owned()));
                };
                Path::Rtp(Box::new(RtpPath {
                    local,
                    other: None,
                    signalling: params.remote,
                    latch: None,
                    rtcp: None,
                    mux: false,
                    secured: None,
                    retired: Default::default(),
                }))
            }
            LegKind::WebRtc => Path::WebRtc(Box::new(WebRtcPath {
                home: self.setup.clone(),
                ice: credentials(&mut *self.entropy),
                remote_ice: None,
                fingerprint: None,
                peer: None,
                cname: self.entropy.token(16),
                contexts: None,
                dirty: false,
            })),
        };
        let mut leg = Leg::new(id, params, path, codec, &mut *self.entropy, now);
        leg.mouth.set_effort(self.effort);
        self.legs.push(leg);
        Ok(self.legs.len() - 1)
    }

    fn put_answer(
        &mut self,
        index: usize,
        remote: Remote,
        audio: usize,
        agreed: Agreed,
        now: Instant,
    ) -> Result<(Vec<u8>, Codec), Refusal> {
        let line = &remote.lines[audio];
        let active = line.setup == Some(Setup::Passive);
        self.connect(index, line, agreed, active, now)?;
        if let (Path::Rtp(rtp), Some(address)) = (&mut self.legs[index].path, line.rtp_address()) {
            rtp.face(address.ip());
        }
        let theirs = sdp::choose_crypto(line, self.legs[index].params.srtp);
        self.legs[index].answer_crypto(theirs, &mut *self.entropy);
        let transport = self.local_transport(index, line.mid.as_deref(), |leg_mid| {
            remote.bundle.iter().any(|tag| tag == leg_mid)
        });
        let transport = match transport {
            LocalTransport::WebRtc(mut rtc) => {
                rtc.setup = if active { Setup::Active } else { Setup::Passive };
                LocalTransport::WebRtc(rtc)
            }
            LocalTransport::Rtp { .. } => transport,
        };
        let address = self.own_address(index);
        let leg = &mut self.legs[index];
        leg.agree_rtcp(RtcpTerms::answering(line, multiplexed(agreed).is_ok()));
        // A browser with comfort noise cuts speech into talkspurts, and has nothing to save by it.
        let noise = agreed.noise.filter(|_| leg.kind() == LegKind::Rtp);
        let agreed = Agreed { noise, ..agreed };
        let local = LocalAudio {
            codecs: vec![(agreed.pt, agreed.codec)],
            events: agreed.events.into_iter().collect(),
            noise: agreed.noise,
            direction: line.wanted(leg.kind()).reversed(),
            bandwidth: leg.params.bandwidth,
            rtcp: leg.rtcp,
            transport,
        };
        let text = leg.sdp.publish(address, Body::Like { theirs: &remote, audio }, &local);
        let inbound =
            Inbound { formats: local.codecs.into_iter().collect(), noise: local.noise, events: local.events };
        leg.agree(agreed, inbound);
        direct(leg, line, now);
        leg.sdp.offered = None;
        leg.sdp.theirs = Some(remote);
        self.settle(index, now);
        Ok((text, agreed.codec))
    }

    fn write_offer(&mut self, index: usize, codecs: Vec<Codec>) -> Vec<u8> {
        let address = self.own_address(index);
        let leg = &self.legs[index];
        let (bandwidth, direction, rtcp) = (leg.params.bandwidth, Direction::SendRecv, leg.rtcp);
        let by_tones = leg.params.dtmf == DtmfMode::Inband;
        self.legs[index].offer_crypto(&mut *self.entropy);
        let leg = &self.legs[index];
        // A later offer keeps every line of the session (RFC 3264 §8).
        let theirs = leg.sdp.theirs.clone();
        let known =
            theirs.as_ref().and_then(|t| Some((t, t.usable_audio(leg.kind(), leg.params.srtp).ok()?)));
        let body = known.map_or(Body::Offer, |(theirs, audio)| Body::Like { theirs, audio });
        let running = known.zip(leg.agreed).filter(|_| leg.kind() == LegKind::WebRtc);
        let local = match running {
            // A DTLS association carries nothing else, under the same numbers and tag (RFC 9429 §5.2.2).
            Some(((theirs, audio), agreed)) => {
                let line = &theirs.lines[audio];
                let bundled = |mid: &str| theirs.bundle.iter().any(|tag| tag == mid);
                let transport = self.local_transport(index, line.mid.as_deref(), bundled);
                let codecs = vec![(agreed.pt, agreed.codec)];
                let events = agreed.events.into_iter().collect();
                LocalAudio { codecs, events, noise: agreed.noise, direction, bandwidth, rtcp, transport }
            }
            None => {
                let mut transport = self.local_transport(index, Some(OUR_MID), |_| true);
                if let LocalTransport::Rtp { crypto, .. } = &mut transport {
                    crypto.clone_from(&leg.sdp.crypto);
                }
                let events = if by_tones { Vec::new() } else { sdp::offer_events(&codecs) };
                let codecs = codecs.iter().map(|c| (sdp::offer_pt(*c), *c)).collect();
                // Comfort noise is understood, but not asked for: who is offered it falls silent.
                LocalAudio { codecs, events, noise: None, direction, bandwidth, rtcp, transport }
            }
        };
        let codecs = local.codecs.iter().map(|(_, codec)| *codec).collect();
        let leg = &mut self.legs[index];
        if let (Path::WebRtc(rtc), None) = (&leg.path, &leg.sdp.offered) {
            // Checks may come before the answer does.
            self.outbox.push(accept(leg.id, &rtc.ice));
        }
        let text = leg.sdp.publish(address, body, &local);
        // What we offer may come at once (RFC 3264 §5.1), beside what is agreed already.
        for format in local.codecs {
            if !leg.inbound.knows(format.0) {
                leg.inbound.formats.push(format);
            }
        }
        for event in local.events {
            if !leg.inbound.knows(event.pt) {
                leg.inbound.events.push(event);
            }
        }
        leg.sdp.offered = Some(codecs);
        text
    }

    fn take_answer(&mut self, index: usize, answer: &[u8], now: Instant) -> Result<Codec, Refusal> {
        let leg = &self.legs[index];
        let Some(offered) = leg.sdp.offered.clone() else {
            return Err(Refusal::Unusable("there is no offer of ours to answer".to_owned()));
        };
        let remote = Remote::parse(answer)?;
        let audio = remote.usable_audio(leg.kind(), leg.params.srtp)?;
        let line = &remote.lines[audio];
        let agreed = sdp::agree(line, &offered)?;
        let crypto = match leg.kind() {
            LegKind::Rtp => sdp::agree_crypto(line, &leg.sdp.crypto, leg.params.srtp)?,
            LegKind::WebRtc => None,
        };
        if leg.agreed == Some(agreed) && leg.sdp.theirs.as_ref() == Some(&remote) {
            return Ok(agreed.codec);
        }
        // We offered actpass: the answerer is active unless it says otherwise (RFC 8842 §5.3).
        self.connect(index, line, agreed, line.setup == Some(Setup::Passive), now)?;
        let leg = &mut self.legs[index];
        leg.secure(crypto);
        leg.agree_rtcp(leg.rtcp.answered(line));
        let mut inbound = Inbound {
            formats: offered.iter().map(|c| (sdp::offer_pt(*c), *c)).collect(),
            noise: None,
            events: sdp::offer_events(&offered),
        };
        // Some send under the payload types of their answer instead of ours (RFC 3264 §5.1 has them use ours).
        if !inbound.knows(agreed.pt) {
            inbound.formats.push((agreed.pt, agreed.codec));
        }
        if let Some(events) = agreed.events.filter(|e| !inbound.knows(e.pt)) {
            inbound.events.push(events);
        }
        leg.agree(agreed, inbound);
        direct(leg, line, now);
        leg.sdp.theirs = Some(remote);
        self.legs[index].answered(now);
        self.settle(index, now);
        Ok(agreed.codec)
    }

    /// Points the leg's transport at what the description says. The only part that can fail, and it changes nothing then.
    fn connect(
        &mut self,
        index: usize,
        line: &MediaLine,
        agreed: Agreed,
        active: bool,
        now: Instant,
    ) -> Result<(), Refusal> {
        let leg = &mut self.legs[index];
        let rtc = match &mut leg.path {
            Path::Rtp(rtp) => return aim(rtp, line),
            Path::WebRtc(rtc) => rtc,
        };
        multiplexed(agreed)?;
        let missing = || Refusal::Unusable("it has no ICE credentials or fingerprint".to_owned());
        let remote_ice = line.ice.clone().ok_or_else(missing)?;
        let print = line.fingerprints.iter().find(|f| f.algorithm == "sha-256").or(line.fingerprints.first());
        let print = print.cloned().ok_or_else(missing)?;
        if rtc.peer.is_some() && rtc.fingerprint.as_ref() == Some(&print) {
            if rtc.remote_ice.as_ref() != Some(&remote_ice) {
                rtc.ice = credentials(&mut *self.entropy);
                let ours = (rtc.ice.ufrag.clone(), rtc.ice.pwd.clone());
                let theirs = (remote_ice.ufrag.clone(), remote_ice.pwd.clone());
                if let Some(peer) = rtc.peer.as_mut() {
                    peer.restart_ice(ours, theirs);
                }
                self.outbox.push(accept(leg.id, &rtc.ice));
            }
        } else {
            if rtc.peer.is_some() {
                rtc.ice = credentials(&mut *self.entropy);
            }
            let params = PeerParams {
                candidates: rtc.home.candidates.clone(),
                local_ufrag: rtc.ice.ufrag.clone(),
                local_pwd: rtc.ice.pwd.clone(),
                remote_ufrag: remote_ice.ufrag.clone(),
                remote_pwd: remote_ice.pwd.clone(),
                remote_fingerprint: (print.algorithm.clone(), print.bytes.clone()),
                active,
            };
            let peer =
                Peer::new(&self.setup.peers, params, now).map_err(|e| Refusal::Unusable(e.to_string()))?;
            if let Some(former) = rtc.peer.replace(peer) {
                leg.counters.drops.add(DropCause::NotAuthentic, former.dropped());
            }
            // The new association's keys are still to come (RFC 5764 §3).
            rtc.contexts = None;
            leg.connected = false;
            self.outbox.push(accept(leg.id, &rtc.ice));
        }
        rtc.dirty = true;
        rtc.remote_ice = Some(remote_ice);
        rtc.fingerprint = Some(print);
        Ok(())
    }

    /// How our side of the leg is described; `bundled` says whether a tag is in the group.
    fn local_transport(
        &self,
        index: usize,
        mid: Option<&str>,
        bundled: impl Fn(&str) -> bool,
    ) -> LocalTransport {
        let leg = &self.legs[index];
        match &leg.path {
            Path::Rtp(rtp) => LocalTransport::Rtp {
                port: rtp.local.port(),
                secure: leg.params.srtp == Srtp::Required,
                crypto: rtp.secured.iter().map(|s| s.ours().clone()).collect(),
            },
            Path::WebRtc(rtc) => LocalTransport::WebRtc(WebRtcLocal {
                ice: rtc.ice.clone(),
                fingerprint: self.setup.peers.fingerprint(),
                setup: Setup::ActPass,
                candidates: rtc.home.candidates.clone(),
                tcp: rtc.home.tcp.clone(),
                mid: mid.unwrap_or_default().to_owned(),
                bundle: mid.is_some_and(bundled),
                ssrc: leg.out.ssrc(),
                cname: rtc.cname.clone(),
            }),
        }
    }

    /// The address in our `o=` and `c=`.
    fn own_address(&self, index: usize) -> IpAddr {
        let leg = &self.legs[index];
        let bound = match &leg.path {
            Path::Rtp(rtp) => Some(rtp.local.ip()),
            Path::WebRtc(rtc) => rtc.home.candidates.first().map(SocketAddr::ip),
        };
        let usable = |ip: &IpAddr| !ip.is_unspecified();
        let advertised = match &leg.path {
            Path::Rtp(rtp) => leg.params.advertise.like(rtp.local.ip()),
            Path::WebRtc(_) => None,
        };
        advertised
            .or(bound.filter(usable))
            .or(leg.params.local.filter(usable))
            .unwrap_or(Ipv4Addr::LOCALHOST.into())
    }
}

/// New ICE credentials: 40 and 120 random bits (RFC 8445 §5.3 asks for 24 and 128; 130 are given).
fn credentials(entropy: &mut dyn Entropy) -> IceCredentials {
    IceCredentials { ufrag: entropy.token(8), pwd: entropy.token(26) }
}

fn accept(leg: LegId, ice: &IceCredentials) -> Output {
    Output::AcceptUfrag { leg, ufrag: ice.ufrag.clone(), password: ice.pwd.clone() }
}

/// Payload types 64-95 would be taken for RTCP on a port that both share (RFC 5761 §4).
fn multiplexed(agreed: Agreed) -> Result<(), Refusal> {
    match [Some(agreed.pt), agreed.events.map(|e| e.pt)]
        .into_iter()
        .flatten()
        .find(|pt| (64..96).contains(pt))
    {
        Some(pt) => Err(Refusal::Unusable(format!("payload type {pt} can not be used with rtcp-mux"))),
        None => Ok(()),
    }
}

fn aim(rtp: &mut RtpPath, line: &MediaLine) -> Result<(), Refusal> {
    let Some(address) = line.rtp_address() else { return Ok(()) };
    if !rtp.reaches(address.ip()) {
        let words = "this leg has no address of the family that its c= line names";
        return Err(Refusal::Unusable(words.to_owned()));
    }
    match &mut rtp.latch {
        Some(latch) => latch.expect(address),
        None => rtp.latch = Some(Latch::new(address, rtp.signalling)),
    }
    rtp.rtcp = line.rtcp_address();
    Ok(())
}

/// Which way media may flow from now on.
fn direct(leg: &mut Leg, line: &MediaLine, now: Instant) {
    let wanted = line.wanted(leg.kind());
    leg.sends = wanted.receives();
    let promises = wanted.sends() && (leg.kind() == LegKind::WebRtc || line.rtp_address().is_some());
    leg.promised = promises.then(|| match leg.kind() {
        LegKind::Rtp => line.rtp_address().map(|a| a.to_string()).unwrap_or_default(),
        LegKind::WebRtc => "the browser, by ICE".to_owned(),
    });
    let waits = leg.promised.is_some() && (leg.kind() == LegKind::Rtp || leg.connected);
    leg.silent_at = waits.then_some(now + SILENT_AFTER);
    if std::mem::replace(&mut leg.sdp.direction, wanted) != wanted {
        leg.sdp.untold = Some(wanted);
    }
}
