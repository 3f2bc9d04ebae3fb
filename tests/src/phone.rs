//! A real browser with the phone page open, steered by a small node process in `tests/drivers`.

use crate::gateway::PASSWORD;
use crate::ports::root;
use crate::relay::Relay;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// Longest time for one step that does not say its own.
const STEP: Duration = Duration::from_secs(30);

/// A browser process. Its pages are named; the first is `main`.
pub struct Phone {
    /// The page that everything below is about; `open` makes it.
    pub page: String,
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<Value>,
    next: u64,
    name: &'static str,
}

/// What was recorded of the remote party.
#[derive(Debug)]
pub struct Recording {
    /// Length.
    pub seconds: f64,
    /// Largest sample, of 32,767.
    pub peak: u64,
}

impl Phone {
    /// Chromium; `microphone` is a 48 kHz mono WAV that plays once when the page opens its microphone.
    pub fn chromium(microphone: Option<&Path>) -> Phone {
        Phone::start("chromium", &json!({ "microphone": microphone }))
    }

    /// Firefox; `microphone` as for Chromium.
    pub fn firefox(microphone: Option<&Path>) -> Phone {
        Phone::start("firefox", &json!({ "microphone": microphone }))
    }

    /// Chromium with further flags on its command line and its own beep for a microphone.
    pub fn chromium_with(flags: &[&str]) -> Phone {
        Phone::start("chromium", &json!({ "flags": flags }))
    }

    /// Firefox with these preferences and its own tone for a microphone.
    pub fn firefox_with(prefs: &Value) -> Phone {
        Phone::start("firefox", &json!({ "prefs": prefs }))
    }

