//! A scripted media plane behind the command and event seam: it counts leases and insists on sensible commands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use b2bua::CodecPolicy;
use media_bridge::control::{
    CallCommand, CallEvent, Codec, Command, Direction, Event, LegKind, LegParams, LegStats, Refusal, Source,
    Srtp, Tone,
};
use types::{CallId, LegId, WorkerId};

use crate::rng::Rng;
use crate::words::{Keys, Words};

/// What a trunk's audio is to be, by the address that it signals from.
pub(crate) type Rules = BTreeMap<IpAddr, (Srtp, CodecPolicy)>;

#[derive(Debug)]
struct Leg {
    kind: LegKind,
    /// As the peer described it last.
    direction: Direction,
    /// The same, as far as the switch has heard of it.
    told: Direction,
    source: Source,
    /// Whose it is.
    remote: Option<IpAddr>,
    srtp: Srtp,
    /// It called without an offer: it chooses when others have chosen.
    late: bool,
    /// Our offer, until an offer of the peer.
    offered: Option<(Vec<Codec>, Keys)>,
    /// What was agreed on last.
    codec: Option<Codec>,
    encrypted: bool,
}

impl Leg {
    fn new(params: &LegParams) -> Leg {
        let (direction, told) = (Direction::SendRecv, Direction::SendRecv);
        let (kind, remote, srtp) = (params.kind, params.remote, params.srtp);
        let (source, late, offered, codec, encrypted) = (Source::Nothing, false, None, None, false);
        Leg { kind, direction, told, source, remote, srtp, late, offered, codec, encrypted }
    }

    /// Takes what the peer describes; the event if that is news.
    fn describe(&mut self, leg: LegId, words: &Words) -> Option<Event> {
        let direction = words.direction;
        (std::mem::replace(&mut self.direction, direction) != direction)
            .then_some(Event::Direction { leg, direction })
    }

    /// Our offer's keys: what the first offer had is left out once the peer has left it.
    fn offers(&self, is_new: bool) -> Keys {
        match self.srtp {
            Srtp::Optional if !is_new && !self.encrypted => Keys::None,
            Srtp::IfOffered if self.encrypted => Keys::Beside,
            Srtp::Off | Srtp::IfOffered | Srtp::Optional | Srtp::Required => Keys::offered(self.srtp),
        }
    }

    /// The peer's answer to our offer.
    fn agree(&mut self, answer: &Words) -> Result<Codec, Refusal> {
        let unusable = |why: &str| Refusal::Unusable(why.into());
        let (codecs, keys) = self.offered.as_ref().ok_or_else(|| unusable("there is no offer of ours"))?;
        let codec = answer.known().first().copied().filter(|codec| codecs.contains(codec));
        let codec = codec.ok_or_else(|| unusable("no codec of the offer"))?;
        if self.kind == LegKind::Rtp {
            self.encrypted = match (keys, answer.keys) {
                (Keys::Only, Keys::None) | (Keys::None, Keys::Only) => {
                    return Err(Refusal::Srtp("none of the keys was taken".into()));
                }
                (Keys::None, _) | (_, Keys::None) => false,
                (Keys::Beside | Keys::Only, Keys::Beside | Keys::Only) => true,
            };
        }
        self.codec = Some(codec);
        Ok(codec)
    }
}

/// What comes back, and after how long.
pub(crate) type Reply = (Duration, Event);

#[derive(Debug)]
pub(crate) struct Plane {
    rng: Rng,
    calls: BTreeMap<CallId, BTreeMap<LegId, Leg>>,
    /// Which worker each call is on, for life.
    workers: BTreeMap<CallId, WorkerId>,
    /// Where legs went that changed calls: what was said of them before comes under their old name.
    moved: BTreeMap<(CallId, LegId), (CallId, LegId)>,
    /// Calls that a leg of another call has come to.
    joined: BTreeSet<CallId>,
    /// Calls that were closed or have crashed: nothing more may come for the first, anything for the second.
    closed: BTreeSet<CallId>,
    crashed: BTreeSet<CallId>,
    rules: Rules,
    /// What has come up since it was asked last.
    pub notes: Vec<&'static str>,
    /// Faults: the next call that is closed keeps one port; trunks that want audio untouched get another codec.
    pub keep_one: bool,
    pub transcodes: bool,
}

fn list(codecs: &[Codec]) -> String {
    codecs.iter().map(|c| c.name()).collect::<Vec<_>>().join(",")
}

