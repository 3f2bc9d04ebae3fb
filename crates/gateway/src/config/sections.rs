//! One function per section of the file: which keys it has, their defaults and ranges.

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use b2bua::{IpNet, Pattern, Rewrite, RouteConfig, RouteFrom, RouteTo, Secret, Treatment, UserConfig};
use media_bridge::sound::SoundId;
use types::{Advertised, UserName, limits};

use super::reader::{Findings, Section};
use super::sounds::sound;
use super::{HttpConfig, MediaConfig, SipConfig, Tls};
use super::{addresses, numbers, values};

/// An item with the place of its table, for checks across sections.
pub type Placed<T> = (T, Range<usize>);

pub fn defaulted<T>(
    section: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    key: &'static str,
    default: T,
    parse: fn(&str) -> Result<T, String>,
) -> Option<T> {
    if !section.has(key) {
        // Still asked for, so that the key counts as known.
        let _ = section.string(found, key);
        return Some(default);
    }
    section.string(found, key)?.parse(found, |text| parse(text))
}

pub fn optional<T>(
    section: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    key: &'static str,
    parse: fn(&str) -> Result<T, String>,
) -> Option<T> {
    section.string(found, key)?.parse(found, |text| parse(text))
}

pub fn http(root: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Option<HttpConfig> {
    let default = values::socket_addr("127.0.0.1:8080").ok()?;
    let Some(mut section) = root.table(found, "http") else {
        return Some(HttpConfig { listen: default, tls: Tls::Off, origins: Vec::new() });
    };
    let listen = defaulted(&mut section, found, "listen", default, values::socket_addr);
    let tls = certificate(&mut section, found);
    let origins = parsed_list(&mut section, found, "origins", values::origin).unwrap_or_default();
    section.finish(found);
    Some(HttpConfig { listen: listen?, tls, origins })
}

/// `tls_cert` and `tls_key`: both or neither.
pub(super) fn certificate(section: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Tls {
    let cert = section.string(found, "tls_cert");
    let key = section.string(found, "tls_key");
    match (cert, key) {
        (Some(cert), Some(key)) => {
            Tls::Files { cert: PathBuf::from(cert.value), key: PathBuf::from(key.value) }
        }
        (None, None) => Tls::Off,
        (Some(one), None) => {
            found.add(&one.span, one.key, "needs tls_key beside it: the PEM file of the private key");
            Tls::Off
        }
        (None, Some(one)) => {
            found.add(&one.span, one.key, "needs tls_cert beside it: the PEM file of the certificate chain");
            Tls::Off
        }
    }
}

pub fn sip(root: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Option<SipConfig> {
    let Some(mut section) = root.table(found, "sip") else {
        found.add(&(0..0), "sip", "the section is missing; for example:\n[sip]\ndomain = \"example.com\"");
        return None;
    };
    let domain =
        section.required(found, "domain", "\"example.com\"").and_then(|d| d.parse(found, |t| domain(t)));
    let listen = match section.strings(found, "listen") {
        None => values::sip_listen("udp:0.0.0.0:5060")
            .into_iter()
            .chain(values::sip_listen("tcp:0.0.0.0:5060"))
            .collect(),
        Some(list) => {
            if list.is_empty() {
                found.add(section.span(), section.key("listen"), "needs at least one listener");
            }
            list.iter().filter_map(|l| l.parse(found, |t| values::sip_listen(t))).collect()
        }
    };
    let digest = parsed_list(&mut section, found, "digest", values::digest).unwrap_or_default();
    let advertise = addresses::advertise(&mut section, found);
    let tls = certificate(&mut section, found);
    let country = numbers::country(&mut section, found);
    let deny = parsed_list(&mut section, found, "deny", IpNet::parse).unwrap_or_default();
    section.finish(found);
    Some(SipConfig { domain: domain?, digest, listen, tls, advertise, country, deny })
}

pub fn domain(text: &str) -> Result<String, String> {
    let literal = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Ok(v6) = literal.parse::<Ipv6Addr>() {
        return Ok(format!("[{v6}]"));
    }
    let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    if valid {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected a domain name or address, for example \"example.com\"".into())
    }
}

pub fn media(root: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Option<MediaConfig> {
    let default = MediaConfig {
        webrtc_port: 8443,
        rtp_ports: (20_000, 29_999),
        workers: std::thread::available_parallelism().map_or(1, |n| n.get().min(64) as u8),
        advertise: Advertised::default(),
    };
    let Some(mut section) = root.table(found, "media") else { return Some(default) };
    let webrtc_port =
        section.integer(found, "webrtc_port", 1..=65_535).map_or(default.webrtc_port, |p| p as u16);
    let rtp_ports = defaulted(&mut section, found, "rtp_ports", default.rtp_ports, values::port_range);
    let workers = section.integer(found, "workers", 1..=64).map_or(default.workers, |w| w as u8);
    let advertise = addresses::advertise(&mut section, found);
    let (first, last) = rtp_ports?;
    let browsers = u32::from(webrtc_port)..u32::from(webrtc_port) + u32::from(workers);
    if browsers.end > 65_536 {
        found.add(
            section.span(),
            section.key("webrtc_port"),
            format!("leaves no room for {workers} workers below 65536"),
        );
    }
    if browsers.start <= u32::from(last) && u32::from(first) < browsers.end {
        let message =
            format!("{first}-{last} overlaps the browser ports from {webrtc_port} (one for each worker)");
        found.add(section.span(), section.key("rtp_ports"), message);
    }
    section.finish(found);
    Some(MediaConfig { webrtc_port, rtp_ports: (first, last), workers, advertise })
}

pub fn dns(root: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Vec<SocketAddr> {
    let Some(mut section) = root.table(found, "dns") else { return Vec::new() };
    let servers = parsed_list(&mut section, found, "servers", values::dns_server);
    section.finish(found);
    servers.unwrap_or_default()
}

pub fn cdr(root: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Option<PathBuf> {
    let mut section = root.table(found, "cdr")?;
    let file = section.string(found, "file");
    section.finish(found);
    Some(PathBuf::from(file?.value))
}

pub fn shutdown(root: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Duration {
    let Some(mut section) = root.table(found, "shutdown") else { return limits::DRAIN_DURATION };
    let seconds = section.integer(found, "drain_seconds", 0..=86_400);
    section.finish(found);
    seconds.map_or(limits::DRAIN_DURATION, |s| Duration::from_secs(s.into()))
}

pub fn music(root: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Option<SoundId> {
    let mut section = root.table(found, "music")?;
    let hold = sound(&mut section, found, "hold");
    section.finish(found);
    hold
}

/// A secret given in the file or by the name of an environment variable.
pub fn password(
    section: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    env: &impl Fn(&str) -> Option<String>,
) -> Option<String> {
    secret(section, found, ("password", "password_env"), env)
}

/// A text under the first key, or in the environment variable that the second names.
pub fn secret(
    section: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    (key, env_key): (&'static str, &'static str),
    env: &impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let direct = section.string(found, key);
    let by_env = section.string(found, env_key);
    match (direct, by_env) {
        (Some(direct), None) => Some(direct.value),
        (None, Some(name)) => name.parse(found, |variable| {
            env(variable).ok_or(format!("the environment variable {variable} is not set"))
        }),
        (None, None) => None,
        (Some(_), Some(name)) => {
            found.add(&name.span, name.key, format!("give either {key} or {env_key}, not both"));
            None
        }
    }
}

fn hash(
    section: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    key: &'static str,
    digits: usize,
) -> Option<String> {
    section.string(found, key)?.parse(found, |text| {
        if text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(text.to_ascii_lowercase())
        } else {
            Err(format!("expected {digits} hexadecimal digits: the hash of user:domain:password"))
        }
    })
}

pub fn users(
    root: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    env: &impl Fn(&str) -> Option<String>,
) -> Vec<Placed<UserConfig>> {
    let mut out = Vec::new();
    for mut section in root.tables(found, "users") {
        let name =
            section.required(found, "name", "\"alice\"").and_then(|n| n.parse(found, |t| user_name(t)));
        let password = password(&mut section, found, env);
        let md5 = hash(&mut section, found, "ha1_md5", 32);
        let sha256 = hash(&mut section, found, "ha1_sha256", 64);
        let given = ["password", "password_env", "ha1_md5", "ha1_sha256"].iter().any(|k| section.has(k));
        if !given {
            let message = "needs one of password, password_env, ha1_md5, ha1_sha256";
            found.add(section.span(), section.key("password"), message);
        }
        let secret = match password {
            Some(password) => Secret::Password(password),
            None => Secret::Hashed { md5, sha256 },
        };
        let extension = optional(&mut section, found, "extension", number);
        let caller_id = optional(&mut section, found, "caller_id", number);
        let max_calls = section.integer(found, "max_calls", 1..=1_000);
        let country = numbers::country(&mut section, found);
        let span = section.span().clone();
        section.finish(found);
        if let Some(name) = name {
            out.push((
                UserConfig { name: UserName::new(&name), secret, extension, caller_id, max_calls, country },
                span,
            ));
        }
    }
    out
}

pub fn user_name(text: &str) -> Result<String, String> {
    let valid = !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if valid {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 64 letters, digits, dots, dashes or underscores".into())
    }
}

fn number(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let valid = !digits.is_empty()
        && digits.len() <= 32
        && digits.bytes().all(|b| b.is_ascii_digit() || b"*#".contains(&b));
    if valid {
        Ok(text.to_owned())
    } else {
        Err("expected digits with an optional + in front, for example \"+12025550110\"".into())
    }
}

pub fn parsed_list<T>(
    section: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    key: &'static str,
    parse: fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let list = section.strings(found, key)?;
    if list.is_empty() {
        found.add(section.span(), section.key(key), "must not be an empty list");
    }
    Some(list.iter().filter_map(|item| item.parse(found, |text| parse(text))).collect())
}

fn from(text: &str) -> Result<RouteFrom, String> {
    Ok(match destination(text)? {
        RouteTo::Trunk(name) => RouteFrom::Trunk(name),
        RouteTo::User(name) => RouteFrom::User(name),
    })
}

pub fn destination(text: &str) -> Result<RouteTo, String> {
    match text.split_once(':') {
        Some(("trunk", name)) if !name.is_empty() => Ok(RouteTo::Trunk(name.to_owned())),
        Some(("user", name)) if !name.is_empty() => Ok(RouteTo::User(UserName::new(name))),
        _ => Err("expected \"trunk:NAME\" or \"user:NAME\"".into()),
    }
}

pub fn routes(root: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Vec<Placed<RouteConfig>> {
    let mut out = Vec::new();
    for mut section in root.tables(found, "routes") {
        let pattern =
            section.required(found, "match", "\"+1*\"").and_then(|p| p.parse(found, |t| Pattern::parse(t)));
        let from = parsed_list(&mut section, found, "from", from).unwrap_or_default();
        let mut to = parsed_list(&mut section, found, "to", destination);
        let announce = sound(&mut section, found, "announce");
        if !section.has("to") {
            if section.has("announce") {
                to = Some(Vec::new());
            } else {
                let message = "is missing; for example: to = [\"trunk:carrier\"]";
                found.add(section.span(), section.key("to"), message);
            }
        }
        let rewrite = optional(&mut section, found, "rewrite", Rewrite::parse);
        let countries = numbers::countries(&mut section, found);
        let premium = section.boolean(found, "premium").unwrap_or(false);
        let hold_music = sound(&mut section, found, "hold_music");
        let record = section.boolean(found, "record").unwrap_or(false);
        let treatment = Treatment { hold_music, announce, record };
        let span = section.span().clone();
        section.finish(found);
        if let (Some(pattern), Some(to)) = (pattern, to) {
            out.push((RouteConfig { pattern, from, to, rewrite, countries, premium, treatment }, span));
        }
    }
    out
}