    fn start(name: &'static str, options: &Value) -> Phone {
        let driver = root().join(format!("tests/drivers/{name}.mjs"));
        let mut child = Command::new("node")
            .arg(driver)
            .arg(options.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs; `make setup-test` gets the test tools");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (answer, answers) = sync_channel(16);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let sent = serde_json::from_str(&line).map(|value| answer.send(value));
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
        });
        let phone = Phone { page: "main".into(), stdin: child.stdin.take(), child, answers, next: 0, name };
        let ready = phone.answers.recv_timeout(STEP);
        ready.unwrap_or_else(|_| panic!("{name} did not start; its driver says why above"));
        phone
    }

    /// One command of the driver with its fields; panics with the driver's error.
    pub fn ask(&mut self, op: &str, mut fields: Value, limit: Duration) -> Value {
        self.next += 1;
        fields["id"] = json!(self.next);
        fields["op"] = json!(op);
        fields["page"] = json!(self.page);
        let stdin = self.stdin.as_mut().expect("open until drop");
        writeln!(stdin, "{fields}").expect("the driver reads");
        let answer = self.answers.recv_timeout(limit);
        let answer =
            answer.unwrap_or_else(|_| panic!("{} did not finish {fields} within {limit:?}", self.name));
        assert!(
            answer["ok"] == true,
            "{} could not {fields}: {}",
            self.name,
            answer["error"].as_str().unwrap_or("")
        );
        answer["value"].clone()
    }

    /// Opens `url`.
    pub fn open(&mut self, url: &str) {
        self.ask("open", json!({ "url": url }), STEP);
    }

    /// Opens `url` with options of the driver: `width`, `height`, `dark`.
    pub fn open_with(&mut self, url: &str, mut options: Value) {
        options["url"] = json!(url);
        self.ask("open", options, STEP);
    }

    /// Opens `url` with every candidate port replaced by that of a relay on this machine.
    pub fn open_through(&mut self, url: &str, relays: &[(u16, u16)]) {
        let ports: serde_json::Map<String, Value> =
            relays.iter().map(|(port, relay)| (port.to_string(), json!(relay))).collect();
        self.ask("open", json!({ "url": url, "ports": ports }), STEP);
    }

    /// Signs in on the page and waits until the phone is usable.
    pub fn sign_in(&mut self, user: &str) {
        self.ask("signIn", json!({ "username": user, "password": PASSWORD }), STEP);
    }

    /// Types the number and presses Call.
    pub fn dial(&mut self, number: &str) {
        self.ask("dial", json!({ "number": number }), STEP);
    }

    /// Presses the button of this name.
    pub fn press(&mut self, name: &str) {
        self.ask("press", json!({ "name": name }), STEP);
    }

    /// Presses keys of the keypad, each held for its milliseconds.
    pub fn keypad(&mut self, keys: &[(char, u32)]) {
        let keys: Vec<Value> = keys.iter().map(|(key, ms)| json!([key.to_string(), ms])).collect();
        self.ask("keypad", json!({ "keys": keys }), Duration::from_secs(60));
    }

    /// Waits until the status region has said something matching the regular expression, after what was waited for
    /// last, and returns it. A state that has passed meanwhile counts.
    pub fn wait_status(&mut self, pattern: &str, limit: Duration) -> String {
        let fields = json!({ "pattern": pattern, "ms": limit.as_millis() as u64 });
        let said = self.ask("waitStatus", fields, limit + STEP);
        said.as_str().expect("text").to_owned()
    }

    /// Everything the status region has said.
    pub fn statuses(&mut self) -> Vec<String> {
        let all = self.ask("statuses", json!({}), STEP);
        all.as_array().expect("list").iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    /// Begins to record what the remote party's track plays.
    pub fn record(&mut self) {
        let state = self.ask("record", json!({}), STEP);
        assert_eq!(state, "running", "the recorder's AudioContext runs");
    }

    /// Ends the recording and writes it as 48 kHz mono WAV.
    pub fn stop_record(&mut self, file: &Path) -> Recording {
        let got = self.ask("stopRecord", json!({ "file": file }), STEP);
        let seconds = got["seconds"].as_f64().expect("seconds");
        Recording { seconds, peak: got["peak"].as_u64().expect("peak") }
    }

    /// A call of the browser with itself, over what its newest call's microphone says, with these parameters of Opus and
    /// through the relay that this gives.
    pub fn call_itself(&mut self, opus: &str) -> Relay {
        let place = self.evaluate(&format!("window.__e2e.callItself('{opus}')"));
        let place: SocketAddr = place.as_str().expect("text").parse().expect("a place to listen");
        let relay = Relay::start_to(place, 7);
        self.evaluate(&format!("window.__e2e.connectItself('{}', {})", place.ip(), relay.port));
        relay
    }

    /// Begins to record what the browser hears of itself.
    pub fn record_itself(&mut self) {
        let state = self.ask("record", json!({ "itself": true }), STEP);
        assert_eq!(state, "running", "the recorder's AudioContext runs");
    }

    /// Ends that recording and writes it as 48 kHz mono WAV.
    pub fn stop_record_itself(&mut self, file: &Path) {
        self.ask("stopRecord", json!({ "file": file, "itself": true }), STEP);
    }

    /// `getStats` of every open peer connection: list of `{connection, local, remote, reports}`.
    pub fn stats(&mut self) -> Vec<Value> {
        self.ask("stats", json!({}), STEP).as_array().expect("list").clone()
    }

    /// The first report of this type (and kind audio, where it has one) of the newest open peer connection.
    pub fn report(&mut self, kind: &str) -> Value {
        let all = self.stats();
        let reports = all.last().and_then(|pc| pc["reports"].as_array().cloned()).unwrap_or_default();
        let fits = |report: &&Value| {
            report["type"] == kind && (report["kind"].is_null() || report["kind"] == "audio")
        };
        reports.iter().find(fits).cloned().unwrap_or_else(|| panic!("no {kind} among {reports:?}"))
    }

    /// MIME types of the codecs that the newest open connection sends or receives with, each once; no digits.
    pub fn codecs(&mut self) -> Vec<String> {
        let all = self.stats();
        let reports = all.last().and_then(|pc| pc["reports"].as_array().cloned()).unwrap_or_default();
        let used = |id: &Value| {
            let stream = |one: &&Value| one["type"] == "inbound-rtp" || one["type"] == "outbound-rtp";
            reports.iter().filter(stream).any(|one| one["codecId"] == *id)
        };
        let codecs = reports.iter().filter(|one| one["type"] == "codec" && used(&one["id"]));
        let mut names: Vec<String> =
            codecs.filter_map(|one| one["mimeType"].as_str().map(str::to_owned)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Value of a JavaScript expression on the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        self.ask("evaluate", json!({ "expression": expression }), STEP)
    }

    /// Picture of the page.
    pub fn screenshot(&mut self, file: &Path) {
        self.ask("screenshot", json!({ "file": file }), STEP);
    }

    /// Everything the page shows as text.
    pub fn text(&mut self) -> String {
        self.ask("text", json!({}), STEP).as_str().expect("text").to_owned()
    }

    /// Console messages and errors of the page.
    pub fn console(&mut self) -> Vec<String> {
        let all = self.ask("console", json!({}), STEP);
        all.as_array().expect("list").iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        // The end of its input lets the driver close the browser.
        drop(self.stdin.take());
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
