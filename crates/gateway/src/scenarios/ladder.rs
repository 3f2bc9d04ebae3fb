//! The messages of all legs in one picture, drawn from the gateway's own trace.

use std::fmt::Write as _;

/// Width of the arrows' part of a line.
const ARROW: usize = 34;

/// Every message in the order in which the gateway saw it.
#[derive(PartialEq, Eq, Debug)]
pub struct Ladder {
    steps: Vec<Step>,
}

#[derive(PartialEq, Eq, Debug)]
struct Step {
    time: String,
    inbound: bool,
    peer: String,
    what: String,
}

impl Ladder {
    /// Reads a log in which traced messages stand.
    pub fn read(log: &str) -> Ladder {
        let mut lines = log.lines().peekable();
        let mut steps = Vec::new();
        while let Some(line) = lines.next() {
            let words: Vec<&str> = line.split(' ').collect();
            let [time, arrow @ ("<--" | "-->"), _, peer] = words[..] else { continue };
            let Some(first) = lines.next() else { break };
            let mut what = first.strip_prefix("SIP/2.0 ").unwrap_or(first).to_owned();
            if let Some((method, _)) = first.split_once(" sip") {
                what = method.to_owned();
            }
            let mut sdp = false;
            while let Some(line) = lines.next_if(|line| !line.contains(" <-- ") && !line.contains(" --> ")) {
                if let Some(value) = header(line, "CSeq") {
                    let _ = write!(what, " ({value})");
                }
                sdp |= line.starts_with("m=audio");
            }
            if sdp {
                what.push_str(" SDP");
            }
            let time = time.split(['T', 'Z']).nth(1).unwrap_or(time).to_owned();
            steps.push(Step { time, inbound: arrow == "<--", peer: peer.to_owned(), what });
        }
        Ladder { steps }
    }

    /// How often the gateway itself sent this request.
    pub fn sent(&self, method: &str) -> usize {
        let is = |step: &&Step| !step.inbound && step.what.split(' ').next() == Some(method);
        self.steps.iter().filter(is).count()
    }

    /// The caller on the left, everybody else on the right; `names` of ports stand beside addresses.
    pub fn draw(&self, names: &[(u16, String)]) -> String {
        let Some(first) = self.steps.first().map(|step| step.peer.clone()) else {
            return "no SIP message was seen\n".into();
        };
        let full = |peer: &str| {
            let port = peer.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
            let name = names.iter().find(|(p, _)| Some(*p) == port).map(|(_, name)| format!(" {name}"));
            format!("{peer}{}", name.unwrap_or_default())
        };
        let mut out = format!("{:13}{:ARROW$} webtrunk\n", "", full(&first));
        for step in &self.steps {
            let Step { time, inbound, peer, what } = step;
            let arrow = |towards_right: bool| {
                let label = format!(" {what} ");
                if towards_right {
                    format!("{label:-<w$}>", w = ARROW - 1)
                } else {
                    format!("<{label:->w$}", w = ARROW - 1)
                }
            };
            let _ = if *peer == first {
                writeln!(out, "{time:13}{} |", arrow(*inbound))
            } else {
                writeln!(out, "{time:13}{:ARROW$} | {} {}", "", arrow(!*inbound), full(peer))
            };
        }
        out
    }
}

fn header<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (field, value) = line.split_once(':')?;
    field.trim().eq_ignore_ascii_case(name).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "a line of the log\n\
        2026-01-02T10:00:00.000Z <-- udp 127.0.0.1:5070\nINVITE sip:100@127.0.0.1 SIP/2.0\nCSeq: 1 INVITE\n\nv=0\nm=audio 9 RTP/AVP 0\n\n\
        2026-01-02T10:00:00.001Z --> udp 127.0.0.1:5080\nINVITE sip:100@127.0.0.1 SIP/2.0\nCSeq: 7 INVITE\n\n\
        2026-01-02T10:00:00.002Z <-- udp 127.0.0.1:5080\nSIP/2.0 486 Busy Here\nCSeq: 7 INVITE\n\n";

    #[test]
    fn both_legs_stand_in_one_picture_with_time_arrow_and_description() {
        let drawn = Ladder::read(LOG).draw(&[(5080, "trunk".into())]);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 4, "{drawn}");
        assert!(lines[0].contains("127.0.0.1:5070") && lines[0].ends_with("webtrunk"), "{drawn}");
        assert!(
            lines[1].starts_with("10:00:00.000 ") && lines[1].contains(" INVITE (1 INVITE) SDP -"),
            "{drawn}"
        );
        assert!(
            lines[2].contains("|  INVITE (7 INVITE) -") && lines[2].ends_with("> 127.0.0.1:5080 trunk"),
            "{drawn}"
        );
        let seen = Ladder::read(LOG);
        assert_eq!((seen.sent("INVITE"), seen.sent("BYE")), (1, 0));
        assert!(lines[3].contains("| <-") && lines[3].contains("- 486 Busy Here (7 INVITE) "), "{drawn}");
    }

    #[test]
    fn a_log_without_messages_says_so() {
        assert_eq!(Ladder::read("nothing here\n").draw(&[]), "no SIP message was seen\n");
    }
}
