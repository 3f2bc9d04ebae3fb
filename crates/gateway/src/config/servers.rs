//! `server` and `servers` of a trunk.

use super::RankedServer;
use super::reader::{Findings, Item, Section};
use super::values::{self, Server};

/// Most servers of one trunk; DNS may give each of them several addresses.
const MOST: usize = 16;

/// Reads the one key or the other; none: neither can be used, which has been said.
pub fn servers(section: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Option<Vec<RankedServer>> {
    if !section.has("servers") {
        let one = section.required(found, "server", "\"sip.example.net\"");
        // Still asked for, so that the key counts as known.
        let _ = section.items(found, "servers");
        return Some(vec![RankedServer::only(one?.parse(found, |t| values::server(t))?)]);
    }
    // A preset's server gives way.
    if let Some(one) = section.string(found, "server").filter(|_| section.has_own("server")) {
        found.add(&one.span, one.key, "give either server or servers, not both");
    }
    let span = section.span().clone();
    let items = section.items(found, "servers")?;
    if items.is_empty() || items.len() > MOST {
        found.add(&span, section.key("servers"), format!("needs 1 to {MOST} servers"));
        return None;
    }
    let all: Vec<_> = items.into_iter().enumerate().map(|(i, item)| ranked(i, item, found)).collect();
    all.into_iter().collect()
}

/// Names in a list are tried one after the other; tables say it themselves.
fn ranked(index: usize, item: Item<'_, '_>, found: &mut Findings<'_>) -> Option<RankedServer> {
    match item {
        Item::Text(text) => {
            let server: Server = text.parse(found, |t| values::server(t))?;
            Some(RankedServer { server, priority: index as u16, weight: 1 })
        }
        Item::Table(mut table) => {
            let host = table.required(found, "host", "\"sip1.example.net\"");
            let server = host.and_then(|h| h.parse(found, |t| values::server(t)));
            let priority = table.integer(found, "priority", 0..=65_535).unwrap_or(0) as u16;
            let weight = table.integer(found, "weight", 0..=65_535).unwrap_or(1) as u16;
            table.finish(found);
            Some(RankedServer { server: server?, priority, weight })
        }
    }
}
