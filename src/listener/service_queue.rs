//! The workers that process contents: a fixed number at once, while the others wait. `behaviour` decides the time of each.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A queue of first come, first served in front of a number of workers.
#[derive(Debug)]
pub(super) struct ServiceQueue {
    /// The time from which each worker is free.
    free: Mutex<Vec<Instant>>,
}

impl ServiceQueue {
    /// Creates this many workers, at least one, all free from `start` on.
    pub fn new(count: u32, start: Instant) -> ServiceQueue {
        ServiceQueue { free: Mutex::new(vec![start; count.max(1) as usize]) }
    }

    /// Returns how long from `now` on it takes to finish a content with this service time.
    pub fn serve(&self, now: Instant, service: Duration) -> Duration {
        // A session that panicked left no worker half changed.
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let next = free.iter_mut().min().expect("there is at least one worker");
        *next = (*next).max(now) + service;
        *next - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the origin of a virtual clock")]
    fn the_first_are_served_at_once_and_the_others_in_turn() {
        let start = Instant::now();
        let (workers, service) = (ServiceQueue::new(2, start), Duration::from_millis(20));
        let done = |at: u64| workers.serve(start + Duration::from_millis(at), service).as_millis();
        assert_eq!([done(0), done(0), done(0), done(5)], [20, 20, 40, 35]);
        assert_eq!(done(1000), 20, "who comes to free workers does not wait");
    }
}
