mod contexts;
mod properties;
mod vectors;

use super::*;

/// Bytes written as hexadecimal digits.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// Some keys of a suite; others for another seed.
fn keys(suite: Suite, seed: u8) -> Keys {
    let secret: Vec<u8> = (0..suite.key_len() + suite.salt_len()).map(|n| (n as u8) << 1 ^ seed).collect();
    Keys::new(suite, &secret).unwrap()
}

/// 20 ms of G.711.
fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend((0..160).map(|n| n as u8 ^ sequence as u8));
    packet
}

/// An empty receiver report.
fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[0x81, 202, 0, 2]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[1, 2, b'a', b'b']);
    packet
}

fn protect_rtp(sender: &mut Sender, packet: &[u8]) -> Vec<u8> {
    let mut sealed = packet.to_vec();
    sender.protect_rtp(&mut sealed).unwrap();
    sealed
}

fn protect_rtcp(sender: &mut Sender, packet: &[u8]) -> Vec<u8> {
    let mut sealed = packet.to_vec();
    sender.protect_rtcp(&mut sealed).unwrap();
    sealed
}

fn open_rtp(receiver: &mut Receiver, sealed: &[u8]) -> Result<Vec<u8>, Reject> {
    let mut packet = sealed.to_vec();
    let length = receiver.unprotect_rtp(&mut packet)?;
    packet.truncate(length);
    Ok(packet)
}

fn open_rtcp(receiver: &mut Receiver, sealed: &[u8]) -> Result<Vec<u8>, Reject> {
    let mut packet = sealed.to_vec();
    let length = receiver.unprotect_rtcp(&mut packet)?;
    packet.truncate(length);
    Ok(packet)
}
