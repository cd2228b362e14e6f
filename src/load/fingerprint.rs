//! The name of a schedule: a hash that two runs share exactly when the same load was asked of both.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::arrival::{Due, Walk};
use super::{Curve, Load, Phase, Shard, Spacing, Think, nanos};

/// How many arrivals of each phase the fingerprint covers.
pub const FINGERPRINTED_ARRIVALS: usize = 10_000;

/// The fingerprint of a schedule (`schedule_sha256`): the same on any machine, and for any number of threads and shards.
///
/// # Encoding
/// SHA-256 over, all numbers little-endian: the text `smtpress schedule 1\n`; the seed (u64); the number of phases (u64);
/// each phase: its load's letter and fields in the order of their declaration (u64; times as u64 nanoseconds; rates as the
/// bits of an f64; a curve as the number of its points and each time and value; spacing as `u` or `p`), its length (u64
/// nanoseconds, 2^64 - 1 for none); then for each phase the first [`FINGERPRINTED_ARRIVALS`] arrivals of the unsharded
/// schedule: `a`, number, due (u64 nanoseconds) or `i`, number, not before, think.
pub fn fingerprint(phases: &[Phase], seed: u64) -> [u8; 32] {
    let mut hash = Encoder(Sha256::new());
    hash.0.update(b"smtpress schedule 1\n");
    hash.number(seed);
    hash.number(phases.len() as u64);
    phases.iter().for_each(|phase| hash.phase(phase));
    let mut start = 0_u64;
    for (index, phase) in (0..).zip(phases) {
        for arrival in Walk::new(phase, index, start, seed, Shard::WHOLE).take(FINGERPRINTED_ARRIVALS) {
            match arrival.due {
                Due::At(at) => {
                    hash.letter(b'a');
                    hash.number(arrival.seq);
                    hash.time(at);
                }
                Due::WhenIdle { not_before, think } => {
                    hash.letter(b'i');
                    hash.number(arrival.seq);
                    hash.time(not_before);
                    hash.time(think);
                }
            }
        }
        start = start.saturating_add(phase.length.map_or(u64::MAX, nanos));
    }
    hash.0.finalize().into()
}

/// Writes the canonical encoding into the hash.
struct Encoder(Sha256);

impl Encoder {
    fn phase(&mut self, phase: &Phase) {
        match &phase.load {
            Load::Rate { curve, spacing } => {
                self.letter(b'r');
                self.curve(curve);
                self.letter(match spacing {
                    Spacing::Uniform => b'u',
                    Spacing::Poisson => b'p',
                });
            }
            Load::Burst { size, every } => {
                self.letter(b'b');
                self.number(*size);
                self.time(*every);
            }
            Load::Held { sessions, rate } => {
                self.letter(b'h');
                self.number(*sessions);
                self.real(*rate);
            }
            Load::Sessions { curve, think } => {
                self.letter(b's');
                self.curve(curve);
                self.think(*think);
            }
            Load::Shared { total, sessions, think } => {
                self.letter(b't');
                self.number(*total);
                self.number(*sessions);
                self.think(*think);
            }
        }
        self.number(phase.length.map_or(u64::MAX, nanos));
    }

    fn curve(&mut self, curve: &Curve) {
        self.number(curve.points.len() as u64);
        for &(at, value) in &curve.points {
            self.time(at);
            self.real(value);
        }
    }

    fn think(&mut self, think: Think) {
        self.time(think.min);
        self.time(think.max);
    }

    fn letter(&mut self, letter: u8) {
        self.0.update([letter]);
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn time(&mut self, time: Duration) {
        self.number(nanos(time));
    }

    /// Both zeros are one.
    fn real(&mut self, real: f64) {
        self.number((real + 0.0).to_bits());
    }
}
