//! Keep-alives on UDP: STUN binding requests and their answers (RFC 5626 §3.5.2, RFC 8489 §6 and §14.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const HEADER: usize = 20;
const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
const REQUEST: [u8; 2] = [0x00, 0x01];
const SUCCESS: [u8; 2] = [0x01, 0x01];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];

/// What ties an answer to its request.
pub(crate) type Id = [u8; 12];

/// The answer to a binding request that came from `from`; none to anything else.
#[cfg(feature = "io")]
pub(crate) fn answer(datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let (header, attributes) = datagram.split_at_checked(HEADER)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[..2] != REQUEST || header[4..8] != COOKIE || length != attributes.len() {
        return None;
    }
    // Cookie and transaction id, of which an address takes as much as it is long.
    let mask = &header[4..];
    let masked = |bytes: &[u8]| bytes.iter().zip(mask).map(|(a, b)| a ^ b).collect::<Vec<u8>>();
    let (family, ip) = match from.ip() {
        IpAddr::V4(ip) => (1, masked(&ip.octets())),
        IpAddr::V6(ip) => (2, masked(&ip.octets())),
    };
    let port = masked(&from.port().to_be_bytes());
    let value = [&[0, family], &port[..], &ip[..]].concat();
    let size = |n: usize| (n as u16).to_be_bytes();
    let (all, own) = (size(4 + value.len()), size(value.len()));
    Some([&SUCCESS, &all, mask, &XOR_MAPPED_ADDRESS, &own[..], &value[..]].concat())
}

/// A binding request: how do you see us?
pub(crate) fn request(id: Id) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..2].copy_from_slice(&REQUEST);
    out[4..8].copy_from_slice(&COOKIE);
    out[8..].copy_from_slice(&id);
    out
}

/// Whether a datagram looks like the answer to a request of ours.
#[cfg(feature = "io")]
pub(crate) fn is_answer(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER && datagram[..2] == SUCCESS && datagram[4..8] == COOKIE
}

/// The address in the answer to the request with this id; none in anything else.
pub(crate) fn mapped(datagram: &[u8], id: Id) -> Option<SocketAddr> {
    let (header, mut rest) = datagram.split_at_checked(HEADER)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[..2] != SUCCESS || header[4..8] != COOKIE || header[8..] != id || length != rest.len() {
        return None;
    }
    let mask = &header[4..];
    loop {
        let (head, after) = rest.split_at_checked(4)?;
        let size = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (value, _) = after.split_at_checked(size)?;
        if head[..2] == XOR_MAPPED_ADDRESS {
            return address(value, mask);
        }
        // Attributes begin at multiples of four.
        rest = after.get(size.next_multiple_of(4)..)?;
    }
}

fn address(value: &[u8], mask: &[u8]) -> Option<SocketAddr> {
    let (head, ip) = value.split_at_checked(4)?;
    let port = u16::from_be_bytes([head[2] ^ mask[0], head[3] ^ mask[1]]);
    let clear: Vec<u8> = ip.iter().zip(mask).map(|(a, b)| a ^ b).collect();
    let ip: IpAddr = match head[1] {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(clear).ok()?).into(),
        2 => Ipv6Addr::from(<[u8; 16]>::try_from(clear).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(all(test, feature = "io"))]
mod tests {
    use super::*;

    const ID: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn asking(attributes: &[u8]) -> Vec<u8> {
        [&REQUEST[..], &(attributes.len() as u16).to_be_bytes(), &COOKIE, &ID, attributes].concat()
    }

    #[test]
    fn the_answer_carries_the_address_as_in_the_vectors_of_rfc_5769() {
        // RFC 5769 §2.2 and §2.3: the same transaction id and addresses.
        let v4 = answer(&asking(&[]), "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(v4[..8], [0x01, 0x01, 0x00, 0x0c, 0x21, 0x12, 0xa4, 0x42]);
        assert_eq!(v4[8..20], ID);
        assert_eq!(v4[20..], [0x00, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let software = [0x80, 0x22, 0, 4, b'p', b'h', b'o', b'n'];
        let from = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        let v6 = answer(&asking(&software), from).unwrap();
        assert_eq!(v6[20..28], [0x00, 0x20, 0, 20, 0, 2, 0xa1, 0x47]);
        let address =
            [1, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9];
        assert_eq!(v6[28..], address);
    }

    #[test]
    fn our_own_requests_are_answered_with_where_they_came_from_and_only_by_their_answer() {
        assert_eq!(request(ID)[..], asking(&[])[..]);
        for from in ["192.0.2.1:32853", "[2001:db8::77]:5060"] {
            let from = from.parse().unwrap();
            let good = answer(&request(ID), from).unwrap();
            assert!(is_answer(&good) && !is_answer(&request(ID)));
            assert_eq!(mapped(&good, ID), Some(from));
            assert_eq!(mapped(&good, [7; 12]), None);
            for cut in 0..good.len() {
                assert_eq!(mapped(&good[..cut], ID), None);
            }
            // Behind an attribute that nobody knows, whose length is no multiple of four.
            let mut more = good.clone();
            more.splice(HEADER..HEADER, [0x80, 0x22, 0, 3, b'p', b'b', b'x', 0]);
            more[3] += 8;
            assert_eq!(mapped(&more, ID), Some(from));
        }
    }

    #[test]
    fn nothing_else_is_answered() {
        let from = "192.0.2.1:1".parse().unwrap();
        let good = asking(&[]);
        for cut in 0..good.len() {
            assert_eq!(answer(&good[..cut], from), None);
        }
        let change = |at: usize| {
            let mut other = good.clone();
            other[at] ^= 0x10;
            other
        };
        // Another class, method, length, cookie.
        for at in [0, 1, 3, 4, 7] {
            assert_eq!(answer(&change(at), from), None, "{at}");
        }
    }
}
