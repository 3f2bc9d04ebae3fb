//! A scripted media plane behind the command and event seam: it counts leases and insists on sensible commands.
//!
//! Descriptions are words: an offer lists codecs (`opus,pcmu`), an answer names one. A direction may stand before them
//! (`inactive:pcmu`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use media_bridge::control::{
    CallCommand, CallEvent, Codec, Command, Direction, Event, LegKind, LegParams, LegStats, Refusal, Source,
    Tone,
};
use types::{CallId, LegId, WorkerId};

use crate::rng::Rng;

#[derive(Debug)]
struct Leg {
    kind: LegKind,
    /// As the peer described it last.
    direction: Direction,
    /// The same, as far as the switch has heard of it.
    told: Direction,
    source: Source,
}

impl Leg {
    fn new(kind: LegKind) -> Leg {
        let (direction, told) = (Direction::SendRecv, Direction::SendRecv);
        Leg { kind, direction, told, source: Source::Nothing }
    }

    /// Takes what the peer describes; the event if that is news.
    fn describe(&mut self, leg: LegId, text: &[u8]) -> Option<Event> {
        let (direction, _) = split(text);
        (std::mem::replace(&mut self.direction, direction) != direction)
            .then_some(Event::Direction { leg, direction })
    }
}

/// The direction and the codecs of a description.
fn split(text: &[u8]) -> (Direction, String) {
    let text = String::from_utf8_lossy(text).into_owned();
    let all = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
    match text.split_once(':') {
        Some((word, codecs)) => {
            let direction = all.into_iter().find(|d| d.as_str() == word).unwrap_or(Direction::SendRecv);
            (direction, codecs.to_owned())
        }
        None => (Direction::SendRecv, text),
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
    /// Calls that were closed or have crashed: nothing more may come for the first, anything for the second.
    closed: BTreeSet<CallId>,
    crashed: BTreeSet<CallId>,
    /// A fault: the next call that is closed keeps one port.
    pub keep_one: bool,
}

pub(crate) fn word(codec: Codec) -> &'static str {
    codec.name()
}

pub(crate) fn codec(word: &str) -> Option<Codec> {
    Codec::ALL.into_iter().find(|c| self::word(*c) == word)
}

fn list(codecs: &[Codec]) -> String {
    codecs.iter().map(|c| word(*c)).collect::<Vec<_>>().join(",")
}

/// The first of ours that is in an offer.
fn choose(params: &LegParams, offer: &[u8]) -> Result<Codec, Refusal> {
    let (_, text) = split(offer);
    if text == "garbage" {
        return Err(Refusal::Unparsable("line 1".into()));
    }
    let theirs: Vec<Codec> = text.split(',').filter_map(codec).collect();
    let ours = params.codecs.iter().find(|c| theirs.contains(c)).copied();
    ours.ok_or_else(|| Refusal::NoCommonCodec { theirs: text, ours: list(&params.codecs) })
}

impl Plane {
    pub fn new(rng: Rng) -> Self {
        let (calls, workers, moved, closed, crashed) = Default::default();
        Plane { rng, calls, workers, moved, closed, crashed, keep_one: false }
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
            Command::Answer { leg, params, offer } => Ok(self.answer(call, leg, &params, &offer, soon)),
            Command::Offer { leg, params } => {
                let refused = self.rng.chance(4) && !self.has(call, leg);
                if refused {
                    self.calls.entry(call).or_default();
                    let why = Refusal::NoPort("all ports are in use".into());
                    return Ok(vec![(soon, Event::Refused { leg, why })]);
                }
                self.calls.entry(call).or_default().entry(leg).or_insert(Leg::new(params.kind));
                Ok(vec![(soon, Event::LocalSdp { leg, sdp: list(&params.codecs).into(), codec: None })])
            }
            Command::SetAnswer { leg, answer } => {
                self.need(call, leg, "SetAnswer")?;
                let Some(codec) = codec(&split(&answer).1) else {
                    let why = Refusal::Unusable("no codec of the offer".into());
                    return Ok(vec![(soon, Event::Refused { leg, why })]);
                };
                let news = self.leg(call, leg).and_then(|l| l.describe(leg, &answer));
                let events = news.into_iter().chain([Event::Negotiated { leg, codec }]);
                Ok(events.map(|event| (soon, event)).collect())
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
            Command::SendDtmf { leg, .. } => self.need(call, leg, "SendDtmf").map(|()| Vec::new()),
            Command::Adopt { leg, from, their, .. } => {
                self.need(from, their, "Adopt")?;
                let moved = self.calls.get_mut(&from).and_then(|legs| legs.remove(&their));
                self.calls.entry(call).or_default().extend(moved.map(|moved| (leg, moved)));
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
                Source::Tone(Tone::Music)
                    if !alone && !legs.iter().any(|(other, l)| other != id && holds(l)) =>
                {
                    return Err(format!("{call}: {id} hears music and nobody holds"));
                }
                Source::Leg(_) | Source::Tone(_) | Source::Nothing | Source::Echo => {}
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

    fn answer(
        &mut self,
        call: CallId,
        leg: LegId,
        params: &LegParams,
        offer: &[u8],
        soon: Duration,
    ) -> Vec<Reply> {
        let legs = self.calls.entry(call).or_default();
        let codec = match choose(params, offer) {
            Ok(codec) => codec,
            Err(why) => return vec![(soon, Event::Refused { leg, why })],
        };
        let is_new = !legs.contains_key(&leg);
        let known = legs.entry(leg).or_insert(Leg::new(params.kind));
        let (kind, news) = (known.kind, known.describe(leg, offer));
        let mut replies: Vec<Reply> = news.into_iter().map(|event| (soon, event)).collect();
        replies.push((soon, Event::LocalSdp { leg, sdp: word(codec).into(), codec: Some(codec) }));
        if is_new && kind == LegKind::WebRtc && !self.rng.chance(20) {
            replies.push((soon + self.rng.millis(5, 2_500), Event::Connected { leg }));
        }
        replies
    }
}
