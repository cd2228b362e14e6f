//! Waits with a finer resolution than the runtime's tick of 1 ms: a kernel timer in the same epoll as the sockets.

use std::cell::RefCell;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::task::Waker;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A high-resolution timer of the kernel, in the same epoll as the sockets.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<Fd>,
}

#[derive(Debug)]
struct Fd(TimerFd);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    /// Creates a timer in the current runtime.
    ///
    /// # Errors
    /// There is no free descriptor.
    pub fn new() -> io::Result<Alarm> {
        // The default slack of 50 us would make every wait late.
        nix::sys::prctl::set_timerslack(1).map_err(io::Error::from)?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)
                .map_err(io::Error::from)?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe; what it guards against cannot happen here: Fd owns its descriptor for good"
        )]
        let timer = AsyncFd::with_interest(Fd(timer), Interest::READABLE)?;
        Ok(Alarm { timer })
    }

    /// Waits for `length`. The future may be dropped at any time, and `sleep` called again.
    ///
    /// # Errors
    /// The kernel's error; not seen in practice.
    pub async fn sleep(&mut self, length: Duration) -> io::Result<()> {
        self.set(length)?;
        self.rung().await
    }

    fn set(&self, length: Duration) -> io::Result<()> {
        // Setting a timer to zero would disarm it.
        let length = TimeSpec::from_duration(length.max(Duration::from_nanos(1)));
        let timer = &self.timer.get_ref().0;
        timer.set(Expiration::OneShot(length), TimerSetTimeFlags::empty()).map_err(io::Error::from)
    }

    async fn rung(&self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            match ready.try_io(|fd| fd.get_ref().0.wait().map_err(io::Error::from)) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }
}

/// The fine timers of one thread: any number of waits share one [`Alarm`].
#[derive(Debug)]
pub struct Timers {
    alarm: Alarm,
    waits: RefCell<BinaryHeap<Reverse<Wait>>>,
    now: fn() -> Instant,
}

#[derive(Debug)]
struct Wait {
    at: Instant,
    waker: Waker,
}

impl PartialEq for Wait {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Wait {}

impl PartialOrd for Wait {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Wait {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

impl Timers {
    /// Creates timers in the current runtime; `now` reads the clock. They wake only while [`Timers::run`] is polled.
    ///
    /// # Errors
    /// There is no free descriptor.
    pub fn new(now: fn() -> Instant) -> io::Result<Timers> {
        Ok(Timers { alarm: Alarm::new()?, waits: RefCell::default(), now })
    }

    /// Wakes `waker` at `at`. The wake-up cannot be cancelled: a task that no longer waits is woken too.
    pub fn wake_at(&self, at: Instant, waker: &Waker) {
        let mut waits = self.waits.borrow_mut();
        let first = waits.peek().is_none_or(|Reverse(first)| at < first.at);
        waits.push(Reverse(Wait { at, waker: waker.clone() }));
        if first {
            // The kernel refuses only a length that it cannot represent. In that case this wait ends together with a
            // later one.
            self.alarm.set(at.saturating_duration_since((self.now)())).ok();
        }
    }

    /// Wakes the tasks, forever.
    ///
    /// # Errors
    /// The kernel's error; not seen in practice.
    pub async fn run(&self) -> io::Result<()> {
        loop {
            self.alarm.rung().await?;
            let now = (self.now)();
            let mut waits = self.waits.borrow_mut();
            while waits.peek().is_some_and(|Reverse(first)| first.at <= now) {
                if let Some(Reverse(wait)) = waits.pop() {
                    wait.waker.wake();
                }
            }
            if let Some(Reverse(next)) = waits.peek() {
                self.alarm.set(next.at.saturating_duration_since(now))?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the test's clock")]
    fn now() -> Instant {
        Instant::now()
    }

    #[tokio::test]
    async fn the_alarm_never_wakes_early_and_can_be_set_anew() {
        let mut alarm = Alarm::new().unwrap();
        for us in [1, 50, 300, 1500] {
            let (started, length) = (now(), Duration::from_micros(us));
            alarm.sleep(length).await.unwrap();
            assert!(now() - started >= length);
        }
        let abandoned =
            tokio::time::timeout(Duration::from_millis(1), alarm.sleep(Duration::from_secs(60))).await;
        assert!(abandoned.is_err());
        let started = now();
        alarm.sleep(Duration::from_millis(2)).await.unwrap();
        assert!(now() - started < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn many_waits_all_ring_and_none_early() {
        let timers = Timers::new(now).unwrap();
        let started = now();
        let rung = RefCell::new(Vec::new());
        let wait = async |us: u64| {
            let at = started + Duration::from_micros(us);
            std::future::poll_fn(|cx| {
                if now() >= at {
                    return std::task::Poll::Ready(());
                }
                timers.wake_at(at, cx.waker());
                std::task::Poll::Pending
            })
            .await;
            rung.borrow_mut().push((us, now() >= at));
        };
        let all = async { futures::join!(wait(2900), wait(300), wait(1600)) };
        tokio::select! {
            ended = timers.run() => ended.unwrap(),
            _ = all => {}
        }
        let mut rung = rung.into_inner();
        rung.sort_unstable();
        assert_eq!(rung, [(300, true), (1600, true), (2900, true)]);
        assert!(now() - started >= Duration::from_micros(2900));
    }
}
