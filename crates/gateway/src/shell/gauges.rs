//! What `/metrics` shows beyond what is counted where it happens: levels, and the media plane's counters.

use std::collections::HashMap;
use std::time::Instant;

use b2bua::{CallStage, Cdr, CdrParty, Switch};
use media_bridge::control::{Codec, LegStats};
use media_io::MediaPlane;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use sip_ua::RegistrationState;
use types::EndReason;

use super::SipPort;

/// The words of `webtrunk_trunk_registration{state=…}`; exactly one of them is 1.
const REGISTRATION: [&str; 5] = ["none", "trying", "registered", "failed", "unregistered"];

/// Says what each name means, once, for `# HELP`.
pub fn describe() {
    describe_gauge!("webtrunk_calls", "Calls that are not over, by stage: setup, talking, closing.");
    describe_gauge!("webtrunk_browser_sessions", "Browser connections, signed in or not.");
    describe_gauge!("webtrunk_contacts", "Registered SIP devices.");
    describe_gauge!("webtrunk_sip_transactions", "SIP transactions alive.");
    describe_gauge!("webtrunk_sip_dialogs", "SIP dialogs alive.");
    describe_gauge!(
        "webtrunk_trunk_registration",
        "1 for the state that a trunk's registration is in, else 0."
    );
    describe_gauge!("webtrunk_trunk_reachable", "1: the trunk answered our last OPTIONS; 0: it did not.");
    describe_gauge!(
        "webtrunk_target_reachable",
        "1: a trunk's target answered our last request; 0: it did not."
    );
    describe_gauge!(
        "webtrunk_target_suspended",
        "1: a trunk's target failed lately and is tried after the others."
    );
    describe_counter!(
        "webtrunk_target_failures_total",
        "Times that a trunk's target failed: broken transports, silence, 503."
    );
    describe_gauge!("webtrunk_trunk_calls", "Calls on a trunk.");
    describe_gauge!(
        "webtrunk_trunk_addresses",
        "Addresses known of a trunk's server; 0: its name does not resolve."
    );
    describe_media();
    describe_refused();
}

/// Names of what is measured of every leg about every five seconds, by who is at it (browser, phone, trunk), and the limits
/// of their buckets.
const LEGS: [(&str, &[f64], &str); 4] = [
    (
        "webtrunk_leg_mos",
        &[1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 3.8, 4.0, 4.1, 4.2, 4.3, 4.4],
        "Mean opinion score of a leg's last five seconds, by the E-model.",
    ),
    (
        "webtrunk_leg_round_trip_seconds",
        &[0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0],
        "Round trip of a leg, by RTCP.",
    ),
    (
        "webtrunk_leg_jitter_seconds",
        &[0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2],
        "Interarrival jitter of what comes from a leg.",
    ),
    (
        "webtrunk_leg_loss_ratio",
        &[0.0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5],
        "Share of a leg's packets that could not be played in its last five seconds; direction in: from the peer; out: to it, \
         as it reports.",
    ),
];

/// Names of what is measured of calls when they are over, by party the last one, and the limits of their buckets.
const ENDED: [(&str, &[f64], &str); 3] = [
    (
        "webtrunk_browser_ice_seconds",
        &[0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0],
        "How long a browser took to choose a way to us, from when both descriptions were known.",
    ),
    (
        "webtrunk_browser_dtls_seconds",
        &[0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0],
        "How long a browser's DTLS handshake took, from when there was a way.",
    ),
    (
        "webtrunk_first_audio_seconds",
        &[0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0],
        "How long after the answer a party heard the other one first; 0: at once, or before.",
    ),
];

/// The recorder, with the buckets of what is measured of legs.
pub fn recorder() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for (name, limits, _) in LEGS.into_iter().chain(ENDED) {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), limits)?;
    }
    builder.install_recorder()
}

fn word(party: &CdrParty) -> &'static str {
    match party {
        CdrParty::Browser(_) => "browser",
        CdrParty::Softphone(_) => "phone",
        CdrParty::Trunk(_) => "trunk",
    }
}

/// Counts how a call came up that is over.
pub fn ended(cdr: &Cdr) {
    let [ice, dtls, first_audio] = ENDED.map(|(name, ..)| name);
    for (stats, party, heard) in [
        (&cdr.caller_media, Some(&cdr.caller), cdr.caller_first_audio),
        (&cdr.callee_media, cdr.callee.as_ref(), cdr.callee_first_audio),
    ] {
        let set_up = stats.as_ref().and_then(|stats| stats.set_up).unwrap_or_default();
        for (name, took) in [(ice, set_up.ice), (dtls, set_up.dtls)] {
            if let Some(took) = took {
                histogram!(name).record(took.as_secs_f64());
            }
        }
        if let (Some(party), Some(heard)) = (party, heard) {
            histogram!(first_audio, "party" => word(party)).record(heard.as_secs_f64());
        }
    }
}

