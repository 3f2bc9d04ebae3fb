//! Starts everything in the order in which it can fail, and stops it again.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use crate::recording::Recorder;
use b2bua::{Country, Switch, SwitchConfig, TrunkConfig, TrunkRegistration, UserConfig};
use media_bridge::sound::Sound;
use media_io::{MediaConfig, MediaPlane, Recordings};
use sip_ua::TlsPeer;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use types::Advertised;

use super::cdr::CdrWriter;
use super::core::{Core, Service};
use super::media_events::MediaEvents;
use super::{CORE_QUEUE, CoreInput, Options, SipPort, SystemEntropy, gauges, trunks};
use crate::cli::out;
use crate::config::{Config, Tls, Trunk};
use crate::http::Acceptor;
use crate::{carrier, http, tls};

/// Runs the gateway until SIGINT, or until the calls have ended that ran at SIGTERM.
///
/// # Errors
/// One sentence on what could not be started; nothing is left running.
pub fn run(config: Config, options: Options) -> Result<(), String> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("WEBTRUNK_LOG").unwrap_or_else(|_| "info".into()),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .init();
    // On one core a second thread would only pass messages to the first by way of the kernel.
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().min(2));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|e| format!("the async runtime could not be started: {e}"))?;
    let result = runtime.block_on(gateway(config, options));
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

async fn gateway(config: Config, options: Options) -> Result<(), String> {
    let mut stop = [signal(SignalKind::interrupt()), signal(SignalKind::terminate())]
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| format!("signals can not be received: {e}"))?;
    let host = media_io::host_addresses();
    let certificate = tls::server(&config.http.tls, "[http]", &config.sip.domain, &host)?;
    let setup = tls::sip(&config.sip, &config.trunks, certificate.clone(), &host)?;
    let acceptor = certificate.map_or(Acceptor::Plain, |c| Acceptor::Tls(c.into()));
    let names = options.names;
    let listener = http::bind(config.http.listen, names.http).await?;
    let (listen, advertise) = (&config.sip.listen, config.sip.advertise);
    let websockets = http::sip_listener(config.http.listen, config.http.tls != Tls::Off, advertise);
    let sip = SipPort::open(names.sip, listen, advertise, Some(websockets), setup, options.sip_trace)?;
    let cdrs = CdrWriter::open(config.cdr_file.as_deref())?;
    rtp_ports_left(names.rtp, config.media.rtp_ports)?;
    let recorder = Recorder::start(config.recording.clone(), cdrs.queue())?;
    let (media, media_events) = media_plane(&config, options.sounds, recorder.sink(), &host)
        .map_err(|e| format!("{}: {e}", names.webrtc))?;
    let metrics = gauges::recorder().map_err(|e| format!("metrics could not be set up: {e}"))?;
    gauges::describe();
    b2bua::load_number_plans();
    let (core_sender, core_inputs) = mpsc::channel(CORE_QUEUE);
    let [ready, alive] = [(); 2].map(|()| Arc::new(AtomicBool::new(true)));
    let switch = Switch::new(switch_config(&config, &host), Box::new(SystemEntropy));
    let guests = sip.guests();
    let core = Core {
        sip,
        switch,
        media,
        cdrs,
        recorder,
        ready: ready.clone(),
        alive: alive.clone(),
        sessions: HashMap::new(),
        unclosed: VecDeque::new(),
        loads_told: None,
        drain: config.drain,
        service: Service::Open,
    };
    let app = Arc::new(http::App {
        core: core_sender.clone(),
        sip: guests,
        metrics,
        ready,
        alive,
        domain: config.sip.domain.clone(),
        origins: config.http.origins.clone(),
        tls: config.http.tls != Tls::Off,
        next_session: AtomicU64::new(1),
        sessions: AtomicU64::new(0),
    });
    let carrier = match options.carrier {
        Some(plan) => Some(carrier::start(plan).await?),
        None => None,
    };
    trunks::start(&config, &core_sender);
    tokio::spawn(http::serve(listener, acceptor, http::router(app)));
    let core = tokio::spawn(core.run(core_inputs, media_events));
    options.greeting.iter().for_each(|line| out(line));
    greet(&config);
    until_over(core, &core_sender, &mut stop, config.drain).await?;
    drop(carrier);
    Ok(())
}

