//! Who calls: what a peer says about it, and what others may be told (RFC 3323, 3325, 5806, 7044).

use sip_ua::Headers;
use sip_ua::message::{Message, NameAddr, quote};

use crate::config::TrunkConfig;
use crate::profile::{ForwardHeader, IdentityHeader, PrivateFrom};

/// From of someone who is not to be known (RFC 3323 §4.1.1.3).
pub(crate) const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

/// A caller as shown to callees of ours, and what is known beyond that.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct CallerId {
    /// Number or name; `anonymous` where the caller wants it so.
    pub number: String,
    /// Display name, may be empty.
    pub name: String,
    /// The caller wants not to be known.
    pub private: bool,
    /// The number behind that, asserted by a trunk that we trust; for other trusted trunks only.
    pub asserted: Option<String>,
}

impl CallerId {
    /// What an INVITE of a trunk says. P-Asserted-Identity and Remote-Party-ID count only where the trunk is trusted
    /// (RFC 3325 §5).
    pub fn of_trunk(request: &Message, trunk: &TrunkConfig) -> CallerId {
        let from = request.from();
        let read = |n: &str| trunk.read_number(n);
        let own =
            from.as_ref().and_then(|f| f.uri().ok()).map(|u| read(&u.user_unescaped())).unwrap_or_default();
        let name = from.map(|f| f.display_name()).unwrap_or_default();
        let asserted = asserted(request).filter(|_| trunk.profile.trusted);
        let number_asserted = asserted.as_ref().map(|(n, _)| read(n));
        if wants_privacy(request) {
            return CallerId { asserted: number_asserted, ..CallerId::anonymous() };
        }
        let name = asserted.map(|(_, name)| name).filter(|n| !n.is_empty()).unwrap_or(name);
        CallerId {
            number: number_asserted.clone().unwrap_or(own),
            name,
            private: false,
            asserted: number_asserted,
        }
    }

    /// Someone who wants not to be known.
    pub fn anonymous() -> CallerId {
        CallerId { number: "anonymous".into(), name: "Anonymous".into(), private: true, asserted: None }
    }
}

/// Number and name of the first identity that the network vouches for.
fn asserted(request: &Message) -> Option<(String, String)> {
    ["P-Asserted-Identity", "Remote-Party-ID"].into_iter().find_map(|header| {
        request.list(header).find_map(|value| {
            let address = NameAddr::parse(value).ok()?;
            let number = address.uri().ok()?.user_unescaped();
            (!number.is_empty()).then(|| (number, address.display_name()))
        })
    })
}

/// Whether the caller wants not to be known: Privacy (RFC 3323 §4.2, RFC 3325 §9.3), the anonymous From (RFC 3323
/// §4.1.1.3), or Remote-Party-ID's own word.
pub(crate) fn wants_privacy(request: &Message) -> bool {
    let mut privacy = request.headers("Privacy").flat_map(|v| v.split([';', ','])).map(str::trim);
    let asked = privacy.any(|p| ["id", "user", "header"].iter().any(|w| p.eq_ignore_ascii_case(w)));
    let from = request.from().and_then(|f| f.uri().ok());
    let hidden = from.is_some_and(|uri| {
        uri.host().eq_ignore_ascii_case("anonymous.invalid")
            || uri.user_unescaped().eq_ignore_ascii_case("anonymous")
    });
    let rpid = request.list("Remote-Party-ID").any(|v| {
        NameAddr::parse(v)
            .is_ok_and(|a| a.params.get("privacy").is_some_and(|p| !p.eq_ignore_ascii_case("off")))
    });
    asked || hidden || rpid
}

/// A caller towards a trunk.
pub(crate) struct Outward<'a> {
    /// Their number, if it may be known at all.
    pub number: Option<&'a str>,
    /// They want not to be known.
    pub private: bool,
    /// The number that the call was first made to, where it is being forwarded.
    pub forwarder: Option<&'a str>,
    /// Where it goes now: the Request-URI.
    pub target: &'a str,
}

impl Outward<'_> {
    /// The From value without tag.
    pub fn from(&self, trunk: &TrunkConfig) -> String {
        let account = trunk.profile.private_from == PrivateFrom::Account && trunk.profile.from_user.is_some();
        if self.private && !account {
            return ANONYMOUS.to_owned();
        }
        let own = self.number.map(|n| trunk.write_number(n));
        let user = trunk.profile.from_user.clone().or(own).unwrap_or_else(|| trunk.contact_user.clone());
        format!("<{}>", trunk_address(&user, trunk))
    }

    /// Identity, Privacy and Diversion or History-Info.
    pub fn headers(&self, trunk: &TrunkConfig) -> Headers {
        let mut headers = Vec::new();
        // Who an anonymous caller is may be known within the trust domain only (RFC 3325 §7).
        let number = self.number.filter(|_| trunk.profile.trusted || !self.private);
        if let Some(number) = number {
            let address = trunk_address(&trunk.write_number(number), trunk);
            match trunk.profile.identity {
                IdentityHeader::None => {}
                IdentityHeader::Pai => headers.push(("P-Asserted-Identity", format!("<{address}>"))),
                IdentityHeader::Ppi => headers.push(("P-Preferred-Identity", format!("<{address}>"))),
                IdentityHeader::Rpid => {
                    let privacy = if self.private { "full" } else { "off" };
                    let value = format!("<{address}>;party=calling;screen=no;privacy={privacy}");
                    headers.push(("Remote-Party-ID", value));
                }
            }
        }
        if self.private {
            headers.push(("Privacy", "id".to_owned()));
        }
        if let Some(forwarder) = self.forwarder {
            let address = trunk_address(&trunk.write_number(forwarder), trunk);
            match trunk.profile.forwarded {
                ForwardHeader::None => {}
                ForwardHeader::Diversion => {
                    headers.push(("Diversion", format!("<{address}>;reason=unconditional")));
                }
                ForwardHeader::HistoryInfo => {
                    let entries = format!("<{address}>;index=1, <{};cause=302>;index=1.1;mp=1", self.target);
                    headers.push(("History-Info", entries));
                }
            }
        }
        headers
    }
}

pub(crate) fn trunk_address(user: &str, trunk: &TrunkConfig) -> String {
    crate::call::address(user, trunk.profile.from_domain.as_ref().unwrap_or(&trunk.host))
}

/// From towards a device of ours, without tag.
pub(crate) fn from_for_device(number: &str, name: &str, private: bool, domain: &str) -> String {
    let address = crate::call::address(number, domain);
    match (private, name.is_empty()) {
        (true, _) => ANONYMOUS.to_owned(),
        (false, true) => format!("<{address}>"),
        (false, false) => format!("{} <{address}>", quote(name)),
    }
}
