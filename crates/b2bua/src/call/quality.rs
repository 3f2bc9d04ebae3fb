//! How the legs sound: told to browsers, and in words.

use media_bridge::control::{Codec, LegStats, SetUp};
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

/// What was odd about the audio from `whom`, in plain words for the record: one sentence each.
pub fn remarks(stats: &LegStats, agreed: Codec, whom: &str) -> Vec<String> {
    let odd = stats.oddities;
    let silent = odd.silent.then(|| match whom {
        "the trunk" => "the trunk sent nothing but silence".to_owned(),
        whom => format!("{whom}'s microphone was silent"),
    });
    let length = odd.packet_ms.map(|ms| format!("{whom} sent {ms} ms packets although 20 were asked for"));
    let codec = odd.unagreed.map(|codec| {
        format!("{whom} sent {} although {} was agreed: it was played", codec.name(), agreed.name())
    });
    let clock =
        odd.wrong_clock.then(|| format!("{whom}'s timestamps ran at a wrong speed: they were put right"));
    let stray = odd.stray.filter(|(_, packets)| u64::from(*packets) > FEW).map(|(payload_type, packets)| {
        format!("{packets} packets from {whom} were of a payload type that nobody agreed to, the last of {payload_type}: they were dropped")
    });
    // One in a hundred is what a network does.
    let many = |packets: u64| packets > FEW && packets * 100 > stats.packets_in;
    let late = many(stats.late).then(|| format!("{} packets from {whom} came too late", stats.late));
    let twice =
        many(stats.duplicates.into()).then(|| format!("{} packets from {whom} came twice", stats.duplicates));
    [silent, length, codec, clock, stray, late, twice].into_iter().flatten().collect()
}

/// Why the media of `whom`, a browser, did not come up; none: it did, or is no browser's.
pub fn unconnected(stats: &LegStats, whom: &str) -> Option<String> {
    let step = match stats.set_up? {
        SetUp { dtls: Some(_), .. } => return None,
        SetUp { ice: None, .. } => "no connectivity check of it arrived (ICE)".to_owned(),
        SetUp { ice: Some(ice), .. } => {
            format!(
                "there was a way after {} ms (ICE), its handshake was not finished (DTLS)",
                ice.as_millis()
            )
        }
    };
    Some(format!("{whom}'s audio did not come up: {step}"))
}

/// So many packets are nothing to remark on: those under way at a change of format, or what any network does.
const FEW: u64 = 10;

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
    fn remarks_name_what_was_odd_and_whose_it_was() {
        use media_bridge::control::Oddities;
        let mut stats = LegStats { packets_in: 1_000, late: 10, ..LegStats::default() };
        assert!(remarks(&stats, Codec::Pcmu, "the trunk").is_empty());
        (stats.duplicates, stats.oddities.stray) = (10, Some((96, 10)));
        assert!(remarks(&stats, Codec::Pcmu, "the trunk").is_empty(), "as after any change of format");
        (stats.late, stats.duplicates) = (11, 12);
        stats.oddities = Oddities {
            unagreed: Some(Codec::Pcma),
            packet_ms: Some(30),
            wrong_clock: true,
            silent: true,
            stray: Some((96, 13)),
        };
        assert_eq!(
            remarks(&stats, Codec::Pcmu, "the browser"),
            [
                "the browser's microphone was silent",
                "the browser sent 30 ms packets although 20 were asked for",
                "the browser sent pcma although pcmu was agreed: it was played",
                "the browser's timestamps ran at a wrong speed: they were put right",
                "13 packets from the browser were of a payload type that nobody agreed to, the last of 96: they were dropped",
                "11 packets from the browser came too late",
                "12 packets from the browser came twice",
            ]
        );
        assert_eq!(remarks(&stats, Codec::Pcmu, "the trunk")[0], "the trunk sent nothing but silence");
    }

    #[test]
    fn audio_that_did_not_come_up_is_told_by_the_step_that_failed() {
        let at = |ice, dtls| {
            let ms = |ms: Option<u64>| ms.map(std::time::Duration::from_millis);
            let set_up = Some(SetUp { ice: ms(ice), dtls: ms(dtls) });
            unconnected(&LegStats { set_up, ..LegStats::default() }, "the browser")
        };
        assert_eq!(at(Some(40), Some(90)), None);
        assert_eq!(unconnected(&LegStats::default(), "the trunk"), None);
        let words = "the browser's audio did not come up: no connectivity check of it arrived (ICE)";
        assert_eq!(at(None, None).as_deref(), Some(words));
        let words = "the browser's audio did not come up: there was a way after 40 ms (ICE), its handshake was not finished (DTLS)";
        assert_eq!(at(Some(40), None).as_deref(), Some(words));
    }

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
