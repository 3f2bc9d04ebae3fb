//! Says in words where a number would go and why: the very look-up that calls use, told aloud.

use crate::call::Party;
use crate::config::{RouteFrom, RouteTo, SwitchConfig, TrunkConfig};
use crate::dialplan::{Leads, Number};
use crate::lookup::{Destination, Step, home, look_up_aloud, why_nobody};
use crate::number::clean;
use crate::profile::CodecPolicy;

/// What `explain` found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// One sentence for each rule that was looked at, the outcome last.
    pub lines: Vec<String>,
    /// Whether the number leads anywhere.
    pub found: bool,
}

/// Where `dialled` goes when this caller dials it. Who is signed in and which trunk is reachable does not count.
pub fn explain(config: &SwitchConfig, dialled: &str, from: &RouteFrom) -> Explanation {
    let missing = |what: String| Explanation { lines: vec![what], found: false };
    let party = match from {
        RouteFrom::User(user) if config.user(user.as_str()).is_none() => {
            return missing(format!("there is no user {}", user.as_str()));
        }
        RouteFrom::User(user) => Party::User(user.clone()),
        RouteFrom::Trunk(name) => match config.trunk(name) {
            Some(index) => Party::Trunk(index),
            None => return missing(format!("there is no trunk {name}")),
        },
    };
    let Some(cleaned) = clean(dialled) else {
        return missing(format!("{dialled:?} is neither a number nor a name that can be dialled"));
    };
    let mut lines = Vec::new();
    let number = Number::read(&cleaned, home(config, &party));
    if number.best() != dialled {
        lines.push(format!("dialled {dialled}, read as {}", number.best()));
    }
    lines.extend(meaning(&number));
    let found = look_up_aloud(config, &number, &party, |step| lines.push(sentence(config, step)));
    match &found {
        Ok(Destination::User(user)) => lines.push(format!("rings every device of user {}", user.as_str())),
        Ok(Destination::Announcement) => lines.push("hears an announcement, and that is all".into()),
        Ok(Destination::Trunks(trunks)) => {
            lines.extend(trunks.iter().filter_map(|(index, _)| audio(&config.trunks[*index])));
            let names = trunks.iter().map(|(index, number)| {
                let trunk = &config.trunks[*index];
                format!("trunk {} as sip:{}@{}", trunk.name, trunk.write_number(number), trunk.host)
            });
            lines.push(format!("goes out through {}", names.collect::<Vec<_>>().join(", else ")));
        }
        Err(failure) => {
            if let Party::Trunk(trunk) = party {
                lines.push(why_nobody(config, &number, trunk));
            }
            lines.push(format!("goes nowhere ({}): {}", failure.reason.sip_status(), failure.sentence()));
        }
    }
    Explanation { lines, found: found.is_ok() }
}

/// Which codecs a call through the trunk uses, where it is not as usual.
fn audio(trunk: &TrunkConfig) -> Option<String> {
    let how = match trunk.profile.codec_policy {
        CodecPolicy::Auto => return None,
        CodecPolicy::Opus => "the trunk is offered them in this order, browsers use opus",
        CodecPolicy::Passthrough => "both sides use the same one, nothing is transcoded",
    };
    let codecs: Vec<&str> = trunk.profile.codecs.iter().map(|c| c.name()).collect();
    Some(format!("codecs of trunk {}: {}; {how}", trunk.name, codecs.join(", ")))
}

/// What kind of number it is, where that counts.
fn meaning(number: &Number) -> Option<String> {
    match (number.emergency, number.leads) {
        (true, _) => Some("calls for help: no limit and no country rule stops it".into()),
        (false, Leads::To(country)) => {
            let premium = if number.premium { ", at premium rate" } else { "" };
            Some(format!("is a number of {country}{premium}"))
        }
        (false, Leads::Unknown) => Some("leads out of the country, nobody knows where".into()),
        (false, Leads::Private) => None,
    }
}

fn sentence(config: &SwitchConfig, step: Step<'_>) -> String {
    let route = |index: usize| {
        let route = &config.routes[index];
        format!("route {} (match {:?})", index + 1, route.pattern.as_str())
    };
    match step {
        Step::User(user) => format!("is the name or extension of user {}", user.as_str()),
        Step::InboundNumber(user) => format!("is the caller_id or extension of user {}", user.as_str()),
        Step::Did { trunk, did } => {
            let trunk = &config.trunks[trunk];
            format!("is {:?} of the dids of trunk {}", trunk.dids[did].number.as_str(), trunk.name)
        }
        Step::Abroad(index, Some(country)) => {
            format!("{}: does not allow {country}; countries = [\"{country}\"] would", route(index))
        }
        Step::Abroad(index, None) => {
            format!("{}: does not allow numbers of no known country; countries = [\"*\"] would", route(index))
        }
        Step::Premium(index) => format!("{}: no premium rate; premium = true would allow it", route(index)),
        Step::Help => "no route takes this call for help: every trunk is tried".into(),
        Step::OtherNumber(index) => format!("{}: does not take this number", route(index)),
        Step::OtherCaller(index) => {
            let from = config.routes[index].from.iter().map(|from| match from {
                RouteFrom::User(name) => format!("user:{}", name.as_str()),
                RouteFrom::Trunk(name) => format!("trunk:{name}"),
            });
            format!("{}: only for {}", route(index), from.collect::<Vec<_>>().join(", "))
        }
        Step::TrunkToTrunk(index) => {
            format!("{}: a trunk's call goes out to a trunk only where `from` names it", route(index))
        }
        Step::Taken(index) => {
            let to = config.routes[index].to.iter().map(|to| match to {
                RouteTo::User(name) => format!("user:{}", name.as_str()),
                RouteTo::Trunk(name) => format!("trunk:{name}"),
            });
            format!("{}: takes it, to {}", route(index), to.collect::<Vec<_>>().join(", "))
        }
    }
}
