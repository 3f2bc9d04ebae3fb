//! `[turn]`: relays for browsers whose networks let nothing else through.

use std::time::Duration;

use webrtc_peer::turn::Turn;

use super::reader::{Findings, Section};
use super::sections;

/// Most of them: a browser tries each.
const MOST: usize = 4;
/// Seconds for which credentials are good unless the file says otherwise.
const TTL: u32 = 86_400;

/// None also if something is wrong, which has been said.
pub fn turn(
    root: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    env: &impl Fn(&str) -> Option<String>,
) -> Option<Turn> {
    let mut section = root.table(found, "turn")?;
    let begun = ["urls", "secret", "secret_env", "ttl"].iter().any(|key| section.has(key));
    let urls = sections::parsed_list(&mut section, found, "urls", url).unwrap_or_default();
    if begun && !section.has("urls") {
        let example = "is missing; for example: urls = [\"turn:turn.example.com\"]";
        found.add(section.span(), section.key("urls"), example);
    } else if urls.len() > MOST {
        found.add(section.span(), section.key("urls"), format!("needs 1 to {MOST} relays"));
    }
    let secret = sections::secret(&mut section, found, ("secret", "secret_env"), env);
    if begun && !section.has("secret") && !section.has("secret_env") {
        let words = "is missing; it is what coturn has as static-auth-secret (secret_env takes it from the environment)";
        found.add(section.span(), section.key("secret"), words);
    }
    let ttl = section.integer(found, "ttl", 600..=2_592_000).unwrap_or(TTL);
    section.finish(found);
    let secret = secret.filter(|_| !urls.is_empty())?;
    Some(Turn::new(urls, &secret, Duration::from_secs(ttl.into())))
}

/// Parses a TURN URI (RFC 7065 §3.1).
fn url(text: &str) -> Result<String, String> {
    const WANT: &str = "expected turn:HOST, turn:HOST:PORT or turns:HOST, with ?transport=tcp or ?transport=udp behind it \
                        if wanted, for example \"turn:turn.example.com:3478?transport=udp\"";
    let rest = text.strip_prefix("turn:").or_else(|| text.strip_prefix("turns:")).ok_or(WANT)?;
    let (server, transport) = rest.split_once('?').unwrap_or((rest, "transport=udp"));
    let known = matches!(transport, "transport=udp" | "transport=tcp");
    let server = super::values::server(server).map_err(|_| WANT)?;
    if known && server.transport.is_none() { Ok(text.to_owned()) } else { Err(WANT.into()) }
}
