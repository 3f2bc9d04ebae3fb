//! From a number to where it leads, rule by rule: the same look-up for calls and for `route explain`.

use types::{EndReason, UserName};

use crate::call::{Failure, Party};
use crate::config::{Countries, RouteConfig, RouteFrom, RouteTo, SwitchConfig};
use crate::dialplan::{Country, Leads, Number};

/// Where a number leads, before looking who is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Destination {
    User(UserName),
    /// Nobody: an announcement is all.
    Announcement,
    /// Trunk index and the number for it, in order.
    Trunks(Vec<(usize, String)>),
}

/// One rule that was looked at on the way to a destination; routes by their index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step<'a> {
    /// The name or extension of this user.
    User(&'a UserName),
    /// A trunk calls the caller id or extension of this user.
    InboundNumber(&'a UserName),
    /// One of the trunk's numbers.
    Did { trunk: usize, did: usize },
    /// The route's pattern does not take the number.
    OtherNumber(usize),
    /// The route takes the number, but not from this caller.
    OtherCaller(usize),
    /// The route leads to a trunk and does not name this one, from which the call comes.
    TrunkToTrunk(usize),
    /// The route does not name the country; none: nobody knows where the number leads.
    Abroad(usize, Option<Country>),
    /// The route does not allow premium rate.
    Premium(usize),
    /// The route takes the call.
    Taken(usize),
    /// No route takes this call for help: every trunk that the caller may use.
    Help,
}

impl Step<'_> {
    /// What the caller is told when this rule was the last to refuse.
    fn refusal(self) -> Option<Failure> {
        let said = match self {
            Step::OtherCaller(route) => format!("Route {} is not open to you.", route + 1),
            Step::TrunkToTrunk(route) => format!("Route {} does not name this trunk in from.", route + 1),
            Step::Abroad(route, Some(country)) => {
                format!("Route {} does not allow calls to the country {country}.", route + 1)
            }
            Step::Abroad(route, None) => {
                format!("Route {} does not allow calls to numbers of no known country.", route + 1)
            }
            Step::Premium(route) => format!("Route {} does not allow premium rate numbers.", route + 1),
            Step::User(_)
            | Step::InboundNumber(_)
            | Step::Did { .. }
            | Step::OtherNumber(_)
            | Step::Taken(_)
            | Step::Help => return None,
        };
        Some(Failure { detail: Some(said), ..Failure::of(EndReason::Forbidden) })
    }
}

/// The country in which this caller dials.
pub(crate) fn home(config: &SwitchConfig, party: &Party) -> Option<Country> {
    match party {
        Party::User(name) => config.user(name.as_str()).and_then(|u| u.country),
        Party::Trunk(index) => config.trunks[*index].country,
    }
}

/// Looks a number up: users first, then the trunk's own numbers, then routes in order.
pub(crate) fn look_up(config: &SwitchConfig, number: &Number, from: &Party) -> Result<Destination, Failure> {
    look_up_aloud(config, number, from, |_| {})
}

/// The same, telling each step.
pub(crate) fn look_up_aloud<'c>(
    config: &'c SwitchConfig,
    number: &Number,
    from: &Party,
    mut tell: impl FnMut(Step<'c>),
) -> Result<Destination, Failure> {
    if let Some(user) = config.users.dialled(&number.raw) {
        tell(Step::User(&user.name));
        return Ok(Destination::User(user.name.clone()));
    }
    if let Party::Trunk(trunk) = from
        && let Some((step, found)) = inbound(config, number, *trunk)
    {
        tell(step);
        return Ok(found);
    }
    let mut refused = None;
    for (index, route) in config.routes.iter().enumerate() {
        let (step, found) = look_at(config, (index, route), number, from);
        tell(step);
        if let Some(found) = found {
            return Ok(found);
        }
        refused = step.refusal().or(refused);
    }
    if number.emergency && matches!(from, Party::User(_)) {
        let trunks = for_help(config, number, from);
        if !trunks.is_empty() {
            tell(Step::Help);
            return Ok(Destination::Trunks(trunks));
        }
    }
    Err(refused.unwrap_or_else(|| Failure::of(EndReason::UnknownNumber)))
}

/// A trunk's call to one of our numbers.
fn inbound<'c>(config: &'c SwitchConfig, number: &Number, trunk: usize) -> Option<(Step<'c>, Destination)> {
    let takes = |p: &crate::number::Pattern| {
        [Some(number.best()), Some(&*number.raw)].into_iter().flatten().any(|n| p.matches(n).is_some())
    };
    let dids = &config.trunks[trunk].dids;
    if let Some(did) = dids.iter().position(|d| takes(&d.number)) {
        let to = destination(config, std::slice::from_ref(&dids[did].to), number.best());
        return Some((Step::Did { trunk, did }, to));
    }
    let named = |number: &str| config.users.with_inbound_number(number);
    let user = named(number.best()).or_else(|| named(&number.raw))?;
    Some((Step::InboundNumber(&user.name), Destination::User(user.name.clone())))
}

