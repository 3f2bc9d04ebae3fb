//! What to try after a failure of a trunk: the one table of causes.

use types::EndReason;

use crate::call::Failure;

/// Where a call goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Nowhere: the answer is about the call, and another trunk would say the same or ring the person again.
    Nobody,
    /// To the next target of the trunk, then to the next trunk: it was about this one machine (RFC 3263 §4.3).
    Target,
    /// To the next trunk: all machines of this one would say the same.
    Trunk,
}

/// Q.850 causes about the network on the way, not about the person: no circuit, network out of order, temporary
/// failure, switching congestion, channel not available, resource unavailable.
const NETWORK_CAUSES: [u8; 6] = [34, 38, 41, 42, 44, 47];

/// Q.850 causes about the number or the person, which hold for every trunk: unallocated number, user busy, no user
/// responding, no answer, subscriber absent, call rejected, number changed, invalid number format.
const CALL_CAUSES: [u8; 8] = [1, 17, 18, 19, 20, 21, 22, 28];

/// Whether the cause beside a general refusal says that it was not about the machine at all.
pub(crate) fn is_about_the_call(q850: Option<u8>) -> bool {
    q850.is_some_and(|cause| CALL_CAUSES.contains(&cause))
}

/// What follows a trunk's failure. `urgent`: an emergency call takes every way there is.
pub(crate) fn after(failure: &Failure, urgent: bool) -> Next {
    let next = match (failure.status, failure.reason) {
        (Some(500..=599), _) if is_about_the_call(failure.q850) => Next::Nobody,
        (Some(503), _) | (None, EndReason::TrunkUnreachable) => Next::Target,
        // Our password or account there; what it knows nothing of; the time on its way on; its own codecs.
        (Some(401 | 402 | 407 | 408 | 488), _) => Next::Trunk,
        (Some(500..=599), _) => Next::Trunk,
        (Some(480 | 486), _) if failure.q850.is_some_and(|cause| NETWORK_CAUSES.contains(&cause)) => {
            Next::Trunk
        }
        // Our own limits on it.
        (None, EndReason::TooManyCalls | EndReason::RateLimited | EndReason::TrunkFailed) => Next::Trunk,
        (Some(_) | None, _) => Next::Nobody,
    };
    match next {
        Next::Nobody if urgent => Next::Trunk,
        Next::Nobody | Next::Target | Next::Trunk => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Party;

    fn said(status: u16, q850: Option<u8>) -> Failure {
        Failure::of_status(status, q850, &Party::Trunk(0))
    }

    #[test]
    fn only_causes_that_another_machine_or_trunk_can_mend_are_tried_again() {
        for status in 300..700 {
            let expected = match status {
                503 => Next::Target,
                401 | 402 | 407 | 408 | 488 | 500..=599 => Next::Trunk,
                _ => Next::Nobody,
            };
            assert_eq!(after(&said(status, None), false), expected, "{status}");
        }
        assert_eq!(after(&Failure::of(EndReason::TrunkUnreachable), false), Next::Target);
        assert_eq!(after(&Failure::of(EndReason::TooManyCalls), false), Next::Trunk);
        assert_eq!(after(&Failure::of(EndReason::Declined), false), Next::Nobody);
    }

    #[test]
    fn a_cause_of_the_network_behind_480_and_486_is_no_word_of_the_person() {
        assert_eq!(after(&said(480, Some(34)), false), Next::Trunk);
        assert_eq!(after(&said(486, Some(42)), false), Next::Trunk);
        assert_eq!(after(&said(480, Some(19)), false), Next::Nobody);
        assert_eq!(after(&said(486, Some(17)), false), Next::Nobody);
        assert_eq!(after(&said(404, Some(34)), false), Next::Nobody);
    }

    #[test]
    fn a_cause_of_the_number_or_the_person_behind_5xx_is_no_word_of_the_machine() {
        for cause in [1, 17, 21] {
            assert_eq!(after(&said(503, Some(cause)), false), Next::Nobody, "{cause}");
            assert_eq!(after(&said(500, Some(cause)), false), Next::Nobody, "{cause}");
        }
        assert_eq!(after(&said(503, Some(34)), false), Next::Target);
        assert_eq!(after(&said(503, Some(1)), true), Next::Trunk, "for help everything is tried");
    }

    #[test]
    fn an_emergency_call_takes_the_next_trunk_whatever_the_cause() {
        for status in [403, 404, 480, 486, 603] {
            assert_eq!(after(&said(status, None), true), Next::Trunk, "{status}");
        }
        assert_eq!(after(&said(503, None), true), Next::Target);
    }
}
