use super::*;
use crate::control::Tone;

#[test]
fn the_same_codec_passes_through_at_once_and_untouched() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    for _ in 0..50 {
        let packet = a.packet(160);
        let (before, at) = (world.sent.len(), world.now);
        world.rtp(A, a.address, &packet);
        assert_eq!(world.sent.len(), before + 1, "forwarded within the same call");
        let sent = world.sent.last().unwrap();
        assert_eq!((sent.at, sent.leg, sent.to), (at, B, address(PEER_B)));
        assert_eq!(sent.payload, packet[12..]);
        assert_ne!(sent.ssrc, a.ssrc);
        world.pass(FRAME);
    }
    let sent = world.sent_to(B);
    assert_continuous(&sent);
    assert!(sent.windows(2).all(|p| p[1].ts.wrapping_sub(p[0].ts) == 160));
}

#[test]
fn transcoding_sends_within_the_same_call_so_it_adds_no_frame() {
    let both = |a, b| [(a, b), (b, a)];
    let pairs = [
        both(Codec::Opus, Codec::Pcmu),
        both(Codec::Pcmu, Codec::Pcma),
        both(Codec::Opus, Codec::G722),
        both(Codec::G722, Codec::Pcma),
    ];
    for (from, to) in pairs.into_iter().flatten() {
        let (mut world, mut a, _) = World::bridged(from, to);
        for _ in 0..50 {
            let packet = a.packet(160);
            let before = world.sent_to(B).len();
            world.rtp(A, a.address, &packet);
            assert_eq!(world.sent_to(B).len(), before + 1, "{from:?} to {to:?}");
            world.pass(FRAME);
        }
        let sent = world.sent_to(B);
        assert_continuous(&sent);
        // Of G.722, too (RFC 3551 §4.5.2).
        let step = if to == Codec::Opus { 960 } else { 160 };
        assert!(sent.windows(2).all(|p| p[1].ts.wrapping_sub(p[0].ts) == step));
        let pcm = decoded(&sent, to);
        assert!(loudness(&pcm[1_600..]) > 2_000.0, "the tone comes through: {}", loudness(&pcm));
    }
}

#[test]
fn every_packet_length_becomes_frames_of_20_ms() {
    for samples in [80, 160, 240, 320, 480] {
        for (from, to) in [
            (Codec::Opus, Codec::Pcmu),
            (Codec::Pcmu, Codec::Opus),
            (Codec::G722, Codec::Pcmu),
            (Codec::Opus, Codec::G722),
        ] {
            if from == Codec::Opus && samples == 240 {
                continue;
            }
            let (mut world, mut a, _) = World::bridged(from, to);
            for _ in 0..24 {
                let packet = a.packet(samples);
                world.rtp(A, a.address, &packet);
                world.pass(Duration::from_micros(samples as u64 * 125));
            }
            let sent = world.sent_to(B);
            assert_eq!(sent.len(), 24 * samples / 160, "{samples} samples of {from:?}");
            assert_continuous(&sent);
            if to != Codec::Opus {
                assert!(sent.iter().all(|s| s.payload.len() == 160));
            }
        }
    }
}

#[test]
fn one_stream_goes_on_through_tone_early_media_talk_hold_and_music() {
    // Field problems 2 and 3: SSRC, sequence and timestamps are ours for the whole call.
    let (mut world, mut a, mut b) = World::bridged(Codec::Opus, Codec::Pcmu);
    world.hear(A, Source::Tone(Tone::Ringback));
    world.pass(Duration::from_millis(1_000));
    world.hear(A, Source::Leg(B));
    b.say_frames(&mut world, 50);
    world.hear(A, Source::Tone(Tone::Music));
    world.pass(Duration::from_secs(90));
    world.hear(A, Source::Leg(B));
    b.ssrc = 77;
    b.seq = 9;
    b.ts = 5;
    b.say_frames(&mut world, 50);
    a.say(&mut world);
    let sent = world.sent_to(A);
    assert_continuous(&sent);
    // Timestamps keep to the clock: 92 s and the frames that passed while nobody spoke.
    let (first, last) = (&sent[0], sent.last().unwrap());
    let claimed = f64::from(last.ts.wrapping_sub(first.ts)) / 48_000.0;
    let real = (last.at - first.at).as_secs_f64();
    assert!((claimed - real).abs() < 0.1, "{claimed} s claimed in {real} s");
    assert!(sent.iter().filter(|s| s.marker).count() >= 4);
}