/// The first of ours that is in an offer, and the keys of the answer.
fn choose(params: &LegParams, offer: &Words) -> Result<(Codec, Keys), Refusal> {
    if offer.codecs == "garbage" {
        return Err(Refusal::Unparsable("line 1".into()));
    }
    let keys = match params.kind {
        LegKind::Rtp => offer.keys.answered(params.srtp)?,
        LegKind::WebRtc => Keys::None,
    };
    let (theirs, text) = (offer.known(), offer.codecs.clone());
    let ours = params.codecs.iter().find(|c| theirs.contains(c)).copied();
    let codec = ours.ok_or_else(|| Refusal::NoCommonCodec { theirs: text, ours: list(&params.codecs) })?;
    Ok((codec, keys))
}

impl Plane {
    pub fn new(rules: Rules, rng: Rng) -> Self {
        let (calls, workers, moved, joined, closed, crashed) = Default::default();
        let (notes, keep_one, transcodes) = (Vec::new(), false, false);
        Plane { rng, calls, workers, moved, joined, closed, crashed, rules, notes, keep_one, transcodes }
    }

    /// Where a call is, as soon as anything was wanted for it.
    pub fn worker_of(&self, call: CallId) -> Option<WorkerId> {
        self.workers.get(&call).copied()
    }

    /// A worker ends by a defect, and its calls with it.
    pub fn dies(&mut self, worker: WorkerId) {
        let its: Vec<_> = self.workers.iter().filter(|(_, w)| **w == worker).map(|(call, _)| *call).collect();
        for call in its {
            if self.calls.contains_key(&call) {
                self.crash(call);
            }
        }
    }

    /// What the trunk behind a leg wants; nothing special for anybody else.
    fn rule(&self, remote: Option<IpAddr>) -> Option<(Srtp, CodecPolicy)> {
        remote.and_then(|ip| self.rules.get(&ip)).copied()
    }

    /// What the trunk at this address wants of encryption.
    pub fn srtp_of(&self, remote: IpAddr) -> Option<Srtp> {
        self.rule(Some(remote)).map(|(srtp, _)| srtp)
    }

    fn passes(&self, leg: &Leg) -> bool {
        self.rule(leg.remote).is_some_and(|(_, policy)| policy == CodecPolicy::Passthrough)
    }

    /// A leg is set up as its trunk wants it.
    fn check_params(&self, call: CallId, params: &LegParams) -> Result<(), String> {
        let Some((srtp, policy)) = self.rule(params.remote).filter(|_| params.kind == LegKind::Rtp) else {
            return Ok(());
        };
        if params.srtp != srtp {
            return Err(format!("{call}: {:?} for a trunk that wants {srtp:?}", params.srtp));
        }
        let opus = params.codecs.iter().position(|c| *c == Codec::Opus);
        if policy == CodecPolicy::Opus && opus.is_some_and(|at| at != 0) {
            return Err(format!("{call}: {:?} for a trunk that wants Opus first", params.codecs));
        }
        Ok(())
    }

    /// Ports held for all calls.
    pub fn leases(&self) -> usize {
        self.calls.values().map(BTreeMap::len).sum()
    }

    /// Ports held for one call.
    pub fn leases_of(&self, call: CallId) -> usize {
        self.calls.get(&call).map_or(0, BTreeMap::len)
    }

    /// A leg of any call.
    pub fn any_leg(&mut self) -> Option<(CallId, LegId)> {
        let all: Vec<_> =
            self.calls.iter().flat_map(|(call, legs)| legs.keys().map(|leg| (*call, *leg))).collect();
        (!all.is_empty()).then(|| *self.rng.pick(&all))
    }

    /// Whether the leg is still there: an event planned for it may come.
    pub fn has(&self, call: CallId, leg: LegId) -> bool {
        self.calls.get(&call).is_some_and(|legs| legs.contains_key(&leg))
    }

    /// A defect takes one call's media away.
    pub fn crash(&mut self, call: CallId) -> bool {
        self.crashed.insert(call) && self.calls.remove(&call).is_some()
    }

    /// The other worker that the command takes a leg from.
    pub fn crosses(&self, worker: WorkerId, command: &Command) -> Option<WorkerId> {
        let Command::Adopt { worker: theirs, .. } = command else { return None };
        Some(*theirs).filter(|theirs| *theirs != worker)
    }

    /// Every command goes to the worker that has the call, and names the one that another call is on.
    fn check_worker(&mut self, worker: WorkerId, command: &CallCommand) -> Result<(), String> {
        let CallCommand { call, command } = command;
        let known = *self.workers.entry(*call).or_insert(worker);
        if known != worker {
            return Err(format!("{call}: {command:?} for {worker:?}, but it is on {known:?}"));
        }
        if let Command::Adopt { from, worker, .. } = command
            && self.workers.get(from) != Some(worker)
        {
            return Err(format!(
                "{call}: {command:?} names another worker than {:?}",
                self.workers.get(from)
            ));
        }
        Ok(())
    }

