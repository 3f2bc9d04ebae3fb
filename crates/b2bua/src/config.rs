//! What the switch is told at start: compiled and valid; reading and checking files is the gateway's.

use std::net::{IpAddr, Ipv6Addr};

use media_bridge::sound::SoundId;
use sip_ua::Credentials;
use sip_ua::digest::{Algorithm, Secret};
use types::{Advertised, UserName};
use webrtc_peer::turn::Turn;

use crate::dialplan::Country;
use crate::number::{Pattern, Rewrite};
use crate::profile::TrunkProfile;
use crate::targets::TrunkTarget;
use crate::users::Users;

/// Everything that the switch needs to know.
#[derive(Clone, Debug)]
pub struct SwitchConfig {
    /// Our SIP domain, also the digest realm.
    pub domain: String,
    /// What devices may prove their password with; empty: what serves every user, see `sip_ua::digest::offered_for`.
    pub digest: Vec<Algorithm>,
    /// Further hosts that are ours: every address we listen on or advertise, without port.
    pub local_hosts: Vec<String>,
    /// Ports that we listen on; a URI that names another port is not ours.
    pub local_ports: Vec<u16>,
    /// Who may sign in and register.
    pub users: Users,
    /// Addresses whose SIP requests hear nothing, trunks' and loopback included.
    pub deny: Vec<IpNet>,
    /// Carriers and PBXs.
    pub trunks: Vec<TrunkConfig>,
    /// Where numbers go, in order.
    pub routes: Vec<RouteConfig>,
    /// What a party on hold hears, unless its route or trunk has something else; none: the gateway's own tune.
    pub hold_music: Option<SoundId>,
    /// What both parties hear when they begin to be recorded; none: nothing.
    pub record_notice: Option<SoundId>,
    /// People may record their calls from the page.
    pub record_by_page: bool,
    /// Media workers; calls are spread over them. At least 1.
    pub workers: u8,
    /// Relays for browsers.
    pub turn: Option<Turn>,
}

/// One person.
#[derive(Clone, Debug)]
pub struct UserConfig {
    /// Name to sign in, register and be called by.
    pub name: UserName,
    /// What they know; hashes are over our domain as realm.
    pub secret: Secret,
    /// Short number to be called by.
    pub extension: Option<String>,
    /// Number shown to carriers; inbound calls to it ring here.
    pub caller_id: Option<String>,
    /// Simultaneous calls, ringing ones counted; none: no limit but the gateway's.
    pub max_calls: Option<u32>,
    /// Where they dial: how their numbers are read, and what is abroad for them.
    pub country: Option<Country>,
}

impl UserConfig {
    /// What other users see and can dial.
    pub(crate) fn internal_number(&self) -> &str {
        self.extension.as_deref().unwrap_or(self.name.as_str())
    }
}

/// A registration of ours at a trunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrunkRegistration {
    /// E.g. `sip:sip.example.net`: no user part (RFC 3261 §10.2).
    pub registrar: String,
    /// E.g. `sip:4930123@sip.example.net`.
    pub aor: String,
    /// Seconds to ask for.
    pub expires: u32,
    /// Who we are at every start (RFC 5626 §4.1), where the profile wants outbound: e.g. `urn:uuid:…`.
    pub instance: Option<String>,
}

/// One carrier or PBX.
#[derive(Clone, Debug)]
pub struct TrunkConfig {
    /// Its name in routes and logs.
    pub name: String,
    /// Where its requests go; a name has none until `Switch::set_trunk_targets`.
    pub targets: Vec<TrunkTarget>,
    /// Host, with port unless it is the default one, as written into Request-URI and To.
    pub host: String,
    /// Keep registered there.
    pub registration: Option<TrunkRegistration>,
    /// For challenges.
    pub credentials: Option<Credentials>,
    /// User part of our Contact in calls and registrations.
    pub contact_user: String,
    /// Further sources of its calls, whatever port they come from.
    pub inbound_from: Vec<IpNet>,
    /// Its peculiarities.
    pub profile: TrunkProfile,
    /// Simultaneous calls, both directions together; none: no limit but the gateway's.
    pub max_calls: Option<u32>,
    /// It transfers calls by itself when asked by REFER; otherwise we join the parties here.
    pub refer: bool,
    /// Calls that we start there in any one second; none: no limit. More: the next trunk, else 503.
    pub calls_per_second: Option<u32>,
    /// Where its numbers are read.
    pub country: Option<Country>,
    /// Our numbers there, and who gets their calls.
    pub dids: Vec<Did>,
    /// What its parties hear on hold, unless the route has something else.
    pub hold_music: Option<SoundId>,
    /// Address of ours to write into `c=` towards this trunk.
    pub advertise: Advertised,
}

/// A rule for numbers that are no user of ours.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// Numbers that it takes.
    pub pattern: Pattern,
    /// Who may use it; empty: everyone.
    pub from: Vec<RouteFrom>,
    /// Tried in order: the next one when a trunk cannot be reached or fails. Empty: the call ends with the announcement.
    pub to: Vec<RouteTo>,
    /// How the number is changed first.
    pub rewrite: Option<Rewrite>,
    /// Where it may lead besides the caller's own country.
    pub countries: Countries,
    /// Whether it may lead to premium rate numbers.
    pub premium: bool,
    /// What else is done with its calls.
    pub treatment: Treatment,
}