/// Waits for the core to end, and tells it of signals: the first SIGTERM drains, any other ends calls at once.
async fn until_over(
    mut core: JoinHandle<()>,
    inputs: &mpsc::Sender<CoreInput>,
    signals: &mut [Signal],
    drain: Duration,
) -> Result<(), String> {
    let [interrupt, terminate] = signals else { return Err("two signals were asked for".into()) };
    let mut draining = false;
    loop {
        let gently = tokio::select! {
            _ = terminate.recv() => !draining,
            _ = interrupt.recv() => false,
            // Done; or without its core the process could only pretend to live.
            ended = &mut core => return ended.map_err(|e| format!("the signalling core failed: {e}")),
        };
        let (words, order) = if gently {
            (drain_words(drain), CoreInput::Drain)
        } else {
            ("webtrunk: ending calls and stopping".into(), CoreInput::Stop)
        };
        draining = true;
        out(&words);
        let _ = inputs.send(order).await;
    }
}

fn drain_words(drain: Duration) -> String {
    let seconds = drain.as_secs();
    format!(
        "webtrunk: taking no more calls; those that run may go on for {seconds} s (another signal ends them now)"
    )
}

/// Whether the range has at least one pair of ports that nobody else holds.
///
/// # Errors
/// One sentence that names the range and the option that chose it.
pub fn rtp_ports_left(option: &str, (first, last): (u16, u16)) -> Result<(), String> {
    let open = |port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
    let pairs = (first..last).filter(|port| port % 2 == 0);
    let mut refusal = None;
    for port in pairs {
        match open(port).and_then(|rtp| Ok((rtp, open(port + 1)?))) {
            Ok(_) => return Ok(()),
            Err(error) => refusal = Some(error),
        }
    }
    Err(match refusal {
        Some(error) if error.kind() != ErrorKind::AddrInUse => {
            format!("{option}: no UDP port of {first}-{last} can be opened: {error}")
        }
        Some(_) | None => format!(
            "{option}: every pair of UDP ports in {first}-{last} is in use by other programs; stop them or choose \
             another range"
        ),
    })
}

fn media_plane(
    config: &Config,
    sounds: Arc<[Sound]>,
    recordings: Recordings,
    host: &[IpAddr],
) -> Result<(MediaPlane, MediaEvents), String> {
    let Advertised { v4, v6 } = config.media.advertise;
    // What is offered must be listening, and what is reached behind a router says so: the others are not reached.
    let candidates = match (v4, v6) {
        (None, None) => host.to_vec(),
        (v4, v6) => v4.map(IpAddr::from).into_iter().chain(v6.map(IpAddr::from)).collect(),
    };
    start_media(MediaConfig {
        workers: usize::from(config.media.workers),
        webrtc_port: config.media.webrtc_port,
        webrtc_bind: any_address(),
        candidates,
        rtp_ports: config.media.rtp_ports.0..=config.media.rtp_ports.1,
        advertise: config.media.advertise,
        sounds,
        recordings,
        ..MediaConfig::default()
    })
}

