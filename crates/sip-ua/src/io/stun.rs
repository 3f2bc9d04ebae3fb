//! Keep-alives on UDP: STUN binding requests and their answers (RFC 5626 §3.5.2, RFC 8489 §6 and §14.2).

use std::net::{IpAddr, SocketAddr};

const HEADER: usize = 20;
const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
const REQUEST: [u8; 2] = [0x00, 0x01];
const SUCCESS: [u8; 2] = [0x01, 0x01];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];

/// The answer to a binding request that came from `from`; none to anything else.
pub(super) fn answer(datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn request(attributes: &[u8]) -> Vec<u8> {
        [&REQUEST[..], &(attributes.len() as u16).to_be_bytes(), &COOKIE, &ID, attributes].concat()
    }

    #[test]
    fn the_answer_carries_the_address_as_in_the_vectors_of_rfc_5769() {
        // RFC 5769 §2.2 and §2.3: the same transaction id and addresses.
        let v4 = answer(&request(&[]), "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(v4[..8], [0x01, 0x01, 0x00, 0x0c, 0x21, 0x12, 0xa4, 0x42]);
        assert_eq!(v4[8..20], ID);
        assert_eq!(v4[20..], [0x00, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let software = [0x80, 0x22, 0, 4, b'p', b'h', b'o', b'n'];
        let from = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        let v6 = answer(&request(&software), from).unwrap();
        assert_eq!(v6[20..28], [0x00, 0x20, 0, 20, 0, 2, 0xa1, 0x47]);
        let address =
            [1, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9];
        assert_eq!(v6[28..], address);
    }

    #[test]
    fn nothing_else_is_answered() {
        let from = "192.0.2.1:1".parse().unwrap();
        let good = request(&[]);
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
