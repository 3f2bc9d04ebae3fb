//! What kinds of calls there are.

use std::path::Path;

use crate::Fallible;
use crate::dtls::Offered;
use crate::engine::Speech;
use crate::floor::{NARROW, Settings, WIDE};
use crate::ours::{Dialled, Ours};
use crate::rtpengine::Rtpengine;
use crate::sdp::Codec;
use crate::setup::Says;
use crate::speech::Recording;
use crate::subject::Subject;

/// One kind of calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workload {
    /// SRTP PCMU to RTP PCMU.
    Relay,
    /// The same in the SRTP profile that Chromium and the gateway choose by DTLS 1.3.
    RelayFirst,
    /// Opus to PCMU.
    Transcode,
    /// Opus to G.722.
    Wideband,
}

/// Whom the calls go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Against {
    /// The built gateway.
    Ours,
    /// Debian's rtpengine, Opus as browsers offer it: 48 kHz stereo.
    Rtpengine,
    /// The same, Opus offered with one channel.
    RtpengineMono,
}

impl Workload {
    /// Its name in `bench.json`.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Relay => "relay_pcmu",
            Workload::RelayFirst => "relay_pcmu_aes128_cm_hmac_sha1_80",
            Workload::Transcode => "transcode_opus_pcmu",
            Workload::Wideband => "transcode_opus_g722",
        }
    }

    /// Codec of the browsers.
    pub fn browser(self) -> Codec {
        match self {
            Workload::Relay | Workload::RelayFirst => Codec::Pcmu,
            Workload::Transcode | Workload::Wideband => Codec::Opus,
        }
    }

    /// Codec of the SIP parties.
    pub fn party(self) -> Codec {
        match self {
            Workload::Relay | Workload::RelayFirst | Workload::Transcode => Codec::Pcmu,
            Workload::Wideband => Codec::G722,
        }
    }

    /// What the browsers offer.
    pub fn offered(self) -> Offered {
        match self {
            Workload::RelayFirst => Offered::First,
            Workload::Relay | Workload::Transcode | Workload::Wideband => Offered::Chromium,
        }
    }

    /// What codecs alone is to do for it; none where they have nothing to do.
    pub fn floor(self) -> Option<Settings> {
        match self {
            Workload::Relay | Workload::RelayFirst => None,
            Workload::Transcode => Some(NARROW),
            Workload::Wideband => Some(WIDE),
        }
    }

    /// Sample rate at which its audio is compared, Hz.
    pub fn rate(self) -> u32 {
        self.floor().map_or(8_000, |settings| settings.rate)
    }

    /// What both sides say.
    ///
    /// # Errors
    /// When the speech is not there.
    pub fn says(self, recording: &Recording, against: Against) -> Fallible<Says> {
        let say = |codec| -> Fallible<Speech> { recording.encoded(codec, self.rate() == WIDE.rate) };
        let mono = against == Against::RtpengineMono;
        Ok(Says { browser: say(self.browser())?, party: say(self.party())?, mono })
    }

    /// Starts whom the calls go through.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(self, against: Against, gateway: &Path, dir: &Path) -> Fallible<Subject> {
        Ok(match against {
            Against::Ours => {
                let trunk_keys = match self {
                    Workload::Relay | Workload::RelayFirst | Workload::Transcode => "codecs = [\"pcmu\"]",
                    Workload::Wideband => "codecs = [\"g722\"]",
                };
                let dialled = Dialled { codec: self.party(), trunk_keys, records: None };
                Subject::Ours(Box::new(Ours::start(gateway, dir, &dialled)?))
            }
            Against::Rtpengine | Against::RtpengineMono => {
                Subject::Rtpengine(Box::new(Rtpengine::start(dir, self.party())?))
            }
        })
    }
}
