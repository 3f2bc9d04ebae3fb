use std::time::Instant;

use crate::dialog::Dialog;
use crate::digest::DigestClient;
use crate::endpoint::reliable::Reliable;
use crate::endpoint::{Path, TxnId};
use crate::transaction::{GIVE_UP, Repeat, Wire};
use crate::{Flow, LegEnd};

/// One INVITE session from our side. It ends in `Endpoint::end_leg` only.
#[derive(Debug)]
pub(super) struct Leg {
    pub call_id: String,
    pub local_tag: String,
    /// What challenges to requests of this leg are answered with.
    pub auth: Option<DigestClient>,
    /// 100rel may be spoken of in re-INVITEs of ours.
    pub knows_100rel: bool,
    /// The peer's INVITE requires provisional responses that it acknowledges.
    pub reliable: Option<Box<Reliable>>,
    /// The peer's offer (or its wish for ours) that the application has not answered; at most one.
    pub incoming: Option<Incoming>,
    pub state: LegState,
}

#[derive(Debug)]
pub(super) enum LegState {
    /// We called; no final answer yet.
    Calling(Calling),
    /// We are called; no final answer given yet.
    Ringing(Box<Ringing>),
    /// A 2xx was exchanged.
    Established(Box<Session>),
    /// BYE is on its way; then the leg ends as told.
    Closing {
        dialog: Box<Dialog>,
        end: LegEnd,
        /// A re-INVITE that we have sent: its 2xx is still to be acknowledged (RFC 5407 §3.2.3).
        reinvite: Option<TxnId>,
    },
}

#[derive(Debug)]
pub(super) struct Calling {
    /// The INVITE, the latest if it was repeated with credentials.
    pub txn: TxnId,
    pub cancel: Cancel,
    /// The peer has said something, be it 100: the application knows.
    pub heard: bool,
    /// To-tags seen in 1xx: one early dialog each.
    pub early: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Cancel {
    No,
    /// Wanted, but no provisional response has come (RFC 3261 §9.1).
    Wanted(Option<String>),
    /// Sent; the INVITE is given up at this time.
    Sent(Instant),
}

#[derive(Debug)]
pub(super) struct Ringing {
    /// The INVITE's server transaction.
    pub txn: TxnId,
    pub dialog: Dialog,
    /// The INVITE brought no offer: ours goes into the 2xx, the answer comes in the ACK.
    pub late_offer: bool,
    /// The caller allows UPDATE.
    pub updatable: bool,
    /// Our UPDATE with an offer that waits for its answer.
    pub offering: Option<TxnId>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub dialog: Dialog,
    /// Our 2xx waits for its ACK.
    pub unacked: Option<Unacked>,
    /// Hung up by us while waiting for the ACK: BYE follows it (RFC 3261 §15).
    pub hang_up: Option<Option<String>>,
    /// Hung up by us, but the peer is to do it by itself first: it has transferred the call.
    pub parting: Option<Parting>,
    /// The peer has sent REFER before.
    pub referred: bool,
    pub outgoing: Outgoing,
}

/// A BYE that waits a moment.
#[derive(Debug)]
pub(super) struct Parting {
    pub at: Instant,
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    pub txn: TxnId,
    pub kind: IncomingKind,
    /// How it came: the way of the target refresh.
    pub flow: Flow,
}

/// What brought the peer's offer, or asks for ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IncomingKind {
    /// A re-INVITE with an offer.
    Reinvite,
    /// A re-INVITE without: ours goes into the 2xx.
    LateOffer,
    /// UPDATE with an offer: no ACK follows (RFC 3311 §5.2).
    Update,
    /// PRACK with an offer, after our answer was complete (RFC 3262 §5).
    Prack,
}

/// Our own re-INVITE, or the UPDATE with an offer that it was answered over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outgoing {
    Idle,
    /// Waiting for a final response, at most until `deadline`.
    Sent {
        txn: TxnId,
        deadline: Instant,
    },
    /// Refused with 491: the application hears of it when it may try again (RFC 3261 §14.1).
    Glare {
        until: Instant,
    },
}

/// A 2xx to INVITE, repeated by the user agent itself until ACK, over streams too (RFC 3261 §13.3.1.4).
#[derive(Debug)]
pub(super) struct Unacked {
    pub cseq: u32,
    pub wire: Wire,
    pub path: Path,
    pub repeat: Repeat,
    pub give_up: Instant,
    /// The ACK must bring the answer to our offer.
    pub late_offer: bool,
}

impl Unacked {
    pub fn new(cseq: u32, wire: Wire, path: Path, late_offer: bool, now: Instant) -> Unacked {
        Unacked { cseq, wire, path, repeat: Repeat::start(now), give_up: now + GIVE_UP, late_offer }
    }
}

impl Session {
    pub fn new(dialog: Dialog, unacked: Option<Unacked>) -> Session {
        Session { dialog, unacked, hang_up: None, parting: None, referred: false, outgoing: Outgoing::Idle }
    }
}

impl Leg {
    /// When something of the leg itself is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            LegState::Calling(Calling { cancel: Cancel::Sent(give_up), .. }) => Some(*give_up),
            LegState::Ringing(_) => self.reliable.as_ref().and_then(|r| r.next_timeout()),
            LegState::Calling(_) | LegState::Closing { .. } => None,
            LegState::Established(session) => {
                let repeat = session.unacked.as_ref().map(|u| u.repeat.at.min(u.give_up));
                let outgoing = match session.outgoing {
                    Outgoing::Idle => None,
                    Outgoing::Sent { deadline, .. } => Some(deadline),
                    Outgoing::Glare { until } => Some(until),
                };
                let parting = session.parting.as_ref().map(|p| p.at);
                repeat.into_iter().chain(outgoing).chain(parting).min()
            }
        }
    }

    /// An INVITE of ours without a final response.
    pub fn open_invite(&self) -> Option<TxnId> {
        match &self.state {
            LegState::Calling(calling) => Some(calling.txn),
            LegState::Established(session) => match session.outgoing {
                Outgoing::Sent { txn, .. } => Some(txn),
                Outgoing::Idle | Outgoing::Glare { .. } => None,
            },
            LegState::Closing { reinvite, .. } => *reinvite,
            LegState::Ringing(_) => None,
        }
    }

    /// Of a caller who is not answered: its offer has our answer, sent reliably and acknowledged (RFC 3311 §5.1).
    pub fn first_offer_settled(&self) -> bool {
        self.reliable.as_deref().is_some_and(Reliable::is_settled)
    }

    /// Whether the peer's tag belongs to this leg.
    pub fn knows_peer(&self, tag: &str) -> bool {
        match &self.state {
            LegState::Calling(calling) => calling.early.iter().any(|t| t == tag),
            LegState::Ringing(ringing) => ringing.dialog.remote_tag == tag,
            LegState::Established(session) => session.dialog.remote_tag == tag,
            LegState::Closing { dialog, .. } => dialog.remote_tag == tag,
        }
    }
}
