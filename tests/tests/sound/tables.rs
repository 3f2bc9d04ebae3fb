//! How natural speech sounds through the built gateway over bad lines, beside what the codecs alone make of it: many calls
//! at once, browsers and phones of the load generator, the browsers' receiver libopus. `docs/QUALITY.md` holds the tables.

mod chain;
mod clips;
mod document;
mod lines;

use chain::{
    AFTER, BEFORE, BROWSER_RATE, Band, Packets, best_to_browser, best_to_phone, opus_heard, over,
    phone_conceals, phone_hears,
};
use clips::Clip;
use document::Row;
use e2e::gateway::binary;
use e2e::pesq;
use e2e::ports::{root, tools_dir};
use e2e::process::wait_calm;
use e2e::speech::write_wav;
use lines::Impairment;
use loadgen::engine::{Heard, Speech, Way};
use loadgen::line::Line;
use loadgen::quality::{Call, calls};
use loadgen::sdp;
use loadgen::setup::Says;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// Where packets are lost or late.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Where {
    /// A browser speaks, between it and the gateway.
    FromBrowser,
    /// A browser speaks, between the gateway and the phone.
    ToPhone,
    /// A phone speaks, between it and the gateway.
    FromPhone,
    /// A phone speaks, between the gateway and the browser.
    ToBrowser,
}

/// One call: what is said over which lines.
struct Planned<'a> {
    clip: (usize, &'a Clip),
    impairment: Impairment,
    /// Whether the browser's line is the bad one, in both directions, or the phone's.
    browser: bool,
    line: Rc<Line>,
    /// What both say.
    packets: [Rc<Vec<Vec<u8>>>; 2],
}

impl Where {
    /// In the order of the tables' columns.
    pub const ALL: [Where; 4] = [Where::FromBrowser, Where::ToPhone, Where::FromPhone, Where::ToBrowser];
}

impl<'a> Planned<'a> {
    fn new(clip: (usize, &'a Clip), impairment: Impairment, browser: bool, band: Band) -> Planned<'a> {
        let own = if band == Band::Wide { &clip.1.wide.1 } else { &clip.1.narrow.1 };
        let reported = if browser { impairment.reported() } else { 0 };
        let packets = [chain::browser_says(&clip.1.wide.1, band, reported), chain::phone_says(own, band)];
        let line = impairment.line(packets[1].len() - BEFORE - AFTER, clip.0 as u64);
        Planned { clip, impairment, browser, line: Rc::new(line), packets: packets.map(Rc::new) }
    }

    /// What both ends say, over which lines. What the browser loses of what it is sent is taken away afterwards.
    fn says(&self, party: sdp::Codec) -> Says {
        let bad = |bad| if bad { self.line.clone() } else { Rc::new(Line::default()) };
        let say =
            |codec, end: usize, line| Speech { codec, frames: self.packets[end].clone(), line: Some(line) };
        Says {
            browser: say(sdp::Codec::Opus, 0, bad(self.browser)),
            party: say(party, 1, bad(!self.browser)),
            mono: false,
        }
    }
}

fn plan(clips: &[Clip], band: Band) -> Vec<Planned<'_>> {
    let mut all = Vec::new();
    for impairment in Impairment::ALL {
        for clip in clips.iter().enumerate() {
            all.push(Planned::new(clip, impairment, true, band));
            if impairment != Impairment::Random(0) {
                all.push(Planned::new(clip, impairment, false, band));
            }
        }
    }
    all
}

/// Packets in the places of those that they came of: most come out before the next one goes in.
fn placed(heard: &[Heard], ticks: u32, places: usize) -> Vec<Option<&[u8]>> {
    let mut all = vec![None; places];
    let Some(first) = heard.first().map(|one| one.timestamp) else { return all };
    let place = |one: &Heard| (one.timestamp.wrapping_sub(first) as i32).div_euclid(ticks as i32);
    let mut votes: HashMap<i32, usize> = HashMap::new();
    for one in heard {
        *votes.entry(i32::from(one.newest) - place(one)).or_default() += 1;
    }
    let shift = votes.into_iter().max_by_key(|(shift, count)| (*count, *shift)).map_or(0, |(shift, _)| shift);
    for one in heard {
        if let Ok(at) = usize::try_from(place(one) + shift)
            && at < places
        {
            all[at] = Some(one.payload.as_slice());
        }
    }
    all
}

/// What is judged of a call.
struct Sound {
    place: Where,
    /// What came out of the gateway, and what comes out of the codecs alone.
    heard: [Vec<i16>; 2],
    rate: u32,
}

/// What is left of these on a line.
fn left<'p>(packets: Packets<'p>, line: &Line) -> Packets<'p> {
    let arrives = |n: usize| !line.loses(n as u64);
    packets.into_iter().enumerate().map(|(n, packet)| packet.filter(|_| arrives(n))).collect()
}