/// Both address families, where the kernel has both.
fn any_address() -> IpAddr {
    let both = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    if UdpSocket::bind((both, 0)).is_ok() { both } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// Starts media workers whose events come out of the queue.
pub fn start_media(config: MediaConfig) -> Result<(MediaPlane, MediaEvents), String> {
    let (sender, events) = MediaEvents::new();
    let plane =
        MediaPlane::start(config, Arc::new(|| Box::new(SystemEntropy)), sender).map_err(|e| e.to_string())?;
    Ok((plane, events))
}

/// What the switch is told; `host`: this machine's addresses.
pub fn switch_config(config: &Config, host: &[IpAddr]) -> SwitchConfig {
    let mut local_hosts: Vec<String> = host.iter().map(ToString::to_string).collect();
    local_hosts.push("localhost".into());
    local_hosts.extend(config.sip.listen.iter().map(|l| l.addr.ip().to_string()));
    local_hosts.extend(config.sip.advertise.iter().map(|ip| ip.to_string()));
    let mut local_ports: Vec<u16> = config.sip.listen.iter().map(|l| l.addr.port()).collect();
    local_ports.dedup();
    SwitchConfig {
        deny: config.sip.deny.clone(),
        domain: config.sip.domain.clone(),
        digest: config.sip.digest.clone(),
        local_hosts,
        local_ports,
        users: config.users.iter().cloned().map(|u| here(u, config.sip.country)).collect::<Vec<_>>().into(),
        trunks: config.trunks.iter().zip(0..).map(|(t, n)| trunk_config(t, TlsPeer(n), config)).collect(),
        routes: config.routes.clone(),
        hold_music: config.hold_music,
        record_notice: config.record_notice,
        record_by_page: config.recording.as_ref().is_some_and(|recording| recording.by_page),
        workers: config.media.workers,
        turn: config.turn.clone(),
    }
}

fn here(user: UserConfig, country: Option<Country>) -> UserConfig {
    UserConfig { country: user.country.or(country), ..user }
}

/// What the switch is told of one trunk.
pub fn trunk_config(trunk: &Trunk, peer: TlsPeer, config: &Config) -> TrunkConfig {
    let host = trunk.server().uri_host();
    let username = trunk.username.clone();
    let domain = trunk.profile.from_domain.clone().unwrap_or_else(|| host.clone());
    let registration = trunk.register.then(|| TrunkRegistration {
        registrar: format!("sip:{host}"),
        aor: format!("sip:{}@{domain}", username.as_deref().unwrap_or("anonymous")),
        expires: 600,
        instance: trunk.profile.outbound.then(|| instance(&trunk.name, &config.sip.domain)),
    });
    TrunkConfig {
        name: trunk.name.clone(),
        targets: trunks::known_at_start(&trunk.next_hops(), peer),
        host,
        registration,
        credentials: trunk.credentials.clone(),
        contact_user: username.unwrap_or_else(|| "webtrunk".into()),
        inbound_from: trunk.inbound_from.clone(),
        profile: trunk.profile.clone(),
        max_calls: trunk.max_calls,
        refer: trunk.refer,
        calls_per_second: trunk.calls_per_second,
        country: trunk.country.or(config.sip.country),
        dids: trunk.dids.clone(),
        hold_music: trunk.hold_music,
        advertise: config.media.advertise,
    }
}

/// The same at every start, another for every trunk and domain (RFC 5626 §4.1): a UUID made of their names
/// (RFC 9562 §5.8, its own hash).
fn instance(trunk: &str, domain: &str) -> String {
    let hash = sip_ua::digest::ha1(sip_ua::digest::Hash::Md5, "webtrunk", trunk, domain);
    let part = |from, to| hash.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

fn greet(config: &Config) {
    let scheme = if config.http.tls == Tls::Off { "http" } else { "https" };
    let listen = config.http.listen;
    let shown = if listen.ip().is_unspecified() { "localhost".to_owned() } else { listen.ip().to_string() };
    out(&format!("Phone: {scheme}://{shown}:{}/", listen.port()));
    for listen in &config.sip.listen {
        out(&format!("SIP:   {} {}", listen.transport.name(), listen.addr));
    }
    if config.http.tls == Tls::Off && !listen.ip().is_loopback() {
        tracing::warn!(
            "the page is served without TLS to other machines: their browsers will give no microphone; set tls_cert \
             and tls_key, or use --tls self-signed"
        );
    }
    config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    if is_root() {
        tracing::warn!("running as root is not needed and not wise: use a user of its own");
    }
}

fn is_root() -> bool {
    // The owner of /proc/self is the effective user; no unsafe call needed.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}