#[test]
fn tones_come_every_20_ms_and_can_be_heard() {
    let (mut world, _, _) = World::bridged(Codec::Pcma, Codec::Pcma);
    world.sent.clear();
    world.hear(A, Source::Tone(Tone::Ringback));
    world.pass(Duration::from_millis(990));
    let sent = world.sent_to(A);
    assert_eq!(sent.len(), 50);
    assert!(loudness(&decoded(&sent, Codec::Pcma)) > 500.0);
    assert_continuous(&sent);
}

#[test]
fn echo_returns_the_callers_own_audio_at_once() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcmu);
    world.hear(A, Source::Echo);
    world.sent.clear();
    let packet = a.packet(160);
    world.rtp(A, a.address, &packet);
    assert_eq!(world.sent_to(A)[0].payload, packet[12..]);
    assert_eq!(world.sent_to(A)[0].to, a.address);
}

#[test]
fn a_lost_opus_packet_comes_back_from_the_next_ones_fec() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcmu);
    a.encoder.set_loss(20);
    for n in 0..100 {
        let packet = a.packet(160);
        if n % 10 != 5 {
            world.rtp(A, a.address, &packet);
        }
        world.pass(FRAME);
    }
    let sent = world.sent_to(B);
    assert_continuous(&sent);
    assert_eq!(sent.len(), 100, "each lost frame was replaced, none twice");
    let stats = world.stats(A);
    // libopus leaves FEC out of packets that follow an unvoiced frame.
    assert!(stats.fec_frames >= 5, "{stats:?}");
    assert_eq!((stats.fec_frames + stats.plc_frames, stats.lost), (10, 10), "{stats:?}");
}

#[test]
fn a_gap_towards_a_trunk_is_concealed_then_noise_goes_on() {
    // Field problem 35: steady packets towards trunks.
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcmu);
    a.say_frames(&mut world, 50);
    let before = world.sent_to(B).len();
    world.pass(Duration::from_millis(1_000));
    let sent = world.sent_to(B);
    assert!(sent.len() - before >= 46, "{} packets in a second of nothing", sent.len() - before);
    assert_continuous(&sent);
    let noise = loudness(&decoded(&sent[sent.len() - 20..], Codec::Pcmu));
    assert!((5.0..300.0).contains(&noise), "{noise}");
    let mut gaps = sent.windows(2).map(|p| p[1].at - p[0].at);
    assert!(gaps.all(|gap| gap <= Duration::from_millis(60)));
    a.ts = a.ts.wrapping_add(48_000);
    a.say_frames(&mut world, 50);
    let sent = world.sent_to(B);
    assert_continuous(&sent);
    assert!(loudness(&decoded(&sent[sent.len() - 20..], Codec::Pcmu)) > 2_000.0, "the voice is back");
}

#[test]
fn a_frame_that_comes_after_its_place_was_filled_is_dropped_and_counted() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcmu);
    a.say_frames(&mut world, 50);
    let late = a.packet(160);
    world.pass(Duration::from_millis(45));
    let before = world.sent_to(B).len();
    world.rtp(A, a.address, &late);
    assert_eq!(world.sent_to(B).len(), before);
    assert_continuous(&world.sent_to(B));
    let stats = world.stats(A);
    assert_eq!(stats.late, 1);
    assert!(stats.plc_frames >= 1);
}

#[test]
fn reordered_packets_are_put_in_order_for_decoding() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Opus);
    a.say_frames(&mut world, 10);
    let first = a.packet(160);
    let second = a.packet(160);
    let before = world.sent_to(B).len();
    world.rtp(A, a.address, &second);
    assert_eq!(world.sent_to(B).len(), before, "held for the missing one");
    world.pass(Duration::from_millis(3));
    world.rtp(A, a.address, &first);
    assert_eq!(world.sent_to(B).len(), before + 2);
    assert_continuous(&world.sent_to(B));
    assert_eq!(world.stats(A).plc_frames, 0);
}

