//! The clips that are judged: natural speech of several speakers, made at test time from packages of the distribution.

use e2e::ports::tools_dir;
use e2e::speech::{read_wav, sox};
use std::path::{Path, PathBuf};

const DATA: &str = "/usr/share/pocketsphinx/test/data";
/// Recordings that make one clip each; short ones are joined.
const CLIPS: [&[&str]; 7] = [
    &["librivox/sense_and_sensibility_01_austen_64kb-0870.wav"],
    &[
        "librivox/sense_and_sensibility_01_austen_64kb-0880.wav",
        "librivox/sense_and_sensibility_01_austen_64kb-0930.wav",
    ],
    &["librivox/sense_and_sensibility_01_austen_64kb-0890.wav"],
    &["librivox/sense_and_sensibility_01_austen_64kb-0920.wav"],
    &["numbers.raw"],
    &["goforward.raw", "something.raw"],
    &["cards/005.wav", "cards/002.wav"],
];

/// One clip, at 8 and at 16 kHz.
pub struct Clip {
    /// References for scores.
    pub narrow: (PathBuf, Vec<i16>),
    pub wide: (PathBuf, Vec<i16>),
}

/// All of them.
pub fn clips() -> Vec<Clip> {
    let dir = tools_dir().join("clips");
    std::fs::create_dir_all(&dir).expect("directory of the clips");
    CLIPS.iter().enumerate().map(|(n, parts)| clip(&dir, n, parts)).collect()
}

fn clip(dir: &Path, n: usize, parts: &[&str]) -> Clip {
    let (narrow, wide) = (dir.join(format!("{n}-8k.wav")), dir.join(format!("{n}-16k.wav")));
    let mut join = Vec::new();
    for part in parts {
        if part.ends_with(".raw") {
            join.extend(
                ["-t", "raw", "-r", "16000", "-e", "signed", "-b", "16", "-c", "1"].map(str::to_owned),
            );
        }
        let file = format!("{DATA}/{part}");
        assert!(Path::new(&file).exists(), "{file} is missing; `make setup-test` gets pocketsphinx-testdata");
        join.push(file);
    }
    let text = |path: &Path| path.to_str().expect("path in UTF-8").to_owned();
    join.extend(["-r", "16000", "-b", "16", "-c", "1"].map(str::to_owned));
    join.push(text(&wide));
    join.extend(["norm", "-3"].map(str::to_owned));
    sox(&join.iter().map(String::as_str).collect::<Vec<&str>>());
    sox(&[&text(&wide), "-r", "8000", &text(&narrow)]);
    let samples = |file: &Path| read_wav(file);
    Clip { narrow: (narrow.clone(), samples(&narrow)), wide: (wide.clone(), samples(&wide)) }
}
