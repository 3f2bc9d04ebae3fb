//! Recording: from answer to end where the route says so, whoever takes part.

use media_bridge::control::Command as Media;
use types::LegId;

use super::Call;
use crate::output::{Level, Output, Recording};
use crate::shared::{Clock, Shared};

impl Call {
    /// Begins to record what both say, and lets them know.
    pub(super) fn begin_recording(&mut self, callee: LegId, sh: &mut Shared, t: Clock) {
        let party = |id: LegId| self.legs.iter().find(|l| l.id == id).map(|l| l.cdr_party(sh));
        let (Some(left), Some(right)) = (party(self.caller), party(callee)) else { return };
        self.facts.recorded = true;
        sh.out.push_back(Output::Record(Recording { call: self.id, started: t.wall, left, right }));
        sh.log(Level::Info, Some(self.id), "is being recorded");
        self.recording = Some(Vec::new());
        self.record_whoever_talks(callee, sh);
    }

    /// The recording goes on with whoever talks now; new parties are told of it.
    pub(super) fn record_whoever_talks(&mut self, callee: LegId, sh: &mut Shared) {
        let sides = vec![self.caller, callee];
        let Some(before) = self.recording.take_if(|before| *before != sides) else { return };
        self.recording = Some(sides.clone());
        self.tell_media(Media::Record { left: self.caller, right: callee }, sh);
        let Some(sound) = sh.config.record_notice else { return };
        for leg in sides.into_iter().filter(|leg| !before.contains(leg)) {
            self.tell_media(Media::Play { leg, sound }, sh);
        }
    }
}
