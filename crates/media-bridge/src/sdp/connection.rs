//! The address in a `c=` line (RFC 8866 §5.7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads the address of a `c=` or `a=rtcp` line. A name within `.invalid` says that there is none yet, as `0.0.0.0` and
/// `::` do (RFC 3725). The error says in words why nobody else can send there.
pub(super) fn address(kind: &str, text: &str) -> Result<IpAddr, String> {
    let bare = text.split('/').next().unwrap_or_default();
    // SIPp and others bracket it as in a URI.
    let bare = bare.strip_prefix('[').and_then(|b| b.strip_suffix(']')).unwrap_or(bare);
    match bare.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V6(v6)) if v6.is_unicast_link_local() => {
            Err(format!("its c= line names {v6}, a link-local address that is of use on its own wire only"))
        }
        Ok(ip) => Ok(ip),
        Err(_) if bare.contains('%') => {
            Err(format!("its c= line names {bare}, whose zone means nothing to another machine"))
        }
        Err(_) if bare.to_ascii_lowercase().ends_with(".invalid") => Ok(unspecified(kind)),
        Err(_) => Err(format!("its c= line names {bare:?} instead of an address")),
    }
}

fn unspecified(kind: &str) -> IpAddr {
    if kind.eq_ignore_ascii_case("IP6") { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// Where a description wants its audio: that of its first audio line in use. Enough to choose a socket before the
/// description is read; none where it names no address or a null one.
pub fn media_address(description: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let (mut in_session, mut in_audio) = (true, false);
    for line in description.split(|b| matches!(b, b'\n' | b'\r')) {
        if let Some(media) = line.strip_prefix(b"m=") {
            if in_audio {
                break;
            }
            in_session = false;
            in_audio = media.starts_with(b"audio ") && !media.starts_with(b"audio 0 ");
        } else if let Some(connection) = line.strip_prefix(b"c=")
            && (in_session || in_audio)
        {
            let text = String::from_utf8_lossy(connection);
            let mut words = text.split_ascii_whitespace().skip(1);
            found = Some((words.next()?.to_owned(), words.next()?.to_owned()));
        }
    }
    let (kind, text) = found?;
    address(&kind, &text).ok().filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        media_address(text.as_bytes()).map(|ip| ip.to_string())
    }

    #[test]
    fn the_first_audio_line_in_use_says_where_media_goes() {
        let head = "v=0\r\no=- 1 1 IN IP6 2001:db8::7\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\n";
        let audio = "m=audio 4000 RTP/AVP 0\r\n";
        let own = "c=IN IP4 192.0.2.1\r\n";
        assert_eq!(of(&format!("{head}{audio}")).as_deref(), Some("2001:db8::1"));
        assert_eq!(of(&format!("{head}{audio}{own}")).as_deref(), Some("192.0.2.1"));
        let video = format!("{head}m=video 0 RTP/AVP 31\r\n{own}{audio}");
        assert_eq!(of(&video).as_deref(), Some("2001:db8::1"));
        let rejected = format!("{head}m=audio 0 RTP/AVP 0\r\n{own}{audio}");
        assert_eq!(of(&rejected).as_deref(), Some("2001:db8::1"));
        let two = format!("{head}{audio}m=audio 4002 RTP/AVP 0\r\n{own}");
        assert_eq!(of(&two).as_deref(), Some("2001:db8::1"));
        assert_eq!(of(&head.replace("2001:db8::1", "::")), None, "a null address");
        assert_eq!(of("c=IN IP4"), None);
    }

    #[test]
    fn an_ipv4_mapped_address_is_the_ipv4_one_as_rfc_5118_section_4_8_has_it() {
        assert_eq!(address("IP6", "::ffff:192.0.2.1"), Ok("192.0.2.1".parse().unwrap()));
        assert_eq!(address("IP6", "[2001:db8::9]/127"), Ok("2001:db8::9".parse().unwrap()));
    }

    #[test]
    fn a_zone_or_a_link_local_address_is_refused_in_words_and_invalid_names_are_null() {
        assert!(address("IP6", "fe80::1%eth0").unwrap_err().contains("zone"));
        assert!(address("IP6", "fe80::1").unwrap_err().contains("link-local"));
        assert!(address("IP4", "phone.example").unwrap_err().contains("instead of an address"));
        assert_eq!(address("IP6", "nobody.INVALID"), Ok(Ipv6Addr::UNSPECIFIED.into()));
        assert_eq!(address("IP4", "nobody.invalid"), Ok(Ipv4Addr::UNSPECIFIED.into()));
    }
}