#[test]
fn reordering_and_loss_stay_visible_in_pass_through() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Opus);
    a.say_frames(&mut world, 5);
    let packets: Vec<Vec<u8>> = (0..4).map(|_| a.packet(160)).collect();
    world.sent.clear();
    for n in [0, 2, 1, 1] {
        world.rtp(A, a.address, &packets[n]);
    }
    let sent = world.sent_to(B);
    let seqs: Vec<u16> = sent.iter().map(|s| s.seq.wrapping_sub(sent[0].seq)).collect();
    assert_eq!(seqs, [0, 2, 1], "the duplicate is dropped");
    assert_eq!(sent[2].payload, packets[1][12..]);
    let stats = world.stats(A);
    assert_eq!((stats.late, stats.duplicates), (0, 1));
}

#[test]
fn empty_payloads_are_dropped() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Opus);
    let empty = a.raw(111, false, 0, &[]);
    world.sent.clear();
    world.rtp(A, a.address, &empty);
    assert!(world.sent.is_empty());
}

#[test]
fn reports_go_out_every_five_seconds_and_tell_the_true_loss() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcmu);
    for n in 0..500 {
        let packet = a.packet(160);
        if n % 4 != 3 {
            world.rtp(A, a.address, &packet);
        }
        world.pass(FRAME);
    }
    let reports: Vec<_> = world.rtcp.iter().filter(|(leg, ..)| *leg == A).collect();
    assert_eq!(reports.len(), 2, "10 s passed");
    assert_eq!(reports[0].1, "198.51.100.1:6001".parse().unwrap());
    let block = crate::rtp::rtcp::parse(&reports[1].2).find_map(|p| match p {
        crate::rtp::rtcp::RtcpPacket::SenderReport { mut blocks, .. }
        | crate::rtp::rtcp::RtcpPacket::ReceiverReport { mut blocks, .. } => blocks.next(),
        _ => None,
    });
    let fraction = block.unwrap().fraction_lost;
    assert!((60..=68).contains(&fraction), "{fraction} of 256");
}

#[test]
fn a_report_about_us_gives_loss_and_round_trip() {
    let (mut world, mut a, mut b) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    for _ in 0..300 {
        a.say(&mut world);
        b.say(&mut world);
    }
    let (_, _, ours) = world.rtcp.iter().find(|(leg, ..)| *leg == B).unwrap().clone();
    let info = crate::rtp::rtcp::parse(&ours).find_map(|p| match p {
        crate::rtp::rtcp::RtcpPacket::SenderReport { ssrc, info, .. } => Some((ssrc, info)),
        _ => None,
    });
    let (ssrc, info) = info.unwrap();
    let sent_at = info.ntp >> 16;
    let delay = (world.wall().ntp() >> 16) - sent_at - (65_536 / 20);
    let block = crate::rtp::rtcp::ReportBlock {
        ssrc,
        fraction_lost: 25,
        lsr: sent_at as u32,
        dlsr: delay as u32,
        ..Default::default()
    };
    let mut data = Vec::new();
    crate::rtp::rtcp::write_report(&mut data, b.ssrc, None, Some(block), "b");
    world.rtcp_in(B, address("203.0.113.9:7001"), &data);
    let stats = world.stats(B);
    assert_eq!(stats.remote_fraction_lost, 25);
    assert!((49_000..51_500).contains(&stats.rtt_us.unwrap()), "{stats:?}");
}

#[test]
fn removing_a_leg_ends_its_stream_and_its_listeners_go_silent() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    a.say_frames(&mut world, 10);
    world.events.clear();
    world.command(Command::Remove { leg: A });
    assert!(matches!(world.events[..], [Event::Stats { leg: A, .. }]));
    assert_eq!(world.others, [Output::ReleaseLeg { leg: A }]);
    world.sent.clear();
    world.pass(Duration::from_secs(1));
    let sent = world.sent_to(B);
    assert!(sent.len() > 40 && sent.iter().all(|s| s.payload == [Law::Mu.silence(); 160]));
}

