//! The random numbers of messages: streams by seed and purpose, with direct access to any position.
//!
//! The numbers come from ChaCha8 with the seed in the key, as for schedules. The specification of ChaCha8 fixes the
//! values. The library's own seeding and distributions may change from release to release.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The purpose of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum MailDraw {
    /// Sizes.
    Size,
    /// The filler's words.
    Filler,
    /// The choice of the sender.
    Sender,
    /// The choice of the recipients.
    Recipient,
    /// The choice of the file.
    File,
    /// The bytes of attachments.
    Attachment,
    /// The letters of the placeholder `{random:N}` with this number, counted over the templates of a run.
    Letters(u32),
}

impl MailDraw {
    /// Returns the stream's number. These numbers must never change: they decide what a seeded run sends.
    fn stream(self) -> u64 {
        match self {
            MailDraw::Size => 0,
            MailDraw::Filler => 1,
            MailDraw::Sender => 2,
            MailDraw::Recipient => 3,
            MailDraw::File => 4,
            MailDraw::Attachment => 5,
            MailDraw::Letters(place) => 16 + u64::from(place),
        }
    }
}

/// Returns the stream of a seed for a purpose.
pub(super) fn stream(seed: u64, purpose: MailDraw) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..21].copy_from_slice(b"smtpress mail");
    let mut stream = ChaCha8Rng::from_seed(key);
    stream.set_stream(purpose.stream());
    stream
}

/// Returns the 64 random bits at position `n` of a stream.
pub(super) fn draw(stream: &ChaCha8Rng, n: u64) -> u64 {
    let mut at = stream.clone();
    at.set_word_pos(2 * u128::from(n));
    at.next_u64()
}
