//! The tables, and their page `docs/QUALITY.md`.

use super::Where;
use super::chain::Band;
use super::lines::Impairment;
use loadgen::engine::Way;
use loadgen::quality::Call;
use media_bridge::codec::opus_packet;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Where the tables end and what other tests write begins.
pub const BROWSERS: &str = "## Browsers";

const HEAD: &str = "# How it sounds

Speech and its tables are written by `make test`, in it by `cargo nextest run -p e2e --test sound tables`, which fails where
one of these means is more than 0.3 beyond its goal; *Browsers*, *Connections* and *DTMF* by `make docs`, and `make test` checks
that their rows are there.

Natural speech of several readers goes through the built gateway in real time, all calls of a table at once, over lines
that lose packets by seeds. Browsers and phones are those of the load generator; the browsers' receiver is libopus. Each
clip is judged (PESQ, ITU-T P.862, python package `pesq`) beside the same clip through the codecs alone with the same
settings and the same losses: *4.15 of 4.16* is 4.15 through the gateway where codecs alone give 4.16, both means of all clips.
A browser is one that has heard of the loss in our reports and sends FEC at the rate that our answers ask for; each second it
reports what it loses itself, and our own encoder counts on that, on 10 % at least. A phone conceals what does not reach it.
In narrowband calls without loss the detector of clicks and gaps finds nothing that codecs alone do not have. Chromium and
Firefox themselves are scored under *Browsers*.

";

/// Mean scores of all clips at one place: through the gateway and of the codecs alone.
#[derive(Clone, Copy, Default, Debug)]
pub struct Cell {
    /// Through the gateway.
    pub gateway: f64,
    codecs: f64,
    clips: f64,
}

impl Cell {
    /// How much worse the gateway is than the codecs alone.
    pub fn behind(&self) -> f64 {
        self.codecs - self.gateway
    }

    fn add(&mut self, [gateway, codecs]: [f64; 2]) {
        let mean = |old: f64, new: f64| (old * self.clips + new) / (self.clips + 1.0);
        (self.gateway, self.codecs) = (mean(self.gateway, gateway), mean(self.codecs, codecs));
        self.clips += 1.0;
    }
}

/// What records say of one end of all calls of a row: packets and frames.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counted {
    /// That never came.
    pub lost: u64,
    /// Recovered.
    pub fec: u64,
    /// Made up.
    pub concealed: u64,
    /// That came too late.
    pub late: u64,
}

impl Counted {
    fn add(&mut self, media: &Value) {
        let of = |key: &str| media[key].as_u64().unwrap_or_else(|| panic!("{key} in {media}"));
        self.lost += of("lost");
        self.fec += of("fec_frames");
        self.concealed += of("plc_frames");
        self.late += of("late");
    }
}

/// Our Opus encoders in the calls of browsers on bad lines.
#[derive(Clone, Default, Debug)]
pub struct Encoders {
    /// What the browsers reported, 0 to 1.
    reports: Vec<f64>,
    /// What each encoder counted on at most, percent, by the record.
    expected: Vec<f64>,
    /// Packets, and those of them that carry FEC.
    packets: [u64; 2],
}

fn mean(all: &[f64]) -> f64 {
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

impl Encoders {
    /// Mean of the reports, 0 to 1.
    pub fn reported(&self) -> f64 {
        mean(&self.reports)
    }

    /// What an encoder counted on at most, percent, mean of all.
    pub fn expected(&self) -> f64 {
        mean(&self.expected)
    }

    /// The share of packets that carry FEC.
    pub fn with_fec(&self) -> f64 {
        self.packets[1] as f64 / self.packets[0].max(1) as f64
    }

    fn add(&mut self, call: &Call) {
        self.reports.extend(call.reports.iter().map(|report| f64::from(report.fraction_lost) / 256.0));
        let expected = &call.record["caller_media"]["expected_loss"];
        self.expected.push(expected.as_f64().unwrap_or_else(|| panic!("expected_loss in {}", call.record)));
        for packet in &call.heard[Way::ToBrowser as usize] {
            self.packets[0] += 1;
            self.packets[1] += u64::from(opus_packet::has_fec(&packet.payload));
        }
    }
}

/// One kind of line.
#[derive(Clone, Debug)]
pub struct Row {
    pub impairment: Impairment,
    /// Packets that the browsers' lines and the phones' lose.
    pub lost: [u64; 2],
    /// Of the browsers' records and of the phones'.
    pub counted: [Counted; 2],
    pub cells: BTreeMap<Where, Cell>,
    pub encoders: Encoders,
}

impl Row {
    pub fn new(impairment: Impairment) -> Row {
        let (counted, encoders) = ([Counted::default(); 2], Encoders::default());
        Row { impairment, lost: [0; 2], counted, cells: BTreeMap::new(), encoders }
    }

    /// One more clip.
    pub fn score(&mut self, place: Where, scores: [f64; 2]) {
        self.cells.entry(place).or_default().add(scores);
    }

    /// One more call, whose bad line is the browser's or the phone's.
    pub fn count(&mut self, browser: bool, lost: u64, call: &Call) {
        let (end, side) = if browser { (0, "caller_media") } else { (1, "callee_media") };
        self.lost[end] += lost;
        self.counted[end].add(&call.record[side]);
        if browser {
            self.encoders.add(call);
        }
    }
}

/// The page.
pub fn page(tables: &[(Band, f64, Vec<Row>)]) -> String {
    let mut text = HEAD.to_owned();
    for (band, goal, rows) in tables {
        let _ = writeln!(
            text,
            "## {}\n\nGoal: within {goal:.2} of the codecs alone; what is not stands in bold.\n",
            band.title()
        );
        scores(&mut text, *goal, rows);
        counters(&mut text, rows);
    }
    text
}

fn scores(text: &mut String, goal: f64, rows: &[Row]) {
    *text += "| on the line | browser to phone, lost before the gateway | lost after it \
              | phone to browser, lost before the gateway | lost after it |\n|---|---|---|---|---|\n";
    for row in rows {
        let _ = write!(text, "| {} |", row.impairment.name());
        for place in Where::ALL {
            let cell = row.cells.get(&place).map_or_else(String::new, |cell| {
                let bold = if cell.behind() > goal { "**" } else { "" };
                format!("{bold}{:.2} of {:.2}{bold}", cell.gateway, cell.codecs)
            });
            let _ = write!(text, " {cell} |");
        }
        *text += "\n";
    }
}

fn counters(text: &mut String, rows: &[Row]) {
    *text += "\nWhat the calls' records say, all clips together: of the browsers' Opus, then of the phones' packets; \
              then what browsers report of our Opus, what its encoders count on at most, and how many of its packets carry FEC.\n\n\
              | on the line | lost | recovered by FEC | concealed | late | lost | concealed | late | reported | counted on | with FEC |\n\
              |---|---|---|---|---|---|---|---|---|---|---|\n";
    for row in rows {
        let [browser, phone] = row.counted;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.1} % | {:.1} % | {:.0} % |",
            row.impairment.name(),
            browser.lost,
            browser.fec,
            browser.concealed,
            browser.late,
            phone.lost,
            phone.concealed,
            phone.late,
            row.encoders.reported() * 100.0,
            row.encoders.expected(),
            row.encoders.with_fec() * 100.0,
        );
    }
    *text += "\n";
}
