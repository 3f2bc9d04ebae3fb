//! A raw RTP party that plays a tone in the background.

use crate::rtp::RtpParty;
use crate::tone::mulaw_tone;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A party that plays a tone until it is stopped.
pub struct Playing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<RtpParty>,
}

impl Playing {
    /// Plays a tone of this frequency (Hz) as PCMU.
    pub fn start(mut party: RtpParty, hz: f64) -> Playing {
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                party.play(0, &mulaw_tone(hz, 0.2));
            }
            party
        });
        Playing { stop, thread }
    }

    /// The party, quiet again.
    pub fn stop(self) -> RtpParty {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the party plays")
    }
}
