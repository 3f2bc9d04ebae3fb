use b2bua::{RouteTo, Secret};
use media_bridge::control::Codec;

use super::*;

const GOOD: &str = r#"
[sip]
domain = "example.com"

[[users]]
name = "alice"
password = "secret"
extension = "100"

[[trunks]]
name = "carrier"
server = "sip.example.net"

[[routes]]
match = "+*"
to = ["trunk:carrier"]
countries = "*"
"#;

fn no_env(_: &str) -> Option<String> {
    None
}

fn problems(text: &str) -> Vec<String> {
    load(text, no_env).expect_err("must be refused").iter().map(ToString::to_string).collect()
}

#[test]
fn a_short_file_loads_with_defaults() {
    let config = load(GOOD, no_env).expect("good");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.sip.listen.len(), 2);
    assert_eq!(config.trunks[0].server().port, None);
    assert!(config.dns_servers.is_empty());
    assert_eq!(config.trunks[0].profile.codecs, [Codec::Pcmu, Codec::Pcma]);
    assert_eq!(config.routes[0].to, [RouteTo::Trunk("carrier".into())]);
}

#[test]
fn every_problem_is_said_at_once_with_line_column_and_nearest_key() {
    let text = "[http]\nlisen = \"127.0.0.1:1\"\n[sip]\ndomain = 5\n[media]\nworkers = 0\n\
                [[trunks]]\nname = \"a\"\nserver = \"sip:x\"\n";
    let all = problems(text);
    assert_eq!(all[0], "line 2, column 1: http.lisen: unknown key; did you mean `listen`?");
    assert_eq!(all[1], "line 4, column 10: sip.domain: expected a string in quotes, found a number");
    assert_eq!(all[2], "line 6, column 11: media.workers: 0 is outside 1 to 64");
    assert!(all[3].starts_with("line 9, column 10: trunks[0].server: expected HOST"), "{all:?}");
    assert_eq!(all.len(), 4, "{all:?}");
}

#[test]
fn dns_servers_are_addresses_with_or_without_a_port() {
    let with = |servers: &str| format!("[dns]\nservers = [{servers}]\n{GOOD}");
    let config = load(&with("\"192.0.2.53\", \"127.0.0.1:5353\", \"2001:db8::53\""), no_env).expect("good");
    let shown: Vec<String> = config.dns_servers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["192.0.2.53:53", "127.0.0.1:5353", "[2001:db8::53]:53"]);
    assert!(problems(&with("\"dns.example\""))[0].contains("dns.servers"));
    assert!(problems(&with(""))[0].contains("must not be an empty list"));
}

#[test]
fn relays_need_uris_and_a_secret_which_is_not_shown() {
    let with = |keys: &str| format!("[turn]\n{keys}\n{GOOD}");
    let urls = "urls = [\"turn:turn.example.com\", \"turns:192.0.2.1:443?transport=tcp\"]";
    let config = load(&with(&format!("{urls}\nsecret = \"north\"\nttl = 600")), no_env).expect("good");
    let shown = format!("{:?}", config.turn);
    assert!(
        shown.contains("turns:192.0.2.1:443") && shown.contains("600") && !shown.contains("north"),
        "{shown}"
    );
    let env = |name: &str| (name == "TURN").then(|| "south".to_owned());
    assert!(load(&with(&format!("{urls}\nsecret_env = \"TURN\"")), env).expect("good").turn.is_some());
    assert!(load(GOOD, no_env).expect("good").turn.is_none());
    for (keys, said) in [
        ("secret = \"north\"", "turn.urls: is missing"),
        (urls, "turn.secret: is missing"),
        ("secret = \"north\"\nurls = [\"stun:stun.example.com\"]", "expected turn:HOST"),
        ("secret = \"north\"\nurls = [\"turn:turn.example.com?transport=sctp\"]", "expected turn:HOST"),
        ("secret = \"north\"\nurls = [\"turn:a\", \"turn:b\", \"turn:c\", \"turn:d\", \"turn:e\"]", "1 to 4"),
    ] {
        let all = problems(&with(keys));
        assert!(all.iter().any(|one| one.contains(said)), "{all:?}");
    }
}

#[test]
fn broken_toml_is_reported_with_its_place() {
    let all = problems("[sip]\ndomain = \"example.com\n[http]\nlisten = 127\n");
    assert!(all[0].starts_with("line 2, column"), "{all:?}");
}