/// A browser speaks.
fn at_phone(planned: &Planned<'_>, call: &Call, band: Band) -> Sound {
    let said = &planned.packets[0];
    let came = placed(&call.heard[Way::ToParty as usize], 160, said.len());
    let (rate, good) = (band.rate(), Line::default());
    let best = best_to_phone(&over(said, if planned.browser { &planned.line } else { &good }), band);
    if planned.browser {
        let heard = [came, over(&best, &good)].map(|packets| phone_hears(&packets, band));
        return Sound { place: Where::FromBrowser, heard, rate };
    }
    let heard = [came, over(&best, &good)].map(|packets| phone_conceals(&left(packets, &planned.line), band));
    Sound { place: Where::ToPhone, heard, rate }
}

/// A phone speaks.
fn at_browser(planned: &Planned<'_>, call: &Call, (band, complexity): (Band, u8)) -> Sound {
    let said = &planned.packets[1];
    let came = placed(&call.heard[Way::ToBrowser as usize], 960, said.len());
    let good = Line::default();
    let (place, before, after) = match planned.browser {
        true => (Where::ToBrowser, &good, &*planned.line),
        false => (Where::FromPhone, &*planned.line, &good),
    };
    let best = best_to_browser(&over(said, before), band, complexity, &call.reports);
    let heard = [came, over(&best, &good)].map(|packets| opus_heard(&left(packets, after), BROWSER_RATE));
    Sound { place, heard, rate: BROWSER_RATE }
}

fn sounds(planned: &Planned<'_>, call: &Call, (band, complexity): (Band, u8)) -> Vec<Sound> {
    let mut all = vec![at_phone(planned, call, band), at_browser(planned, call, (band, complexity))];
    // Jitter after the gateway is not made: the load generator takes what comes as it comes.
    let jitter = planned.impairment == Impairment::Jitter;
    all.retain(|sound| !(jitter && [Where::ToPhone, Where::ToBrowser].contains(&sound.place)));
    all
}

/// Places at which what came out of the gateway clicks or falls silent and what comes out of the codecs alone does not.
fn of_the_gateway(sound: &Sound) -> Vec<usize> {
    let found = |pcm: &Vec<i16>| {
        let loadgen::detector::Findings { clicks, gaps } = loadgen::detector::listen(pcm, sound.rate);
        [clicks, gaps].concat()
    };
    let [ours, codecs] = sound.heard.each_ref().map(found);
    let near = |at: usize| codecs.iter().any(|other| at.abs_diff(*other) < sound.rate as usize / 20);
    ours.into_iter().filter(|at| !near(*at)).collect()
}

/// Every call through the gateway once: the rows of its table.
fn table(band: Band, clips: &[Clip]) -> Vec<Row> {
    let dir = tools_dir().join(format!("tables-{band:?}").to_lowercase());
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).expect("directory of the recordings");
    let plan = plan(clips, band);
    let party = if band == Band::Wide { sdp::Codec::G722 } else { sdp::Codec::Pcmu };
    let mut through = Vec::new();
    for (n, some) in plan.chunks(band.calls_at_once()).enumerate() {
        let says = some.iter().map(|planned| planned.says(party)).collect();
        let dir = dir.join(n.to_string());
        std::fs::create_dir_all(&dir).expect("directory of the records");
        let some = calls(&binary(), &dir, party, says).expect("all calls come up and last");
        eprintln!("{band:?}: complexity {}, load {:.2}", some.complexity, some.load);
        through.extend(some.calls.into_iter().map(|call| (call, some.complexity as u8)));
    }
    let (mut judged, mut pairs, mut known) = (Vec::new(), Vec::new(), HashMap::new());
    for (n, (planned, (call, complexity))) in plan.iter().zip(&through).enumerate() {
        let clip = planned.clip.1;
        let reference = if band == Band::Wide { &clip.wide.0 } else { &clip.narrow.0 };
        for sound in sounds(planned, call, (band, *complexity)) {
            let place = sound.place;
            if planned.impairment == Impairment::Random(0) && band == Band::Narrow {
                assert_eq!(of_the_gateway(&sound), [0; 0], "clicks or gaps in call {n}, {place:?}");
            }
            // What is bit for bit the same is scored once.
            let mut scored = |samples: Vec<i16>, of: &str| {
                let next = pairs.len();
                *known.entry((planned.clip.0, samples)).or_insert_with_key(|(_, samples)| {
                    let file = dir.join(format!("{n}-{place:?}-{of}.wav"));
                    write_wav(&file, samples, sound.rate);
                    pairs.push((reference.clone(), file));
                    next
                })
            };
            let [gateway, codecs] = sound.heard;
            let scores = [scored(gateway, "gateway"), scored(codecs, "codecs")];
            judged.push((place, planned.impairment, scores));
        }
    }
    eprintln!("{band:?}: {} sounds, {} of them differ", judged.len() * 2, pairs.len());
    let scores = pesq::scores(&pairs, band == Band::Wide);
    let row = |impairment| {
        let mut row = Row::new(impairment);
        let of_it = judged.iter().filter(|(_, of, _)| *of == impairment);
        of_it.for_each(|(place, _, both)| row.score(*place, both.map(|at| scores[at])));
        for (planned, (call, _)) in plan.iter().zip(&through).filter(|(p, _)| p.impairment == impairment) {
            row.count(planned.browser, planned.line.losses(), call);
        }
        row
    };
    Impairment::ALL.map(row).into()
}

