//! G.722 with real parties: a browser and a trunk that hear each other above 4 kHz, a browser whose G.722 and PCMU
//! pass untouched, and baresip's G.722 (spandsp's) transcoded to PCMU.

use e2e::baresip::{Account, Baresip};
use e2e::gateway::{Gateway, Setup};
use e2e::pesq;
use e2e::phone::Phone;
use e2e::process::{wait_calm, wait_for};
use e2e::rtp::RtpParty;
use e2e::sipp::{Running, Sipp};
use e2e::speech::{read_wav, speech, write_wav};
use media_bridge::codec::{Encoder, WIDE, g722};
use media_bridge::control::Codec;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A gateway whose carrier has G.722 and answers with the RTP party's port.
fn carrier() -> (Gateway, Running, RtpParty) {
    let party = RtpParty::start();
    let mut sipp = Sipp::scenario("outbound_g722_echo");
    (sipp.rtp_port, sipp.timeout) = (Some(party.port), 120);
    let trunk_keys = "codecs = [\"g722\"]".to_owned();
    let gateway = Gateway::run(&Setup { trunk_keys, ..Setup::with_trunk(sipp.port) });
    (gateway, sipp.start(), party)
}

fn call(phone: &mut Phone, gateway: &Gateway) {
    phone.open(&gateway.url());
    phone.sign_in("alice");
    phone.wait_status("^Ready", LIMIT);
    phone.dial("+12025550100");
    phone.wait_status("^In call$", LIMIT);
}

fn encoded(pcm: &[i16]) -> Vec<u8> {
    let mut out = Vec::new();
    g722::Encoder::default().encode(pcm, &mut out);
    out
}

fn decoded(payload: &[u8]) -> Vec<i16> {
    let mut pcm = vec![0; 2 * payload.len()];
    g722::Decoder::default().decode(payload, &mut pcm);
    pcm
}

/// What the trunk heard; loopback loses nothing and keeps the order.
fn heard(party: &RtpParty) -> Vec<i16> {
    let all = party.heard();
    assert!(all.iter().all(|one| one.pt == 9 && one.payload.len() == 160), "20 ms of G.722 each");
    let steps = all.windows(2).filter(|two| two[1].timestamp.wrapping_sub(two[0].timestamp) == 160);
    assert!(steps.count() * 10 > all.len() * 9, "its clock is 8000 Hz");
    decoded(&all.iter().flat_map(|one| one.payload.clone()).collect::<Vec<u8>>())
}

/// How the page and the trunk can hear the clip at best, through both codecs and no network.
fn best(dir: &Path) -> (f64, f64) {
    let wide = read_wav(&speech().wide);
    let mut browser =
        opus::Encoder::new(WIDE, opus::Channels::Mono, opus::Application::Voip).expect("encoder");
    browser.set_bitrate(opus::Bitrate::Bits(32_000)).expect("bitrate");
    browser.set_inband_fec(true).expect("FEC");
    let mut ours = opus::Decoder::new(WIDE, opus::Channels::Mono).expect("decoder");
    let mut encoder = Encoder::new(Codec::Opus, WIDE).expect("encoder");
    let mut page = opus::Decoder::new(48_000, opus::Channels::Mono).expect("decoder");
    let (mut at_page, mut at_trunk) = (Vec::new(), Vec::new());
    for frame in decoded(&encoded(&wide)).as_chunks::<320>().0 {
        let (mut packet, mut samples) = (Vec::new(), [0; 960]);
        encoder.encode(frame, &mut packet).expect("encoded");
        page.decode(&packet, &mut samples, false).expect("decoded");
        at_page.extend(samples);
    }
    for frame in wide.as_chunks::<320>().0 {
        let mut samples = [0; 320];
        ours.decode(&browser.encode_vec(frame, 1500).expect("encoded"), &mut samples, false)
            .expect("decoded");
        at_trunk.extend(samples);
    }
    let (page, trunk) = (dir.join("offline-page.wav"), dir.join("offline-trunk.wav"));
    write_wav(&page, &at_page, 48_000);
    write_wav(&trunk, &decoded(&encoded(&at_trunk)), WIDE);
    (pesq::score_wide(&speech().wide, &page), pesq::score_wide(&speech().wide, &trunk))
}

