//! What must hold between sections: names are unique, and whatever is named exists.

use std::collections::HashMap;
use std::ops::Range;

use b2bua::{Countries, Country, NumberFormat, RouteConfig, RouteFrom, RouteTo, UserConfig};
use sip_ua::digest::Algorithm;
use types::UserName;

use super::Trunk;
use super::reader::Findings;
use super::sections::Placed;

/// Every user's secret can answer one of the algorithms that are offered.
pub fn digest(offered: &[Algorithm], users: &[Placed<UserConfig>], found: &mut Findings<'_>) {
    let names: Vec<_> = offered.iter().map(|a| a.name()).collect();
    let lost = |user: &&Placed<UserConfig>| !offered.iter().any(|a| user.0.secret.serves(a.hash));
    for (user, span) in users.iter().filter(lost).filter(|_| !offered.is_empty()) {
        let message = format!(
            "[sip] digest offers {} alone, which the stored hash of {} does not serve",
            names.join(" and "),
            user.name.as_str()
        );
        found.add(span, "users", message);
    }
}

pub fn across(
    users: &[Placed<UserConfig>],
    trunks: &[Placed<Trunk>],
    routes: &[Placed<RouteConfig>],
    found: &mut Findings<'_>,
) {
    unique(users.iter().map(|(u, s)| (u.name.as_str(), s)), "users.name", found);
    unique(users.iter().filter_map(|(u, s)| Some((u.extension.as_deref()?, s))), "users.extension", found);
    unique(trunks.iter().map(|(t, s)| (t.name.as_str(), s)), "trunks.name", found);
    let user = |name: &UserName| {
        (!users.iter().any(|(u, _)| u.name == *name)).then(|| ("user", name.as_str().to_owned()))
    };
    let trunk =
        |name: &String| (!trunks.iter().any(|(t, _)| t.name == *name)).then(|| ("trunk", name.clone()));
    for (route, span) in routes {
        let to = route.to.iter().filter_map(|to| match to {
            RouteTo::User(name) => user(name),
            RouteTo::Trunk(name) => trunk(name),
        });
        let from = route.from.iter().filter_map(|from| match from {
            RouteFrom::User(name) => user(name),
            RouteFrom::Trunk(name) => trunk(name),
        });
        for (kind, name) in to.chain(from) {
            found.add(span, "routes", format!("there is no {kind} named {name:?} in this file"));
        }
    }
}

/// What the keys about countries mean together: nobody's extension hides a number for help, and routes lead somewhere.
pub fn countries(
    default: Option<Country>,
    users: &[Placed<UserConfig>],
    trunks: &[Placed<Trunk>],
    routes: &[Placed<RouteConfig>],
    found: &mut Findings<'_>,
) {
    for (user, span) in users {
        let country = user.country.or(default);
        let hides = |n: &str| matches!(n, "112" | "911") || country.is_some_and(|c| c.has_emergency(n));
        if let Some(extension) = user.extension.as_deref().filter(|n| hides(n)) {
            let message = format!("{extension} calls for help in the country of this user; choose another");
            found.add(span, "users.extension", message);
        }
    }
    for (trunk, span) in trunks {
        let profile = &trunk.profile;
        let formats = [
            ("trunks.number_format", profile.number_format),
            ("trunks.inbound_number_format", profile.inbound_number_format),
        ];
        for (key, format) in formats {
            if format == NumberFormat::National && trunk.country.or(default).is_none() {
                let message = "\"national\" of which country? Write country = \"DE\" beside it or into [sip]";
                found.add(span, key, message);
            }
        }
        for did in &trunk.dids {
            let (kind, name, there) = match &did.to {
                RouteTo::User(name) => ("user", name.as_str(), users.iter().any(|(u, _)| u.name == *name)),
                RouteTo::Trunk(name) => ("trunk", name.as_str(), trunks.iter().any(|(t, _)| t.name == *name)),
            };
            if !there {
                let number = did.number.as_str();
                let message = format!(
                    "{number:?} leads to {kind} {name}, which is not in this file: add [[{kind}s]] name = {name:?}"
                );
                found.add(span, "trunks.dids", message);
            }
        }
    }
    let no_country = default.is_none() && users.iter().all(|(u, _)| u.country.is_none());
    for (route, span) in routes {
        let nowhere = trunks.iter().all(|(t, _)| t.country.is_none());
        let leads_out = route.to.iter().any(|to| matches!(to, RouteTo::Trunk(_)));
        let plus = route.pattern.as_str().starts_with('+') && !route.pattern.is_exact();
        if no_country && nowhere && leads_out && plus && route.countries == Countries::Named(Vec::new()) {
            let message = "allows no country: write country = \"US\" into [sip] for calls within it, or name others \
                           here, for example countries = [\"US\", \"DE\"]";
            found.add(span, "routes.countries", message);
        }
    }
}

fn unique<'a>(names: impl Iterator<Item = (&'a str, &'a Range<usize>)>, key: &str, found: &mut Findings<'_>) {
    let mut seen = HashMap::new();
    for (name, span) in names {
        if seen.insert(name, span).is_some() {
            found.add(span, key, format!("{name:?} is used twice"));
        }
    }
}
