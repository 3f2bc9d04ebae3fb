//! Files as people have them, made here and read back.

use std::f64::consts::TAU;
use std::io::Cursor;

use hound::{SampleFormat, WavSpec, WavWriter};
use media_bridge::codec::NARROW;
use media_bridge::sound::SoundPlayer;
use ogg::{PacketWriteEndInfo, PacketWriter};

use super::*;

const HZ: f64 = 1_000.0;

fn wave(n: usize, rate: u32) -> f64 {
    (n as f64 * TAU * HZ / f64::from(rate)).sin() * 0.3
}

fn wav(rate: u32, channels: u16, bits_per_sample: u16, sample_format: SampleFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let spec = WavSpec { channels, sample_rate: rate, bits_per_sample, sample_format };
    let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
    for n in 0..rate as usize {
        for channel in 0..channels {
            // The right channel is silent: mixed, the left has half its level.
            let value = if channel == 0 { wave(n, rate) } else { 0.0 };
            let full = 2f64.powi(i32::from(bits_per_sample) - 1);
            match sample_format {
                SampleFormat::Int => writer.write_sample((value * full) as i32).unwrap(),
                SampleFormat::Float => writer.write_sample(value as f32).unwrap(),
            }
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// One second of the tone.
fn ogg_opus(channels: opus::Channels) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = PacketWriter::new(&mut bytes);
    let mut encoder = opus::Encoder::new(48_000, channels, opus::Application::Audio).unwrap();
    let pre_skip = encoder.get_lookahead().unwrap() as u16;
    let mut head = b"OpusHead\x01".to_vec();
    head.push(channels as u8);
    head.extend_from_slice(&pre_skip.to_le_bytes());
    head.extend_from_slice(&48_000u32.to_le_bytes());
    head.extend_from_slice(&[0, 0, 0]);
    let page = PacketWriteEndInfo::EndPage;
    writer.write_packet(head, 5, page, 0).unwrap();
    writer.write_packet(b"OpusTags\0\0\0\0\0\0\0\0".to_vec(), 5, page, 0).unwrap();
    for frame in 0..=50u64 {
        let pcm: Vec<i16> = (0..960)
            .flat_map(|n| vec![(wave(frame as usize * 960 + n, 48_000) * 32_768.0) as i16; channels as usize])
            .collect();
        let packet = encoder.encode_vec(&pcm, 1_500).unwrap();
        let (end, at) = match frame {
            50 => (PacketWriteEndInfo::EndStream, 48_000 + u64::from(pre_skip)),
            _ => (PacketWriteEndInfo::NormalPacket, (frame + 1) * 960),
        };
        writer.write_packet(packet, 5, end, at).unwrap();
    }
    drop(writer);
    bytes
}

/// Level of the tone in what a call hears at 8 kHz, against full scale, and whether there is anything else.
fn tone_of(sound: &Sound) -> (f64, f64) {
    let mut pcm = vec![0i16; 7_000];
    SoundPlayer::new(sound.clone(), false).fill(NARROW, &mut pcm);
    let pcm = &pcm[500..6_500];
    let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        let (turn, sample) = (n as f64 * TAU * HZ / f64::from(NARROW), f64::from(*sample) / 32_768.0);
        re += sample * turn.cos();
        im += sample * turn.sin();
        all += sample * sample;
    }
    let level = 2.0 * re.hypot(im) / pcm.len() as f64;
    (level, level * level / 2.0 / (all / pcm.len() as f64))
}

#[test]
fn wav_of_every_usual_kind_is_heard_as_it_was_recorded() {
    for rate in [8_000, 16_000, 44_100, 48_000] {
        for (channels, level) in [(1, 0.3), (2, 0.15)] {
            let sound = decode(&wav(rate, channels, 16, SampleFormat::Int)).unwrap();
            assert_eq!(sound.duration().as_millis(), 1_000, "{rate}");
            let (heard, pure) = tone_of(&sound);
            assert!((heard / level - 1.0).abs() < 0.02, "{rate} Hz, {channels}: {heard} for {level}");
            assert!(pure > 0.999, "{rate} Hz, {channels}: {pure}");
        }
    }
    for (bits, format) in [(8, SampleFormat::Int), (24, SampleFormat::Int), (32, SampleFormat::Float)] {
        let (heard, pure) = tone_of(&decode(&wav(8_000, 1, bits, format)).unwrap());
        assert!((heard / 0.3 - 1.0).abs() < 0.02 && pure > 0.995, "{bits} bits: {heard} {pure}");
    }
}

#[test]
fn ogg_opus_is_as_long_as_its_last_page_says() {
    for channels in [opus::Channels::Mono, opus::Channels::Stereo] {
        let sound = decode(&ogg_opus(channels)).unwrap();
        assert_eq!(sound.duration().as_millis(), 1_000);
        let (heard, pure) = tone_of(&sound);
        assert!((heard / 0.3 - 1.0).abs() < 0.1 && pure > 0.98, "{heard} {pure}");
    }
}

#[test]
fn what_can_not_be_played_is_refused_with_what_to_do() {
    let refused = |bytes: &[u8]| decode(bytes).unwrap_err();
    assert!(refused(b"ID3\x04 an mp3").contains("ffmpeg"));
    assert!(refused(b"").contains("neither WAV nor Ogg"));
    assert!(refused(&wav(8_000, 1, 16, SampleFormat::Int)[..30]).contains("no whole WAV"));
    let mut vorbis = Vec::new();
    let mut writer = PacketWriter::new(&mut vorbis);
    writer.write_packet(b"\x01vorbis".to_vec(), 5, PacketWriteEndInfo::EndStream, 0).unwrap();
    drop(writer);
    assert!(refused(&vorbis).contains("not Opus"));
    assert!(refused(&ogg_opus(opus::Channels::Mono)[..40]).contains("Ogg"));
    let silence =
        WavSpec { channels: 1, sample_rate: 8_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut bytes = Cursor::new(Vec::new());
    WavWriter::new(&mut bytes, silence).unwrap().finalize().unwrap();
    assert!(refused(&bytes.into_inner()).contains("no sound"));
}
