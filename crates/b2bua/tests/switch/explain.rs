//! What a person is told who asks where a number goes.

use crate::rig::{config, route};
use b2bua::{Rewrite, RouteFrom, RouteTo, explain};
use types::UserName;

fn alice() -> RouteFrom {
    RouteFrom::User(UserName::new("alice"))
}

#[test]
fn each_rule_that_was_looked_at_is_named_with_why_it_did_not_fit() {
    let mut config = config();
    config.routes.clear();
    config.routes.push(route("+49*", &[RouteTo::Trunk("carrier".into())]));
    let mut private = route("+1*", &[RouteTo::Trunk("carrier".into())]);
    private.from.push(RouteFrom::User(UserName::new("bob")));
    config.routes.push(private);
    let mut public = route("+1*", &[RouteTo::Trunk("carrier".into())]);
    public.rewrite = Some(Rewrite::parse("001*").unwrap());
    config.routes.push(public);
    let told = explain(&config, "+1 (202) 555-0100", &alice());
    assert!(told.found);
    assert_eq!(
        told.lines,
        [
            "dialled +1 (202) 555-0100, read as +12025550100",
            "is a number of US",
            "route 1 (match \"+49*\"): does not take this number",
            "route 2 (match \"+1*\"): only for user:bob",
            "route 3 (match \"+1*\"): takes it, to trunk:carrier",
            "goes out through trunk carrier as sip:0012025550100@carrier.example",
        ]
    );
}

#[test]
fn a_users_extension_wins_and_a_trunk_leads_to_a_trunk_only_by_name() {
    let config = config();
    let told = explain(&config, "101", &alice());
    assert_eq!(told.lines.last().map(String::as_str), Some("rings every device of user bob"));
    let told = explain(&config, "+12025550100", &RouteFrom::Trunk("carrier".into()));
    assert!(!told.found);
    assert!(told.lines.iter().any(|l| l.ends_with("only where `from` names it")), "{told:?}");
    assert!(told.lines.last().is_some_and(|l| l.starts_with("goes nowhere (403)")), "{told:?}");
    let mut config = config;
    config.routes[1].from.push(RouteFrom::Trunk("carrier".into()));
    let told = explain(&config, "+12025550100", &RouteFrom::Trunk("carrier".into()));
    assert!(told.found, "{told:?}");
}

#[test]
fn who_and_what_does_not_exist_is_said() {
    let config = config();
    let mallory = RouteFrom::User(UserName::new("mallory"));
    assert_eq!(explain(&config, "101", &mallory).lines, ["there is no user mallory"]);
    let told = explain(&config, "999", &alice());
    assert!(
        !told.found && told.lines.last().is_some_and(|l| l.starts_with("goes nowhere (404)")),
        "{told:?}"
    );
}
