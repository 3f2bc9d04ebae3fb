//! Encryption of a leg: which keys hold (RFC 4568 §7.1, RFC 5764 §4.2), and packets on their way in and out (RFC 3711).

use types::{Datagram, Entropy};
use webrtc_peer::{SrtpKeys, SrtpProfile};

use super::leg::{Leg, Path};
use super::outbox::Outbox;
use crate::control::Srtp;
use crate::rtp::is_rtcp;
use crate::sdp::Crypto;
use crate::srtp::{Keys, OVERHEAD, Receiver, Reject, Sender, Suite};

/// Both directions of an encrypted leg, in use.
pub(super) struct Contexts {
    sender: Sender,
    receiver: Receiver,
    /// What the peer encrypted with before it changed its key: packets under way still carry it. Gone with the first
    /// packet under the new one.
    before: Option<Receiver>,
}

/// Keys that descriptions agreed on (RFC 4568), and what they protect.
pub(super) struct Secured {
    ours: Crypto,
    theirs: Crypto,
    pub contexts: Contexts,
}

/// Keys of ours that have served and may be chosen again, by a fork's answer to the same offer: with counters that begin
/// anew an index would serve twice, and give the key away (RFC 3711 §9.1).
#[derive(Default)]
pub(super) struct Retired(Vec<(Keys, Sender)>);

impl Retired {
    /// What protects with these keys.
    fn sender(&mut self, keys: &Keys) -> Sender {
        let known = self.0.iter().position(|(retired, _)| retired == keys);
        known.map(|place| self.0.remove(place).1).unwrap_or_else(|| Sender::new(keys))
    }

    /// An offer has one key for each suite: more can not come back.
    fn put(&mut self, keys: Keys, sender: Sender) {
        if self.0.len() >= Suite::ALL.len() {
            self.0.remove(0);
        }
        self.0.push((keys, sender));
    }
}

impl Leg {
    /// Fills the keys of an offer that is to be written: those in use, or new ones for a leg that has none.
    pub(super) fn offer_crypto(&mut self, entropy: &mut dyn Entropy) {
        let Path::Rtp(rtp) = &self.path else { return };
        let in_use = rtp.secured.as_ref().map(|secured| secured.ours.clone());
        let begun = self.sdp.is_begun();
        let lines = self.sdp.offered_crypto();
        match (in_use, self.params.srtp) {
            // RFC 4568 §7.1.4: the same line again keeps key, rollover counter and all.
            (Some(ours), _) => *lines = vec![ours],
            (None, Srtp::Off | Srtp::IfOffered) => lines.clear(),
            // What runs plain goes on plain.
            (None, Srtp::Optional | Srtp::Required) if begun => lines.clear(),
            (None, Srtp::Optional | Srtp::Required) if lines.is_empty() => *lines = Crypto::offer(entropy),
            (None, Srtp::Optional | Srtp::Required) => {}
        }
    }

    /// Takes up a line of the peer's offer, or none. Our key stays while theirs does; a peer with a new key may be a
    /// new device that knows nothing of our rollover counter, so ours is made anew with it.
    pub(super) fn answer_crypto(&mut self, theirs: Option<&Crypto>, entropy: &mut dyn Entropy) {
        let Path::Rtp(rtp) = &self.path else { return };
        let pair = theirs.map(|theirs| {
            let same = rtp.secured.as_ref().filter(|secured| secured.theirs.keys == theirs.keys);
            let ours = same.map(|secured| Crypto { tag: theirs.tag, ..secured.ours.clone() });
            (ours.unwrap_or_else(|| theirs.answer(entropy)), theirs.clone())
        });
        self.secure(pair);
    }

    /// Encrypts from now on with the first and expects the second; none: plain packets.
    pub(super) fn secure(&mut self, pair: Option<(Crypto, Crypto)>) {
        let Path::Rtp(rtp) = &mut self.path else { return };
        match (pair, rtp.secured.take()) {
            (None, Some(was)) => rtp.retired.put(was.ours.keys, was.contexts.sender),
            (None, None) => {}
            (Some((ours, theirs)), Some(mut secured)) => {
                secured.change(ours, theirs, &mut rtp.retired);
                rtp.secured = Some(secured);
            }
            (Some((ours, theirs)), None) => {
                rtp.secured = Some(Box::new(Secured::new(ours, theirs, &mut rtp.retired)));
            }
        }
    }
}

