//! `webtrunk trunk test`: goes the way of a call to a trunk step by step and says what a failing step probably means.

use std::time::{Duration, Instant};

use b2bua::TrunkConfig;
use sip_ua::io::Inbound;
use sip_ua::{
    Command, Event, PingId, Register, RegistrationId, RegistrationState, Target, TlsPeer, Transport,
};

use super::resolve::{Answers, Dns, Families};
use super::{SipPort, SystemEntropy, sip_port::clocks, start, trunks};
use crate::config::values::SipListen;
use crate::config::{Config, Trunk};
use crate::tls;

/// How long one step may take. A carrier answers in a fraction of it.
const PATIENCE: Duration = Duration::from_secs(6);
/// Seconds that the registration is asked to last; it is removed at once.
const EXPIRES: u32 = 120;

/// One step's outcome.
enum Outcome {
    /// Done, in words.
    Good(String),
    /// What was seen, and what it probably means.
    Bad(String, &'static str),
}

/// Runs the test; true: every step was good.
///
/// # Errors
/// One sentence on what kept it from starting.
pub fn run(config: &Config, name: &str, verbose: bool, say: &dyn Fn(&str)) -> Result<bool, String> {
    let Some(index) = config.trunks.iter().position(|trunk| trunk.name == name) else {
        let names: Vec<&str> = config.trunks.iter().map(|trunk| trunk.name.as_str()).collect();
        return Err(format!("the file has no trunk {name}; it has: {}", names.join(", ")));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("the async runtime could not be started: {e}"))?;
    runtime.block_on(async { Test::open(config, index, verbose, say)?.steps().await })
}

struct Test<'a> {
    config: &'a Config,
    trunk: &'a Trunk,
    peer: TlsPeer,
    say: &'a dyn Fn(&str),
    sip: SipPort,
    /// Why the last connection could not be opened.
    unreachable: Option<String>,
    good: bool,
}

