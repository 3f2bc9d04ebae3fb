//! What the HTTP port serves and to whom: the page and its parts, health, metrics, TLS, and who is refused.

use e2e::gateway::{Gateway, PASSWORD, Setup};
use e2e::http::{get, get_page, upgrade};
use e2e::launch::{Launched, fresh_dir, webtrunk};
use e2e::phone::Phone;
use e2e::ports::free_ports;
use e2e::process::wait_for;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const ASSETS: [(&str, &str); 11] = [
    ("/", HTML),
    ("/phone.css", CSS),
    ("/phone.js", JS),
    ("/view.js", JS),
    ("/keypad.js", JS),
    ("/ringtone.js", JS),
    ("/icon.svg", "image/svg+xml"),
    ("/sdk/webtrunk.js", JS),
    ("/sdk/call.js", JS),
    ("/sdk/errors.js", JS),
    ("/sdk/meter.js", JS),
];

fn http(gateway: &Gateway) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], gateway.http))
}

/// The machine's own address on its network: what another machine would type.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Nothing is sent: the kernel only picks the source address.
    socket.connect("203.0.113.1:9").expect("a route to other networks");
    socket.local_addr().expect("bound").ip()
}

/// References of the form `NAME="…"` or `from '…'` in a text.
fn references<'a>(text: &'a str, opening: &str, closing: char) -> Vec<&'a str> {
    text.split(opening).skip(1).filter_map(|rest| rest.split(closing).next()).collect()
}

#[test]
fn every_part_of_the_page_is_served_with_its_type_and_a_strict_policy() {
    let gateway = Gateway::run(&Setup::default());
    for (path, kind) in ASSETS {
        let answer = get_page(http(&gateway), path);
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path}");
        assert!(!answer.body.is_empty(), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("script-src 'self'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[test]
fn the_page_has_no_inline_script_and_names_only_what_is_served() {
    let gateway = Gateway::run(&Setup::default());
    let page = get_page(http(&gateway), "/").body;
    let lower = page.to_ascii_lowercase();
    for script in lower.split("<script").skip(1) {
        let (tag, rest) = script.split_once('>').expect("a closed tag");
        assert!(tag.contains("src=") && rest.trim_start().starts_with("</script>"), "inline: {script:.80}");
    }
    for banned in [" style=\"", "<style", "javascript:", " onclick=", " onload=", "http://", "https://"] {
        assert!(!lower.contains(banned), "the page has {banned:?}");
    }
    let mut named: Vec<String> = Vec::new();
    named.extend(references(&page, "src=\"", '"').iter().map(|path| path.to_string()));
    let links = page.split("<link").skip(1).filter_map(|link| link.split('>').next());
    named.extend(links.flat_map(|link| references(link, "href=\"", '"')).map(str::to_owned));
    for (path, _) in ASSETS.iter().filter(|asset| asset.1 == JS) {
        let folder = path.rsplit_once('/').expect("absolute").0;
        let body = get_page(http(&gateway), path).body;
        for import in references(&body, " from './", '\'') {
            named.push(format!("{folder}/{import}"));
        }
    }
    assert!(named.len() >= 6, "{named:?}");
    for path in named {
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        assert_eq!(get_page(http(&gateway), &path).status, 200, "{path}");
    }
}

#[test]
fn health_readiness_and_metrics_answer_200_and_an_unknown_path_404() {
    let gateway = Gateway::run(&Setup::with_trunk(free_ports(2)));
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get_page(http(&gateway), path).status, 200, "{path}");
    }
    for path in ["/nothing", "/sdk", "/sdk/", "/../etc/passwd", "/%2e%2e/", "/wp-login.php"] {
        assert_eq!(get_page(http(&gateway), path).status, 404, "{path}");
    }
    let metrics = get_page(http(&gateway), "/metrics");
    assert!(metrics.header("content-type").starts_with("text/plain"));
    for line in [
        "webtrunk_calls{stage=\"talking\"} 0",
        "webtrunk_media_packets_total{side=\"rtp\",direction=\"in\"} 0",
        "webtrunk_media_dropped_total{cause=\"no-port\"} 0",
        "webtrunk_rtp_port_pairs_free 20",
        "webtrunk_trunk_registration{trunk=\"carrier\",state=\"none\"} 1",
        "webtrunk_trunk_registration{trunk=\"carrier\",state=\"registered\"} 0",
        "webtrunk_trunk_calls{trunk=\"carrier\"} 0",
        "# TYPE webtrunk_media_packets_total counter",
    ] {
        assert!(metrics.body.lines().any(|one| one == line), "no {line:?} in\n{}", metrics.body);
    }
}

#[test]
fn a_name_that_is_not_ours_is_refused_on_every_path() {
    // DNS rebinding: another page's host name that was pointed at us.
    let gateway = Gateway::run(&Setup::default());
    let to = http(&gateway);
    let port = to.port();
    for path in ["/", "/ws", "/metrics", "/sdk/webtrunk.js", "/nothing"] {
        for host in
            [format!("evil.example:{port}"), "evil.example".into(), format!("127.0.0.1.evil.example:{port}")]
        {
            let answer = get(to, path, &[("Host", &host)]);
            assert_eq!(answer.status, 421, "{path} as {host}");
            assert!(answer.body.contains("evil.example"), "{}", answer.body);
        }
    }
    assert_eq!(get(to, "/", &[]).status / 100, 4, "without a name");
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "localhost".into(),
        format!("[::1]:{port}"),
    ] {
        assert_eq!(get(to, "/healthz", &[("Host", &host)]).status, 200, "{host}");
    }
}

