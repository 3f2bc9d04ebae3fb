//! What is allowed and yet probably not meant.

use media_bridge::control::Srtp;
use sip_ua::Transport;

use super::Config;

impl Config {
    /// Sentences for whoever starts or checks with this file.
    pub fn warnings(&self) -> Vec<String> {
        self.trunks.iter().filter_map(readable_keys).collect()
    }
}

/// Whoever reads the SIP messages has the keys in them, and hears the call (RFC 4568 §8.3).
fn readable_keys(trunk: &super::Trunk) -> Option<String> {
    let plain =
        trunk.next_hops().into_iter().map(|hop| hop.server).find(|s| s.transport != Some(Transport::Tls))?;
    let way = plain.transport.map_or("UDP or TCP", Transport::name);
    (trunk.profile.srtp != Srtp::Off).then(|| {
        format!(
            "trunk {}: srtp = {:?}, but its keys travel in SIP over {way}, where they can be read; write the server as \
             \"tls:{}\"",
            trunk.name,
            trunk.profile.srtp.name(),
            plain.host
        )
    })
}