/// Speech both ways at once: how the page and the trunk heard it, and the best that either could.
fn scores() -> [(f64, f64); 2] {
    let (gateway, sipp, mut party) = carrier();
    let mut phone = Phone::chromium(Some(&speech().microphone));
    call(&mut phone, &gateway);
    phone.record();
    let mut said = vec![0; 2 * WIDE as usize];
    said.extend(read_wav(&speech().wide));
    party.play(9, &encoded(&said));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(phone.codecs(), ["audio/opus"]);
    let (at_page, at_trunk) = (gateway.dir.join("page.wav"), gateway.dir.join("trunk.wav"));
    phone.stop_record(&at_page);
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    sipp.finish().must_pass();
    write_wav(&at_trunk, &heard(&party), WIDE);
    let cdr = &gateway.wait_cdrs(1)[0];
    assert_eq!(cdr["callee_media"]["codec"], "g722");
    let (best_page, best_trunk) = best(&gateway.dir);
    let wide = &speech().wide;
    [(pesq::score_wide(wide, &at_page), best_page), (pesq::score_wide(wide, &at_trunk), best_trunk)]
}

/// The goal is 0.25 below what both codecs alone give; 0.3 below the goal fails. A busy machine costs a browser some
/// frames: a call that fails is made once more.
#[test]
fn chromium_and_a_trunk_with_g722_hear_each_other_in_wideband() {
    let fails = |scores: &[(f64, f64); 2]| scores.iter().any(|(heard, best)| *heard < best - 0.55);
    let mut all = scores();
    if fails(&all) {
        wait_calm(Duration::from_secs(20));
        all = scores();
    }
    for (where_, (heard, best)) in ["at the page", "at the trunk"].iter().zip(&all) {
        eprintln!("{where_} {heard:.2} of wideband PESQ, goal {:.2}", best - 0.25);
    }
    assert!(!fails(&all), "{all:?}");
}

/// What the party heard of this codec, decoded.
fn heard_of(party: &RtpParty, codec: &str) -> Vec<i16> {
    if codec == "g722" { heard(party) } else { party.pcmu() }
}

/// Speech both ways through a call of the open page, in this codec on both sides.
fn passes_untouched(phone: &mut Phone, gateway: &Gateway, codec: &str, number: &str, party: &mut RtpParty) {
    phone.dial(number);
    phone.wait_status("^In call$", LIMIT);
    phone.record();
    let (pt, audio) = match codec {
        "g722" => (9, encoded(&read_wav(&speech().wide)[..32_000])),
        _ => (0, std::fs::read(&speech().mulaw).expect("speech")[..16_000].to_vec()),
    };
    party.play(pt, &audio);
    let loud = |party: &RtpParty| heard_of(party, codec).iter().any(|sample| sample.unsigned_abs() > 3000);
    wait_for(LIMIT, "the page's speech at the trunk", || loud(party).then_some(()));
    assert!(party.heard().iter().all(|one| one.pt == pt && one.payload.len() == 160), "20 ms each");
    let both_ways = ["inbound-rtp", "outbound-rtp"].map(|way| phone.report(way)["codecId"].clone());
    assert!(both_ways.iter().all(|id| id.is_string()), "{both_ways:?}");
    assert_eq!(phone.codecs(), [format!("audio/{}", codec.to_uppercase())]);
    let pair = |line: &&str| line.starts_with("webtrunk_calls_by_codecs{") && !line.ends_with(" 0");
    let pairs = || {
        let (_, metrics) = gateway.get("/metrics")?;
        let all: Vec<String> = metrics.lines().filter(pair).map(str::to_owned).collect();
        (!all.is_empty()).then_some(all)
    };
    let same = format!("webtrunk_calls_by_codecs{{caller=\"{codec}\",callee=\"{codec}\"}} 1");
    assert_eq!(wait_for(LIMIT, "the pair of codecs", pairs), [same], "nothing is transcoded");
    let got = phone.stop_record(&gateway.dir.join(format!("{codec}.wav")));
    assert!(got.peak > 3000, "the page heard the trunk: {got:?}");
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
}

