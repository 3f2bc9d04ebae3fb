//! JsSIP and SIP.js from npm, unchanged, in a page under the gateway's own origin (`tests/drivers/*_page.mjs`).

use crate::gateway::{Gateway, PASSWORD};
use crate::phone::Phone;
use serde_json::json;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A library and its page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Library {
    /// JsSIP 3.13.
    JsSip,
    /// SIP.js 0.21.
    SipJs,
}

impl Library {
    fn file(self) -> &'static str {
        match self {
            Library::JsSip => "jssip",
            Library::SipJs => "sipjs",
        }
    }
}

impl Phone {
    /// Opens the library's page in the current page and registers this user over `/sip`.
    pub fn register(&mut self, library: Library, gateway: &Gateway, user: &str) {
        // Any page of the gateway's own: the browser and the gateway check the origin of what opens the WebSocket.
        let url = format!("{}healthz", gateway.url());
        self.ask("open", json!({ "url": url, "library": library.file() }), LIMIT);
        self.register_again(gateway, user);
        self.wait_status("^registered$", LIMIT);
    }

    /// Registers on a page that is open.
    pub fn register_again(&mut self, gateway: &Gateway, user: &str) {
        let url = format!("ws://127.0.0.1:{}/sip", gateway.http);
        let account = json!({ "url": url, "user": user, "password": PASSWORD, "domain": "127.0.0.1" });
        self.client(&format!("register({account})"));
    }

    /// One command of `tests/drivers/client_page.mjs`, e.g. `call("+12025550100")`.
    pub fn client(&mut self, command: &str) {
        // Not the promise that it may give: the page says what comes of it.
        self.evaluate(&format!("void client.{command}"));
    }
}
