use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::limits;

/// Whose doings are counted together: an address, of IPv6 the network that one customer gets.
pub fn customer(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
    }
}

/// Connections open from each address: `limits::CONNECTIONS_PER_ADDRESS` at most, without end from this machine, where a
/// proxy may stand for everybody.
#[derive(Debug, Default)]
pub struct Places {
    taken: HashMap<IpAddr, usize>,
    refused: u64,
}

impl Places {
    /// A place for one more connection; false: there is none, which has been counted. Each place is to be given back.
    pub fn take(&mut self, from: IpAddr) -> bool {
        if from.is_loopback() {
            return true;
        }
        let taken = self.taken.entry(customer(from)).or_default();
        if *taken >= limits::CONNECTIONS_PER_ADDRESS {
            self.refused += 1;
            return false;
        }
        *taken += 1;
        true
    }

    /// A connection that had a place is gone.
    pub fn give_back(&mut self, from: IpAddr) {
        let from = customer(from);
        if let Some(taken) = self.taken.get_mut(&from) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(&from);
            }
        }
    }

    /// Connections that got no place so far.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_gets_its_places_and_not_more_until_one_is_given_back() {
        let mut places = Places::default();
        let took = (0..limits::CONNECTIONS_PER_ADDRESS + 5).filter(|_| places.take(ip("192.0.2.1"))).count();
        assert_eq!((took, places.refused()), (limits::CONNECTIONS_PER_ADDRESS, 5));
        assert!(places.take(ip("192.0.2.2")), "others have theirs");
        places.give_back(ip("192.0.2.1"));
        assert!(places.take(ip("192.0.2.1")) && !places.take(ip("192.0.2.1")));
        for _ in 0..limits::CONNECTIONS_PER_ADDRESS {
            places.give_back(ip("192.0.2.1"));
        }
        places.give_back(ip("192.0.2.2"));
        assert!(places.taken.is_empty());
    }

    #[test]
    fn an_ipv6_customer_is_one_and_this_machine_has_places_without_end() {
        let mut places = Places::default();
        for n in 0..limits::CONNECTIONS_PER_ADDRESS {
            assert!(places.take(ip(&format!("2001:db8::{n:x}"))));
            assert!(places.take(ip("127.0.0.1")) && places.take(ip("127.0.0.1")));
        }
        assert!(!places.take(ip("2001:db8::ffff:1")) && places.take(ip("2001:db8:0:1::1")));
        places.give_back(ip("127.0.0.1"));
    }
}
