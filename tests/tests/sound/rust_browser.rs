//! The media plane against a browser of another make, over real sockets on loopback, without signalling between them.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use e2e::browser::{RustBrowser, Voice};
use media_bridge::control::{
    Bandwidth, CallCommand, CallEvent, Codec, Command, Event, LegKind, LegParams, Source,
};
use media_io::{MediaConfig, MediaPlane};
use types::{CallId, Entropy, LegId, WorkerId};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const BROWSER: LegId = LegId(0);
const PHONE: LegId = LegId(1);
const SOON: Duration = Duration::from_secs(30);

/// The system's randomness, as the gateway uses it.
struct Urandom(std::fs::File);

impl Entropy for Urandom {
    fn fill(&mut self, out: &mut [u8]) {
        std::io::Read::read_exact(&mut self.0, out).unwrap();
    }
}

struct Bench {
    plane: MediaPlane,
    events: Receiver<CallEvent>,
}

impl Bench {
    fn start(first_port: u16) -> Bench {
        let config = MediaConfig {
            workers: 2,
            candidates: vec![LOOPBACK],
            rtp_ports: first_port..=first_port + 19,
            ..MediaConfig::default()
        };
        let (sender, events) = sync_channel(8192);
        let entropy =
            || -> Box<dyn Entropy> { Box::new(Urandom(std::fs::File::open("/dev/urandom").unwrap())) };
        let send = move |ready: &mut VecDeque<CallEvent>| {
            ready.drain(..).for_each(|event| sender.try_send(event).unwrap());
        };
        Bench { plane: MediaPlane::start(config, Arc::new(entropy), Arc::new(send)).unwrap(), events }
    }

    fn tell(&self, call: u64, command: Command) {
        self.plane.send(WorkerId((call % 2) as u8), CallCommand { call: CallId(call), command }).unwrap();
    }

    fn wait<T>(&self, call: u64, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        let mut passed = Vec::new();
        while let Ok(event) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if event.call == CallId(call) {
                passed.push(format!("{:?}", event.event));
                if let Some(found) = pick(event.event) {
                    return found;
                }
            }
        }
        panic!("call {call} never told {what}, but {passed:#?}");
    }

    fn answer(&self, call: u64, leg: LegId, params: LegParams, offer: String) -> String {
        self.tell(call, Command::Answer { leg, params, offer: offer.into_bytes() });
        self.wait(call, "its answer", |event| {
            let Event::LocalSdp { leg: answered, sdp, .. } = event else { return None };
            (answered == leg).then(|| String::from_utf8(sdp).unwrap())
        })
    }

    fn browser_leg(codec: Codec) -> LegParams {
        LegParams { bandwidth: Bandwidth::Narrow, ..LegParams::new(LegKind::WebRtc, &[codec]) }
    }

    fn connect(&self, call: u64, browser: &RustBrowser, codec: Codec) {
        let answer = self.answer(call, BROWSER, Bench::browser_leg(codec), browser.offer());
        browser.set_answer(&answer);
        browser.wait_connected();
        self.wait(call, "that the browser is connected", |event| {
            (event == Event::Connected { leg: BROWSER }).then_some(())
        });
    }

    /// A trunk leg towards `phone`; our address of it.
    fn dial(&self, call: u64, phone: &UdpSocket) -> SocketAddr {
        let params = LegParams {
            bandwidth: Bandwidth::Narrow,
            local: Some(LOOPBACK),
            ..LegParams::new(LegKind::Rtp, &[Codec::Pcmu])
        };
        let port = phone.local_addr().unwrap().port();
        let offer = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
        );
        let answer = self.answer(call, PHONE, params, offer);
        let port = answer.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap();
        SocketAddr::new(LOOPBACK, port.parse().unwrap())
    }

    fn bridge(&self, call: u64) {
        self.tell(call, Command::SetSource { leg: BROWSER, source: Source::Leg(PHONE) });
        self.tell(call, Command::SetSource { leg: PHONE, source: Source::Leg(BROWSER) });
    }
}

