//! What must hold between sections: names are unique, and whatever is named exists.

use std::collections::HashMap;
use std::ops::Range;

use b2bua::{RouteConfig, RouteFrom, RouteTo, UserConfig};
use types::UserName;

use super::Trunk;
use super::reader::Findings;
use super::sections::Placed;

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

fn unique<'a>(names: impl Iterator<Item = (&'a str, &'a Range<usize>)>, key: &str, found: &mut Findings<'_>) {
    let mut seen = HashMap::new();
    for (name, span) in names {
        if seen.insert(name, span).is_some() {
            found.add(span, key, format!("{name:?} is used twice"));
        }
    }
}
