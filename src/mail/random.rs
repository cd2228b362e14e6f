//! The random numbers of messages: streams by seed and purpose, any position of which can be reached directly.
//!
//! ChaCha8 with the seed in its key, as for schedules: its values are fixed by its specification, and the library's own
//! seeding and distributions may change from release to release.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What numbers are drawn for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Sizes.
    Size = 0,
    /// The filler's words.
    Filler = 1,
}

/// The stream of a seed for a purpose.
pub(super) fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..21].copy_from_slice(b"smtpress mail");
    let mut stream = ChaCha8Rng::from_seed(key);
    stream.set_stream(purpose as u64);
    stream
}

/// The 64 random bits at place `n` of a stream.
pub(super) fn draw(stream: &ChaCha8Rng, n: u64) -> u64 {
    let mut at = stream.clone();
    at.set_word_pos(2 * u128::from(n));
    at.next_u64()
}
