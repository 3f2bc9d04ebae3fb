//! Calls in real time between clocks that differ.

use e2e::gateway::binary;
use e2e::ports::tools_dir;
use std::time::Duration;

/// Three frames in 15 s: as much as 200 ppm make of five minutes, which is for `make soak`.
const PPM: u32 = 4_000;

#[test]
fn calls_between_clocks_that_differ_neither_click_nor_fall_silent_nor_grow_late() {
    let dir = tools_dir().join("drift");
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).expect("directory of the records");
    loadgen::drift::drift(&binary(), &dir, Duration::from_secs(15), PPM).expect("what comes out is well");
}
