//! What a person is told who asks where a number goes.

use crate::rig::{config, country, route};
use b2bua::{
    CodecPolicy, Countries, Did, NumberFormat, Pattern, Rewrite, RouteFrom, RouteTo, SwitchConfig,
    UserConfig, explain,
};
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

/// The rig with everybody in Germany, one route abroad, one for bob, and numbers of its own at the carrier.
fn german() -> SwitchConfig {
    let mut config = config();
    let here = |u: &UserConfig| UserConfig { country: Some(country("DE")), ..u.clone() };
    config.users = config.users.iter().map(here).collect::<Vec<_>>().into();
    config.trunks.iter_mut().for_each(|t| t.country = Some(country("DE")));
    let did = |number: &str, to| Did { number: Pattern::parse(number).unwrap(), to };
    config.trunks[0].dids = vec![
        did("+493012345678", RouteTo::User(UserName::new("bob"))),
        did("+49301234569x", RouteTo::Trunk("pbx".into())),
    ];
    let mut of_bob = route("8xxx", &[RouteTo::Trunk("carrier".into())]);
    of_bob.from.push(RouteFrom::User(UserName::new("bob")));
    let mut abroad = route("+*", &[RouteTo::Trunk("carrier".into()), RouteTo::Trunk("backup".into())]);
    abroad.countries = Countries::Named(vec![country("FR")]);
    config.routes = vec![of_bob, abroad];
    config
}

#[test]
fn dids_help_and_countries_are_told_word_by_word() {
    let carrier = RouteFrom::Trunk("carrier".into());
    let config = german();
    for (dialled, from, told) in [
        (
            "+493012345678",
            &carrier,
            vec![
                "is a number of DE",
                "is \"+493012345678\" of the dids of trunk carrier",
                "rings every device of user bob",
            ],
        ),
        (
            "+493012345695",
            &carrier,
            vec![
                "is a number of DE",
                "is \"+49301234569x\" of the dids of trunk carrier",
                "goes out through trunk pbx as sip:+493012345695@pbx.example",
            ],
        ),
        (
            "110",
            &alice(),
            vec![
                "calls for help: no limit and no country rule stops it",
                "route 1 (match \"8xxx\"): does not take this number",
                "route 2 (match \"+*\"): does not take this number",
                "no route takes this call for help: every trunk is tried",
                "goes out through trunk carrier as sip:110@carrier.example, else trunk backup as \
                 sip:110@backup.example, else trunk pbx as sip:110@pbx.example",
            ],
        ),
        (
            "0044 20 7946 0000",
            &alice(),
            vec![
                "dialled 0044 20 7946 0000, read as +442079460000",
                "is a number of GB",
                "route 1 (match \"8xxx\"): does not take this number",
                "route 2 (match \"+*\"): does not allow GB; countries = [\"GB\"] would",
                "goes nowhere (403): Route 2 does not allow calls to the country GB.",
            ],
        ),
    ] {
        assert_eq!(explain(&config, dialled, from).lines, told, "{dialled}");
    }
}

#[test]
fn the_trunks_form_premium_rate_and_other_callers_are_told_word_by_word() {
    let mut config = german();
    config.trunks[0].profile.number_format = NumberFormat::National;
    for (dialled, from, told) in [
        (
            "+33123456789",
            &alice(),
            vec![
                "is a number of FR",
                "route 1 (match \"8xxx\"): does not take this number",
                "route 2 (match \"+*\"): takes it, to trunk:carrier, trunk:backup",
                "goes out through trunk carrier as sip:0033123456789@carrier.example, else trunk backup as \
                 sip:+33123456789@backup.example",
            ],
        ),
        (
            "09001234567",
            &alice(),
            vec![
                "dialled 09001234567, read as +499001234567",
                "is a number of DE, at premium rate",
                "route 1 (match \"8xxx\"): does not take this number",
                "route 2 (match \"+*\"): no premium rate; premium = true would allow it",
                "goes nowhere (403): Route 2 does not allow premium rate numbers.",
            ],
        ),
        (
            "8001",
            &alice(),
            vec![
                "route 1 (match \"8xxx\"): only for user:bob",
                "route 2 (match \"+*\"): does not take this number",
                "goes nowhere (403): Route 1 is not open to you.",
            ],
        ),
    ] {
        assert_eq!(explain(&config, dialled, from).lines, told, "{dialled}");
    }
}

#[test]
fn a_number_of_nobody_at_the_carrier_is_told_rule_by_rule() {
    let told = explain(&german(), "+492211234567", &RouteFrom::Trunk("carrier".into()));
    assert_eq!(
        told.lines,
        [
            "is a number of DE",
            "route 1 (match \"8xxx\"): does not take this number",
            "route 2 (match \"+*\"): a trunk's call goes out to a trunk only where `from` names it",
            "no rule takes this number: dids of trunk carrier: 2, none is this number; users: 2, none has it as \
             caller_id or extension; route 1: other numbers; route 2: leads to a trunk and does not name trunk carrier \
             in from",
            "goes nowhere (403): Route 2 does not name this trunk in from.",
        ]
    );
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

#[test]
fn a_trunk_that_passes_audio_through_is_told_with_its_codecs() {
    let mut config = config();
    config.trunks[0].profile.codec_policy = CodecPolicy::Passthrough;
    let told = explain(&config, "+12025550100", &alice());
    let line = "codecs of trunk carrier: pcmu, pcma; both sides use the same one, nothing is transcoded";
    assert!(told.lines.iter().any(|l| l == line), "{:?}", told.lines);
}