#[test]
fn close_releases_every_leg_and_says_closed_last() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcmu);
    a.say_frames(&mut world, 10);
    world.command(Command::Close);
    assert_eq!(world.others, [Output::ReleaseLeg { leg: A }, Output::ReleaseLeg { leg: B }]);
    assert_eq!(world.events.last(), Some(&Event::Closed));
    assert_eq!(world.call.poll_timeout(), None);
    let (count, packet) = (world.sent.len(), a.packet(160));
    world.rtp(A, a.address, &packet);
    world.command(Command::Close);
    assert_eq!(world.sent.len(), count);
    assert_eq!(world.events.last(), Some(&Event::Closed));
    assert_eq!(world.events.iter().filter(|e| **e == Event::Closed).count(), 1);
}

#[test]
fn a_jittery_network_is_waited_for_and_nothing_is_made_up() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcmu);
    let mut due = world.now;
    for n in 0..500_u64 {
        let packet = a.packet(160);
        let late = Duration::from_millis([0, 12, 25, 7, 28, 3, 18][n as usize % 7]);
        let wait = (due + late).saturating_duration_since(world.now);
        world.pass(wait);
        world.rtp(A, a.address, &packet);
        due += FRAME;
    }
    assert_eq!(world.sent_to(B).len(), 500);
    assert_eq!(world.stats(A).plc_frames, 0);
}

#[test]
fn a_sender_that_sets_its_timestamps_back_is_heard_again() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Opus);
    a.say_frames(&mut world, 50);
    a.ts = a.ts.wrapping_sub(80_000);
    a.say_frames(&mut world, 50);
    let sent = world.sent_to(B);
    assert_continuous(&sent);
    assert!(sent.len() >= 85, "{}", sent.len());
    assert!(loudness(&decoded(&sent[sent.len() - 20..], Codec::Opus)) > 2_000.0);
}

/// Latency: what goes in as packet n comes out as packet n at the same instant, and holds what libopus alone makes of
/// it, sample by sample. So the click of the 30th frame is late by libopus's look-ahead of 6.5 ms and nothing else.
#[test]
fn transcoding_is_late_by_the_look_ahead_of_libopus_and_nothing_else() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Opus);
    let (mut encoder, mut decoder) =
        (Encoder::new(Codec::Opus, NARROW).unwrap(), Decoder::new(Codec::Opus, NARROW).unwrap());
    let (mut reference, mut came) = (Vec::new(), Vec::new());
    for n in 0..50 {
        let mut said = [0; 160];
        if n == 30 {
            said[..8].fill(20_000);
        }
        let (mut payload, mut alone) = (Vec::new(), Vec::new());
        Law::Mu.encode(&said, &mut payload);
        Law::Mu.decode(&payload, &mut said);
        encoder.encode(&said, &mut alone).unwrap();
        let mut pcm = [0; MAX_SAMPLES];
        let samples = decoder.decode(&alone, &mut pcm).unwrap();
        reference.extend_from_slice(&pcm[..samples]);
        let packet = a.raw(0, false, n * 160, &payload);
        came.push(world.now);
        world.rtp(A, a.address, &packet);
        world.pass(FRAME);
    }
    let sent = world.sent_to(B);
    let left: Vec<Instant> = sent.iter().map(|s| s.at).collect();
    assert_eq!(left, came);
    let heard = decoded(&sent, Codec::Opus);
    assert_eq!(heard, reference);
    let loudest = (0..heard.len()).max_by_key(|&n| heard[n].unsigned_abs()).unwrap();
    // 52 samples of look-ahead; the peak of the filtered click lies within its 8 samples and the decoder's resampling.
    let late = loudest - 30 * 160;
    assert!((44..90).contains(&late), "{late} samples");
}

#[test]
fn decoding_opus_for_a_trunk_adds_no_delay() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcmu);
    let mut decoder = Decoder::new(Codec::Opus, NARROW).unwrap();
    for _ in 0..50 {
        let packet = a.packet(160);
        let (mut pcm, mut alone) = ([0; MAX_SAMPLES], Vec::new());
        let samples = decoder.decode(&packet[12..], &mut pcm).unwrap();
        Law::Mu.encode(&pcm[..samples], &mut alone);
        world.rtp(A, a.address, &packet);
        let sent = world.sent.last().unwrap();
        assert_eq!((sent.at, sent.leg), (world.now, B));
        assert_eq!(sent.payload, alone, "the very samples of this packet");
        world.pass(FRAME);
    }
}
