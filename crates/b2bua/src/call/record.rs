//! Recording: from answer to end where the route says so, whoever takes part; between two presses of a person's where the
//! page asks for it, as long as that person takes part.

use media_bridge::control::Command as Media;
use types::{LegId, RecordingId, limits};
use webrtc_peer::signalling::ToBrowser;

use super::{Call, Device, State};
use crate::output::{Level, Output, Recording};
use crate::shared::{Clock, Shared};

/// Who has the call recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    Route,
    /// The person in this browser.
    Leg(LegId),
}

/// A recording that runs.
#[derive(Debug)]
pub(super) struct Running {
    id: RecordingId,
    by: By,
    /// Whose sound it is, left and right; nobody's yet where it is empty.
    sides: Vec<LegId>,
}

/// What a browser knows of the recording of its call.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Shown {
    on: bool,
    /// It may end it.
    mine: bool,
}

impl Call {
    /// Begins to record what both say, and lets them know.
    pub(super) fn begin_recording(&mut self, by: By, callee: LegId, sh: &mut Shared, t: Clock) {
        let party = |id: LegId| self.legs.iter().find(|l| l.id == id).map(|l| l.cdr_party(sh));
        let (Some(left), Some(right)) = (party(self.caller), party(callee)) else { return };
        self.facts.recordings += 1;
        let id = RecordingId(self.facts.recordings);
        sh.out.push_back(Output::Record(Recording { call: self.id, id, started: t.wall, left, right }));
        sh.log(Level::Info, Some(self.id), "is being recorded");
        self.recording = Some(Running { id, by, sides: Vec::new() });
        self.record_whoever_talks(callee, sh);
    }

    /// The recording goes on with whoever talks now, and new parties are told of it; but it ends when the one who began it
    /// is not among them.
    pub(super) fn record_whoever_talks(&mut self, callee: LegId, sh: &mut Shared) {
        let sides = vec![self.caller, callee];
        if let Some(Running { by: By::Leg(by), .. }) = self.recording
            && !sides.contains(&by)
        {
            self.end_recording(sh);
        }
        if let Some(running) = &mut self.recording
            && running.sides != sides
        {
            let before = std::mem::replace(&mut running.sides, sides.clone());
            let recording = running.id;
            self.tell_media(Media::Record { recording, left: self.caller, right: callee }, sh);
            if let Some(sound) = sh.config.record_notice {
                for leg in sides.iter().copied().filter(|leg| !before.contains(leg)) {
                    self.tell_media(Media::Play { leg, sound }, sh);
                }
            }
        }
        sides.into_iter().for_each(|leg| self.show_recording(leg, false, sh));
    }

    fn end_recording(&mut self, sh: &mut Shared) {
        let Some(Running { sides, .. }) = self.recording.take() else { return };
        self.tell_media(Media::EndRecording, sh);
        sh.log(Level::Info, Some(self.id), "is no longer being recorded");
        sides.into_iter().for_each(|leg| self.show_recording(leg, false, sh));
    }

    /// `record` of a browser.
    pub(super) fn on_browser_record(&mut self, id: LegId, on: bool, sh: &mut Shared, t: Clock) {
        let refusal = match (self.recording.as_ref().map(|running| running.by), on) {
            (None, true) => match self.may_record(id, sh) {
                Ok(callee) => return self.begin_recording(By::Leg(id), callee, sh, t),
                Err(refusal) => refusal,
            },
            (Some(By::Leg(by)), false) if by == id => return self.end_recording(sh),
            (Some(By::Leg(_)), false) => {
                ("may-not-record", "The other side records this call, and only they can end that.")
            }
            (Some(By::Route), false) => {
                ("may-not-record", "All calls to this number are recorded; that can not be ended.")
            }
            // Said twice: the page is told again how things are.
            (Some(_), true) | (None, false) => return self.show_recording(id, true, sh),
        };
        if let Some(Device::Browser { session, name }) = self.leg(id).map(|l| l.device.clone()) {
            sh.error(session, refusal.0, refusal.1, Some(&name));
        }
    }

    /// Whether this leg's person may have a recording begin now, and with which callee; else why not.
    fn may_record(&self, id: LegId, sh: &Shared) -> Result<LegId, (&'static str, &'static str)> {
        if !sh.config.record_by_page {
            let text = "Calls can not be recorded from here: the gateway's configuration does not allow it.";
            return Err(("may-not-record", text));
        }
        let State::Talking { callee, .. } = self.state else {
            return Err(("not-connected", "Only an answered call can be recorded."));
        };
        if self.peer_of(id).is_none() {
            return Err(("not-connected", "Nobody is there to be recorded."));
        }
        if self.facts.recordings >= limits::CALL_RECORDINGS {
            return Err(("may-not-record", "This call has too many recordings already."));
        }
        Ok(callee)
    }

    /// Tells a browser whether its call is recorded, if it does not know or has asked.
    fn show_recording(&mut self, id: LegId, asked: bool, sh: &mut Shared) {
        let by = self.recording.as_ref().map(|running| running.by);
        let Some(leg) = self.leg(id).filter(|l| l.alive()) else { return };
        let shown = Shown { on: by.is_some(), mine: by == Some(By::Leg(id)) };
        if std::mem::replace(&mut leg.recording, shown) == shown && !asked {
            return;
        }
        if let Device::Browser { session, name } = leg.device.clone() {
            let Shown { on, mine } = shown;
            sh.browser(session, ToBrowser::Recording { call: name, on, mine });
        }
    }
}
