//! Whether audio towards SIP peers is encrypted, and with what (RFC 4568 §5.1, RFC 8643).

use super::crypto::Crypto;
use super::remote::MediaLine;
use crate::control::{Refusal, Srtp};
use crate::srtp::Suite;

/// Why a line can not be used where encryption is wanted like this.
pub(super) fn problem(line: &MediaLine, srtp: Srtp) -> Option<String> {
    let possible = line.crypto.iter().any(Result::is_ok);
    match (srtp, line.is_secure()) {
        (Srtp::Off, true) => Some(format!(
            "its audio is encrypted ({}) and srtp is \"off\" here: use RTP/AVP there, or srtp = \"optional\" in the \
             gateway",
            line.proto
        )),
        (Srtp::Off | Srtp::IfOffered | Srtp::Optional, false) => None,
        (Srtp::IfOffered | Srtp::Optional | Srtp::Required, _) if possible => None,
        (Srtp::IfOffered | Srtp::Optional | Srtp::Required, _) if !line.crypto.is_empty() => {
            Some(no_common_suite(line))
        }
        (Srtp::IfOffered | Srtp::Optional | Srtp::Required, true) => {
            Some(format!("its audio is encrypted ({}) and it has no a=crypto with the key", line.proto))
        }
        (Srtp::Required, false) => Some(
            "its audio is not encrypted and srtp is \"required\" here: use RTP/SAVP with a=crypto there, or srtp = \
             \"optional\" in the gateway"
                .to_owned(),
        ),
    }
}

fn no_common_suite(line: &MediaLine) -> String {
    let theirs: Vec<&str> =
        line.crypto.iter().filter_map(|c| c.as_ref().err()).map(String::as_str).take(4).collect();
    let ours: Vec<&str> = Suite::ALL.iter().map(|s| s.name()).collect();
    format!("no SRTP suite in common: {}; here are {}", theirs.join(", "), ours.join(" "))
}

/// What the answer to an offer takes: the best suite by our order, whatever order theirs is in (RFC 4568 §5.1.2).
pub fn choose_crypto(line: &MediaLine, srtp: Srtp) -> Option<&Crypto> {
    match srtp {
        Srtp::Off => None,
        Srtp::IfOffered | Srtp::Optional | Srtp::Required => {
            Suite::ALL.iter().find_map(|suite| usable(line).find(|c| c.keys.suite() == *suite))
        }
    }
}

/// Which of `offered` an answer took: ours and theirs; none where it goes on without encryption, which an offer of
/// RTP/AVP allows (RFC 8643 §3.1).
pub fn agree_crypto(
    line: &MediaLine,
    offered: &[Crypto],
    srtp: Srtp,
) -> Result<Option<(Crypto, Crypto)>, Refusal> {
    let ours_of = |theirs: &Crypto| {
        offered.iter().find(|ours| ours.tag == theirs.tag && ours.keys.suite() == theirs.keys.suite())
    };
    match usable(line).find_map(|theirs| Some((ours_of(theirs)?.clone(), theirs.clone()))) {
        None if line.is_secure() || srtp == Srtp::Required => {
            Err(Refusal::Srtp("its a=crypto takes up none that was offered".to_owned()))
        }
        taken => Ok(taken),
    }
}

fn usable(line: &MediaLine) -> impl Iterator<Item = &Crypto> {
    line.crypto.iter().filter_map(|c| c.as_ref().ok())
}