/// The cell of a row that is furthest beyond the goal, as words; none if none is so far beyond it that the test fails.
fn far_beyond(rows: &[Row], goal: f64) -> Option<String> {
    let cells = rows.iter().flat_map(|row| row.cells.iter().map(move |(place, cell)| (row, place, cell)));
    let worst = cells.max_by(|a, b| a.2.behind().total_cmp(&b.2.behind()))?;
    let (row, place, cell) = worst;
    (cell.behind() > goal + 0.3).then(|| format!("{}, {place:?}: {cell:.2?}", row.impairment.name()))
}

/// Records prove what was at work: RFC 6716 §2.1.7 for frames of browsers, concealment alone for those of phones.
fn records_are_true(rows: &[Row]) {
    for row in rows {
        let [browser, phone] = row.counted;
        assert_eq!([browser.lost, phone.lost], row.lost, "{row:?}");
        assert_eq!(phone.fec, 0, "{row:?}");
        if row.impairment.reported() >= 3 {
            assert!(browser.fec > 0 && browser.fec + browser.concealed >= browser.lost * 9 / 10, "{row:?}");
        }
        let encoders = &row.encoders;
        assert!(encoders.with_fec() > 0.3, "{row:?}");
        match row.impairment {
            Impairment::Random(0) => assert_eq!((encoders.reported(), encoders.expected()), (0.0, 10.0)),
            Impairment::Random(10) => {
                assert!(encoders.reported() > 0.05 && encoders.expected() > 10.0, "{row:?}");
            }
            Impairment::Random(_) | Impairment::Bursts | Impairment::Jitter => {}
        }
    }
}

/// Into `docs/QUALITY.md`, before what the browsers' tests have there; at once, so that nobody reads half of it.
fn write(page: &str) {
    let file = root().join("docs/QUALITY.md");
    let before = std::fs::read_to_string(&file).expect("docs/QUALITY.md");
    let rest = before.find(document::BROWSERS).map_or("", |at| &before[at..]);
    let next = file.with_extension("next");
    std::fs::write(&next, format!("{}\n\n{rest}", page.trim_end())).expect("docs/QUALITY.next");
    std::fs::rename(&next, &file).expect("docs/QUALITY.md");
}

/// RFC 6716 §2.1.7, RFC 7587 §3.3. A machine that does something else meanwhile makes packets late: a table that is far
/// beyond its goal is made anew, twice at most.
#[test]
fn natural_speech_over_bad_lines_sounds_as_good_as_the_codecs_allow() {
    let clips = clips::clips();
    let tables = [(Band::Narrow, 0.10), (Band::Wide, 0.15)].map(|(band, goal)| {
        let mut rows = table(band, &clips);
        for _ in 0..2 {
            if let Some(why) = far_beyond(&rows, goal) {
                eprintln!("far beyond the goal: {why}");
                wait_calm(Duration::from_secs(20));
                rows = table(band, &clips);
            }
        }
        records_are_true(&rows);
        (band, goal, rows)
    });
    let page = document::page(&tables);
    eprintln!("{page}");
    write(&page);
    for (band, goal, rows) in &tables {
        assert_eq!(far_beyond(rows, *goal), None, "{band:?}");
    }
}
