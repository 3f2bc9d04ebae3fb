use super::*;
use crate::config::values::server;

/// Draws these numbers in turn, for ever.
struct Draws(Vec<u64>, usize);

impl Draws {
    fn of(numbers: impl Into<Vec<u64>>) -> Self {
        Draws(numbers.into(), 0)
    }
}

impl Entropy for Draws {
    fn fill(&mut self, out: &mut [u8]) {
        let number = self.0[self.1 % self.0.len()];
        self.1 += 1;
        out.copy_from_slice(&number.to_le_bytes()[..out.len()]);
    }
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
    Srv { priority, weight, port, target: target.into() }
}

fn naptr(order: u16, preference: u16, flags: &str, service: &str, replacement: &str) -> Naptr {
    let (flags, service, replacement) = (flags.into(), service.into(), replacement.into());
    Naptr { order, preference, flags, service, replacement }
}

/// `example.com` with these records; the machines a, b and c are 192.0.2.1, .2 and .3, the domain itself .9.
fn zone(naptrs: &[Naptr], srvs: &[(&str, &[Srv])]) -> Answers {
    let ip = |last| vec![IpAddr::from([192, 0, 2, last])];
    let machines = [("a", ip(1)), ("b", ip(2)), ("c", ip(3)), ("example.com", ip(9))];
    Answers {
        naptr: [("example.com".into(), naptrs.to_vec())].into(),
        srv: srvs.iter().map(|(name, records)| ((*name).into(), records.to_vec())).collect(),
        host: machines.map(|(name, ips)| (name.into(), ips)).into(),
    }
}

/// What is found, and what was asked for it; what the zone does not have does not exist.
fn walk(to: &str, zone: &Answers) -> (String, Vec<Question>) {
    let (mut answers, mut asked) = (Answers::default(), Vec::new());
    let server = server(to).expect("a server");
    loop {
        match places(&server, &answers, &mut Draws::of([0])) {
            Ok(found) => {
                let shown = found.iter().map(|p| format!("{:?} {}", p.transport, p.at));
                return (shown.collect::<Vec<_>>().join(", "), asked);
            }
            Err(question) => {
                match question.clone() {
                    Question::Naptr(n) => {
                        answers.naptr.insert(n.clone(), zone.naptr.get(&n).cloned().unwrap_or_default());
                    }
                    Question::Srv(n) => {
                        answers.srv.insert(n.clone(), zone.srv.get(&n).cloned().unwrap_or_default());
                    }
                    Question::Host(n) => {
                        answers.host.insert(n.clone(), zone.host.get(&n).cloned().unwrap_or_default());
                    }
                }
                assert!(!asked.contains(&question), "asked twice: {question:?}");
                asked.push(question);
            }
        }
    }
}

const UDP: &str = "_sip._udp.example.com";
const TCP: &str = "_sip._tcp.example.com";

#[test]
fn an_address_asks_nothing_and_a_port_or_transport_skips_what_rfc_3263_section_4_says() {
    let zone = zone(
        &[naptr(1, 1, "s", "SIP+D2T", TCP)],
        &[(UDP, &[srv(1, 1, 7, "a")]), (TCP, &[srv(1, 1, 8, "b")])],
    );
    let (n, s, h) = (
        || Question::Naptr("example.com".into()),
        |name: &str| Question::Srv(name.into()),
        |name: &str| Question::Host(name.into()),
    );
    for (to, found, asked) in [
        ("192.0.2.7", "Udp 192.0.2.7:5060", vec![]),
        ("tcp:192.0.2.7:99", "Tcp 192.0.2.7:99", vec![]),
        ("2001:db8::7", "Udp [2001:db8::7]:5060", vec![]),
        ("example.com:5060", "Udp 192.0.2.9:5060", vec![h("example.com")]),
        ("tcp:example.com:99", "Tcp 192.0.2.9:99", vec![h("example.com")]),
        ("udp:example.com", "Udp 192.0.2.1:7", vec![s(UDP), h("a")]),
        ("tcp:example.com", "Tcp 192.0.2.2:8", vec![s(TCP), h("b")]),
        ("example.com", "Tcp 192.0.2.2:8", vec![n(), s(TCP), h("b")]),
    ] {
        assert_eq!(walk(to, &zone), (found.to_owned(), asked), "{to}");
    }
}

