//! Credentials of a TURN server that expire by themselves (the draft "A REST API For Access To TURN Services", as coturn
//! reads it with `use-auth-secret`): whoever has the shared secret makes them, the server checks them without asking.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use types::Wall;

use crate::signalling::ToBrowser;

/// The relays that browsers may use.
#[derive(Clone)]
pub struct Turn {
    urls: Vec<String>,
    key: hmac::Key,
    ttl: Duration,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Turn({:?}, secret, {:?})", self.urls, self.ttl)
    }
}

impl Turn {
    /// `urls`: `turn:` or `turns:` URIs; `ttl`: how long credentials are good.
    pub fn new(urls: Vec<String>, secret: &str, ttl: Duration) -> Turn {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        Turn { urls, key, ttl }
    }

    /// How long credentials are good.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// What a browser is told: `user` shows in the relay's log.
    pub fn credentials(&self, user: &str, wall: Wall) -> ToBrowser {
        let expires = wall.seconds() + self.ttl.as_secs();
        let username = format!("{expires}:{user}");
        let credential = STANDARD.encode(hmac::sign(&self.key, username.as_bytes()));
        ToBrowser::Turn { urls: self.urls.clone(), username, credential }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_the_hmac_of_expiry_and_user_and_the_secret_is_not_shown() {
        // printf %s 1800000000:alice | openssl dgst -sha1 -hmac north -binary | base64
        let turn = Turn::new(vec!["turn:turn.example.com".into()], "north", Duration::from_secs(3_600));
        let told = turn.credentials("alice", Wall((1_800_000_000 - 3_600) * 1_000_000 + 999));
        let ToBrowser::Turn { urls, username, credential } = told else { panic!("{told:?}") };
        assert_eq!((urls[0].as_str(), username.as_str()), ("turn:turn.example.com", "1800000000:alice"));
        assert_eq!(credential, "sIm7pn/teO7y3AyXGeXl/xAQR6Q=");
        assert!(!format!("{turn:?}").contains("north"));
    }
}