/// Trunks with one codec each and nothing transcoded: what Chromium sends is that codec.
#[test]
fn with_passthrough_the_g722_and_pcmu_of_chromium_go_to_the_trunk_untouched() {
    let mut parties = [RtpParty::start(), RtpParty::start()];
    let mut toml = String::new();
    let mut carriers = Vec::new();
    let trunks = [("g722", "+1202*", "outbound_g722_echo"), ("pcmu", "+1303*", "outbound_answer_echo")];
    for ((codec, numbers, scenario), party) in trunks.iter().zip(&parties) {
        let mut sipp = Sipp::scenario(scenario);
        (sipp.rtp_port, sipp.timeout) = (Some(party.port), 120);
        toml += &format!(
            "[[trunks]]\nname = \"{codec}\"\nserver = \"127.0.0.1:{}\"\ncodecs = [\"{codec}\"]\n\
             codec_policy = \"passthrough\"\n[[routes]]\nmatch = \"{numbers}\"\nto = [\"trunk:{codec}\"]\n",
            sipp.port
        );
        carriers.push(sipp.start());
    }
    let gateway = Gateway::run(&Setup { toml, ..Setup::default() });
    let mut phone = Phone::chromium(Some(&speech().long_microphone));
    phone.open(&gateway.url());
    phone.sign_in("alice");
    phone.wait_status("^Ready", LIMIT);
    for ((codec, number), party) in
        [("g722", "+12025550100"), ("pcmu", "+13035550100")].iter().zip(&mut parties)
    {
        passes_untouched(&mut phone, &gateway, codec, number, party);
    }
    for carrier in carriers {
        carrier.finish().must_pass();
    }
    for (cdr, codec) in gateway.wait_cdrs(2).iter().zip(["g722", "pcmu"]) {
        for side in ["caller_media", "callee_media"] {
            assert_eq!(cdr[side]["codec"], codec, "{cdr}");
            assert!(cdr[side]["packets_in"].as_u64() > Some(80), "{cdr}");
        }
    }
}

#[test]
fn a_softphone_with_g722_hears_itself_through_a_trunk_with_pcmu() {
    let mut sipp = Sipp::scenario("outbound_answer_echo").echo();
    sipp.timeout = 60;
    let gateway = Gateway::run(&Setup::with_trunk(sipp.port));
    let sipp = sipp.start();
    let mut phone =
        Baresip::start(&Account { g722: true, ..Account::new("alice", gateway.sip, &speech().wide) });
    phone.wait_registered(LIMIT);
    phone.command("dial", &format!("sip:+12025550100@127.0.0.1:{};transport=udp", gateway.sip));
    phone.wait_event("CALL_ESTABLISHED", LIMIT);
    phone.wait_event("CALL_CLOSED", Duration::from_secs(20));
    sipp.finish().must_pass();
    // The reference through mu-law alone scores 4.40, G.722 twice 4.3.
    let score = pesq::score(&speech().reference, &phone.heard());
    eprintln!("G.722 to PCMU and back: {score:.2}, goal 4.10");
    assert!(score > 3.8, "PESQ {score}");
    let cdr = &gateway.wait_cdrs(1)[0];
    let codecs = (&cdr["caller_media"]["codec"], &cdr["callee_media"]["codec"]);
    assert_eq!(codecs, (&"g722".into(), &"pcmu".into()));
}
