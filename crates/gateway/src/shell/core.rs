//! The signalling core: one task that owns the SIP endpoint and the switch and carries messages between them, the
//! browsers and the media workers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use b2bua::{CloseWhy, Level, Output, SignalIn, Switch, TrunkStatus, WorkerLoad};
use media_bridge::control::{CallCommand, CallEvent, Command, Event};
use media_io::{MediaPlane, NotTaken, WorkerStatus};
use sip_ua::RegistrationState;
use sip_ua::io::Inbound;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use types::limits::CLOSING_DURATION;
use types::{CallId, SessionId, WorkerId};
use webrtc_peer::session::CloseReason;
use webrtc_peer::signalling::ToBrowser;

use super::cdr::CdrWriter;
use super::{CoreInput, MediaEvents, SipPort, ToSession, clocks, gauges};
use crate::recording::Recorder;

/// After this long, what has not ended by itself is dropped; the process is to be gone within 8 s.
const STOP_PATIENCE: Duration = Duration::from_secs(6);

/// Most messages of the network taken before others get their turn.
const MESSAGES_AT_ONCE: usize = 64;

/// How old the workers' loads may be when a new call is placed by them.
const LOADS_AGE: Duration = Duration::from_millis(250);

/// How soon a full worker is told again to close a call's media.
const CLOSE_RETRY: Duration = Duration::from_millis(5);

/// How far the gateway is on its way out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// It takes calls.
    Open,
    /// Calls go on until they end, or until then.
    Draining { until: Instant },
    /// Everyone has been told; at this time they are left behind.
    Stopping { give_up: Instant },
}

/// Everything that one signalling task owns.
pub struct Core {
    pub sip: SipPort,
    pub switch: Switch,
    pub media: MediaPlane,
    pub cdrs: CdrWriter,
    pub recorder: Recorder,
    pub ready: Arc<AtomicBool>,
    /// False once a media worker has ended by a defect.
    pub alive: Arc<AtomicBool>,
    pub sessions: HashMap<SessionId, mpsc::Sender<ToSession>>,
    /// Calls whose media a full worker still has to be told to close: at most one entry for each call.
    pub unclosed: VecDeque<(WorkerId, CallId)>,
    /// When the switch was told of the workers' loads.
    pub loads_told: Option<Instant>,
    /// How long running calls go on after SIGTERM.
    pub drain: Duration,
    pub service: Service,
}

impl Core {
    /// Runs until stopped; returns when every call has ended, or patience has.
    pub async fn run(mut self, mut inputs: mpsc::Receiver<CoreInput>, media: MediaEvents) {
        let (now, wall) = clocks();
        // Starts what runs at intervals.
        self.switch.handle_timeout(now, wall);
        self.pump();
        let mut events = VecDeque::new();
        let sleep = sleep_until(Instant::now().into());
        tokio::pin!(sleep);
        loop {
            // Armed anew only for what comes earlier: waking too early costs less than moving it for every message.
            let timer = self.next_timer();
            if sleep.is_elapsed() || sleep.deadline() > timer.into() {
                sleep.as_mut().reset(timer.into());
            }
            tokio::select! {
                Some(input) = inputs.recv() => {
                    self.tell_loads();
                    self.handle(input);
                }
                () = media.ready() => {
                    self.tell_loads();
                    media.take(&mut events);
                    let (now, wall) = clocks();
                    for event in events.drain(..) {
                        if let Event::Stats { leg, stats } = &event.event
                            && let Some(party) = self.switch.party(event.call, *leg)
                        {
                            gauges::leg(stats, &party);
                        }
                        self.switch.handle_media(event, now, wall);
                        self.pump();
                    }
                }
                input = self.sip.recv() => {
                    self.tell_loads();
                    self.take_in(input);
                }
                () = &mut sleep => {
                    self.tell_loads();
                    let (now, wall) = clocks();
                    self.sip.handle_timeout(now, wall);
                    self.switch.handle_timeout(now, wall);
                }
            }
            self.pump();
            self.media.wake();
            if self.is_over() {
                break;
            }
        }
        self.give_up();
        self.media.wake();
        self.media.stop();
        self.recorder.finish();
        self.cdrs.finish();
    }

