use std::collections::HashMap;
use std::time::Instant;

use crate::digest::DigestClient;
use crate::endpoint::client::Purpose;
use crate::endpoint::leg::{Calling, Cancel, Leg, LegState, Outgoing};
use crate::endpoint::{Endpoint, OutRequest, TxnId};
use crate::message::{Message, Method};
use crate::registration::Registration;
use crate::{RegistrationId, SipLeg};

/// Challenges that one request answers in a row: a proxy's, the callee's, each stale once. More is a refusal.
const CHALLENGES: u8 = 4;

/// Who answers challenges to a request: its leg or its registration.
fn secrets<'a>(
    purpose: Purpose,
    legs: &'a mut HashMap<SipLeg, Leg>,
    registrations: &'a mut HashMap<RegistrationId, Registration>,
) -> Option<&'a mut DigestClient> {
    match (purpose, purpose.leg()) {
        (Purpose::Register(id), _) => registrations.get_mut(&id)?.auth.as_mut(),
        (_, Some(leg)) => legs.get_mut(&leg)?.auth.as_mut(),
        (_, None) => None,
    }
}

impl Endpoint {
    /// Adds credentials for the challenges known so far (RFC 3261 §22.2). ACK and CANCEL cannot be challenged (§22.1).
    pub(super) fn authenticate(&mut self, request: &mut OutRequest, purpose: Purpose) {
        if matches!(request.method, Method::Ack | Method::Cancel) {
            return;
        }
        let body = request.body.as_ref().map_or(&[][..], |b| &b.bytes);
        let client = secrets(purpose, &mut self.legs, &mut self.registrations);
        if let Some(client) = client.filter(|c| c.is_challenged()) {
            request.auth = client.answer(&request.method, &request.uri, body, self.entropy.as_mut());
        }
    }

    /// 401 or 407: sends the request again with credentials where that makes sense, and says whether.
    pub(super) fn answer_challenge(&mut self, id: TxnId, response: &Message, now: Instant) -> bool {
        let Some((purpose, challenges)) = self.challenged_request(id) else { return false };
        let Some(client) = secrets(purpose, &mut self.legs, &mut self.registrations) else { return false };
        if client.challenged(response).is_err() || challenges >= CHALLENGES {
            return false;
        }
        let Some(request) = self.clients.get(&id).map(|t| t.request.clone()) else { return false };
        let cseq = self.next_seq(purpose, request.cseq);
        let branch = self.new_branch();
        let new = self.send_with_branch(OutRequest { cseq, ..request }, branch, purpose, challenges + 1, now);
        self.replaced(purpose, id, new);
        true
    }

    /// A 2xx: what it was asked with is right.
    pub(super) fn credentials_accepted(&mut self, purpose: Purpose) {
        if let Some(client) = secrets(purpose, &mut self.legs, &mut self.registrations) {
            client.accepted();
        }
    }

    /// What was challenged, if somebody still wants it answered.
    pub(super) fn challenged_request(&self, id: TxnId) -> Option<(Purpose, u8)> {
        let txn = self.clients.get(&id)?;
        if let Purpose::Invite(leg) = txn.purpose {
            match &self.legs.get(&leg)?.state {
                LegState::Calling(Calling { txn, cancel: Cancel::No, .. }) if *txn == id => {}
                LegState::Calling(_)
                | LegState::Ringing(_)
                | LegState::Established(_)
                | LegState::Closing { .. } => return None,
            }
        }
        // A REGISTER that a later one has overtaken must not be repeated behind it.
        if let Purpose::Register(reg) = txn.purpose {
            self.registrations.get(&reg).filter(|r| r.waits_for(id))?;
        }
        Some((txn.purpose, txn.challenges))
    }

    /// The number of the request with credentials: the next of its dialog, where other requests may have gone ahead.
    pub(super) fn next_seq(&mut self, purpose: Purpose, cseq: u32) -> u32 {
        if let Purpose::Register(id) = purpose {
            return self.registrations.get_mut(&id).map_or(cseq + 1, |r| r.next_seq());
        }
        let in_dialog = matches!(
            purpose,
            Purpose::Reinvite(_)
                | Purpose::Update(_)
                | Purpose::Offer(_)
                | Purpose::Bye(_)
                | Purpose::InDialog(_)
                | Purpose::Prack(_)
        );
        let leg = purpose.leg().filter(|_| in_dialog).and_then(|leg| self.legs.get_mut(&leg));
        match leg.map(|l| &mut l.state) {
            Some(LegState::Established(session)) => session.dialog.next_seq(),
            Some(LegState::Closing { dialog, .. }) => dialog.next_seq(),
            Some(LegState::Calling(calling)) => {
                let invite = self.clients.get_mut(&calling.txn);
                invite.map_or(cseq + 1, |t| t.early.next_seq())
            }
            Some(LegState::Ringing(ringing)) => ringing.dialog.next_seq(),
            None => cseq + 1,
        }
    }

    /// Whoever waited for the old request waits for the new one.
    pub(super) fn replaced(&mut self, purpose: Purpose, old: TxnId, new: TxnId) {
        if let Purpose::Register(id) = purpose {
            if let Some(registration) = self.registrations.get_mut(&id) {
                registration.resent(old, new);
            }
            return;
        }
        let Some(leg) = purpose.leg().and_then(|leg| self.legs.get_mut(&leg)) else { return };
        match &mut leg.state {
            LegState::Calling(calling) if calling.txn == old => {
                calling.txn = new;
                calling.early.clear();
            }
            LegState::Established(session) => {
                if let Outgoing::Sent { txn, .. } = &mut session.outgoing
                    && *txn == old
                {
                    *txn = new;
                }
            }
            LegState::Ringing(ringing) if ringing.offering == Some(old) => ringing.offering = Some(new),
            LegState::Calling(_) | LegState::Ringing(_) | LegState::Closing { .. } => {}
        }
    }
}
