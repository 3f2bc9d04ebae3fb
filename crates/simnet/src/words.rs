//! Descriptions are words: an offer lists codecs (`opus,pcmu`), an answer names one. Before them may stand how they are
//! encrypted (`keys:pcmu`, `savp:pcmu`) and a direction (`inactive:pcmu`).

use media_bridge::control::{Codec, Direction, Refusal, Srtp};

/// What a description has of encryption.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keys {
    /// RTP/AVP without keys.
    None,
    /// RTP/AVP with keys, which the peer may leave (RFC 8643).
    Beside,
    /// RTP/SAVP: encrypted or not at all (RFC 4568).
    Only,
}

const DIRECTIONS: [Direction; 4] =
    [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];

/// A description, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Words {
    pub keys: Keys,
    pub direction: Direction,
    pub codecs: String,
}

impl Words {
    pub fn of(bytes: &[u8]) -> Words {
        let text = String::from_utf8_lossy(bytes);
        let mut words = Words { keys: Keys::None, direction: Direction::SendRecv, codecs: String::new() };
        for word in text.split(':') {
            match (word, DIRECTIONS.into_iter().find(|d| d.as_str() == word)) {
                ("keys", _) => words.keys = Keys::Beside,
                ("savp", _) => words.keys = Keys::Only,
                (_, Some(direction)) => words.direction = direction,
                (codecs, None) => words.codecs = codecs.to_owned(),
            }
        }
        words
    }

    /// The codecs that have a name here.
    pub fn known(&self) -> Vec<Codec> {
        self.codecs.split(',').filter_map(|word| Codec::ALL.into_iter().find(|c| c.name() == word)).collect()
    }

    /// Every codec that is also in the other list, by name.
    pub fn common<'a>(&'a self, own: &'a str) -> impl Iterator<Item = &'a str> {
        self.codecs.split(',').filter(move |word| own.split(',').any(|known| known == *word))
    }
}

impl Keys {
    /// Before a description.
    pub fn mark(self, text: &str) -> String {
        match self {
            Keys::None => text.to_owned(),
            Keys::Beside => format!("keys:{text}"),
            Keys::Only => format!("savp:{text}"),
        }
    }

    /// What whoever wants encryption like this offers.
    pub fn offered(srtp: Srtp) -> Keys {
        match srtp {
            Srtp::Off | Srtp::IfOffered => Keys::None,
            Srtp::Optional => Keys::Beside,
            Srtp::Required => Keys::Only,
        }
    }

    /// What whoever wants encryption like this answers to an offer with these.
    pub fn answered(self, srtp: Srtp) -> Result<Keys, Refusal> {
        match (srtp, self) {
            (Srtp::Off, Keys::Only) => Err(Refusal::Srtp("srtp is off here".into())),
            (Srtp::Required, Keys::None) => Err(Refusal::Srtp("srtp is required here".into())),
            (Srtp::Off, Keys::None | Keys::Beside) => Ok(Keys::None),
            (Srtp::IfOffered | Srtp::Optional | Srtp::Required, keys) => Ok(keys),
        }
    }
}