#[test]
fn signalling_opens_for_our_own_page_and_for_clients_without_origin_only() {
    let gateway = Gateway::run(&Setup::default());
    let to = http(&gateway);
    let host = to.to_string();
    for good in [None, Some(format!("http://{host}"))] {
        let answer = upgrade(to, &host, good.as_deref());
        assert_eq!(answer.status, 101, "{good:?}: {answer:?}");
        assert_eq!(answer.header("sec-websocket-protocol"), "webtrunk.v1");
    }
    for bad in [
        "http://evil.example",
        "http://127.0.0.1",
        "null",
        "http://127.0.0.1:1",
        &format!("http://{host}.evil.example"),
    ] {
        assert_eq!(upgrade(to, &host, Some(bad)).status, 403, "{bad}");
    }
    assert_eq!(upgrade(to, "evil.example", Some("http://evil.example")).status, 421);
}

/// `demo` with a free port for each listener; TOML is not needed for TLS made at start.
fn demo_args(http: &str) -> Vec<String> {
    let flags = [
        ("--http", http.to_owned()),
        ("--sip", format!("127.0.0.1:{}", free_ports(2))),
        ("--carrier", format!("127.0.0.1:{}", free_ports(2))),
        ("--webrtc-port", free_ports(8).to_string()),
        ("--password", PASSWORD.to_owned()),
    ];
    let rtp = free_ports(40);
    let mut args = vec!["demo".to_owned()];
    args.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
    args.extend(["--rtp-ports".to_owned(), format!("{rtp}-{}", rtp + 39)]);
    args
}

