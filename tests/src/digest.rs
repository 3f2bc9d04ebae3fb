//! Digest authentication as another party does it: fields read here, responses computed by Python's hashlib
//! (tests/tools/digest_response.py).

use crate::ports::{root, tools_dir};
use crate::rawsip::unique;
use crate::trunk::Message;
use serde_json::{Map, Value};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// A parameter of a challenge or answer, without its quotes; empty if it is not there.
pub fn parameter(value: &str, name: &str) -> String {
    let mut quoted = false;
    let pieces = value.trim_start_matches("Digest ").split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    let mut found = pieces.filter_map(|one| one.trim().split_once('='));
    found.find(|(known, _)| *known == name).map_or(String::new(), |(_, text)| text.trim_matches('"').into())
}

/// The response to these fields, as an independent program computes it.
pub fn response(fields: &Value) -> String {
    let mut python = Command::new(tools_dir().join("venv/bin/python"))
        .arg(root().join("tests/tools/digest_response.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python; `make setup-test` gets it");
    python.stdin.take().expect("its input").write_all(fields.to_string().as_bytes()).expect("it reads");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{fields}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Who answers.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// Digest user name.
    pub user: &'a str,
    /// In clear.
    pub password: &'a str,
}

/// The Authorization header line for a request of this method, URI and body.
pub fn authorization(
    challenge: &str,
    account: Account<'_>,
    (method, uri, body): (&str, &str, &str),
    (qop, count): (&str, u32),
) -> String {
    let (nc, cnonce) = (format!("{count:08x}"), unique("cnonce"));
    let of = |name| parameter(challenge, name);
    let (realm, nonce, algorithm) = (of("realm"), of("nonce"), of("algorithm"));
    let (user, password) = (account.user, account.password);
    let response = response(&serde_json::json!({
        "algorithm": algorithm, "username": user, "realm": realm, "password": password, "nonce": nonce,
        "uri": uri, "method": method, "body": body, "qop": qop, "nc": nc, "cnonce": cnonce,
    }));
    format!(
        "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         algorithm={algorithm}, qop={qop}, nc={nc}, cnonce=\"{cnonce}\", response=\"{response}\"\r\n"
    )
}

/// The answers of a request for one realm, and whether each is right for this password.
pub fn answers(request: &Message, header: &str, realm: &str, password: &str) -> Vec<(String, bool)> {
    let values = request.headers.iter().filter(|(name, _)| name == header).map(|(_, value)| value);
    let ours = values.filter(|value| parameter(value, "realm") == realm);
    let right = |value: &String| {
        let names = ["algorithm", "username", "realm", "nonce", "uri", "qop", "nc", "cnonce"];
        let known = names.iter().map(|name| (*name, parameter(value, name))).filter(|(_, v)| !v.is_empty());
        let mut fields: Map<String, Value> = known.map(|(n, v)| (n.to_owned(), v.into())).collect();
        let method = request.start.split(' ').next().unwrap_or("");
        for (name, text) in [("method", method), ("body", &request.body), ("password", password)] {
            fields.insert(name.into(), text.into());
        }
        response(&Value::Object(fields)) == parameter(value, "response")
    };
    ours.map(|value| (value.clone(), right(value))).collect()
}
