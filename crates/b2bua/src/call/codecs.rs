//! Which codecs a leg may use, where a trunk of its call wants audio to pass through untouched.

use media_bridge::control::{Codec, LegParams};
use types::LegId;

use super::{Call, Leg, Progress, State};
use crate::profile::{CodecPolicy, TrunkProfile};
use crate::shared::Shared;

impl Call {
    /// A leg's parameters with no codec but the other side's, or what the other side may still choose, if either of
    /// them is of a trunk whose audio is never transcoded.
    pub(super) fn untouched(&self, id: LegId, mut params: LegParams, sh: &Shared) -> LegParams {
        let own = self.legs.iter().find(|l| l.id == id).and_then(|l| l.profile(sh));
        let (agreed, far) = self.other_side(id, sh);
        let passes = |p: Option<&TrunkProfile>| p.is_some_and(|p| p.codec_policy == CodecPolicy::Passthrough);
        match (agreed, far) {
            (Some(codec), _) if passes(own) || passes(far) => params.codecs.retain(|c| *c == codec),
            (None, Some(trunk)) if passes(far) => {
                let both = trunk.codecs.iter().filter(|c| params.codecs.contains(c));
                params.codecs = both.copied().collect();
            }
            (_, _) => {}
        }
        params
    }

    /// The codec of whoever a leg talks to, and their trunk.
    fn other_side<'a>(&self, id: LegId, sh: &'a Shared) -> (Option<Codec>, Option<&'a TrunkProfile>) {
        let of = |leg: &Leg| (leg.codec, leg.profile(sh));
        if id != self.legs[0].id {
            return of(&self.legs[0]);
        }
        let callee = match &self.state {
            State::Preparing { plan, .. } | State::Announcing { plan, .. } => {
                return (None, plan.trunk(&sh.config).map(|t| &t.profile));
            }
            State::Talking { callee, .. } | State::Connecting { callee, .. } => *callee,
            State::Trying { progress: Progress::Early(callee) | Progress::EarlyWanted(callee), .. } => {
                *callee
            }
            State::Trying { progress: Progress::Silent | Progress::Ringing, .. } | State::Closing { .. } => {
                return (None, None);
            }
        };
        self.legs.iter().find(|l| l.id == callee).map_or((None, None), of)
    }
}
