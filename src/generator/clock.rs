//! The clock of the generator, with one epoch for all threads.

use std::time::{Duration, Instant};

/// Returns the current monotonic time.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Returns the current wall-clock time.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// The run's clock: offsets from an epoch that all threads share, so that threads start together without a barrier.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// Returns a clock with this epoch.
    pub fn new(epoch: Instant) -> Clock {
        Clock { epoch }
    }

    /// Returns the epoch.
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Returns the current offset; zero before the epoch.
    pub fn offset(&self) -> Duration {
        self.offset_of(now())
    }

    /// Returns the offset of a moment; zero before the epoch.
    pub fn offset_of(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.epoch)
    }

    /// Returns the wall-clock time of the epoch, since the Unix epoch, computed from the current reading.
    pub fn wall_of_epoch(&self) -> Duration {
        let (now, wall) = (now(), wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default());
        (wall + self.epoch.saturating_duration_since(now))
            .saturating_sub(now.saturating_duration_since(self.epoch))
    }

    /// Returns how long it is until the epoch; zero after.
    pub fn until_epoch(&self) -> Duration {
        self.epoch.saturating_duration_since(now())
    }
}
