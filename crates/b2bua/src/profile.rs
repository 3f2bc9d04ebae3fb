//! What one carrier or PBX wants: every quirk is a field here and nothing else in the gateway knows carriers.

use std::fmt;
use std::time::Duration;

use media_bridge::control::{Codec, DtmfMode, Srtp};
use sip_ua::{Refresher, Reliable100, SessionTimer, Target};

use crate::config::TrunkConfig;
use crate::dialplan::Country;

/// The header that tells a trunk who calls, beside From.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum IdentityHeader {
    /// From says it alone.
    #[default]
    None,
    /// P-Asserted-Identity (RFC 3325 §9.1).
    Pai,
    /// P-Preferred-Identity (RFC 3325 §9.2).
    Ppi,
    /// Remote-Party-ID (draft-ietf-sip-privacy-04): older than the other two and still asked for.
    Rpid,
}

/// The header that tells a trunk who forwards a call to it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ForwardHeader {
    /// Nothing is said.
    #[default]
    None,
    /// Diversion (RFC 5806).
    Diversion,
    /// History-Info (RFC 7044).
    HistoryInfo,
}

/// How phone numbers are written.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum NumberFormat {
    /// As they are.
    #[default]
    Raw,
    /// `+12025550100`.
    E164,
    /// `12025550100`.
    E164WithoutPlus,
    /// `03012345678` and `00442079460000`: as the trunk's country dials.
    National,
}

impl NumberFormat {
    /// A number of ours as a trunk in this country wants it. Names, extensions and short codes stay as they are.
    fn write(self, number: &str, country: Option<Country>) -> String {
        match (self, number.strip_prefix('+'), country) {
            (NumberFormat::E164WithoutPlus, Some(digits), _) if is_digits(digits) => digits.to_owned(),
            (NumberFormat::National, Some(_), Some(country)) => country.dial(number),
            (
                NumberFormat::Raw
                | NumberFormat::E164
                | NumberFormat::E164WithoutPlus
                | NumberFormat::National,
                _,
                _,
            ) => number.to_owned(),
        }
    }

    /// A number as a trunk in this country writes it, in the form that we compare.
    fn read(self, number: &str, country: Option<Country>) -> String {
        match self {
            NumberFormat::National => {
                country.map_or_else(|| number.to_owned(), |country| country.undial(number))
            }
            // Eight digits: shorter ones are extensions and short codes, no international numbers.
            NumberFormat::E164WithoutPlus
                if is_digits(number) && number.len() >= 8 && !number.starts_with('0') =>
            {
                format!("+{number}")
            }
            NumberFormat::Raw | NumberFormat::E164 | NumberFormat::E164WithoutPlus => number.to_owned(),
        }
    }
}

impl TrunkConfig {
    /// A number of ours as this trunk wants it.
    pub(crate) fn write_number(&self, number: &str) -> String {
        self.profile.number_format.write(number, self.country)
    }

    /// A number as this trunk writes it, in the form that we compare.
    pub(crate) fn read_number(&self, number: &str) -> String {
        self.profile.inbound_number_format.read(number, self.country)
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// What From says of a caller who wants not to be known.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum PrivateFrom {
    /// `anonymous@anonymous.invalid` (RFC 3323 §4.1.1.3).
    #[default]
    Anonymous,
    /// `from_user` as ever: the trunk tells accounts apart by it and hides it itself.
    Account,
}

/// Which codecs the two sides of a call through a trunk use.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum CodecPolicy {
    /// Browsers Opus, which repairs losses; the trunk its `codecs`, the caller's first. Audio passes untouched where both
    /// sides have come to the same, and is transcoded otherwise.
    #[default]
    Auto,
    /// Opus before the trunk's other codecs, listed or not and whoever calls: it passes untouched where the trunk has it.
    Opus,
    /// Nothing is transcoded: both sides use one codec of the trunk's, and a call that has none in common is refused.
    Passthrough,
}

impl CodecPolicy {
    /// As in configuration.
    pub fn name(self) -> &'static str {
        match self {
            CodecPolicy::Auto => "auto",
            CodecPolicy::Opus => "opus",
            CodecPolicy::Passthrough => "passthrough",
        }
    }
}

/// How often something is sent so that NATs and firewalls keep the way open from a registrar to us.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum KeepAlive {
    /// Every 25 s over UDP, which NATs forget after 30 s, every 100 s over TCP and TLS.
    #[default]
    Auto,
    /// Never.
    Off,
    /// So often.
    Every(Duration),
}

impl KeepAlive {
    /// For a registrar there; what it asks for itself goes before this.
    pub(crate) fn towards(self, target: &Target) -> Option<Duration> {
        match self {
            KeepAlive::Auto if target.transport().is_datagram() => Some(Duration::from_secs(25)),
            KeepAlive::Auto => Some(Duration::from_secs(100)),
            KeepAlive::Off => None,
            KeepAlive::Every(pause) => Some(pause),
        }
    }
}