/// Counts the last seconds of a leg of this party.
pub fn leg(stats: &LegStats, party: &CdrParty) {
    let [mos, round_trip, jitter, loss] = LEGS.map(|(name, ..)| name);
    let Some(moment) = &stats.moment else { return };
    let party = word(party);
    histogram!(mos, "party" => party).record(moment.mos);
    if let Some(us) = stats.rtt_us {
        histogram!(round_trip, "party" => party).record(f64::from(us) / 1e6);
    }
    if moment.loss_in.is_some() {
        histogram!(jitter, "party" => party).record(f64::from(stats.jitter_us) / 1e6);
    }
    for (direction, share) in [("in", moment.loss_in), ("out", moment.loss_out)] {
        if let Some(share) = share {
            histogram!(loss, "party" => party, "direction" => direction).record(share);
        }
    }
}

fn describe_media() {
    for (name, _, words) in LEGS.into_iter().chain(ENDED) {
        describe_histogram!(name, words);
    }
    describe_gauge!(
        "webtrunk_worker_load",
        "The share of its time in which a media worker does not wait, 0 to 1, over about a second."
    );
    describe_gauge!("webtrunk_worker_calls", "Calls that a media worker has.");
    describe_gauge!("webtrunk_worker_alive", "1: the media worker runs; 0: it has ended by a defect.");
    describe_gauge!(
        "webtrunk_opus_complexity",
        "libopus's complexity that a worker's load allows: what new encoders begin with, and the most of running ones."
    );
    describe_gauge!("webtrunk_calls_by_codecs", "Answered calls by what caller and callee speak.");
    describe_counter!(
        "webtrunk_calls_refused_total",
        "Calls turned away before they were calls, by reason: gateway-overloaded, gateway-stopping."
    );
    describe_gauge!("webtrunk_media_calls", "Calls that the media workers hold.");
    describe_gauge!("webtrunk_rtp_port_pairs_free", "Pairs of RTP ports that are free.");
    describe_counter!(
        "webtrunk_media_packets_total",
        "Datagrams by side (browser, rtp) and direction: in, out, and passed-on: from the media worker whose socket a browser \
         uses to the one that its leg has gone to."
    );
    describe_counter!(
        "webtrunk_media_dropped_total",
        "What was given up, by cause. unknown-sender: a datagram on a browser port that is nobody's. Packets at a leg \
         (counted with its statistics, every 5 s and at its end): wrong-source, too-early (before a description or \
         key), not-authentic, replayed, damaged, unknown-payload, out-of-sequence, late. wrong-size: an empty datagram or \
         one larger than any of ours. socket-error: a datagram that the system refused. no-port: a leg without a free RTP port. tcp-refused: a \
         browser's TCP connection beside too many of strangers. tcp-slow: a datagram for a browser that reads its TCP \
         connection too slowly or has closed it. event-queue-full: an event of a \
         media worker. mail-lost: what a media worker had for another that was too far behind. crashed: a call ended by \
         a defect."
    );
}

fn describe_refused() {
    describe_counter!(
        "webtrunk_sip_dropped_total",
        "SIP messages that got no answer, by reason. not-sip: no SIP message. From addresses that are no trunk's and no \
         registered device's: malformed; method: neither REGISTER nor INVITE; domain: not for ours; flood: too many; banned: \
         too many wrong passwords. denied: from an address that the configuration denies."
    );
    describe_counter!(
        "webtrunk_connections_refused_total",
        "Connections closed at once because their address had too many, by port: sip, http."
    );
    describe_gauge!("webtrunk_banned_addresses", "Addresses that hear nothing for having guessed passwords.");
    describe_counter!("webtrunk_calls_ended_total", "Calls that are over, by reason.");
    describe_counter!("webtrunk_browser_errors_total", "Errors told to browsers, by code.");
}

