//! Debian's rtpengine as one that calls go through, driven over its ng protocol: a cookie, then a dictionary in bencode.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Fallible;
use crate::bencode::{Value, dict};
use crate::process::Measured;
use crate::sdp::{self, Codec};
use crate::subject::News;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// rtpengine.
pub struct Rtpengine {
    /// Its process.
    pub process: Measured,
    ng: UdpSocket,
    cookie: u32,
    codec: Codec,
    news: Vec<News>,
}

impl Rtpengine {
    /// Starts it in user space, one worker thread, for parties that speak `codec`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(dir: &Path, codec: Codec) -> Fallible<Rtpengine> {
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let listen = format!("--listen-ng=127.0.0.1:{port}");
        let arguments = [
            "--config-file=none",
            "--foreground",
            "--log-stderr",
            "--log-level=3",
            "--table=-1",
            "--interface=127.0.0.1",
            "--port-min=10000",
            "--port-max=31999",
            "--num-threads=1",
            // It sends what it transcoded from a thread of this kind.
            "--media-num-threads=1",
            // As our workers are.
            "--scheduling=rr",
            "--priority=1",
            "--dtls-passive",
            "--delete-delay=0",
            &listen,
        ];
        let log = dir.join("rtpengine.log");
        let process = Measured::start(Path::new("rtpengine"), &arguments, &log)?;
        let ng = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        ng.connect((Ipv4Addr::LOCALHOST, port))?;
        ng.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut rtpengine = Rtpengine { process, ng, cookie: 0, codec, news: Vec::new() };
        let pong = rtpengine.ask(&dict([("command", "ping".into())]));
        pong.map_err(|error| format!("rtpengine does not start: {error}; see {}", log.display()))?;
        Ok(rtpengine)
    }

    fn ask(&mut self, question: &Value) -> Fallible<Value> {
        self.cookie += 1;
        let cookie = format!("{} ", self.cookie);
        let mut message = cookie.clone().into_bytes();
        question.write(&mut message);
        let until = Instant::now() + PATIENCE;
        let mut buffer = [0; 16_384];
        while Instant::now() < until {
            // It may not listen yet; a repeated cookie is answered as the first time.
            let sent = self.ng.send(&message);
            while let (Ok(_), Ok(size)) = (&sent, self.ng.recv(&mut buffer)) {
                let Some(answer) = buffer[..size].strip_prefix(cookie.as_bytes()) else { continue };
                let answer = Value::read(answer).ok_or("an answer that is no bencode")?;
                return match answer.text("result") {
                    Some("ok" | "pong") => Ok(answer),
                    Some(_) | None => Err(format!("rtpengine says {:?}", answer.text("error-reason")).into()),
                };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("rtpengine does not answer".into())
    }

    /// A browser calls a party, which answers at once.
    ///
    /// # Errors
    /// When rtpengine refuses.
    pub fn call(&mut self, n: u32, offer: &str, party: SocketAddrV4) -> Fallible<()> {
        let call = format!("bench-{n}");
        let mut question = vec![
            ("command", "offer".into()),
            ("call-id", call.as_str().into()),
            ("from-tag", "browser".into()),
            ("sdp", offer.into()),
            ("ICE", "remove".into()),
            ("transport-protocol", "RTP/AVP".into()),
            ("rtcp-mux", ["demux"].into()),
            ("replace", ["origin"].into()),
        ];
        if self.codec != Codec::Pcmu || offer.contains("opus") {
            question.push((
                "codec",
                dict([("mask", ["opus"].into()), ("transcode", [self.codec.name()].into())]),
            ));
        }
        let pairs = question.into_iter().map(|(key, value): (&str, Value)| (key.as_bytes().to_vec(), value));
        let answer = self.ask(&Value::Dict(pairs.collect()))?;
        let towards = answer.text("sdp").and_then(sdp::read_party).ok_or("an offer that is none")?;
        let question = dict([
            ("command", "answer".into()),
            ("call-id", call.as_str().into()),
            ("from-tag", "browser".into()),
            ("to-tag", "party".into()),
            ("sdp", sdp::party(party, self.codec).as_str().into()),
            ("ICE", "force".into()),
            ("transport-protocol", "UDP/TLS/RTP/SAVPF".into()),
        ]);
        let answer = self.ask(&question)?;
        let sdp = answer.text("sdp").ok_or("an answer without a description")?.to_owned();
        self.news.push(News::Party { n, peer: towards.0, pt: towards.1 });
        self.news.push(News::Answer { n, sdp });
        Ok(())
    }

    /// Deletes a call.
    ///
    /// # Errors
    /// When rtpengine refuses.
    pub fn hang_up(&mut self, n: u32) -> Fallible<()> {
        let call = format!("bench-{n}");
        let question = dict([
            ("command", "delete".into()),
            ("call-id", call.as_str().into()),
            ("from-tag", "browser".into()),
        ]);
        self.ask(&question)?;
        self.news.push(News::Ended { n, why: "deleted".to_owned() });
        Ok(())
    }

    /// What has happened.
    pub fn turn(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }
}