#[test]
fn a_route_to_an_unknown_trunk_and_a_name_used_twice_are_refused() {
    let text = format!(
        "{GOOD}\n[[routes]]\nmatch = \"1\"\nto = \"trunk:carier\"\n[[users]]\nname = \"alice\"\npassword = \"x\"\n"
    );
    let all = problems(&text);
    assert!(all.iter().any(|p| p.contains("there is no trunk named \"carier\"")), "{all:?}");
    assert!(all.iter().any(|p| p.contains("\"alice\" is used twice")), "{all:?}");
}

#[test]
fn digest_algorithms_are_chosen_by_name_and_must_serve_every_user() {
    let with = |list: &str| GOOD.replace("\n\n[[users]]", &format!("\ndigest = {list}\n\n[[users]]"));
    let hashed =
        |list: &str| with(list).replace("password = \"secret\"", &format!("ha1_md5 = \"{:032}\"", 7));
    let names = |text: &str| -> Vec<_> {
        load(text, no_env).expect("good").sip.digest.iter().map(|a| a.name()).collect()
    };
    assert!(names(GOOD).is_empty(), "what serves everyone");
    assert_eq!(names(&with("[\"md5\", \"SHA-256\"]")), ["MD5", "SHA-256"]);
    assert_eq!(names(&hashed("[\"SHA-256\", \"MD5\"]")), ["SHA-256", "MD5"]);
    assert!(problems(&with("[\"MD5-sess\"]"))[0].contains("expected \"MD5\", \"SHA-256\""));
    assert!(problems(&hashed("[\"SHA-256\"]"))[0].contains("the stored hash of alice does not serve"));
}

#[test]
fn a_missing_environment_variable_is_named() {
    let text = GOOD.replace("password = \"secret\"", "password_env = \"ALICE_PASSWORD\"");
    let all = problems(&text);
    assert!(all[0].contains("the environment variable ALICE_PASSWORD is not set"), "{all:?}");
    let config = load(&text, |name| (name == "ALICE_PASSWORD").then(|| "hidden".into())).expect("good");
    assert!(config.users[0].secret == Secret::Password("hidden".into()));
    assert!(!format!("{config:?}").contains("hidden"), "secrets never reach a log");
}

#[test]
fn browser_ports_must_not_lie_among_rtp_ports() {
    let text = format!("{GOOD}\n[media]\nwebrtc_port = 20010\n");
    assert!(problems(&text)[0].contains("overlaps the browser ports"));
}

#[test]
fn one_address_of_each_family_is_advertised() {
    let text = |value: &str| format!("{GOOD}\n[media]\nadvertise = {value}\n");
    let shown = |value| load(&text(value), no_env).expect("good").media.advertise.iter().collect::<Vec<_>>();
    assert_eq!(shown("\"2001:db8::5\"").len(), 1);
    assert_eq!(shown("[\"2001:DB8:0::5\", \"203.0.113.5\"]")[1].to_string(), "2001:db8::5");
    for (value, words) in [
        ("[\"2001:db8::5\", \"2001:db8::6\"]", "is a second IPv6 address"),
        ("\"fe80::1%eth0\"", "an interface behind % cannot stand in SIP"),
        ("\"fe80::1\"", "is a link-local address"),
        ("\"[2001:db8::5]\"", "without brackets"),
        ("\"::\"", "expected an IP address"),
    ] {
        let said = problems(&text(value));
        assert!(said[0].contains(words) && said[0].contains("media.advertise"), "{value}: {said:?}");
    }
}

#[test]
fn both_families_are_listened_on_and_a_server_needs_a_socket_of_its_own() {
    let listening = |listen: &str, server: &str| {
        let text =
            GOOD.replace("domain = \"example.com\"", &format!("domain = \"example.com\"\nlisten = {listen}"));
        text.replace("sip.example.net", server)
    };
    let both = "[\"udp:0.0.0.0:5060\", \"udp:[::]:5060\", \"tcp:[::]:5060\"]";
    let config = load(&listening(both, "[2001:DB8::1]:5080"), no_env).expect("good");
    assert_eq!(config.sip.listen.len(), 3);
    assert_eq!(config.trunks[0].server().uri_host(), "[2001:db8::1]:5080", "RFC 5952 §6");
    let ipv4 = "\"udp:0.0.0.0:5060\"";
    let said = problems(&listening(ipv4, "2001:db8::1"));
    assert!(said[0].contains("[sip] listen has no UDP socket for IPv6: add \"udp:[::]:5060\""), "{said:?}");
    let said = problems(&listening("\"udp:[::]:5060\"", "192.0.2.1"));
    assert!(said[0].contains("no UDP socket for IPv4"), "{said:?}");
    assert!(load(&listening(ipv4, "tcp:2001:db8::1"), no_env).is_ok(), "a connection needs no listener");
    for (listen, server, words) in [
        ("\"udp:[fe80::1]:5060\"", "sip.example.net", "link-local"),
        ("\"udp:[fe80::1%2]:5060\"", "sip.example.net", "behind %"),
        ("\"udp:::5060\"", "sip.example.net", "\"udp:[::]:5060\""),
        (both, "[fe80::1%eth0]:5060", "behind %"),
        (both, "fe80::1", "link-local"),
    ] {
        let said = problems(&listening(listen, server));
        assert!(said[0].contains(words), "{listen} {server}: {said:?}");
    }
}

