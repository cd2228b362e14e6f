//! Time for the generator: the clock, and one epoch for all threads.

use std::time::{Duration, Instant};

/// The monotonic time now.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall-clock time now.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// The run's clock: offsets from an epoch that all threads share, instead of a barrier.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock that is at zero at `epoch`.
    pub fn new(epoch: Instant) -> Clock {
        Clock { epoch }
    }

    /// When it is at zero.
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// The offset of now; zero before the epoch.
    pub fn offset(&self) -> Duration {
        self.offset_of(now())
    }

    /// The offset of a moment; zero before the epoch.
    pub fn offset_of(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.epoch)
    }

    /// What the wall clock shows at the epoch, since the Unix epoch, to its word of now.
    pub fn wall_of_epoch(&self) -> Duration {
        let (now, wall) = (now(), wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default());
        (wall + self.epoch.saturating_duration_since(now))
            .saturating_sub(now.saturating_duration_since(self.epoch))
    }

    /// How long it is until the epoch; zero after.
    pub fn until_epoch(&self) -> Duration {
        self.epoch.saturating_duration_since(now())
    }
}