impl<'a> Test<'a> {
    fn open(
        config: &'a Config,
        index: usize,
        verbose: bool,
        say: &'a dyn Fn(&str),
    ) -> Result<Test<'a>, String> {
        let listen = |transport, ip: &str| -> Option<SipListen> {
            Some(SipListen { transport, addr: format!("{ip}:0").parse().ok()? })
        };
        // Ports of its own: the gateway may be running beside it.
        let sockets = [
            listen(Transport::Udp, "0.0.0.0"),
            listen(Transport::Tcp, "0.0.0.0"),
            listen(Transport::Udp, "[::]"),
            listen(Transport::Tcp, "[::]"),
        ];
        let all: Vec<SipListen> = sockets.into_iter().flatten().collect();
        let mut own = config.sip.clone();
        own.listen = Vec::new();
        let setup = || tls::sip(&own, &config.trunks, None, &[]);
        // A machine without IPv6 has the first two.
        let sip = SipPort::open("trunk test", &all, own.advertise, None, setup()?, verbose)
            .or_else(|_| SipPort::open("trunk test", &all[..2], own.advertise, None, setup()?, verbose))?;
        let peer = TlsPeer(u16::try_from(index).unwrap_or(u16::MAX));
        let trunk = &config.trunks[index];
        Ok(Test { config, trunk, peer, say, sip, unreachable: None, good: true })
    }

    async fn steps(mut self) -> Result<bool, String> {
        let targets = self.resolve().await;
        let config = start::trunk_config(self.trunk, self.peer, self.config);
        let mut reached = None;
        for (n, target) in (0..).zip(targets) {
            if self.options(PingId(n), target, &config.host).await {
                reached.get_or_insert(target);
            }
        }
        match reached {
            Some(target) if self.trunk.register => self.register(target, &config).await,
            Some(_) => (self.say)("register  not wanted: the trunk has no `register = true`"),
            None => {}
        }
        (self.say)(if self.good { "The trunk is usable." } else { "The trunk is not usable as it is." });
        Ok(self.good && reached.is_some())
    }

    fn tell(&mut self, step: &str, begun: Instant, outcome: Outcome) {
        let took = begun.elapsed().as_millis();
        match outcome {
            Outcome::Good(what) => (self.say)(&format!("{step:8}  good, {took} ms: {what}")),
            Outcome::Bad(what, meaning) => {
                self.good = false;
                (self.say)(&format!("{step:8}  FAILED after {took} ms: {what}"));
                (self.say)(&format!("{:8}  {meaning}", ""));
            }
        }
    }

    /// Where its servers are, the first to try first.
    async fn resolve(&mut self) -> Vec<Target> {
        let dns = Dns { servers: self.config.dns_servers.clone(), families: Families::Both };
        let mut all = Vec::new();
        for ranked in self.trunk.next_hops() {
            let begun = Instant::now();
            let found = dns.walk(&ranked.server, &Answers::default(), &mut SystemEntropy).await;
            let places: Vec<String> =
                found.places.iter().map(|p| format!("{} {}", p.transport.name(), p.at)).collect();
            let host = &ranked.server.host;
            let outcome = if places.is_empty() {
                let why = found.failure.unwrap_or_else(|| "DNS has no address for it".into());
                Outcome::Bad(
                    format!("{host}: {why}"),
                    "The name is misspelt, or this machine's DNS does not work ([dns] servers).",
                )
            } else {
                Outcome::Good(format!("{host} is at {}", places.join(", ")))
            };
            self.tell("resolve", begun, outcome);
            all.extend(trunks::targets(&ranked, &found.places, self.peer));
        }
        all.sort_by_key(|one| one.priority);
        all.into_iter().map(|one| one.target).collect()
    }

    async fn options(&mut self, ping: PingId, target: Target, host: &str) -> bool {
        let begun = Instant::now();
        let place = format!("{} {}", target.transport().name(), target.remote());
        self.command(Command::Ping { ping, target, uri: format!("sip:{host}") });
        let status = self
            .wait(|event| {
                let Event::Pong { ping: answered, status } = event else { return None };
                (answered == ping).then_some(status)
            })
            .await;
        let outcome = match (status, self.unreachable.take()) {
            (Some(Some(status)), _) => Outcome::Good(format!("{place} answered OPTIONS with {status}")),
            (_, Some(why)) => Outcome::Bad(
                format!("{place}: {why}"),
                "Nothing listens there, a firewall refuses, or its certificate is not for that name.",
            ),
            (_, None) => Outcome::Bad(
                format!("{place} did not answer OPTIONS"),
                "A firewall drops it, the port is wrong, or the carrier answers only addresses that it knows.",
            ),
        };
        let good = matches!(outcome, Outcome::Good(_));
        self.tell("options", begun, outcome);
        good
    }

    async fn register(&mut self, target: Target, config: &TrunkConfig) {
        let begun = Instant::now();
        let Some(registration) = &config.registration else { return };
        let (id, register) = (
            RegistrationId(1),
            Register {
                target,
                registrar: registration.registrar.clone(),
                aor: registration.aor.clone(),
                contact_user: config.contact_user.clone(),
                routes: config.profile.route.clone().into_iter().collect(),
                credentials: config.credentials.clone(),
                expires: EXPIRES,
                patience: PATIENCE,
                keep_alive: None,
                instance: None,
            },
        );
        self.command(Command::Register(id, Box::new(register)));
        let settled = self
            .wait(|event| {
                let Event::Registration { state, .. } = event else { return None };
                (state != RegistrationState::Trying).then_some(state)
            })
            .await;
        let outcome = match settled {
            Some(RegistrationState::Registered { expires }) => {
                Outcome::Good(format!("{} for {expires} s", registration.aor))
            }
            Some(RegistrationState::Failed { status, why, .. }) => Outcome::Bad(why, meaning(status)),
            Some(RegistrationState::Trying | RegistrationState::Unregistered) | None => {
                Outcome::Bad("no answer to REGISTER".into(), meaning(None))
            }
        };
        let good = matches!(outcome, Outcome::Good(_));
        self.tell("register", begun, outcome);
        self.command(Command::Unregister(id));
        if good {
            let gone =
                |event| matches!(event, Event::Registration { state: RegistrationState::Unregistered, .. });
            self.wait(|event| gone(event).then_some(())).await;
        }
    }

    fn command(&mut self, command: Command) {
        let (now, wall) = clocks();
        self.sip.command(command, now, wall);
    }

    /// Carries messages until an event is what is waited for; none when patience is over.
    async fn wait<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> Option<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            let (now, wall) = clocks();
            while let Some(event) = self.sip.next_event(now, wall) {
                if let Some(picked) = pick(event) {
                    return Some(picked);
                }
            }
            let timer = self.sip.poll_timeout().map_or(until, |at| at.min(until));
            tokio::select! {
                inbound = self.sip.recv() => {
                    if let Inbound::Unreachable { why, .. } = &inbound {
                        self.unreachable = Some(why.clone());
                    }
                    let (now, wall) = clocks();
                    self.sip.handle(inbound, None, now, wall);
                }
                () = tokio::time::sleep_until(timer.into()) => {
                    if Instant::now() >= until {
                        return None;
                    }
                    let (now, wall) = clocks();
                    self.sip.handle_timeout(now, wall);
                }
            }
        }
    }
}

/// What a refused REGISTER probably means.
fn meaning(status: Option<u16>) -> &'static str {
    match status {
        Some(401 | 407) => "User name or password is wrong; some carriers want another name in `auth_user`.",
        Some(403) => {
            "The account may not register: wrong user name, wrong `from_domain`, or an address that it does not allow."
        }
        Some(404) => "The registrar does not know the name: look at `username` and `from_domain`.",
        Some(423) => "The registrar wants a longer registration than was asked for.",
        Some(500..=599) => "The carrier has trouble of its own; try again later.",
        Some(_) => "The carrier refuses for a reason of its own; -v shows its answer.",
        None => "OPTIONS was answered but REGISTER was not: the carrier may not know this account's address.",
    }
}
