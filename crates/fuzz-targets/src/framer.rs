use sip_ua::framer::{Frame, FrameError, Framer};
use types::limits;

/// All frames of a stream that comes in these pieces.
fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let (mut framer, mut messages) = (Framer::new(), Vec::new());
    for piece in pieces {
        framer.push(piece);
        if piece.len() % 2 == 1 {
            framer.expect_pong();
        }
        loop {
            match framer.next_frame() {
                Ok(Some(Frame::Message(bytes))) => {
                    assert!(!bytes.is_empty() && bytes.len() <= limits::SIP_MESSAGE_BYTES);
                    messages.push(bytes);
                }
                // A ping of ours is out at every piece of an odd length.
                Ok(Some(Frame::Pong)) => {}
                // Many line ends are one ping: how many depends on how they come.
                Ok(Some(Frame::Ping)) => {}
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(framer.next_frame(), Err(error), "once an error, always that error");
                    return (messages, Some(error));
                }
            }
        }
        assert!(framer.buffered() <= limits::SIP_MESSAGE_BYTES + piece.len());
    }
    (messages, None)
}

/// The framer: however a stream is cut, the same messages come out of it, and none is larger than allowed.
pub fn fuzz_framer(data: &[u8]) {
    let whole = frames([data].into_iter());
    assert_eq!(whole, frames(data.chunks(1)), "byte by byte");
    let step = data.first().map_or(7, |b| usize::from(*b) % 61 + 2);
    assert_eq!(whole, frames(data.chunks(step)), "in pieces of {step}");
    let kept: usize = whole.0.iter().map(Vec::len).sum();
    assert!(kept <= data.len());
}