    /// Tells the switch how busy the workers are, before it takes in what may be a new call.
    fn tell_loads(&mut self) {
        let (now, wall) = clocks();
        if self.loads_told.is_some_and(|at| at + LOADS_AGE > now) {
            return;
        }
        self.loads_told = Some(now);
        let load = |w: WorkerStatus| if w.alive { WorkerLoad::Busy(w.load) } else { WorkerLoad::Gone };
        self.switch.handle_loads(self.media.status().map(load), now, wall);
        self.alive.store(self.media.status().all(|w| w.alive), Ordering::Relaxed);
    }

    /// Takes in a message of the network, and those that wait behind it, up to a bound: others have their turn too.
    fn take_in(&mut self, first: Inbound) {
        let mut next = Some(first);
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(input) = next else { return };
            let (now, wall) = clocks();
            self.sip.handle(input, Some(&mut self.switch), now, wall);
            self.pump();
            next = self.sip.try_recv();
        }
        if let Some(input) = next {
            let (now, wall) = clocks();
            self.sip.handle(input, Some(&mut self.switch), now, wall);
        }
    }

    /// Goes on from draining to stopping when it is time; true when nothing is left to wait for.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if let Service::Draining { until } = self.service {
            let left = self.switch.calls().next().is_some();
            if left && until <= now {
                let calls = self.switch.calls().count();
                tracing::warn!("{calls} calls have not ended by themselves; they are ended now");
            }
            if !left || until <= now {
                self.stop();
            }
        }
        match self.service {
            Service::Open | Service::Draining { .. } => false,
            Service::Stopping { give_up } => self.drained() || give_up <= now,
        }
    }

    fn stop(&mut self) {
        if matches!(self.service, Service::Stopping { .. }) {
            return;
        }
        let (now, wall) = clocks();
        self.service = Service::Stopping { give_up: now + STOP_PATIENCE };
        self.ready.store(false, Ordering::Relaxed);
        self.switch.shut_down(now, wall);
        self.pump();
        self.media.wake();
    }

    /// Whoever has not confirmed by now is left behind, as if the deadline of `Closing` had passed: every call gets its
    /// record.
    fn give_up(&mut self) {
        let (now, wall) = clocks();
        self.switch.handle_timeout(now + CLOSING_DURATION, wall);
        self.pump();
    }

    /// Whether everyone has been told that we stop: calls are over, registrations removed, browsers gone.
    fn drained(&self) -> bool {
        let registered =
            |t: TrunkStatus<'_>| matches!(t.registration, Some(RegistrationState::Registered { .. }));
        self.switch.calls().next().is_none()
            && self.sip.dialogs() == 0
            && self.sessions.is_empty()
            && !self.switch.trunks().any(registered)
    }

    fn next_timer(&self) -> Instant {
        let now = Instant::now();
        let retry = (!self.unclosed.is_empty()).then_some(now + CLOSE_RETRY);
        let service = match self.service {
            Service::Open => None,
            Service::Draining { until: at } | Service::Stopping { give_up: at } => Some(at),
        };
        let timers = [self.sip.poll_timeout(), self.switch.poll_timeout(), service, retry];
        timers.into_iter().flatten().min().unwrap_or(now + Duration::from_secs(3600))
    }

    fn close_media(&mut self) {
        while let Some((worker, call)) = self.unclosed.front().copied() {
            match self.media.queue(worker, CallCommand { call, command: Command::Close }) {
                Err(NotTaken::Full) => return,
                Err(NotTaken::Gone) => {
                    let (now, wall) = clocks();
                    self.switch.handle_media(CallEvent { call, event: Event::Closed }, now, wall);
                }
                Ok(()) => {}
            }
            self.unclosed.pop_front();
        }
    }

    fn handle(&mut self, input: CoreInput) {
        let (now, wall) = clocks();
        match input {
            CoreInput::SessionOpened { id, source, outbox } => {
                self.sessions.insert(id, outbox);
                self.switch.handle_signal(id, SignalIn::Opened { source }, now, wall);
            }
            CoreInput::FromBrowser { id, message } => {
                self.switch.handle_signal(id, SignalIn::Message(message), now, wall);
            }
            CoreInput::SessionClosed { id } => {
                self.sessions.remove(&id);
                self.switch.handle_signal(id, SignalIn::Closed, now, wall);
            }
            CoreInput::TrunkTargets { name, targets } => self.switch.set_trunk_targets(&name, targets),
            CoreInput::Measure(done) => {
                gauges::measure(&self.sip, &self.switch, &self.media);
                // Whoever asked may have given up.
                let _ = done.send(());
            }
            CoreInput::Drain => {
                if self.service == Service::Open {
                    self.service = Service::Draining { until: now + self.drain };
                    self.ready.store(false, Ordering::Relaxed);
                    self.switch.drain();
                }
            }
            CoreInput::Stop => self.stop(),
        }
    }

    /// Carries outputs to where they belong until nobody has any.
    fn pump(&mut self) {
        self.close_media();
        loop {
            let mut idle = true;
            let (now, wall) = clocks();
            while let Some(event) = self.sip.next_event(now, wall) {
                idle = false;
                self.switch.handle_sip(event, now, wall);
            }
            while let Some(output) = self.switch.poll_output() {
                idle = false;
                self.carry(output);
            }
            if idle {
                return;
            }
        }
    }

    fn carry(&mut self, output: Output) {
        let (now, wall) = clocks();
        match output {
            Output::Sip(command) => self.sip.command(command, now, wall),
            Output::Browser(id, message) => self.tell_browser(id, ToSession::Message(message)),
            Output::CloseBrowser(id, why) => {
                let reason = match why {
                    CloseWhy::TooManySessions => CloseReason::TooManySessions,
                    CloseWhy::Stopping => CloseReason::Stopping,
                };
                self.tell_browser(id, ToSession::Close(reason));
            }
            Output::Media(worker, command) => {
                let call = command.call;
                let close = command.command == Command::Close;
                match self.media.queue(worker, command) {
                    Ok(()) => {}
                    Err(NotTaken::Gone) => self.switch.media_gone(call, now, wall),
                    Err(NotTaken::Full) if close => self.unclosed.push_back((worker, call)),
                    Err(NotTaken::Full) => {
                        tracing::error!(%call, "a media worker takes no more commands; the call ends");
                        self.switch.media_overloaded(call, now, wall);
                    }
                }
            }
            Output::Record(recording) => self.recorder.open(recording),
            Output::Cdr(cdr) => {
                metrics::counter!("webtrunk_calls_ended_total", "reason" => cdr.reason.word()).increment(1);
                gauges::ended(&cdr);
                self.recorder.write(cdr);
            }
            Output::Log(level, call, sentence) => log(level, call, &sentence),
        }
    }

    /// A browser that does not read loses its connection, nobody else notices.
    fn tell_browser(&mut self, id: SessionId, message: ToSession) {
        let Some(outbox) = self.sessions.get(&id) else { return };
        if let ToSession::Message(ToBrowser::Error { code, .. }) = &message {
            metrics::counter!("webtrunk_browser_errors_total", "code" => code.clone()).increment(1);
        }
        if outbox.try_send(message).is_err() {
            // Dropping the sender ends the connection's task, which reports the session as closed.
            self.sessions.remove(&id);
        }
    }
}

fn log(level: Level, call: Option<CallId>, sentence: &str) {
    let call = call.map(|c| c.to_string()).unwrap_or_default();
    match level {
        Level::Debug => tracing::debug!(call, "{sentence}"),
        Level::Info => tracing::info!(call, "{sentence}"),
        Level::Warn => tracing::warn!(call, "{sentence}"),
    }
}