/// One trunk's peculiarities. The default suits a PBX on the same network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrunkProfile {
    /// User part of From; none: the caller's number.
    pub from_user: Option<String>,
    /// Domain of From; none: the server's.
    pub from_domain: Option<String>,
    /// From of a caller who wants not to be known.
    pub private_from: PrivateFrom,
    /// Route value of requests outside dialogs, REGISTER included (RFC 3261 §8.1.2); none: straight to the server.
    pub route: Option<String>,
    /// Who calls.
    pub identity: IdentityHeader,
    /// It belongs to our trust domain (RFC 3325 §3): it learns who an anonymous caller is, and what it asserts is believed.
    pub trusted: bool,
    /// Who forwards.
    pub forwarded: ForwardHeader,
    /// It is told who of ours has transferred a call to it (RFC 3892).
    pub referred_by: bool,
    /// Numbers that we write.
    pub number_format: NumberFormat,
    /// Numbers that it writes.
    pub inbound_number_format: NumberFormat,
    /// What we offer, best first.
    pub codecs: Vec<Codec>,
    /// Who is to use which of them.
    pub codec_policy: CodecPolicy,
    /// How digits reach it.
    pub dtmf: DtmfMode,
    /// Reliable provisional responses.
    pub reliable: Reliable100,
    /// Session timers.
    pub session_timer: SessionTimer,
    /// Whether its audio is encrypted.
    pub srtp: Srtp,
    /// What keeps the way to its registrar open.
    pub keep_alive: KeepAlive,
    /// Registrations name us and the flow that they came by (RFC 5626 §4.2), so that the registrar answers keep-alives.
    pub outbound: bool,
}

impl Default for TrunkProfile {
    fn default() -> Self {
        TrunkProfile {
            from_user: None,
            from_domain: None,
            private_from: PrivateFrom::Anonymous,
            route: None,
            identity: IdentityHeader::None,
            trusted: false,
            forwarded: ForwardHeader::None,
            referred_by: false,
            number_format: NumberFormat::Raw,
            inbound_number_format: NumberFormat::Raw,
            codecs: vec![Codec::Pcmu, Codec::Pcma],
            codec_policy: CodecPolicy::Auto,
            dtmf: DtmfMode::Auto,
            reliable: Reliable100::Supported,
            session_timer: SessionTimer::default(),
            srtp: Srtp::Off,
            keep_alive: KeepAlive::Auto,
            outbound: false,
        }
    }
}

impl IdentityHeader {
    /// As in configuration.
    pub fn name(self) -> &'static str {
        match self {
            IdentityHeader::None => "none",
            IdentityHeader::Pai => "pai",
            IdentityHeader::Ppi => "ppi",
            IdentityHeader::Rpid => "rpid",
        }
    }
}

impl ForwardHeader {
    /// As in configuration.
    pub fn name(self) -> &'static str {
        match self {
            ForwardHeader::None => "none",
            ForwardHeader::Diversion => "diversion",
            ForwardHeader::HistoryInfo => "history-info",
        }
    }
}

impl NumberFormat {
    /// As in configuration.
    pub fn name(self) -> &'static str {
        match self {
            NumberFormat::Raw => "raw",
            NumberFormat::E164 => "e164",
            NumberFormat::E164WithoutPlus => "e164-without-plus",
            NumberFormat::National => "national",
        }
    }
}

/// One line for each key, as in configuration, with what holds where nothing was said.
impl fmt::Display for TrunkProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |value: &Option<String>, default: &str| match value {
            Some(value) => format!("{value:?}"),
            None => format!("# {default}"),
        };
        writeln!(f, "from_user = {}", or(&self.from_user, "the caller's number"))?;
        writeln!(f, "from_domain = {}", or(&self.from_domain, "the server"))?;
        let private_from = match self.private_from {
            PrivateFrom::Anonymous => "anonymous",
            PrivateFrom::Account => "account",
        };
        writeln!(f, "private_from = {private_from:?}")?;
        writeln!(f, "outbound_proxy = {}", or(&self.route, "none"))?;
        writeln!(f, "identity = {:?}", self.identity.name())?;
        writeln!(f, "trusted = {}", self.trusted)?;
        writeln!(f, "forwarded = {:?}", self.forwarded.name())?;
        writeln!(f, "referred_by = {}", self.referred_by)?;
        writeln!(f, "number_format = {:?}", self.number_format.name())?;
        writeln!(f, "inbound_number_format = {:?}", self.inbound_number_format.name())?;
        let codecs: Vec<&str> = self.codecs.iter().map(|c| c.name()).collect();
        writeln!(f, "codecs = {codecs:?}")?;
        writeln!(f, "codec_policy = {:?}", self.codec_policy.name())?;
        writeln!(f, "dtmf = {:?}", self.dtmf.name())?;
        let reliable = match self.reliable {
            Reliable100::Off => "off",
            Reliable100::Supported => "supported",
            Reliable100::Required => "required",
        };
        writeln!(f, "reliable = {reliable:?}")?;
        match self.session_timer {
            SessionTimer::Off => writeln!(f, "session_timer = \"off\"")?,
            SessionTimer::On { interval, min_se, refresher } => {
                let refresher = match refresher {
                    None => "auto",
                    Some(Refresher::Us) => "us",
                    Some(Refresher::Peer) => "peer",
                };
                writeln!(f, "session_timer = \"on\"\nsession_interval = {interval}\nsession_min = {min_se}")?;
                writeln!(f, "session_refresher = {refresher:?}")?;
            }
        }
        match self.keep_alive {
            KeepAlive::Auto => writeln!(f, "# keep_alive: 25 over UDP, 100 over TCP and TLS")?,
            KeepAlive::Off => writeln!(f, "keep_alive = 0")?,
            KeepAlive::Every(pause) => writeln!(f, "keep_alive = {}", pause.as_secs())?,
        }
        writeln!(f, "outbound = {}", self.outbound)?;
        write!(f, "srtp = {:?}", self.srtp.name())
    }
}