#[test]
fn a_domain_that_is_an_ipv6_address_stands_in_brackets() {
    for domain in ["2001:DB8::1", "[2001:db8:0::1]"] {
        let config = load(&GOOD.replace("example.com", domain), no_env).expect("good");
        assert_eq!(config.sip.domain, "[2001:db8::1]");
    }
}

#[test]
fn half_a_certificate_names_the_other_half() {
    let text = format!("{GOOD}\n[http]\ntls_cert = \"a.pem\"\n");
    assert!(problems(&text)[0].contains("needs tls_key beside it"));
}

#[test]
fn tls_servers_and_listeners_are_read_and_their_keys_belong_to_tls() {
    let listen = "listen = [\"tls:0.0.0.0:5061\"]\ntls_cert = \"sip.pem\"\ntls_key = \"sip.key\"";
    let text =
        GOOD.replace("domain = \"example.com\"", &format!("domain = \"example.com\"\n{listen}")).replace(
            "\"sip.example.net\"",
            "\"tls:sip.example.net\"\nca = \"own.pem\"\ntls_name = \"*.example.net\"",
        );
    let config = load(&text, no_env).expect("good");
    assert_eq!(config.sip.listen[0].transport, sip_ua::Transport::Tls);
    assert_eq!(config.sip.tls, Tls::Files { cert: "sip.pem".into(), key: "sip.key".into() });
    let trunk = &config.trunks[0];
    assert_eq!(
        (trunk.server().uri_host().as_str(), trunk.server().default_port()),
        ("sip.example.net", 5061)
    );
    assert_eq!(trunk.ca, Some("own.pem".into()));
    assert_eq!(trunk.tls_name.as_deref(), Some("*.example.net"));
    let plain = problems(&text.replace("tls:sip.example.net", "tcp:sip.example.net"));
    assert_eq!(plain.len(), 2);
    assert!(plain[0].contains("trunks[0].ca: is about TLS"), "{plain:?}");
    assert!(problems(&text.replace("tls_key = \"sip.key\"", ""))[0].contains("needs tls_key beside it"));
}

