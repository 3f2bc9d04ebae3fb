//! REGISTER from users' devices (RFC 3261 §10.3).

use std::sync::Arc;

use sip_ua::message::{Contact, Message};
use sip_ua::{Command as Sip, Flow, Headers, RequestToken};
use types::UserName;

use crate::auth::Asker;
use crate::output::Level;
use crate::registrar::{DEFAULT_EXPIRES, MAX_EXPIRES, MIN_EXPIRES, RegistrarError, Sender, Wanted};
use crate::shared::Clock;
use crate::switch::{Service, Switch};

/// What a REGISTER asks for.
enum Asked {
    /// No Contact: only tell.
    Query,
    Star,
    Contacts(Vec<Wanted>),
}

/// A status, its words and fields.
type Refusal = (u16, &'static str, Headers);

impl Switch {
    /// A device registers. `resumed`: a slowed-down attempt has had its wait.
    pub(crate) fn on_register(
        &mut self,
        token: RequestToken,
        request: Arc<Message>,
        flow: Flow,
        resumed: bool,
        t: Clock,
    ) {
        let asker = Asker::Register(token);
        if self.service == Service::Stopping {
            let headers = vec![("Retry-After", "5".to_owned())];
            return self.shared.sip(asker.refuse(503, "", headers));
        }
        // Steps 1 and 5: whose address of record, in a domain of ours?
        let to = request.to().and_then(|to| to.uri().ok());
        let Some(aor) = to.filter(|uri| self.is_ours(uri, &flow)) else {
            return self.shared.sip(asker.refuse(404, "This domain is not served here", Vec::new()));
        };
        // Step 3: who says so?
        let Some(user) = self.authenticate(asker, &request, flow, resumed, t) else { return };
        // Step 4: only for oneself.
        if aor.user_unescaped() != user.as_str() {
            let why = "The user name and the address to register differ";
            return self.shared.sip(asker.refuse(403, why, Vec::new()));
        }
        let answer = self.register(&user, &request, flow, t);
        let (status, reason, headers) = answer.unwrap_or_else(|refusal| refusal);
        self.shared.sip(Sip::Respond { token, status, reason: reason.into(), headers });
    }

    fn register(
        &mut self,
        user: &UserName,
        request: &Message,
        flow: Flow,
        t: Clock,
    ) -> Result<Refusal, Refusal> {
        let bad = |why| (400, why, Vec::new());
        let asked = read(request).map_err(|why| match why {
            Problem::Bad(why) => bad(why),
            Problem::TooBrief => (423, "", vec![("Min-Expires", MIN_EXPIRES.to_string())]),
        })?;
        let call_id = request.call_id().ok_or(bad("Missing Call-ID"))?;
        let cseq = request.cseq().ok_or(bad("Missing CSeq"))?.seq;
        let sender = Sender { flow, call_id, cseq };
        let outbound = outbound(request, &asked, &flow);
        let registrar = &mut self.shared.registrar;
        let before = registrar.bindings(user).iter().filter(|b| !b.suspended).count();
        let result = match asked {
            Asked::Query => Ok(()),
            Asked::Star => registrar.clear(user, sender),
            Asked::Contacts(wanted) => registrar.update(user, wanted, sender, t.now),
        };
        result.map_err(|error| match error {
            RegistrarError::OutOfOrder => (500, "An older REGISTER came after a newer one", Vec::new()),
            RegistrarError::TooManyContacts => {
                (403, "Too many devices are registered for this user; remove one first", Vec::new())
            }
        })?;
        let bindings: Vec<_> = registrar.bindings(user).iter().filter(|b| !b.suspended).collect();
        let after = bindings.len();
        let contact = |b: &crate::registrar::Binding| {
            let left = b.expires.saturating_duration_since(t.now).as_secs();
            ("Contact", format!("<{}>;expires={left}", b.uri.as_str()))
        };
        let mut headers: Headers = bindings.into_iter().map(contact).collect();
        headers.extend(outbound);
        if before != after {
            let text = format!("{} has {after} SIP devices, before {before}", user.as_str());
            self.shared.log(Level::Debug, None, text);
        }
        Ok((200, "", headers))
    }
}

/// How often a device is to show that its connection lives, in seconds (RFC 5626 §5.4).
const FLOW_TIMER: u32 = 120;

/// What a device hears that keeps its flow up as RFC 5626 §6 describes; nothing where a proxy stands between.
fn outbound(request: &Message, asked: &Asked, flow: &Flow) -> Headers {
    let knows = request
        .list("Supported")
        .chain(request.list("Require"))
        .any(|tag| tag.eq_ignore_ascii_case("outbound"));
    let bound = match asked {
        Asked::Contacts(wanted) => wanted.iter().any(|w| w.reg_id.is_some() && w.expires > 0),
        Asked::Query | Asked::Star => false,
    };
    if !knows || !bound || request.list("Via").nth(1).is_some() {
        return Headers::new();
    }
    let mut headers = vec![("Require", "outbound".to_owned()), ("Supported", "outbound".to_owned())];
    if !flow.transport.is_datagram() {
        headers.push(("Flow-Timer", FLOW_TIMER.to_string()));
    }
    headers
}

enum Problem {
    Bad(&'static str),
    TooBrief,
}

/// Steps 6 and 7: the contacts with what they ask for.
fn read(request: &Message) -> Result<Asked, Problem> {
    let general = request.expires();
    let contacts: Vec<Contact<'_>> =
        request.contacts().collect::<Result<_, _>>().map_err(|_| Problem::Bad("A Contact cannot be read"))?;
    if contacts.is_empty() {
        return Ok(Asked::Query);
    }
    if contacts.iter().any(|c| matches!(c, Contact::Star)) {
        return match (contacts.len(), general) {
            (1, Some(0)) => Ok(Asked::Star),
            _ => Err(Problem::Bad("Contact: * stands alone and with Expires: 0")),
        };
    }
    let mut wanted = Vec::new();
    for address in contacts.iter().filter_map(Contact::address) {
        let uri = address.uri().map_err(|_| Problem::Bad("The URI of a Contact cannot be read"))?;
        let asked = address.expires().or(general).unwrap_or(DEFAULT_EXPIRES);
        if (1..MIN_EXPIRES).contains(&asked) {
            return Err(Problem::TooBrief);
        }
        let instance = address.instance().map(str::to_owned);
        // Without an instance a reg-id means nothing (RFC 5626 §6).
        let reg_id = address.reg_id().filter(|_| instance.is_some());
        wanted.push(Wanted { uri, instance, reg_id, expires: asked.min(MAX_EXPIRES) });
    }
    Ok(Asked::Contacts(wanted))
}
