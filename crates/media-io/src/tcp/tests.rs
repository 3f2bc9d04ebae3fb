use super::*;
use crate::poll::Ready;

const LOOPBACK: &str = "127.0.0.1:0";

struct Door {
    poller: Poller,
    browsers: TcpBrowsers,
    address: SocketAddr,
    now: Instant,
}

impl Door {
    fn new() -> Door {
        let poller = Poller::new().unwrap();
        let listener = listen(LOOPBACK.parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let browsers = TcpBrowsers::new(poller.clone(), Some(listener)).unwrap();
        Door { poller, browsers, address, now: Instant::now() }
    }

    fn knock(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Does what one wait asks for; the datagrams that came.
    fn turn(&mut self) -> Vec<(Route, Vec<u8>)> {
        let mut ready = Ready::new();
        self.poller.wait(&mut ready, Some(Duration::from_secs(10))).unwrap();
        let mut got = Vec::new();
        for token in ready.tokens().collect::<Vec<_>>() {
            match token {
                Token::TcpDoor => assert_eq!(self.browsers.accept(self.now), 0),
                Token::Tcp(index) => {
                    self.browsers.handle_ready(index);
                    let mut data = Datagram::default();
                    while let Some(route) = self.browsers.next_datagram(index, &mut data) {
                        self.browsers.proved(index);
                        got.push((route, data.to_vec()));
                    }
                }
                Token::Wake | Token::Browsers | Token::Leg(_) => panic!("{token:?}"),
            }
        }
        got
    }

    fn open(&self) -> usize {
        self.browsers.by_ends.len()
    }
}

fn frame(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u16).to_be_bytes()[..], data].concat()
}

fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 16]), Ok(0))
}

#[test]
fn frames_come_whole_however_the_stream_is_cut_and_answers_are_framed() {
    // RFC 4571 §2; a null packet is ignored.
    let mut door = Door::new();
    let mut browser = door.knock();
    door.turn();
    let all = [frame(b"first"), frame(b""), frame(&[7; 1_500]), frame(b"last")].concat();
    let mut got = Vec::new();
    for part in [&all[..1], &all[1..4], &all[4..900], &all[900..]] {
        browser.write_all(part).unwrap();
        got.extend(door.turn());
    }
    let datagrams: Vec<&[u8]> = got.iter().map(|(_, data)| data.as_slice()).collect();
    assert_eq!(datagrams, [b"first", &[7; 1_500][..], b"last"]);
    let route = got[0].0;
    assert_eq!((route.transport, route.local), (Transport::Tcp, door.address));
    assert_eq!(route.remote, browser.local_addr().unwrap());
    assert!(door.browsers.send(route, b"answer"));
    let mut answer = [0; 8];
    browser.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"\0\x06answer");
}

#[test]
fn a_stream_that_is_no_frames_is_closed() {
    let mut door = Door::new();
    let mut stranger = door.knock();
    door.turn();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(door.turn(), []);
    assert_eq!(door.open(), 0);
    let read = stranger.read(&mut [0; 16]);
    assert!(matches!(&read, Ok(0)) || read.is_err(), "{read:?}");
}

#[test]
fn a_connection_of_no_session_is_closed_after_ten_seconds_and_one_of_a_session_is_not() {
    let mut door = Door::new();
    let (mut stranger, mut browser) = (door.knock(), door.knock());
    while door.open() < 2 {
        door.turn();
    }
    browser.write_all(&frame(b"check")).unwrap();
    let route = door.turn()[0].0;
    for _ in 0..9 {
        door.now += Duration::from_secs(1);
        door.browsers.sweep(door.now, |of| of == route);
        assert_eq!(door.open(), 2);
    }
    door.now += Duration::from_secs(2);
    door.browsers.sweep(door.now, |of| of == route);
    assert_eq!(door.open(), 1);
    assert!(is_closed(&mut stranger));
    // Its session ends: ten seconds more.
    for _ in 0..12 {
        door.now += Duration::from_secs(1);
        door.browsers.sweep(door.now, |_| false);
    }
    assert_eq!((door.open(), door.browsers.poll_timeout()), (0, None));
    assert!(is_closed(&mut browser));
    assert!(!door.browsers.send(route, b"late"));
}

#[test]
fn a_browser_that_does_not_read_loses_whole_datagrams_and_nobody_waits() {
    let mut door = Door::new();
    let mut browser = door.knock();
    door.turn();
    browser.write_all(&frame(b"check")).unwrap();
    let route = door.turn()[0].0;
    let datagram = |n: u32| [&n.to_be_bytes()[..], &[9; 996]].concat();
    let sent: Vec<u32> = (0..20_000).filter(|n| door.browsers.send(route, &datagram(*n))).collect();
    assert!(sent.len() < 15_000, "{} of 20000 were taken", sent.len());
    // What was taken arrives, whole and in order, as soon as it reads; then there is room again.
    let reader = std::thread::spawn({
        let count = sent.len();
        move || {
            let mut numbers = Vec::new();
            for _ in 0..count {
                let mut whole = [0; 1_002];
                browser.read_exact(&mut whole).unwrap();
                assert_eq!(whole[..2], [3, 232]);
                numbers.push(u32::from_be_bytes(whole[2..6].try_into().unwrap()));
            }
            (numbers, browser)
        }
    });
    while door.browsers.open.iter().flatten().any(|c| !c.backlog.is_empty()) {
        door.turn();
    }
    let (numbers, _browser) = reader.join().unwrap();
    assert_eq!(numbers, sent);
    assert!(door.browsers.send(route, b"again"));
}

#[test]
fn strangers_beyond_the_bound_are_turned_away_and_browsers_of_sessions_are_not_counted() {
    let mut door = Door::new();
    let ip: IpAddr = "198.51.100.7".parse().unwrap();
    let mut held = Vec::new();
    for _ in 0..limits::TCP_STRANGERS_PER_ADDRESS {
        assert!(door.browsers.has_room(ip));
        held.push(door.knock());
        let before = door.open();
        while door.open() == before {
            door.turn();
        }
        // As if it came from there.
        door.browsers.open.iter_mut().flatten().for_each(|c| c.route.remote.set_ip(ip));
    }
    assert!(!door.browsers.has_room(ip), "one address");
    assert!(door.browsers.has_room("198.51.100.8".parse().unwrap()), "another one");
    door.browsers.proved(0);
    assert!(door.browsers.has_room(ip), "one of them proved to be a browser");
}

#[test]
fn a_browser_that_closes_its_connection_is_forgotten() {
    let mut door = Door::new();
    let browser = door.knock();
    door.turn();
    assert_eq!(door.open(), 1);
    drop(browser);
    door.turn();
    assert_eq!(door.open(), 0);
}
