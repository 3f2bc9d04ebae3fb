use std::net::SocketAddr;
use std::sync::Arc;

use super::Inbound;
use super::stream::{Streams, Ticket};
use crate::{Flow, Transport};

/// Takes in connections that somebody else opened and reads: WebSockets (RFC 7118). They get their number, their bounded
/// queue and their place among `limits::SIP_CONNECTIONS` here, like the connections of our own sockets.
#[derive(Clone, Debug)]
pub struct Guests(Streams);

impl Guests {
    pub(super) fn new(streams: Streams) -> Guests {
        Guests(streams)
    }

    /// A connection is open: from now on messages to its flow are queued for it.
    pub fn enter(&self, transport: Transport, local: SocketAddr, remote: SocketAddr) -> Guest {
        let ticket = self.0.enter(None);
        let flow = Flow { transport, local, remote, connection: Some(ticket.id) };
        Guest { flow, ticket, streams: self.0.clone() }
    }
}

/// One such connection, held by the task that reads and writes it. To be ended with `leave`.
#[derive(Debug)]
pub struct Guest {
    flow: Flow,
    ticket: Ticket,
    streams: Streams,
}

impl Guest {
    /// The next message to write. None: the connection is to be closed; it read too slowly, there were too many, or the
    /// gateway stops.
    pub async fn next(&mut self) -> Option<Arc<[u8]>> {
        self.ticket.outbound.recv().await
    }

    /// Hands on one whole message; waits while the endpoint has too much to do.
    pub async fn deliver(&self, bytes: Vec<u8>) {
        self.streams.heard(&self.ticket);
        self.streams.tell(Inbound::Message { flow: self.flow, bytes }).await;
    }

    /// The connection is gone.
    pub async fn leave(self, why: impl Into<String>) {
        self.streams.remove(self.ticket.id);
        self.streams.tell(Inbound::Closed { flow: self.flow, why: why.into() }).await;
    }
}
