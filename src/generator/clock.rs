//! Time for the generator: one epoch for all threads, and waiting finer than the runtime's 1 ms tick.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

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

    /// The offset of now; zero before the epoch.
    pub fn offset(&self) -> Duration {
        self.offset_of(now())
    }

    /// The offset of a moment; zero before the epoch.
    pub fn offset_of(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.epoch)
    }

    /// How long it is until the epoch; zero after.
    pub fn until_epoch(&self) -> Duration {
        self.epoch.saturating_duration_since(now())
    }
}

/// A timer of the kernel's high-resolution kind, waited for by the same epoll as the sockets.
#[derive(Debug)]
pub struct Pacer {
    timer: AsyncFd<Fd>,
}

#[derive(Debug)]
struct Fd(TimerFd);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Pacer {
    /// A timer in the current runtime.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Pacer> {
        // The default slack of 50 us would be our own lateness.
        nix::sys::prctl::set_timerslack(1).map_err(io::Error::from)?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)
                .map_err(io::Error::from)?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe; what it guards against cannot happen here: Fd owns its descriptor for good"
        )]
        let timer = AsyncFd::with_interest(Fd(timer), Interest::READABLE)?;
        Ok(Pacer { timer })
    }

    /// Waits for `length`; may be dropped and called anew at any time.
    ///
    /// # Errors
    /// What the kernel says; not seen in practice.
    pub async fn sleep(&mut self, length: Duration) -> io::Result<()> {
        // A timer of zero would be disarmed.
        let length = length.max(Duration::from_nanos(1));
        self.timer
            .get_ref()
            .0
            .set(Expiration::OneShot(TimeSpec::from_duration(length)), TimerSetTimeFlags::empty())
            .map_err(io::Error::from)?;
        loop {
            let mut ready = self.timer.readable().await?;
            match ready.try_io(|fd| fd.get_ref().0.wait().map_err(io::Error::from)) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_pacer_never_wakes_early_and_can_be_set_anew() {
        let mut pacer = Pacer::new().unwrap();
        for us in [1, 50, 300, 1500] {
            let (started, length) = (now(), Duration::from_micros(us));
            pacer.sleep(length).await.unwrap();
            assert!(now() - started >= length);
        }
        let abandoned =
            tokio::time::timeout(Duration::from_millis(1), pacer.sleep(Duration::from_secs(60))).await;
        assert!(abandoned.is_err());
        let started = now();
        pacer.sleep(Duration::from_millis(2)).await.unwrap();
        assert!(now() - started < Duration::from_secs(30));
    }
}
