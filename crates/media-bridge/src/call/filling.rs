//! What a listener hears in the place of packets that do not come: of G.711 passed on as it is first what the lost ones may
//! have been (ITU-T G.711 Appendix I), then comfort noise as loud as the background was, or as the speaker says that it is
//! (RFC 3389). Samples that an `Ear` decodes are concealed there.

use crate::codec::{Background, Comfort, Law, NARROW, Noise, Plc};
use crate::control::Codec;

/// What concealment looks back on, samples of 60 ms: its own memory.
const REMEMBERED: usize = 480;
/// Of packets passed on so many are one whose level is looked at.
const LOOKED_AT: u8 = 4;

/// The filling of one listener's stream.
#[derive(Default)]
pub(super) struct Filling {
    background: Background,
    /// What the speaker says of its background; none while it speaks.
    said: Option<Comfort>,
    noise: Noise,
    passed: Option<Passed>,
    unseen: u8,
}

/// The newest G.711 that was passed on.
struct Passed {
    law: Law,
    /// Where the next byte goes: the oldest.
    at: usize,
    in_gap: bool,
    bytes: Box<[u8; REMEMBERED]>,
    plc: Box<Plc>,
}

/// The law of a codec that is G.711.
pub(super) fn law_of(codec: Codec) -> Option<Law> {
    match codec {
        Codec::Pcmu => Some(Law::Mu),
        Codec::Pcma => Some(Law::A),
        Codec::Opus | Codec::G722 => None,
    }
}

impl Filling {
    /// Somebody else speaks from now on.
    pub fn new_source(&mut self) {
        (self.background, self.said, self.passed) = (Background::default(), None, None);
    }

    /// Samples of the speaker went out.
    pub fn heard(&mut self, pcm: &[i16]) {
        self.said = None;
        self.background.heard(pcm);
    }

    /// The speaker says nothing but how loud its background is.
    pub fn said(&mut self, comfort: Comfort) {
        self.said = Some(comfort);
        self.passed = None;
    }

    /// Packets of another codec than G.711 are passed on.
    pub fn pass_unheard(&mut self) {
        self.said = None;
    }

    /// G.711 is passed on; after a gap its beginning is blended with what filled that.
    pub fn pass(&mut self, law: Law, payload: &mut [u8]) {
        self.said = None;
        self.unseen = (self.unseen + 1) % LOOKED_AT;
        if self.unseen == 1 {
            self.background.heard_g711(law, payload);
        }
        let passed = self.passed.get_or_insert_with(|| Passed::new(law));
        if passed.law != law {
            *passed = Passed::new(law);
        }
        if std::mem::take(&mut passed.in_gap) {
            passed.close_gap(payload);
        }
        passed.remember(payload);
    }

    /// The next frame, at `NARROW` samples a second.
    pub fn fill(&mut self, out: &mut [i16]) {
        out.fill(0);
        if let Some(passed) = &mut self.passed {
            passed.conceal(out);
        }
        self.noise.add(self.comfort(), out);
    }

    /// What the noise is like.
    pub fn comfort(&self) -> Comfort {
        self.said.unwrap_or_else(|| self.background.comfort())
    }

    /// Whether a frame would be nothing but noise.
    pub fn is_noise(&self) -> bool {
        self.passed.as_ref().is_none_or(|passed| passed.in_gap && passed.plc.has_faded())
    }
}

impl Passed {
    fn new(law: Law) -> Passed {
        let bytes = Box::new([law.silence(); REMEMBERED]);
        Passed { law, at: 0, in_gap: false, bytes, plc: Box::new(Plc::new(NARROW)) }
    }

    fn remember(&mut self, payload: &[u8]) {
        let newest = &payload[payload.len().saturating_sub(REMEMBERED)..];
        let (to_end, rest) = newest.split_at(newest.len().min(REMEMBERED - self.at));
        self.bytes[self.at..self.at + to_end.len()].copy_from_slice(to_end);
        self.bytes[..rest.len()].copy_from_slice(rest);
        self.at = (self.at + newest.len()) % REMEMBERED;
    }

    fn conceal(&mut self, out: &mut [i16]) {
        if !self.in_gap {
            self.in_gap = true;
            let mut pcm = [0; REMEMBERED];
            let (newer, older) = self.bytes.split_at(self.at);
            self.law.decode(older, &mut pcm);
            self.law.decode(newer, &mut pcm[older.len()..]);
            self.plc.good(&mut pcm);
        }
        self.plc.conceal(out);
    }

    /// After a gap, the beginning of what comes next is blended with what filled that.
    #[cold]
    fn close_gap(&mut self, payload: &mut [u8]) {
        let mut pcm = [0; REMEMBERED];
        let Some(pcm) = pcm.get_mut(..payload.len()) else { return };
        self.law.decode(payload, pcm);
        self.plc.good(pcm);
        payload.iter_mut().zip(pcm).for_each(|(code, sample)| *code = self.law.encode_sample(*sample));
    }
}