/// What a route does with its calls besides leading them somewhere.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Treatment {
    /// What a party on hold hears.
    pub hold_music: Option<SoundId>,
    /// What callers hear first; where the route leads nowhere, all that they hear.
    pub announce: Option<SoundId>,
    /// Recorded from answer to end.
    pub record: bool,
}

/// Countries that a route allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Countries {
    /// These, and the caller's own.
    Named(Vec<Country>),
    /// Every one, and numbers of no country.
    All,
}

/// Numbers of ours at a trunk.
#[derive(Clone, Debug)]
pub struct Did {
    /// One or many.
    pub number: Pattern,
    /// Who gets the call.
    pub to: RouteTo,
}

/// Who may use a route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteFrom {
    /// One user.
    User(UserName),
    /// Calls from a trunk, by its name.
    Trunk(String),
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteTo {
    /// Every device of a user.
    User(UserName),
    /// A trunk, by its name.
    Trunk(String),
}

/// A range of addresses, e.g. `192.0.2.0/24`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpNet {
    address: IpAddr,
    bits: u8,
}

impl IpNet {
    /// Reads `address` or `address/bits`; the sentence says what is wrong.
    pub fn parse(text: &str) -> Result<IpNet, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| format!("`{address}` is not an IP address, e.g. 192.0.2.0/24"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|b| *b <= most)
                .ok_or_else(|| format!("`/{bits}` is not a prefix length from 0 to {most}"))?,
        };
        Ok(IpNet { address, bits })
    }

    /// Whether it holds the address; IPv4 in IPv6 counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.bits);
                u32::from(net).checked_shr(shift).unwrap_or(0)
                    == u32::from(ip).checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.bits);
                u128::from(net).checked_shr(shift).unwrap_or(0)
                    == u128::from(ip).checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl SwitchConfig {
    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&UserConfig> {
        self.users.named(name)
    }

    /// The index of the trunk of this name.
    pub fn trunk(&self, name: &str) -> Option<usize> {
        self.trunks.iter().position(|t| t.name == name)
    }

    /// Whether the host of a URI is our domain, or an address or name of this machine. An IPv6 address may be written in
    /// any of its forms (RFC 5952 §8).
    pub fn is_own_host(&self, host: &str) -> bool {
        let literal = |host: &str| host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
        let same = |ours: &str| ours.eq_ignore_ascii_case(host);
        if same(&self.domain) || self.local_hosts.iter().any(|h| same(h)) {
            return true;
        }
        literal(host).is_some_and(|ip| {
            literal(&self.domain) == Some(ip) || self.local_hosts.iter().any(|h| h.parse() == Ok(ip))
        })
    }
}

/// The host of `host:port`; an IPv6 address keeps its brackets.
pub(crate) fn without_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((host, _)) if !text.ends_with(']') => host,
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_net_holds_its_own_addresses_and_no_others() {
        let net = IpNet::parse("192.0.2.128/25").unwrap();
        assert!(net.contains("192.0.2.200".parse().unwrap()));
        assert!(net.contains("::ffff:192.0.2.200".parse().unwrap()));
        assert!(!net.contains("192.0.2.100".parse().unwrap()));
        assert!(!net.contains("2001:db8::1".parse().unwrap()));
        assert!(IpNet::parse("0.0.0.0/0").unwrap().contains("203.0.113.9".parse().unwrap()));
        let one = IpNet::parse("2001:db8::1").unwrap();
        assert!(one.contains("2001:db8::1".parse().unwrap()));
        assert!(!one.contains("2001:db8::2".parse().unwrap()));
    }

    #[test]
    fn an_ipv6_host_is_ours_in_every_form_it_may_be_written_in() {
        // RFC 5952 §8: addresses are compared, not texts.
        let mut config = SwitchConfig {
            domain: "example.com".into(),
            deny: Vec::new(),
            digest: Vec::new(),
            local_hosts: vec!["2001:db8::1".into(), "192.0.2.1".into()],
            local_ports: vec![5060],
            users: Vec::new().into(),
            trunks: Vec::new(),
            routes: Vec::new(),
            hold_music: None,
            record_notice: None,
            record_by_page: false,
            workers: 1,
            turn: None,
        };
        for ours in ["[2001:db8::1]", "[2001:0DB8:0:0::0001]", "192.0.2.1", "EXAMPLE.com"] {
            assert!(config.is_own_host(ours), "{ours}");
        }
        for other in ["[2001:db8::2]", "2001:db8:::1", "[", "192.0.2.2", ""] {
            assert!(!config.is_own_host(other), "{other}");
        }
        config.domain = "[2001:db8::9]".into();
        assert!(config.is_own_host("[2001:db8:0::9]"));
        let hosts =
            ["[2001:db8::1]:5080", "[2001:db8::1]", "192.0.2.1:5060", "sip.example.net"].map(without_port);
        assert_eq!(hosts, ["[2001:db8::1]", "[2001:db8::1]", "192.0.2.1", "sip.example.net"]);
    }

    #[test]
    fn a_wrong_net_is_refused_with_a_sentence() {
        assert!(IpNet::parse("192.0.2.0/33").unwrap_err().contains("from 0 to 32"));
        assert!(IpNet::parse("carrier.example").unwrap_err().contains("not an IP address"));
    }
}