fn look_at<'c>(
    config: &'c SwitchConfig,
    (index, route): (usize, &'c RouteConfig),
    number: &Number,
    from: &Party,
) -> (Step<'c>, Option<Destination>) {
    // Patterns are written for the international form or for what people dial.
    let Some(tail) = route.pattern.matches(number.best()).or_else(|| route.pattern.matches(&number.raw))
    else {
        return (Step::OtherNumber(index), None);
    };
    if !open_to(config, route, from) {
        return (Step::OtherCaller(index), None);
    }
    if route.to.is_empty() {
        return (Step::Taken(index), Some(Destination::Announcement));
    }
    let sent = route.rewrite.as_ref().map(|r| r.apply(tail));
    let found = destination(config, &route.to, sent.as_deref().unwrap_or(number.best()));
    let Destination::Trunks(trunks) = &found else { return (Step::Taken(index), Some(found)) };
    // From a trunk back to a trunk: toll fraud's favourite, so never by accident, only where the route names whom.
    if matches!(from, Party::Trunk(_)) && route.from.is_empty() {
        return (Step::TrunkToTrunk(index), None);
    }
    // What counts is the number that goes out.
    let there = trunks.first().and_then(|(trunk, _)| config.trunks[*trunk].country);
    let home = home(config, from).or(there);
    let rewritten = sent.map(|sent| Number::read(&sent, there.or(home)));
    let out = rewritten.as_ref().unwrap_or(number);
    if number.emergency || out.emergency || route.pattern.is_exact() {
        return (Step::Taken(index), Some(found));
    }
    let named = match (out.leads, &route.countries) {
        (Leads::Private, _) | (_, Countries::All) => true,
        (Leads::To(country), Countries::Named(list)) => Some(country) == home || list.contains(&country),
        (Leads::Unknown, Countries::Named(_)) => false,
    };
    match (named, out.premium && !route.premium, out.leads) {
        (true, false, _) => (Step::Taken(index), Some(found)),
        (true, true, _) => (Step::Premium(index), None),
        (false, _, Leads::To(country)) => (Step::Abroad(index, Some(country)), None),
        (false, _, Leads::Private | Leads::Unknown) => (Step::Abroad(index, None), None),
    }
}

fn open_to(config: &SwitchConfig, route: &RouteConfig, from: &Party) -> bool {
    route.from.is_empty()
        || route.from.iter().any(|f| match (f, from) {
            (RouteFrom::User(name), Party::User(user)) => name == user,
            (RouteFrom::Trunk(name), Party::Trunk(index)) => *name == config.trunks[*index].name,
            (RouteFrom::User(_), Party::Trunk(_)) | (RouteFrom::Trunk(_), Party::User(_)) => false,
        })
}

/// A call for help is never lost for want of a route: every trunk of a route that the caller may use, else every trunk.
fn for_help(config: &SwitchConfig, number: &Number, from: &Party) -> Vec<(usize, String)> {
    let mut trunks: Vec<usize> = Vec::new();
    let routes = config.routes.iter().filter(|r| open_to(config, r, from));
    let of_routes = routes.flat_map(|r| &r.to).filter_map(|to| match to {
        RouteTo::Trunk(name) => config.trunk(name),
        RouteTo::User(_) => None,
    });
    for trunk in of_routes.chain(0..config.trunks.len()) {
        if !trunks.contains(&trunk) {
            trunks.push(trunk);
        }
    }
    trunks.into_iter().map(|t| (t, number.raw.clone())).collect()
}

fn destination(config: &SwitchConfig, to: &[RouteTo], number: &str) -> Destination {
    let mut trunks = Vec::new();
    for to in to {
        match to {
            RouteTo::User(user) if trunks.is_empty() => return Destination::User(user.clone()),
            RouteTo::User(_) => {}
            RouteTo::Trunk(name) => trunks.extend(config.trunk(name).map(|t| (t, number.to_owned()))),
        }
    }
    Destination::Trunks(trunks)
}

/// Rules named to a carrier whose call nobody takes; more only add to the length of the answer.
const RULES_TOLD: usize = 8;

/// Field problem 31: why no rule takes a trunk's call, in one line without numbers.
pub(crate) fn why_nobody(config: &SwitchConfig, number: &Number, trunk: usize) -> String {
    let name = &config.trunks[trunk].name;
    let mut rules = Vec::new();
    let dids = config.trunks[trunk].dids.len();
    rules.push(format!("dids of trunk {name}: {dids}, none is this number"));
    rules.push(format!("users: {}, none has it as caller_id or extension", config.users.len()));
    let outcome = look_up_aloud(config, number, &Party::Trunk(trunk), |step| match step {
        Step::OtherNumber(route) => rules.push(format!("route {}: other numbers", route + 1)),
        Step::OtherCaller(route) => rules.push(format!("route {}: not from trunk {name}", route + 1)),
        Step::TrunkToTrunk(route) => {
            rules.push(format!(
                "route {}: leads to a trunk and does not name trunk {name} in from",
                route + 1
            ));
        }
        Step::Abroad(route, _) => rules.push(format!("route {}: does not name the country", route + 1)),
        Step::Premium(route) => rules.push(format!("route {}: no premium rate", route + 1)),
        Step::User(_) | Step::InboundNumber(_) | Step::Did { .. } | Step::Taken(_) | Step::Help => {}
    });
    debug_assert!(outcome.is_err(), "somebody takes it");
    if config.routes.is_empty() {
        rules.push("routes: none".into());
    }
    let more = rules.len().saturating_sub(RULES_TOLD);
    rules.truncate(RULES_TOLD);
    let more = if more > 0 { format!("; and {more} more routes") } else { String::new() };
    format!("no rule takes this number: {}{more}", rules.join("; "))
}