    /// Carries a command out. An error is a command that makes no sense.
    pub fn handle(&mut self, worker: WorkerId, command: CallCommand) -> Result<Vec<Reply>, String> {
        self.check_worker(worker, &command)?;
        let call = command.call;
        if self.crashed.contains(&call) {
            return Ok(Vec::new());
        }
        if self.closed.contains(&call) {
            return Err(format!("{call}: {:?} after Close", command.command));
        }
        let soon = self.rng.millis(1, 15);
        match command.command {
            Command::Answer { leg, params, offer } => {
                self.check_params(call, &params)?;
                Ok(self.answer(call, leg, &params, &Words::of(&offer), soon))
            }
            Command::Offer { leg, params } => {
                self.check_params(call, &params)?;
                Ok(self.offer(call, leg, &params, soon))
            }
            Command::SetAnswer { leg, answer } => {
                self.need(call, leg, "SetAnswer")?;
                Ok(self.set_answer(call, leg, &Words::of(&answer), soon))
            }
            Command::SetSource { leg, source } => {
                self.need(call, leg, "SetSource")?;
                if let Source::Leg(from) = source {
                    self.need(call, from, "SetSource from")?;
                }
                if let Some(leg) = self.leg(call, leg) {
                    leg.source = source;
                }
                Ok(Vec::new())
            }
            Command::Pressed { leg, digit, duration } => {
                self.need(call, leg, "Pressed")?;
                Ok(vec![(soon, Event::Dtmf { leg, digit, duration })])
            }
            Command::Record { left, right, .. } => [left, right]
                .into_iter()
                .try_for_each(|leg| self.need(call, leg, "Record"))
                .map(|()| Vec::new()),
            Command::EndRecording => Ok(Vec::new()),
            Command::Play { leg, .. } => {
                self.need(call, leg, "Play")?;
                Ok(vec![(soon + Duration::from_millis(500), Event::Played { leg })])
            }
            Command::SendDtmf { leg, .. } => self.need(call, leg, "SendDtmf").map(|()| Vec::new()),
            Command::Adopt { leg, from, their, .. } => {
                self.need(from, their, "Adopt")?;
                let moved = self.calls.get_mut(&from).and_then(|legs| legs.remove(&their));
                self.calls.entry(call).or_default().extend(moved.map(|moved| (leg, moved)));
                self.joined.insert(call);
                self.moved.insert((from, their), (call, leg));
                Ok(Vec::new())
            }
            Command::Remove { leg } => {
                self.calls.get_mut(&call).map(|legs| legs.remove(&leg));
                Ok(vec![(soon, Event::Stats { leg, stats: LegStats::default() })])
            }
            Command::Close => {
                self.closed.insert(call);
                let mut legs = self.calls.remove(&call).unwrap_or_default();
                if std::mem::take(&mut self.keep_one) {
                    self.calls.insert(call, legs.pop_last().into_iter().collect());
                }
                let stats = |leg| (soon, Event::Stats { leg, stats: LegStats::default() });
                Ok(legs.into_keys().map(stats).chain([(soon, Event::Closed)]).collect())
            }
        }
    }

    fn leg(&mut self, call: CallId, leg: LegId) -> Option<&mut Leg> {
        self.calls.get_mut(&call)?.get_mut(&leg)
    }

    /// An event is on its way into the switch.
    pub fn tells(&mut self, event: &CallEvent) {
        let Event::Direction { leg, direction } = event.event else { return };
        let mut name = (event.call, leg);
        while let Some(now) = self.moved.get(&name) {
            name = *now;
        }
        if let Some(leg) = self.leg(name.0, name.1) {
            leg.told = direction;
        }
    }

    /// Whether an answered call's audio goes as its sides want it: nothing is heard of a side that the switch knows
    /// to be on hold, and music plays only where somebody can hold.
    pub fn check_hold(&self, call: CallId) -> Result<(), String> {
        let Some(legs) = self.calls.get(&call) else { return Ok(()) };
        // A transferor hears nothing meanwhile, or has left already.
        let holds =
            |leg: &Leg| leg.kind == LegKind::WebRtc || !leg.told.receives() || leg.source == Source::Nothing;
        let alone = legs.len() == 1;
        for (id, leg) in legs {
            match leg.source {
                Source::Leg(from) if legs.get(&from).is_some_and(|l| l.told == Direction::Inactive) => {
                    return Err(format!("{call}: {id} listens to {from}, which holds"));
                }
                Source::Leg(_) if leg.told == Direction::Inactive => {
                    return Err(format!("{call}: {id} holds and listens"));
                }
                Source::Tone(Tone::Music) | Source::Music(_)
                    if !alone && !legs.iter().any(|(other, l)| other != id && holds(l)) =>
                {
                    return Err(format!("{call}: {id} hears music and nobody holds"));
                }
                Source::Leg(_) | Source::Tone(_) | Source::Music(_) | Source::Nothing | Source::Echo => {}
            }
        }
        Ok(())
    }

