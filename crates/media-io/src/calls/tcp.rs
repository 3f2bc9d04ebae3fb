//! Browsers of this worker that come by TCP, and datagrams of other workers' calls that leave by their connections.

use types::Datagram;
use webrtc_peer::Route;

use super::Calls;
use crate::browser::Arrival;
use crate::counters::bump;

impl Calls {
    /// Somebody knocks.
    pub(crate) fn accept_connections(&mut self) {
        let refused = self.tcp.accept(self.now);
        self.shared.tally.tcp_refused.fetch_add(refused, std::sync::atomic::Ordering::Relaxed);
    }

    /// A connection has something for us, or room again; how many datagrams came.
    pub(crate) fn connection_ready(&mut self, connection: usize) -> u32 {
        self.tcp.handle_ready(connection);
        let (mut data, mut came) = (Datagram::default(), 0);
        while let Some(route) = self.tcp.next_datagram(connection, &mut data) {
            bump(&self.shared.tally.browser_in);
            came += 1;
            if self.browser_arrival(Arrival { route, data: &mut data }) {
                self.tcp.proved(connection);
            }
        }
        came
    }

    /// By a connection of this worker, or by that of the worker which has it.
    pub(super) fn send_by_connection(&mut self, route: Route, data: &mut Datagram) {
        let home = self.post.worker_at(route.local, self.worker);
        if home != self.worker {
            return self.post.depart(home, route, data);
        }
        bump(if self.tcp.send(route, data) {
            &self.shared.tally.browser_out
        } else {
            &self.shared.tally.tcp_dropped
        });
    }

    /// What other workers want sent.
    pub(super) fn send_departures(&mut self) {
        while let Some((route, mut data)) = self.post.departure(self.worker) {
            self.send_by_connection(route, &mut data);
            self.post.give_back(self.worker, data);
        }
    }

    pub(super) fn sweep_connections(&mut self) {
        let demux = &self.demux;
        self.tcp.sweep(self.now, |route| demux.knows(route.far()));
    }
}