fn phone() -> UdpSocket {
    let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// RTP packets that come until nothing comes for a second, at most `limit`: payload type, sequence, timestamp, payload.
fn receive(phone: &UdpSocket, limit: Duration) -> Vec<(u8, u16, u32, Vec<u8>)> {
    let end = Instant::now() + limit;
    phone.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut buf = [0; 2000];
    let mut got = Vec::new();
    while Instant::now() < end {
        let Ok((n, _)) = phone.recv_from(&mut buf) else { break };
        let data = &buf[..n];
        let seq = u16::from_be_bytes([data[2], data[3]]);
        let timestamp = u32::from_be_bytes(data[4..8].try_into().unwrap());
        got.push((data[1] & 0x7f, seq, timestamp, data[12..].to_vec()));
    }
    got
}

/// 20 ms of Opus silence (narrowband, SILK, one frame): what matters here is that it decodes.
const OPUS_FRAME: [u8; 3] = [0x08, 0xff, 0xfe];

#[test]
fn a_browser_hears_its_echo_in_opus_and_in_pcmu() {
    let bench = Bench::start(18_100);
    for (call, voice, codec) in [(1, Voice::Opus, Codec::Opus), (2, Voice::Pcmu, Codec::Pcmu)] {
        let mut browser = RustBrowser::new(voice, LOOPBACK);
        bench.connect(call, &browser, codec);
        bench.tell(call, Command::SetSource { leg: BROWSER, source: Source::Echo });
        let frame = if voice == Voice::Opus { OPUS_FRAME.to_vec() } else { vec![0x55; 160] };
        browser.speak_for(Duration::from_secs(1), &frame);
        assert!(browser.wait_heard(voice.pt(), 40, SOON), "{} packets came back", browser.heard().len());
        let heard = browser.heard();
        assert!(heard.iter().all(|h| h.payload == frame && h.ssrc == heard[0].ssrc));
        assert!(heard.windows(2).all(|w| w[1].seq == w[0].seq.wrapping_add(1)));
        browser.close();
        bench.tell(call, Command::Close);
        bench.wait(call, "its end", |event| (event == Event::Closed).then_some(()));
    }
    assert_eq!(bench.plane.counters().calls, 0);
}

#[test]
fn a_browser_in_opus_and_a_phone_in_pcmu_hear_each_other() {
    let bench = Bench::start(18_120);
    let mut browser = RustBrowser::new(Voice::Opus, LOOPBACK);
    let phone = phone();
    bench.connect(1, &browser, Codec::Opus);
    let gateway = bench.dial(1, &phone);
    bench.bridge(1);
    let talking = {
        let phone = phone.try_clone().unwrap();
        std::thread::spawn(move || {
            for seq in 0..100_u16 {
                let mut packet = vec![0x80, 0];
                packet.extend_from_slice(&seq.to_be_bytes());
                packet.extend_from_slice(&(u32::from(seq) * 160).to_be_bytes());
                packet.extend_from_slice(&[1, 2, 3, 4]);
                packet.extend_from_slice(&[0x10; 160]);
                phone.send_to(&packet, gateway).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    browser.speak_for(Duration::from_secs(2), &OPUS_FRAME);
    talking.join().unwrap();
    assert!(browser.wait_heard(111, 90, SOON), "{} packets reached the browser", browser.heard().len());
    let got = receive(&phone, Duration::from_secs(1));
    assert!(got.len() >= 90, "{} packets reached the phone", got.len());
    assert!(got.iter().all(|(pt, _, _, payload)| *pt == 0 && payload.len() == 160));
    assert!(got.windows(2).all(|w| w[1].1 == w[0].1.wrapping_add(1)));
}

#[test]
fn digits_pass_between_the_clocks_of_browser_and_phone() {
    // Field problem 16: telephone-event/48000 on one side, /8000 on the other.
    let bench = Bench::start(18_140);
    let mut browser = RustBrowser::new(Voice::Opus, LOOPBACK);
    let phone = phone();
    bench.connect(1, &browser, Codec::Opus);
    let gateway = bench.dial(1, &phone);
    bench.bridge(1);
    phone.send_to(&[0x80, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 0xff, 0xff], gateway).unwrap();
    browser.speak_for(Duration::from_millis(200), &OPUS_FRAME);
    for (digit, ms) in [('1', 80), ('5', 200), ('#', 120)] {
        browser.press(digit, Duration::from_millis(ms));
        browser.speak_for(Duration::from_millis(200), &OPUS_FRAME);
    }
    let mut events: Vec<(u32, u8, u16)> = Vec::new();
    for (_, _, timestamp, payload) in receive(&phone, Duration::from_secs(3)).iter().filter(|p| p.0 == 101) {
        let duration = u16::from_be_bytes([payload[2], payload[3]]);
        match events.iter_mut().find(|e| e.0 == *timestamp) {
            Some(event) => event.2 = event.2.max(duration),
            None => events.push((*timestamp, payload[0], duration)),
        }
    }
    let digits: Vec<u8> = events.iter().map(|e| e.1).collect();
    assert_eq!(digits, [1, 5, 11], "{events:?}");
    for (event, ms) in events.iter().zip([80_u16, 200, 120]) {
        assert!(event.2.abs_diff(ms * 8) <= 160, "{event:?} was pressed for {ms} ms");
    }
    bench.tell(1, Command::SendDtmf { leg: BROWSER, digit: '7', duration: Duration::from_millis(160) });
    assert!(browser.wait_heard(110, 6, SOON));
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(browser.digits(), [('7', 160 * 48)]);
}

#[test]
fn an_ice_restart_goes_on_with_the_same_stream() {
    let bench = Bench::start(18_200);
    let mut browser = RustBrowser::new(Voice::Pcmu, LOOPBACK);
    bench.connect(1, &browser, Codec::Pcmu);
    bench.tell(1, Command::SetSource { leg: BROWSER, source: Source::Echo });
    browser.speak_for(Duration::from_millis(500), &[0x11; 160]);
    let first = bench.answer(1, BROWSER, Bench::browser_leg(Codec::Pcmu), browser.offer_ice_restart());
    browser.set_answer(&first);
    // This browser sends nothing until its new pair is checked, some 200 ms.
    browser.speak_for(Duration::from_secs(2), &[0x22; 160]);
    let heard_new = || browser.heard().iter().filter(|h| h.payload == [0x22; 160]).count();
    let deadline = Instant::now() + SOON;
    while heard_new() < 60 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(heard_new() >= 60, "{} packets after the restart", heard_new());
    let heard = browser.heard();
    assert!(heard.iter().all(|h| h.ssrc == heard[0].ssrc), "one stream for the whole call (field problem 2)");
    let steps = heard.windows(2).map(|w| w[1].seq.wrapping_sub(w[0].seq));
    assert!(steps.clone().all(|step| step < 100), "its numbers go on: {:?}", steps.max());
}

#[test]
fn a_browser_that_closes_is_reported_as_lost() {
    let bench = Bench::start(18_160);
    let browser = RustBrowser::new(Voice::Opus, LOOPBACK);
    bench.connect(1, &browser, Codec::Opus);
    browser.close();
    let lost = Event::Lost { leg: BROWSER, why: "the browser closed the session".to_owned() };
    bench.wait(1, "that the browser is gone", |event| (event == lost).then_some(()));
}

#[test]
fn twenty_browsers_share_two_sockets() {
    let bench = Bench::start(18_180);
    let mut browsers: Vec<RustBrowser> = (0..20).map(|_| RustBrowser::new(Voice::Pcmu, LOOPBACK)).collect();
    for (call, browser) in browsers.iter().enumerate() {
        bench.connect(call as u64, browser, Codec::Pcmu);
        bench.tell(call as u64, Command::SetSource { leg: BROWSER, source: Source::Echo });
    }
    for _ in 0..25 {
        for (n, browser) in browsers.iter_mut().enumerate() {
            browser.speak(&[n as u8; 160]);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for (n, browser) in browsers.iter().enumerate() {
        assert!(browser.wait_heard(0, 20, SOON), "browser {n} heard {}", browser.heard().len());
        assert!(browser.heard().iter().all(|h| h.payload == [n as u8; 160]), "browser {n} heard another one");
    }
    assert_eq!(bench.plane.counters().browser_unknown, 0);
}