    fn need(&self, call: CallId, leg: LegId, what: &str) -> Result<(), String> {
        if self.has(call, leg) {
            Ok(())
        } else {
            Err(format!("{call}: {what} for {leg}, which does not exist"))
        }
    }

    fn offer(&mut self, call: CallId, leg: LegId, params: &LegParams, soon: Duration) -> Vec<Reply> {
        let is_new = !self.has(call, leg);
        let refused = self.rng.chance(4) && is_new;
        let legs = self.calls.entry(call).or_default();
        if refused {
            let why = Refusal::NoPort("all ports are in use".into());
            return vec![(soon, Event::Refused { leg, why })];
        }
        let known = legs.entry(leg).or_insert_with(|| Leg::new(params));
        let keys = if known.kind == LegKind::Rtp { known.offers(is_new) } else { Keys::None };
        known.late |= is_new && leg == LegId::CALLER;
        known.offered = Some((params.codecs.clone(), keys));
        self.notes.extend((keys != Keys::None).then_some("srtp:offered"));
        let sdp = keys.mark(&list(&params.codecs)).into_bytes();
        vec![(soon, Event::LocalSdp { leg, sdp, codec: None })]
    }

    fn answer(
        &mut self,
        call: CallId,
        leg: LegId,
        params: &LegParams,
        offer: &Words,
        soon: Duration,
    ) -> Vec<Reply> {
        self.calls.entry(call).or_default();
        let (codec, keys) = match choose(params, offer) {
            Ok(both) => both,
            Err(why) => return vec![(soon, Event::Refused { leg, why })],
        };
        let is_new = !self.has(call, leg);
        let legs = self.calls.entry(call).or_default();
        let known = legs.entry(leg).or_insert_with(|| Leg::new(params));
        (known.offered, known.codec, known.encrypted) = (None, Some(codec), keys != Keys::None);
        self.notes.extend(known.encrypted.then_some("srtp:answered"));
        let (kind, news) = (known.kind, known.describe(leg, offer));
        self.mistake(call, leg);
        let mut replies: Vec<Reply> = news.into_iter().map(|event| (soon, event)).collect();
        let sdp = keys.mark(codec.name()).into_bytes();
        replies.push((soon, Event::LocalSdp { leg, sdp, codec: Some(codec) }));
        if is_new && kind == LegKind::WebRtc && !self.rng.chance(20) {
            replies.push((soon + self.rng.millis(5, 2_500), Event::Connected { leg }));
        }
        replies
    }

    fn set_answer(&mut self, call: CallId, leg: LegId, answer: &Words, soon: Duration) -> Vec<Reply> {
        let Some(known) = self.leg(call, leg) else { return Vec::new() };
        let codec = match known.agree(answer) {
            Ok(codec) => codec,
            Err(why) => return vec![(soon, Event::Refused { leg, why })],
        };
        let offered = known.kind == LegKind::Rtp && known.srtp != Srtp::Off && known.srtp != Srtp::IfOffered;
        let (encrypted, news) = (known.encrypted, known.describe(leg, answer));
        self.notes.extend(offered.then_some(if encrypted { "srtp:taken" } else { "srtp:left" }));
        self.mistake(call, leg);
        let events = news.into_iter().chain([Event::Negotiated { leg, codec }]);
        events.map(|event| (soon, event)).collect()
    }

    /// A fault: what a trunk is to get untouched has another codec than was agreed on.
    fn mistake(&mut self, call: CallId, leg: LegId) {
        let passes = self.calls[&call].get(&leg).is_some_and(|leg| self.passes(leg));
        if self.transcodes
            && passes
            && let Some(leg) = self.leg(call, leg)
        {
            leg.codec = Codec::ALL.into_iter().find(|other| Some(*other) != leg.codec);
        }
    }

    /// Whether an answered call's audio has the codecs that its trunks want.
    pub fn check_codecs(&mut self, call: CallId) -> Result<(), String> {
        // Legs that a transfer joins keep what they have agreed on.
        let Some(legs) = self.calls.get(&call).filter(|_| !self.joined.contains(&call)) else {
            return Ok(());
        };
        for (id, leg) in legs {
            let Source::Leg(from) = leg.source else { continue };
            let Some(other) = legs.get(&from) else { continue };
            let (Some(to), Some(of)) = (leg.codec, other.codec) else { continue };
            if (!self.passes(leg) && !self.passes(other)) || leg.late || other.late {
                continue;
            }
            if to != of {
                return Err(format!("{call}: {id} hears {from} transcoded from {of:?} to {to:?}"));
            }
            self.notes.push("codec:untouched");
        }
        Ok(())
    }
}
