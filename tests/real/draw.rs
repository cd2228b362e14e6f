//! Settings that are drawn for each run, so that no limit of a real listener is known before.
//!
//! Each test prints its seed; `LIMITS_SEED=N` in the environment draws the same again.

use std::env;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};

/// Random numbers that differ between runs.
pub struct Draw(u64);

impl Draw {
    pub fn new() -> Draw {
        let seed = match env::var("LIMITS_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => RandomState::new().build_hasher().finish(),
        };
        // Written directly, because the test harness captures the output of `eprintln!`.
        writeln!(io::stderr().lock(), "LIMITS_SEED={seed}").unwrap();
        Draw(seed)
    }

    /// A number from `low` to `high`: SplitMix64.
    pub fn any(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (mixed ^ (mixed >> 31)) % (high - low + 1)
    }
}
