//! The fingerprint of a schedule: a hash of the load and the seed. Two runs with the same fingerprint offer the same
//! load.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::arrival::{Due, Walk};
use super::{Curve, LoadModel, PhaseLoad, Shard, Spacing, Think, nanos, spans};

/// How many arrivals of each phase the fingerprint covers.
pub const FINGERPRINTED_ARRIVALS: usize = 10_000;

/// Returns the fingerprint of a schedule (`schedule_sha256`). It is the same on any machine, and for any number of
/// threads and shards.
///
/// # Encoding
/// SHA-256 over the following, with all numbers little-endian: the text `smtpress schedule 1\n`, the seed (u64) and the
/// number of phases (u64). Then for each phase: its load's letter and fields in the order of their declaration (u64;
/// times as u64 nanoseconds; rates as the bits of an f64; a curve as the number of its points and each time and value;
/// spacing as `u` or `p`), and its length (u64 nanoseconds, 2^64 - 1 for none). Then for each phase the first
/// [`FINGERPRINTED_ARRIVALS`] arrivals of the unsharded schedule: `a`, number, due (u64 nanoseconds) or `i`, number,
/// not before, think.
pub fn fingerprint(phases: &[PhaseLoad], seed: u64) -> [u8; 32] {
    let mut hash = Encoder(Sha256::new());
    hash.0.update(b"smtpress schedule 1\n");
    hash.number(seed);
    hash.number(phases.len() as u64);
    phases.iter().for_each(|phase| hash.phase(phase));
    for ((index, phase), (start, _)) in (0..).zip(phases).zip(spans(phases)) {
        for arrival in Walk::new(phase, index, nanos(start), seed, Shard::WHOLE).take(FINGERPRINTED_ARRIVALS)
        {
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
    }
    hash.0.finalize().into()
}

/// Writes the canonical encoding into the hash.
struct Encoder(Sha256);

impl Encoder {
    fn phase(&mut self, phase: &PhaseLoad) {
        match &phase.model {
            LoadModel::Rate { curve, spacing } => {
                self.letter(b'r');
                self.curve(curve);
                self.letter(match spacing {
                    Spacing::Uniform => b'u',
                    Spacing::Poisson => b'p',
                });
            }
            LoadModel::Burst { size, every } => {
                self.letter(b'b');
                self.number(*size);
                self.time(*every);
            }
            LoadModel::Held { sessions, rate } => {
                self.letter(b'h');
                self.number(*sessions);
                self.real(*rate);
            }
            LoadModel::Sessions { curve, think } => {
                self.letter(b's');
                self.curve(curve);
                self.think(*think);
            }
            LoadModel::Shared { total, sessions, think } => {
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

    /// Positive and negative zero have the same encoding.
    fn real(&mut self, real: f64) {
        self.number((real + 0.0).to_bits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases() -> Vec<PhaseLoad> {
        let points = vec![(Duration::ZERO, 10.0), (Duration::from_secs(10), 50.0)];
        let think = Think { min: Duration::ZERO, max: Duration::from_secs(1) };
        let length = Some(Duration::from_secs(10));
        let curve = Curve { points };
        vec![
            PhaseLoad { model: LoadModel::Rate { curve: curve.clone(), spacing: Spacing::Uniform }, length },
            PhaseLoad { model: LoadModel::Rate { curve: curve.clone(), spacing: Spacing::Poisson }, length },
            PhaseLoad { model: LoadModel::Burst { size: 5, every: Duration::from_secs(3) }, length },
            PhaseLoad { model: LoadModel::Held { sessions: 20, rate: 7.0 }, length },
            PhaseLoad { model: LoadModel::Sessions { curve, think }, length },
            PhaseLoad { model: LoadModel::Shared { total: 100, sessions: 3, think }, length: None },
        ]
    }

    fn hex(bytes: [u8; 32]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_fingerprint_never_changes() {
        let golden = "7860c37e0e74727399e62bc8be0eaaaa70f9227b62729b29ca521cb9f6e15a0a";
        assert_eq!(hex(fingerprint(&phases(), 42)), golden, "a change here makes old results incomparable");
    }

    #[test]
    fn every_part_of_what_is_asked_shows() {
        let mut variants = vec![phases()];
        let mut vary = |change: fn(&mut Vec<PhaseLoad>)| {
            let mut phases = phases();
            change(&mut phases);
            variants.push(phases);
        };
        vary(|phases| phases.swap(0, 1));
        vary(|phases| drop(phases.pop()));
        vary(|phases| phases[0].length = Some(Duration::from_nanos(9_999_999_999)));
        vary(|phases| phases[5].length = Some(Duration::from_secs(1)));
        vary(|phases| {
            phases[2].model = LoadModel::Burst { size: 5, every: Duration::from_nanos(3_000_000_001) }
        });
        vary(|phases| phases[3].model = LoadModel::Held { sessions: 20, rate: 7.000_000_001 });
        vary(|phases| {
            phases[5].model = LoadModel::Shared { total: 100, sessions: 4, think: Think::default() }
        });
        let mut seen: Vec<[u8; 32]> = variants.iter().map(|phases| fingerprint(phases, 42)).collect();
        seen.push(fingerprint(&phases(), 43));
        assert!((1..seen.len()).all(|i| !seen[..i].contains(&seen[i])));
        assert_eq!(fingerprint(&phases(), 42), seen[0]);
    }

    #[test]
    fn a_phase_without_end_takes_a_moment_only() {
        let endless = PhaseLoad {
            model: LoadModel::Sessions { curve: Curve::constant(1.0), think: Think::default() },
            length: None,
        };
        let fast = LoadModel::Rate { curve: Curve::constant(1e9), spacing: Spacing::Poisson };
        let both = [PhaseLoad { model: fast, length: Some(Duration::from_secs(86_400)) }, endless];
        assert_ne!(fingerprint(&both, 1), fingerprint(&both[..1], 1));
    }
}
