//! `[[trunks]]`: which keys there are, their defaults and ranges.

use std::path::PathBuf;
use std::time::Duration;

use b2bua::{
    CodecPolicy, ForwardHeader, IdentityHeader, IpNet, KeepAlive, NumberFormat, PrivateFrom, TrunkProfile,
};
use media_bridge::control::{Codec, DtmfMode, Srtp};
use sip_ua::{Credentials, Refresher, Reliable100, SessionTimer, Transport};

use super::preset::preset;
use super::reader::{Findings, Section};
use super::sections::{Placed, certificate, domain, optional, parsed_list, password, user_name};
use super::servers::servers;
use super::sounds::sound;
use super::values::{self, Server};
use super::{Tls, Trunk, numbers};

pub fn trunks(
    root: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    env: &impl Fn(&str) -> Option<String>,
) -> Vec<Placed<Trunk>> {
    let mut out = Vec::new();
    for mut section in root.tables(found, "trunks") {
        if let Some(name) = section.string(found, "preset")
            && let Some(table) = name.parse(found, |name| preset(name))
        {
            section.fall_back_on(table, name.span);
        }
        let name =
            section.required(found, "name", "\"carrier\"").and_then(|n| n.parse(found, |t| user_name(t)));
        let servers = servers(&mut section, found);
        let outbound_proxy = optional(&mut section, found, "outbound_proxy", values::server);
        let (ca, tls_name, certificate) =
            trust(&mut section, found, outbound_proxy.as_ref().or(servers.as_ref().map(|s| &s[0].server)));
        let account = account(&mut section, found, env);
        let register = section.boolean(found, "register").unwrap_or(false);
        if register && account.credentials.is_none() && !section.has("username") {
            found.add(section.span(), section.key("register"), "registering needs username and password");
        }
        let inbound_from = parsed_list(&mut section, found, "inbound_from", IpNet::parse).unwrap_or_default();
        let profile = profile(&mut section, found, &account, outbound_proxy.as_ref());
        let max_calls = section.integer(found, "max_calls", 1..=100_000);
        let refer = section.boolean(found, "refer").unwrap_or(false);
        let calls_per_second = section.integer(found, "calls_per_second", 1..=10_000);
        let country = numbers::country(&mut section, found);
        let dids = numbers::dids(&mut section, found);
        let hold_music = sound(&mut section, found, "hold_music");
        let span = section.span().clone();
        section.finish(found);
        if let (Some(name), Some(servers)) = (name, servers) {
            let Account { username, credentials } = account;
            let trunk = Trunk {
                name,
                servers,
                outbound_proxy,
                ca,
                tls_name,
                certificate,
                username,
                credentials,
                register,
                inbound_from,
                profile,
                max_calls,
                refer,
                calls_per_second,
                country,
                dids,
                hold_music,
            };
            out.push((trunk, span));
        }
    }
    out
}

/// `ca`, `tls_name`, and `tls_cert` with `tls_key`: of use where the next hop may speak TLS only.
fn trust(
    section: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    next_hop: Option<&Server>,
) -> (Option<PathBuf>, Option<String>, Tls) {
    let plain = next_hop.is_some_and(|s| s.transport.is_some_and(|t| t != Transport::Tls));
    let mut one = |key| {
        let value = section.string(found, key)?;
        if plain {
            found.add(&value.span, value.key, "is about TLS: write the server as \"tls:HOST\"");
        }
        Some(value.value)
    };
    let (ca, name) = (one("ca").map(PathBuf::from), one("tls_name"));
    one("tls_cert");
    (ca, name, certificate(section, found))
}

struct Account {
    username: Option<String>,
    credentials: Option<Credentials>,
}

fn account(
    section: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    env: &impl Fn(&str) -> Option<String>,
) -> Account {
    let username = section.string(found, "username");
    let auth_user = section.string(found, "auth_user");
    let realm = section.string(found, "realm").map(|r| r.value);
    let password = password(section, found, env);
    let credentials = match (auth_user.as_ref().or(username.as_ref()), password) {
        (Some(user), Some(password)) => Some(Credentials { username: user.value.clone(), password, realm }),
        (Some(user), None) if !section.has("password_env") && !section.has("password") => {
            found.add(&user.span, &user.key, "needs password or password_env beside it");
            None
        }
        (None, Some(_)) => {
            found.add(section.span(), section.key("username"), "is missing beside the password");
            None
        }
        (Some(_), None) | (None, None) => None,
    };
    Account { username: username.map(|u| u.value), credentials }
}

const FORMATS: [(&str, NumberFormat); 4] = [
    ("raw", NumberFormat::Raw),
    ("e164", NumberFormat::E164),
    ("e164-without-plus", NumberFormat::E164WithoutPlus),
    ("national", NumberFormat::National),
];
const PRIVATE: [(&str, PrivateFrom); 2] =
    [("anonymous", PrivateFrom::Anonymous), ("account", PrivateFrom::Account)];
const IDENTITY: [(&str, IdentityHeader); 4] = [
    ("none", IdentityHeader::None),
    ("pai", IdentityHeader::Pai),
    ("ppi", IdentityHeader::Ppi),
    ("rpid", IdentityHeader::Rpid),
];
const FORWARDED: [(&str, ForwardHeader); 3] = [
    ("none", ForwardHeader::None),
    ("diversion", ForwardHeader::Diversion),
    ("history-info", ForwardHeader::HistoryInfo),
];
const DTMF: [(&str, DtmfMode); 4] = [
    ("auto", DtmfMode::Auto),
    ("rfc4733", DtmfMode::Rfc4733),
    ("info", DtmfMode::Info),
    ("inband", DtmfMode::Inband),
];
const CODEC_POLICY: [(&str, CodecPolicy); 3] =
    [("auto", CodecPolicy::Auto), ("opus", CodecPolicy::Opus), ("passthrough", CodecPolicy::Passthrough)];
