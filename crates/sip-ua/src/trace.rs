//! Messages as people may see them: without secrets.

/// What stands in place of a secret.
const MASK: &str = "***";

/// Parameters of authentication fields from which a password could be guessed, or an answer forged.
const SECRET_PARAMS: [&str; 6] = ["response", "nonce", "cnonce", "nextnonce", "rspauth", "opaque"];

/// A message as text for `--sip-trace`: digest answers and nonces, other credentials, passwords in URIs, and keys in a
/// session description (`a=crypto`, `a=ice-pwd`) are masked; a binary body is named by its length. Takes any bytes.
pub fn mask(bytes: &[u8]) -> String {
    let head_end = bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(bytes.len(), |i| i + 4);
    let (head, body) = bytes.split_at(head_end);
    let head = String::from_utf8_lossy(head);
    let mut out = String::with_capacity(bytes.len());
    let mut in_auth = false;
    for line in head.split_inclusive('\n') {
        if !line.starts_with([' ', '\t']) {
            in_auth = is_auth_field(line);
        }
        if in_auth {
            mask_auth(line, &mut out);
        } else {
            mask_uri_passwords(line, &mut out);
        }
    }
    match std::str::from_utf8(body) {
        Ok(text) => text.split_inclusive('\n').for_each(|line| mask_sdp_line(line, &mut out)),
        Err(_) => out.push_str(&format!("({} bytes, binary)", body.len())),
    }
    out
}

fn is_auth_field(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default().trim_end();
    ["Authorization", "Proxy-Authorization", "WWW-Authenticate", "Proxy-Authenticate", "Authentication-Info"]
        .iter()
        .any(|n| n.eq_ignore_ascii_case(name))
}

/// Masks the secret parameters of a line; credentials without parameters (Basic, Bearer) are masked whole.
fn mask_auth(line: &str, out: &mut String) {
    let content = line.trim_end_matches(['\r', '\n']);
    let scheme_end = content.find(':').map(|colon| {
        let value = content[colon + 1..].trim_start();
        content.len() - value.len() + value.find([' ', '\t']).unwrap_or(value.len())
    });
    if let Some(end) = scheme_end
        && !content[end..].trim_end_matches('=').contains('=')
        && !content[end..].trim().is_empty()
    {
        out.push_str(&content[..end]);
        out.push(' ');
        out.push_str(MASK);
        out.push_str(&line[content.len()..]);
        return;
    }
    let mut rest = line;
    while let Some(equals) = rest.find('=') {
        let (before, after) = rest.split_at(equals + 1);
        let name_start = before[..equals].trim_end().rfind(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let name = before[name_start.map_or(0, |i| i + 1)..equals].trim();
        let value_len = value_len(after);
        out.push_str(before);
        if SECRET_PARAMS.iter().any(|s| s.eq_ignore_ascii_case(name)) {
            out.push_str(MASK);
        } else {
            out.push_str(&after[..value_len]);
        }
        rest = &after[value_len..];
    }
    out.push_str(rest);
}

/// Length of a parameter value with the white space before it: a quoted string, or up to a comma or the line's end.
fn value_len(text: &str) -> usize {
    let lead = text.len() - text.trim_start_matches([' ', '\t']).len();
    let value = &text[lead..];
    let bare = || value.find([',', '\r', '\n']).unwrap_or(value.len());
    let len = if value.starts_with('"') { crate::message::lex::quoted_len(value) } else { None };
    lead + len.unwrap_or_else(bare)
}

/// `sip:user:password@host` loses its password (RFC 3261 §19.1.1 advises against it; some do it all the same).
fn mask_uri_passwords(line: &str, out: &mut String) {
    let mut rest = line;
    while let Some(at) = rest.find('@') {
        let (before, after) = rest.split_at(at);
        let word = before.rfind(['<', ' ', '\t', '"', ',']).map_or(0, |i| i + 1);
        let user = before[word..].split_once(':').map(|(scheme, _)| word + scheme.len() + 1);
        let password = user.and_then(|u| before[u..].find(':').map(|c| u + c + 1));
        match password.filter(|_| is_sip_scheme(&before[word..])) {
            Some(start) => {
                out.push_str(&before[..start]);
                out.push_str(MASK);
            }
            None => out.push_str(before),
        }
        out.push('@');
        rest = &after[1..];
    }
    out.push_str(rest);
}

fn is_sip_scheme(word: &str) -> bool {
    let scheme = word.split(':').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips")
}

fn mask_sdp_line(line: &str, out: &mut String) {
    let secret = if line.starts_with("a=crypto:") {
        line.find("inline:").map(|i| i + "inline:".len())
    } else if line.starts_with("a=ice-pwd:") {
        Some("a=ice-pwd:".len())
    } else {
        None
    };
    match secret {
        Some(start) => {
            out.push_str(&line[..start]);
            out.push_str(MASK);
            out.push_str(&line[line.trim_end_matches(['\r', '\n']).len()..]);
        }
        None => out.push_str(line),
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn digest_answers_and_challenges_lose_what_is_secret_and_keep_the_rest() {
        let line = "Authorization: Digest username=\"alice\", realm=\"r, x\", nonce=\"abc\\\"d\", uri=\"sip:a@b\",\r\n \
            response=\"0123\", cnonce=\"c\", opaque=o, qop=auth, nc=00000001\r\n";
        let expected = "Authorization: Digest username=\"alice\", realm=\"r, x\", nonce=***, uri=\"sip:a@b\",\r\n \
            response=***, cnonce=***, opaque=***, qop=auth, nc=00000001\r\n";
        assert_eq!(mask(line.as_bytes()), expected);
        let challenge = "WWW-Authenticate: Digest realm=\"r\",nonce=abc,algorithm=MD5\r\n";
        assert_eq!(
            mask(challenge.as_bytes()),
            "WWW-Authenticate: Digest realm=\"r\",nonce=***,algorithm=MD5\r\n"
        );
    }

    #[test]
    fn other_credentials_are_masked_whole() {
        for scheme in ["Basic", "Bearer"] {
            let line = format!("proxy-authorization :{scheme} c2VjcmV0Cg==\r\n");
            assert_eq!(mask(line.as_bytes()), format!("proxy-authorization :{scheme} ***\r\n"));
        }
    }

    #[test]
    fn passwords_in_uris_are_masked_and_ports_are_not() {
        let text = "INVITE sip:a:secret@b:5060 SIP/2.0\r\nFrom: \"x: @\" <sips:u;x:s3@c>;tag=1\r\nTo: <sip:d@e:5061>\r\n";
        let expected = "INVITE sip:a:***@b:5060 SIP/2.0\r\nFrom: \"x: @\" <sips:u;x:***@c>;tag=1\r\nTo: <sip:d@e:5061>\r\n";
        assert_eq!(mask(text.as_bytes()), expected);
    }

    #[test]
    fn media_keys_are_masked_and_binary_bodies_are_counted() {
        let sdp = "X: y\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEYKEY|2^20\r\na=ice-pwd:pw\r\na=ice-ufrag:u\r\n";
        let expected =
            "X: y\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:***\r\na=ice-pwd:***\r\na=ice-ufrag:u\r\n";
        assert_eq!(mask(sdp.as_bytes()), expected);
        assert_eq!(mask(b"X: y\r\n\r\n\xff\xfe"), "X: y\r\n\r\n(2 bytes, binary)");
    }
}
