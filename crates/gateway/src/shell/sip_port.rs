//! One SIP endpoint with its sockets: what both the gateway and the demo's carrier speak SIP through.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use b2bua::{Screen, Switch};
use sip_ua::io::{Guests, Inbound, Sockets, TlsSetup};
use sip_ua::message::Message;
use sip_ua::{Command, Endpoint, EndpointConfig, Event, Listener, Output};
use tokio::sync::mpsc;
use types::{Advertised, Wall};

use super::{SystemEntropy, bind_error, trace};
use crate::config::values::SipListen;

/// The endpoint, its sockets, and whether to print what passes.
pub struct SipPort {
    endpoint: Endpoint,
    sockets: Sockets,
    inbound: mpsc::Receiver<Inbound>,
    traced: bool,
}

/// Both clocks, read together.
pub fn clocks() -> (Instant, Wall) {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (Instant::now(), Wall(wall.as_micros() as u64))
}

impl SipPort {
    /// Binds all listeners; `option` is where their ports were chosen, `guests` the port where others take connections in.
    ///
    /// # Errors
    /// One sentence that names the port and the option.
    pub fn open(
        option: &str,
        listen: &[SipListen],
        advertise: Advertised,
        guests: Option<Listener>,
        tls: TlsSetup,
        traced: bool,
    ) -> Result<SipPort, String> {
        let addresses: Vec<_> = listen.iter().map(|l| (l.transport, l.addr)).collect();
        let (sockets, inbound) = Sockets::bind(&addresses, tls)
            .map_err(|e| bind_error(option, e.transport.name(), e.address, &e.error))?;
        let listeners = sockets
            .local_addrs()
            .map(|(transport, local)| Listener { transport, local, advertise: advertise.like(local.ip()) })
            .chain(guests)
            .collect();
        let user_agent = concat!("webtrunk/", env!("CARGO_PKG_VERSION")).to_owned();
        let endpoint = Endpoint::new(EndpointConfig { user_agent, listeners }, Box::new(SystemEntropy));
        Ok(SipPort { endpoint, sockets, inbound, traced })
    }

    /// Takes in connections of other ports.
    pub fn guests(&self) -> Guests {
        self.sockets.guests()
    }

    /// Waits for the network; for ever when nothing comes.
    pub async fn recv(&mut self) -> Inbound {
        match self.inbound.recv().await {
            Some(inbound) => inbound,
            None => std::future::pending().await,
        }
    }

    /// What the network has brought already.
    pub fn try_recv(&mut self) -> Option<Inbound> {
        self.inbound.try_recv().ok()
    }

    /// Takes in what `recv` gave; `switch` says whose messages are looked at, without it all are.
    pub fn handle(&mut self, inbound: Inbound, switch: Option<&mut Switch>, now: Instant, wall: Wall) {
        match inbound {
            Inbound::Message { flow, bytes } => {
                if self.traced {
                    trace::print(trace::Direction::In, flow.transport, flow.remote, &bytes, wall);
                }
                let parsed = Message::parse(bytes);
                let known = |request: &Message| self.endpoint.recognises(request);
                let screen = match switch {
                    Some(switch) => switch.screen(&flow, &parsed, known, now, wall),
                    None => Screen::Admit,
                };
                match (screen, &parsed) {
                    (Screen::Admit, _) => self.endpoint.handle_parsed(flow, parsed, now),
                    (Screen::Refuse(verdict), Ok(request)) => {
                        self.endpoint.refuse(&flow, request, &verdict);
                    }
                    (Screen::Refuse(_), Err(_)) | (Screen::Drop, _) => {}
                }
            }
            Inbound::KeepAlive { flow, bytes } => self.endpoint.handle_keep_alive(flow, &bytes, now),
            Inbound::Closed { flow, why } => {
                tracing::debug!(why, "a SIP connection is gone");
                self.sockets.release(&flow);
                self.endpoint.handle_closed(flow, &why, now);
            }
            Inbound::Unreachable { target, why } => {
                let (transport, remote) = (target.transport().name(), target.remote());
                tracing::warn!("the SIP connection to {transport}:{remote} could not be opened: {why}");
                self.endpoint.handle_unreachable(target, &why, now);
            }
        }
    }

    pub fn handle_timeout(&mut self, now: Instant, wall: Wall) {
        self.endpoint.handle_timeout(now, wall);
    }

    pub fn command(&mut self, command: Command, now: Instant, wall: Wall) {
        self.endpoint.handle_command(command, now, wall);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout()
    }

    pub fn transactions(&self) -> usize {
        self.endpoint.transactions()
    }

    pub fn refused_connections(&self) -> u64 {
        self.sockets.refused()
    }

    pub fn dialogs(&self) -> usize {
        self.endpoint.dialogs()
    }

    /// Sends all that is to be sent and gives the next event for the application.
    pub fn next_event(&mut self, now: Instant, wall: Wall) -> Option<Event> {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Event(event) => return Some(event),
                Output::Close { target } => self.sockets.close(target),
                Output::Transmit { target, local, bytes } => {
                    // Keep-alives are no messages.
                    if self.traced && bytes.first().is_some_and(u8::is_ascii_alphabetic) {
                        let (transport, remote) = (target.transport(), target.remote());
                        trace::print(trace::Direction::Out, transport, remote, &bytes, wall);
                    }
                    if let Err(error) = self.sockets.send(target, local, bytes) {
                        tracing::debug!(%error, "a SIP message could not be sent");
                        self.endpoint.handle_transport_error(target, now);
                    }
                }
            }
        }
        None
    }
}