const RELIABLE: [(&str, Reliable100); 3] =
    [("supported", Reliable100::Supported), ("off", Reliable100::Off), ("required", Reliable100::Required)];

const SRTP: [(&str, Srtp); 3] =
    [("off", Srtp::Off), ("optional", Srtp::Optional), ("required", Srtp::Required)];

fn profile(
    section: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    account: &Account,
    proxy: Option<&Server>,
) -> TrunkProfile {
    let default = TrunkProfile::default();
    let from_user = optional(section, found, "from_user", token);
    // Presets cannot know the account: `username` stands for it.
    let from_user = match from_user.as_deref() {
        Some(FROM_USERNAME) => account.username.clone(),
        Some(_) | None => from_user,
    };
    let (codecs, codec_policy) = codecs(section, found, default.codecs);
    TrunkProfile {
        from_user,
        from_domain: optional(section, found, "from_domain", domain),
        private_from: choice(section, found, "private_from", &PRIVATE),
        route: proxy.map(route),
        identity: choice(section, found, "identity", &IDENTITY),
        trusted: section.boolean(found, "trusted").unwrap_or(default.trusted),
        forwarded: choice(section, found, "forwarded", &FORWARDED),
        referred_by: section.boolean(found, "referred_by").unwrap_or(default.referred_by),
        number_format: choice(section, found, "number_format", &FORMATS),
        inbound_number_format: choice(section, found, "inbound_number_format", &FORMATS),
        codecs,
        codec_policy,
        dtmf: choice(section, found, "dtmf", &DTMF),
        reliable: choice(section, found, "reliable", &RELIABLE),
        session_timer: session_timer(section, found),
        srtp: choice(section, found, "srtp", &SRTP),
        keep_alive: keep_alive(section, found),
        outbound: section.boolean(found, "outbound").unwrap_or(default.outbound),
    }
}

fn keep_alive(section: &mut Section<'_, '_>, found: &mut Findings<'_>) -> KeepAlive {
    match section.integer(found, "keep_alive", 0..=3_600) {
        None => KeepAlive::Auto,
        Some(0) => KeepAlive::Off,
        Some(seconds) => KeepAlive::Every(Duration::from_secs(seconds.into())),
    }
}

/// Value of `from_user` that stands for `username`.
const FROM_USERNAME: &str = "<username>";

fn session_timer(section: &mut Section<'_, '_>, found: &mut Findings<'_>) -> SessionTimer {
    let on = choice(section, found, "session_timer", &[("on", true), ("off", false)]);
    let on = on || !section.has("session_timer");
    // RFC 4028 §5: 90 s is the smallest interval there is.
    let min_se = section.integer(found, "session_min", 90..=86_400).unwrap_or(90);
    let interval = section.integer(found, "session_interval", 90..=86_400);
    let refresher = choice(
        section,
        found,
        "session_refresher",
        &[("auto", None), ("us", Some(Refresher::Us)), ("peer", Some(Refresher::Peer))],
    );
    let wanted = interval.unwrap_or(min_se.max(1800));
    if wanted < min_se {
        found.add(
            section.span(),
            section.key("session_interval"),
            format!("{wanted} is below session_min, {min_se}"),
        );
    }
    if on { SessionTimer::On { interval: wanted, min_se, refresher } } else { SessionTimer::Off }
}

/// One of some words; without the key the first of them.
fn choice<T: Copy>(
    section: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    key: &'static str,
    words: &[(&str, T)],
) -> T {
    let given = section.string(found, key).and_then(|word| {
        word.parse(found, |word| {
            let hit = words.iter().find(|(w, _)| w == word).map(|(_, value)| *value);
            hit.ok_or_else(|| {
                let all: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
                format!("{word:?} is not one of {}", all.join(", "))
            })
        })
    });
    given.unwrap_or(words[0].1)
}

fn route(proxy: &Server) -> String {
    let transport = match proxy.transport {
        None | Some(Transport::Udp) => String::new(),
        Some(other) => format!(";transport={}", other.name()),
    };
    format!("<sip:{}{transport};lr>", proxy.uri_host())
}

/// `codecs` and `codec_policy`.
fn codecs(
    section: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
    default: Vec<Codec>,
) -> (Vec<Codec>, CodecPolicy) {
    let mut codecs = parsed_list(section, found, "codecs", codec).unwrap_or(default);
    let policy = choice(section, found, "codec_policy", &CODEC_POLICY);
    if policy == CodecPolicy::Opus {
        codecs.retain(|codec| *codec != Codec::Opus);
        codecs.insert(0, Codec::Opus);
    }
    (codecs, policy)
}

fn codec(text: &str) -> Result<Codec, String> {
    let known = Codec::ALL.into_iter().find(|c| c.name().eq_ignore_ascii_case(text));
    known.ok_or_else(|| "unknown codec; valid: opus, g722, pcmu, pcma".into())
}

fn token(text: &str) -> Result<String, String> {
    let valid = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%".contains(&b));
    if valid || text == FROM_USERNAME {
        Ok(text.to_owned())
    } else {
        Err("expected characters that may stand in a SIP URI".into())
    }
}
