//! How the legs sound: told to browsers, and in words.

use media_bridge::quality::{Cause, Moment};
use types::LegId;
use webrtc_peer::signalling::{Side, ToBrowser};

use super::{Call, Device, State};
use crate::output::CdrParty;
use crate::shared::Shared;

impl Call {
    /// A leg's last seconds are shown to its own browser and to that of the other party.
    pub(super) fn show_quality(&self, id: LegId, moment: &Moment, sh: &mut Shared) {
        if !matches!(self.state, State::Talking { .. }) {
            return;
        }
        let device = |id: LegId| self.legs.iter().find(|l| l.id == id).map(|l| &l.device);
        let their = match device(id) {
            Some(Device::Browser { .. }) => "their browser",
            Some(Device::Sip(_) | Device::Proxy(_)) | None => "their phone",
        };
        for (leg, side, whom) in
            [(Some(id), Side::Near, "your browser"), (self.peer_of(id), Side::Far, their)]
        {
            let Some(Device::Browser { session, name }) = leg.and_then(device) else { continue };
            let quality = ToBrowser::Quality {
                call: name.clone(),
                side,
                mos: two_decimals(moment.mos),
                reason: moment.cause.map(|cause| complaint(cause, whom)),
            };
            sh.browser(*session, quality);
        }
    }
}

/// A score as it is shown and written.
pub fn two_decimals(mos: f32) -> f64 {
    (f64::from(mos) * 100.0).round() / 100.0
}

/// What is wrong with the audio from or to `whom`, e.g. `12 % loss from the phone`.
pub fn complaint(cause: Cause, whom: &str) -> String {
    match cause {
        Cause::LostFrom(share) => format!("{} loss from {whom}", percent(share)),
        Cause::LateFrom(share) => format!("{} too late from {whom}", percent(share)),
        Cause::LostTo(share) => format!("{} loss to {whom}", percent(share)),
        Cause::Delay(ms) => format!("{ms} ms one way to {whom}"),
    }
}

fn percent(share: f32) -> String {
    let percent = share * 100.0;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

impl CdrParty {
    /// What a person calls it.
    pub fn in_words(&self) -> &'static str {
        match self {
            CdrParty::Browser(_) => "the browser",
            CdrParty::Softphone(_) => "the phone",
            CdrParty::Trunk(_) => "the trunk",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_name_what_how_much_and_whom() {
        for (cause, words) in [
            (Cause::LostFrom(0.12), "12 % loss from the phone"),
            (Cause::LostTo(0.034), "3.4 % loss to the phone"),
            (Cause::LateFrom(0.996), "100 % too late from the phone"),
            (Cause::Delay(360), "360 ms one way to the phone"),
        ] {
            assert_eq!(complaint(cause, "the phone"), words);
        }
    }
}