impl Secured {
    fn new(ours: Crypto, theirs: Crypto, retired: &mut Retired) -> Secured {
        let sender = retired.sender(&ours.keys);
        let contexts = Contexts::new(sender, Receiver::new(&theirs.keys, theirs.mki));
        Secured { ours, theirs, contexts }
    }

    /// An unchanged key keeps its counters.
    fn change(&mut self, ours: Crypto, theirs: Crypto, retired: &mut Retired) {
        let contexts = &mut self.contexts;
        if ours.keys != self.ours.keys {
            let sender = std::mem::replace(&mut contexts.sender, retired.sender(&ours.keys));
            retired.put(self.ours.keys.clone(), sender);
        }
        if theirs.keys != self.theirs.keys || theirs.mki != self.theirs.mki {
            let next = contexts.receiver.successor(&theirs.keys, theirs.mki);
            contexts.before = Some(std::mem::replace(&mut contexts.receiver, next));
        }
        (self.ours, self.theirs) = (ours, theirs);
    }

    /// Our line of the agreement.
    pub fn ours(&self) -> &Crypto {
        &self.ours
    }
}

impl Contexts {
    fn new(sender: Sender, receiver: Receiver) -> Contexts {
        Contexts { sender, receiver, before: None }
    }

    /// With the keys of a DTLS association (RFC 5764 §4.2). None if their length is not their profile's.
    pub fn of_association(keys: &SrtpKeys) -> Option<Contexts> {
        let suite = match keys.profile() {
            SrtpProfile::AeadAes256Gcm => Suite::AeadAes256Gcm,
            SrtpProfile::AeadAes128Gcm => Suite::AeadAes128Gcm,
            SrtpProfile::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        };
        let (ours, theirs) = (Keys::new(suite, keys.ours())?, Keys::new(suite, keys.theirs())?);
        Some(Contexts::new(Sender::new(&ours), Receiver::new(&theirs, 0)))
    }

    /// Encrypts a whole packet; false if it must not be sent.
    pub fn protect(&mut self, kind: Kind, packet: &mut Datagram) -> bool {
        let length = packet.len();
        packet.lengthen(OVERHEAD);
        let sealed = match kind {
            Kind::Rtp => self.sender.seal_rtp(packet, length),
            Kind::Rtcp => self.sender.seal_rtcp(packet, length),
        };
        sealed.map(|length| packet.truncate(length)).is_ok()
    }

    /// Decrypts a packet where it lies, if it is the peer's and did not come before; if not, it is destroyed.
    pub fn unprotect(
        &mut self,
        kind: Kind,
        packet: &mut Datagram,
        outbox: &mut Outbox,
    ) -> Result<(), Reject> {
        let Some(before) = &mut self.before else { return open(&mut self.receiver, kind, packet) };
        let mut again = outbox.buffer();
        again.extend_from_slice(packet);
        let mut opened = open(&mut self.receiver, kind, packet);
        if opened.is_ok() {
            self.before = None;
        } else if open(before, kind, &mut again).is_ok() {
            std::mem::swap(packet, &mut again);
            opened = Ok(());
        }
        outbox.give_back(again);
        opened
    }
}

/// Which of the two a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rtp,
    Rtcp,
}

impl Kind {
    /// Of a packet on a port that both share (RFC 5761 §4).
    pub fn of(data: &[u8]) -> Kind {
        if is_rtcp(data) { Kind::Rtcp } else { Kind::Rtp }
    }
}

fn open(receiver: &mut Receiver, kind: Kind, packet: &mut Datagram) -> Result<(), Reject> {
    let opened = match kind {
        Kind::Rtp => receiver.unprotect_rtp(packet),
        Kind::Rtcp => receiver.unprotect_rtcp(packet),
    };
    packet.truncate(opened?);
    Ok(())
}