#[test]
fn naptr_records_count_by_order_and_preference_when_they_lead_to_srv_of_a_known_transport() {
    let srvs: &[(&str, &[Srv])] = &[("u.x", &[srv(1, 1, 1, "a")]), ("t.x", &[srv(1, 1, 2, "b")])];
    let (udp, tcp, itself) = ("Udp 192.0.2.1:1", "Tcp 192.0.2.2:2", "Udp 192.0.2.9:5060");
    for (records, found) in [
        ([naptr(10, 50, "s", "SIP+D2U", "u.x"), naptr(10, 40, "S", "sip+d2t", "t.x")], tcp),
        ([naptr(10, 99, "s", "SIP+D2U", "u.x"), naptr(20, 1, "s", "SIP+D2T", "t.x")], udp),
        ([naptr(1, 1, "s", "SIPS+D2T", "t.x"), naptr(20, 1, "s", "SIP+D2U", "u.x")], "Tls 192.0.2.2:2"),
        // Neither SCTP nor the "u" of ENUM is ours to follow, whatever their order.
        ([naptr(1, 1, "s", "SIP+D2S", "s.x"), naptr(20, 1, "s", "SIP+D2T", "t.x")], tcp),
        ([naptr(1, 1, "u", "SIP+D2U", "u.x"), naptr(20, 1, "s", "SIP+D2T", "t.x")], tcp),
        // The preferred one leads nowhere.
        ([naptr(1, 1, "s", "SIP+D2U", "gone.x"), naptr(2, 1, "s", "SIP+D2T", "t.x")], tcp),
        ([naptr(1, 1, "s", "SIP+D2U", "gone.x"), naptr(2, 1, "a", "SIP+D2T", "t.x")], itself),
        ([naptr(1, 1, "s", "SIP+D2U", ""), naptr(2, 1, "", "", "t.x")], itself),
    ] {
        assert_eq!(walk("example.com", &zone(&records, srvs)).0, found, "{records:?}");
    }
}

#[test]
fn tls_has_a_service_and_a_port_of_its_own() {
    // RFC 3263 §4.1 and §4.2.
    let srvs: &[(&str, &[Srv])] = &[("_sips._tcp.example.com", &[srv(1, 1, 5065, "b")])];
    assert_eq!(walk("tls:example.com", &zone(&[], srvs)).0, "Tls 192.0.2.2:5065");
    assert_eq!(walk("tls:example.com", &zone(&[], &[])).0, "Tls 192.0.2.9:5061");
    assert_eq!(walk("tls:192.0.2.7", &zone(&[], &[])).0, "Tls 192.0.2.7:5061");
}

#[test]
fn missing_parts_fall_back_as_rfc_3263_section_4_2_says() {
    let udp: (&str, &[Srv]) = (UDP, &[srv(1, 0, 5070, "a"), srv(0, 0, 5071, "b")]);
    let tcp: (&str, &[Srv]) = (TCP, &[srv(0, 0, 5072, "c")]);
    let absent: (&str, &[Srv]) = (UDP, &[srv(0, 0, 0, "")]);
    let unknown: (&str, &[Srv]) = (UDP, &[srv(0, 0, 1, "nowhere"), srv(1, 0, 2, "a"), srv(2, 0, 2, "a")]);
    for (srvs, found) in [
        (vec![udp, tcp], "Udp 192.0.2.2:5071, Udp 192.0.2.1:5070"),
        (vec![tcp], "Tcp 192.0.2.3:5072"),
        (vec![], "Udp 192.0.2.9:5060"),
        // RFC 2782: "." declares the service absent; no address of the domain stands in for it.
        (vec![absent], ""),
        (vec![absent, tcp], "Tcp 192.0.2.3:5072"),
        (vec![unknown], "Udp 192.0.2.1:2"),
    ] {
        assert_eq!(walk("example.com", &zone(&[], &srvs)).0, found, "{srvs:?}");
    }
    assert_eq!(walk("other.example", &zone(&[], &[])).0, "");
}

#[test]
fn of_one_machine_ipv4_comes_first_and_no_more_than_the_limit_is_kept() {
    let mut zone = zone(&[], &[]);
    let many = (1..=40).map(|n| IpAddr::from([198, 51, 100, n]));
    let six = "2001:db8::1".parse().expect("an address");
    zone.host.insert("example.com".into(), [six].into_iter().chain(many.clone().take(2)).collect());
    let both = "Udp 198.51.100.1:5060, Udp 198.51.100.2:5060, Udp [2001:db8::1]:5060";
    assert_eq!(walk("example.com", &zone).0, both);
    zone.host.insert("example.com".into(), many.collect());
    assert_eq!(walk("example.com", &zone).0.split(", ").count(), limits::TRUNK_TARGETS);
}

#[test]
fn priorities_are_kept_and_weights_share_as_rfc_2782_draws() {
    let records =
        [srv(2, 100, 1, "late"), srv(1, 10, 1, "small"), srv(1, 30, 1, "large"), srv(1, 0, 1, "zero")];
    let first = |draw| {
        let order: Vec<String> =
            in_turn(&records, &mut Draws::of([draw])).into_iter().map(|r| r.target).collect();
        assert_eq!(order.len(), 4);
        assert_eq!(order[3], "late", "a higher number is never tried before a lower one: {order:?}");
        order[0].clone()
    };
    let drawn: Vec<String> = (0..41).map(first).collect();
    let count = |name: &str| drawn.iter().filter(|d| *d == name).count();
    assert_eq!((count("zero"), count("small"), count("large")), (1, 10, 30));
}