#[test]
fn the_example_file_loads_and_shows_every_key() {
    let example = include_str!("../../../../config/webtrunk.example.toml");
    let config = load(example, no_env).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!((config.users.len(), config.trunks.len(), config.routes.len()), (2, 1, 1));
    // With every comment that looks like a key switched on there is still no unknown key.
    let key = |line: &str| {
        line.split(" = ").next().is_some_and(|k| k.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    let all: Vec<&str> = example
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ") && key(rest)).unwrap_or(line))
        .collect();
    assert!(all.len() > 60);
    let found = load(&all.join("\n"), no_env).err().unwrap_or_default();
    assert!(found.iter().all(|p| !p.message.contains("unknown key")), "{found:?}");
    for key in [
        "tls_cert",
        "advertise",
        "file",
        "max_calls",
        "inbound_from",
        "from_user",
        "codecs",
        "codec_policy",
        "rewrite",
    ] {
        assert!(all.iter().any(|line| line.starts_with(&format!("{key} = "))), "{key} is not shown");
    }
}

fn trunk(keys: &str) -> Trunk {
    let text = GOOD.replace("server = \"sip.example.net\"", keys);
    load(&text, no_env).unwrap_or_else(|problems| panic!("{problems:?}")).trunks.remove(0)
}

#[test]
fn every_preset_loads_cites_its_pages_and_makes_a_trunk_of_at_most_eight_lines() {
    for (name, text) in preset::PRESETS {
        assert!(text.contains("Not tested live"), "{name}");
        let mut keys = Vec::new();
        let mut above = "";
        for line in text.lines().filter(|l| !l.is_empty()) {
            if !line.starts_with('#') {
                assert!(!above.starts_with('#') || above.starts_with("# ["), "{name}: {line} cites no page");
                keys.push(line);
            }
            above = line;
        }
        assert!(!keys.is_empty(), "{name}");
        assert!(text.contains("\n# [1] http"), "{name} cites nothing");
        assert!(!keys.iter().any(|key| key.starts_with("password") || key.starts_with("username")), "{name}");
        let server = if text.contains("\nserver = ") { "" } else { "server = \"sip.example.net\"\n" };
        let lines = format!("preset = \"{name}\"\n{server}username = \"u\"\npassword = \"p\"\n");
        assert!(lines.lines().count() + 3 <= 8);
        trunk(&lines);
    }
}

#[test]
fn a_key_of_the_file_overrides_its_preset() {
    let preset = trunk("preset = \"sipgate\"\nusername = \"123t0\"\npassword = \"p\"");
    assert_eq!(preset.server().host, "sipconnect.sipgate.de");
    assert_eq!(preset.profile.from_user.as_deref(), Some("123t0"));
    assert_eq!(preset.profile.identity.name(), "ppi");
    let own = trunk("preset = \"sipgate\"\nserver = \"127.0.0.1:5080\"\nidentity = \"none\"");
    assert_eq!((own.server().host.as_str(), own.profile.identity.name()), ("127.0.0.1", "none"));
}

#[test]
fn the_policy_opus_puts_it_before_the_codecs_of_a_trunk_listed_or_not() {
    let codecs = |keys: &str| trunk(&format!("server = \"a.example\"\n{keys}")).profile.codecs;
    assert_eq!(codecs("codec_policy = \"opus\""), [Codec::Opus, Codec::Pcmu, Codec::Pcma]);
    let listed = "codecs = [\"g722\", \"opus\"]\ncodec_policy =";
    assert_eq!(codecs(&format!("{listed} \"opus\"")), [Codec::Opus, Codec::G722]);
    assert_eq!(codecs(&format!("{listed} \"passthrough\"")), [Codec::G722, Codec::Opus]);
}

#[test]
fn wrong_words_of_a_trunk_are_named_with_the_right_ones() {
    let wrong = |keys: &str| problems(&GOOD.replace("server = \"sip.example.net\"", keys)).join("\n");
    let all =
        wrong("server = \"a.example\"\nidentity = \"p-asserted\"\ndtmf = \"sip-info\"\nreliable = \"on\"");
    assert!(all.contains("trunks[0].identity: \"p-asserted\" is not one of none, pai, ppi, rpid"), "{all}");
    assert!(all.contains("is not one of auto, rfc4733, info, inband"), "{all}");
    assert!(all.contains("is not one of supported, off, required"), "{all}");
    let all = wrong("server = \"a.example\"\nsrtp = \"if-offered\"");
    assert!(all.contains("trunks[0].srtp: \"if-offered\" is not one of off, optional, required"), "{all}");
    let all = wrong("preset = \"twillio\"\nserver = \"a.example\"");
    assert!(
        all.contains("there is no preset \"twillio\"; there are asterisk, fritzbox, freeswitch"),
        "{all}"
    );
    let all = wrong("server = \"a.example\"\nsession_interval = 100\nsession_min = 200");
    assert!(all.contains("100 is below session_min, 200"), "{all}");
}

#[test]
fn wrong_servers_are_named_with_what_is_expected() {
    let wrong = |keys: &str| problems(&GOOD.replace("server = \"sip.example.net\"", keys));
    for (keys, told) in [
        ("servers = []", "trunks[0].servers: needs 1 to 16 servers"),
        (
            "server = \"a.example\"\nservers = [\"b.example\"]",
            "trunks[0].server: give either server or servers, not both",
        ),
        ("", "trunks[0].server: is missing; for example: server = \"sip.example.net\""),
        ("servers = [\"sip:b.example\"]", "without a URI scheme, for example \"sip.example.net\""),
        (
            "servers = [{ host = \"b.example\", weight = 70000 }]",
            "servers[0].weight: 70000 is outside 0 to 65535",
        ),
        ("servers = [{ hots = \"b.example\" }]", "servers[0].hots: unknown key; did you mean `host`?"),
        ("servers = [{ priority = 1 }]", "servers[0].host: is missing"),
        ("servers = [5]", "trunks[0].servers"),
    ] {
        let all = wrong(keys).join("\n");
        assert!(all.contains(told), "{keys}: {all}");
    }
}

#[test]
fn wrong_dids_are_named_with_the_number_and_who_is_missing() {
    let wrong = |dids: &str| {
        problems(
            &GOOD.replace("server = \"sip.example.net\"", &format!("server = \"a.example\"\ndids = {dids}")),
        )
    };
    for (dids, told) in [
        (
            "{ \"+12025550120\" = \"user:bob\" }",
            "trunks.dids: \"+12025550120\" leads to user bob, which is not in this file: add [[users]]",
        ),
        ("{ \"+12025550120\" = \"trunk:pbx\" }", "add [[trunks]] name = \"pbx\""),
        ("{ \"+12025550120\" = \"bob\" }", "expected \"trunk:NAME\" or \"user:NAME\""),
        ("{ \"+1*2\" = \"user:alice\" }", "`*` stands only at the end"),
        ("{ \"+12025550120\" = 5 }", "expected a string in quotes, found a number"),
        ("\"+12025550120\"", "trunks[0].dids"),
    ] {
        let all = wrong(dids).join("\n");
        assert!(all.contains(told), "{dids}: {all}");
    }
}

#[test]
fn wrong_countries_are_named_with_the_right_form() {
    let routes = |keys: &str| problems(&GOOD.replace("countries = \"*\"", keys)).join("\n");
    assert!(routes("").contains("routes.countries: allows no country: write country = \"US\" into [sip]"));
    assert!(
        routes("countries = [\"Germany\"]").contains("is not a country of two letters, for example \"DE\"")
    );
    assert!(routes("countries = [\"DE\", \"*\"]").contains("\"*\" allows every country and stands alone"));
    let sip = |keys: &str| problems(&GOOD.replace("[sip]\n", &format!("[sip]\n{keys}\n"))).join("\n");
    assert!(
        sip("country = \"Deutschland\"").contains("sip.country: \"Deutschland\" is not a country of two")
    );
    let extension = GOOD.replace("extension = \"100\"", "extension = \"110\"\ncountry = \"DE\"");
    assert!(
        problems(&extension)[0].contains("users.extension: 110 calls for help in the country of this user")
    );
}

#[test]
fn a_national_format_needs_to_know_the_country() {
    let with =
        |keys: &str| GOOD.replace("server = \"sip.example.net\"", &format!("server = \"a.example\"\n{keys}"));
    let all = problems(&with("number_format = \"national\"")).join("\n");
    assert!(
        all.contains("trunks.number_format: \"national\" of which country? Write country = \"DE\""),
        "{all}"
    );
    let all = problems(&with("inbound_number_format = \"national\"")).join("\n");
    assert!(all.contains("trunks.inbound_number_format"), "{all}");
    assert!(load(&with("number_format = \"national\"\ncountry = \"DE\""), no_env).is_ok());
    let of_all = with("number_format = \"national\"").replace("[sip]\n", "[sip]\ncountry = \"DE\"\n");
    assert!(load(&of_all, no_env).is_ok());
}

#[test]
fn an_outbound_proxy_is_the_next_hop_and_a_loose_route() {
    let trunk = trunk("server = \"carrier.example\"\noutbound_proxy = \"tcp:proxy.example:5070\"");
    assert_eq!(trunk.next_hops()[0].server.host, "proxy.example");
    assert_eq!(trunk.profile.route.as_deref(), Some("<sip:proxy.example:5070;transport=tcp;lr>"));
}

#[test]
fn srtp_keys_in_sip_that_can_be_read_are_warned_of() {
    // RFC 4568 §8.3.
    let warnings = |server: &str, srtp: &str| {
        let text = GOOD.replace("\"sip.example.net\"", &format!("\"{server}\"\nsrtp = \"{srtp}\""));
        load(&text, no_env).expect("good").warnings()
    };
    for (server, way) in [("sip.example.net", "UDP or TCP"), ("tcp:sip.example.net", "tcp")] {
        for srtp in ["optional", "required"] {
            let said = warnings(server, srtp).join("\n");
            assert!(said.starts_with(&format!("trunk carrier: srtp = \"{srtp}\"")), "{said}");
            assert!(said.contains(way) && said.contains("\"tls:sip.example.net\""), "{said}");
        }
        assert!(warnings(server, "off").is_empty());
    }
    assert!(warnings("tls:sip.example.net", "required").is_empty());
}