/// Brings all levels up to date.
pub fn measure(sip: &SipPort, switch: &Switch, media: &MediaPlane) {
    let mut stages = [0_u32; 3];
    for (_, stage) in switch.calls() {
        stages[match stage {
            CallStage::Setup => 0,
            CallStage::Talking => 1,
            CallStage::Closing => 2,
        }] += 1;
    }
    for (stage, count) in ["setup", "talking", "closing"].into_iter().zip(stages) {
        gauge!("webtrunk_calls", "stage" => stage).set(count);
    }
    gauge!("webtrunk_browser_sessions").set(switch.sessions() as f64);
    gauge!("webtrunk_contacts").set(switch.registrar().iter().count() as f64);
    gauge!("webtrunk_sip_transactions").set(sip.transactions() as f64);
    gauge!("webtrunk_sip_dialogs").set(sip.dialogs() as f64);
    counter!("webtrunk_connections_refused_total", "port" => "sip").absolute(sip.refused_connections());
    gauge!("webtrunk_banned_addresses").set(switch.banned(Instant::now()) as f64);
    for (reason, count) in switch.dropped() {
        counter!("webtrunk_sip_dropped_total", "reason" => reason.word()).absolute(count);
    }
    measure_calls(switch);
    for trunk in switch.trunks() {
        let now = registration_word(trunk.registration);
        for state in REGISTRATION {
            let labels = [("trunk", trunk.name.to_owned()), ("state", state.to_owned())];
            gauge!("webtrunk_trunk_registration", &labels).set(u32::from(state == now));
        }
        if let Some(there) = trunk.reachable {
            gauge!("webtrunk_trunk_reachable", "trunk" => trunk.name.to_owned()).set(u32::from(there));
        }
        gauge!("webtrunk_trunk_calls", "trunk" => trunk.name.to_owned()).set(trunk.calls);
        for target in &trunk.targets {
            let at = format!("{}:{}", target.target.transport().name(), target.target.remote());
            let labels = [("trunk", trunk.name.to_owned()), ("target", at)];
            if let Some(there) = target.reachable {
                gauge!("webtrunk_target_reachable", &labels).set(u32::from(there));
            }
            gauge!("webtrunk_target_suspended", &labels).set(u32::from(target.suspended));
            counter!("webtrunk_target_failures_total", &labels).absolute(target.failures);
        }
        gauge!("webtrunk_trunk_addresses", "trunk" => trunk.name.to_owned()).set(trunk.targets.len() as f64);
    }
    measure_media(media);
}

/// Every pair and reason each time: what is gone shows as 0.
fn measure_calls(switch: &Switch) {
    let mut pairs = HashMap::new();
    for pair in switch.codecs() {
        *pairs.entry(pair).or_insert(0_u32) += 1;
    }
    let all = Codec::ALL.iter().copied();
    for (caller, callee) in all.clone().flat_map(|caller| all.clone().map(move |callee| (caller, callee))) {
        let count = pairs.get(&(caller, callee)).copied().unwrap_or(0);
        let labels = [("caller", caller.name()), ("callee", callee.name())];
        gauge!("webtrunk_calls_by_codecs", &labels).set(count);
    }
    for reason in [EndReason::GatewayOverloaded, EndReason::GatewayStopping] {
        let count = switch.refused().find(|(r, _)| *r == reason).map_or(0, |(_, count)| count);
        counter!("webtrunk_calls_refused_total", "reason" => reason.word()).absolute(count);
    }
}

fn registration_word(state: Option<&RegistrationState>) -> &'static str {
    match state {
        None => "none",
        Some(RegistrationState::Trying) => "trying",
        Some(RegistrationState::Registered { .. }) => "registered",
        Some(RegistrationState::Failed { .. }) => "failed",
        Some(RegistrationState::Unregistered) => "unregistered",
    }
}

fn measure_media(media: &MediaPlane) {
    for (number, worker) in media.status().enumerate() {
        let labels = [("worker", number.to_string())];
        gauge!("webtrunk_worker_load", &labels).set(f64::from(worker.load));
        gauge!("webtrunk_worker_calls", &labels).set(worker.calls as f64);
        for (encoders, complexity) in [("new", worker.effort.least), ("running", worker.effort.most)] {
            let labels = [("worker", number.to_string()), ("encoders", encoders.to_owned())];
            gauge!("webtrunk_opus_complexity", &labels).set(complexity);
        }
        gauge!("webtrunk_worker_alive", &labels).set(u32::from(worker.alive));
    }
    let c = media.counters();
    gauge!("webtrunk_media_calls").set(c.calls as f64);
    gauge!("webtrunk_rtp_port_pairs_free").set(media.free_rtp_ports() as f64);
    for (side, direction, count) in [
        ("browser", "in", c.browser_in),
        ("browser", "out", c.browser_out),
        ("rtp", "in", c.rtp_in),
        ("rtp", "out", c.rtp_out),
        ("browser", "passed-on", c.passed_on),
    ] {
        counter!("webtrunk_media_packets_total", "side" => side, "direction" => direction).absolute(count);
    }
    for (cause, count) in [
        ("unknown-sender", c.browser_unknown),
        ("wrong-source", c.wrong_source),
        ("too-early", c.too_early),
        ("not-authentic", c.not_authentic),
        ("replayed", c.replayed),
        ("damaged", c.damaged),
        ("unknown-payload", c.unknown_payload),
        ("out-of-sequence", c.out_of_sequence),
        ("late", c.late),
        ("wrong-size", c.wrong_size),
        ("socket-error", c.socket_errors),
        ("no-port", c.no_port),
        ("tcp-refused", c.tcp_refused),
        ("tcp-slow", c.tcp_dropped),
        ("event-queue-full", c.events_lost),
        ("mail-lost", c.mail_lost),
        ("crashed", c.crashed),
    ] {
        counter!("webtrunk_media_dropped_total", "cause" => cause).absolute(count);
    }
}