/// What curl says about a URL: exit code and output.
fn curl(args: &[&str]) -> (i32, String) {
    let out = Command::new("curl").args(["-sS", "-m", "5"]).args(args).output().expect("curl runs");
    let text = [out.stdout, out.stderr].concat();
    (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

fn wait_https(url: &str) {
    wait_for(LIMIT, url, || (curl(&["-k", url]).0 == 0).then_some(()));
}

#[test]
fn a_self_signed_certificate_serves_the_page_over_https_and_chromium_signs_in_from_another_address() {
    let (own, port) = (own_address(), free_ports(2));
    assert!(!own.is_loopback(), "this machine has an address of its own");
    let mut args = demo_args(&format!("0.0.0.0:{port}"));
    args.extend(["--tls".into(), "self-signed".into()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let gateway = Launched::start(&fresh_dir("https"), &args);
    let url = format!("https://{own}:{port}/");
    wait_https(&url);
    let (code, page) = curl(&["-k", &url]);
    assert!(code == 0 && page.contains("<title>"), "{code}: {page}");
    let (code, words) = curl(&[&url]);
    assert_eq!(code, 60, "nobody vouches for this certificate: {words}");
    let mut phone = Phone::chromium(None);
    phone.open(&url);
    phone.sign_in("alice");
    phone.wait_status("^Ready", LIMIT);
    drop(phone);
    gateway.signal("TERM");
    assert_eq!(gateway.finish(Duration::from_secs(8)).code, Some(0));
}

#[test]
fn over_plain_http_from_another_address_the_page_says_why_it_can_not_call() {
    let (own, port) = (own_address(), free_ports(2));
    let args = demo_args(&format!("0.0.0.0:{port}"));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let gateway = Launched::start(&fresh_dir("plain"), &args);
    let url = format!("http://{own}:{port}/");
    wait_for(LIMIT, &url, || (curl(&[&url]).0 == 0).then_some(()));
    let mut phone = Phone::chromium(None);
    phone.open(&url);
    phone.wait_status("^Sign-in is not possible here$", LIMIT);
    let text = phone.ask("text", serde_json::json!({}), LIMIT);
    let text = text.as_str().expect("text").to_owned();
    assert!(text.contains("microphone") && text.contains("https"), "the page says why: {text}");
    for field in ["username", "password"] {
        let closed = phone.evaluate(&format!("document.querySelector('[autocomplete*={field}]').disabled"));
        assert_eq!(closed, true, "{field} takes nothing");
    }
    drop(phone);
    gateway.signal("TERM");
    let said = gateway.finish(Duration::from_secs(8));
    assert!(said.stderr.contains("without TLS"), "the log says so too: {}", said.stderr);
}

/// A private key and a certificate for it, in PEM files of these names.
fn certificate(dir: &Path, name: &str) -> (String, String) {
    let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=phones.test", "-addext", "subjectAltName=DNS:phones.test,IP:127.0.0.1"])
        .arg("-out")
        .arg(&cert)
        .arg("-keyout")
        .arg(&key)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (cert.display().to_string(), key.display().to_string())
}

fn tls_config(dir: &Path, port: u16, cert: &str, key: &str) -> String {
    let (sip, webrtc, rtp) = (free_ports(2), free_ports(2), free_ports(10));
    let text = format!(
        "[http]\nlisten = \"127.0.0.1:{port}\"\ntls_cert = \"{cert}\"\ntls_key = \"{key}\"\n\
         [sip]\ndomain = \"phones.test\"\nlisten = [\"udp:127.0.0.1:{sip}\"]\n\
         [media]\nwebrtc_port = {webrtc}\nrtp_ports = \"{rtp}-{}\"\nworkers = 1\n",
        rtp + 9
    );
    let file = dir.join("webtrunk.toml");
    std::fs::write(&file, text).expect("configuration written");
    file.display().to_string()
}

#[test]
fn certificate_files_serve_the_page_to_whoever_trusts_them() {
    let dir = fresh_dir("tls");
    let (cert, key) = certificate(&dir, "good");
    let port = free_ports(2);
    let file = tls_config(&dir, port, &cert, &key);
    let gateway = Launched::start(&dir, &["run", "--config", &file]);
    let url = format!("https://phones.test:{port}/");
    let resolve = format!("phones.test:{port}:127.0.0.1");
    let trusted = ["--cacert", &cert, "--resolve", &resolve, &url];
    wait_for(LIMIT, "the page over TLS", || (curl(&trusted).0 == 0).then_some(()));
    assert!(curl(&trusted).1.contains("<title>"));
    let (code, _) = curl(&[&format!("http://127.0.0.1:{port}/")]);
    assert_ne!(code, 0, "plain HTTP is not answered on this port");
    assert_eq!(curl(&trusted).0, 0, "and does nobody else harm");
    gateway.signal("TERM");
    assert_eq!(gateway.finish(Duration::from_secs(8)).code, Some(0));
}

#[test]
fn a_wrong_certificate_or_key_file_is_named_in_one_sentence() {
    let dir = fresh_dir("tls-bad");
    let (cert, key) = certificate(&dir, "one");
    let (_, other) = certificate(&dir, "two");
    let nothing = dir.join("missing.pem").display().to_string();
    let text = dir.join("text.pem").display().to_string();
    std::fs::write(&text, "not PEM at all\n").expect("file");
    for (tls_cert, tls_key, names) in [
        (&nothing, &key, vec!["tls_cert", &nothing]),
        (&text, &key, vec!["tls_cert", &text]),
        (&cert, &nothing, vec!["tls_key", &nothing]),
        (&cert, &text, vec!["tls_key", &text]),
        (&key, &key, vec!["tls_cert", &key]),
        (&cert, &cert, vec!["tls_key", &cert]),
        (&cert, &other, vec!["tls_key", &other, "tls_cert", &cert]),
    ] {
        let port = free_ports(2);
        let file = tls_config(&dir, port, tls_cert, tls_key);
        let outcome = webtrunk(&dir, &["run", "--config", &file]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "one sentence: {}", outcome.stderr);
        assert!(names.iter().all(|name| outcome.stderr.contains(*name)), "{names:?} in {}", outcome.stderr);
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(), "nothing is left on the port");
    }
}
