//! The workers that process contents: a fixed number of contents at once, while further contents wait. `behaviour`
//! decides the service time of each content.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A first-come, first-served queue in front of a number of workers.
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

    /// Returns the response time of a content that arrives at `now` with this service time: its waiting time and its
    /// service time.
    pub fn serve(&self, now: Instant, service: Duration) -> Duration {
        // A panic of another session leaves all times valid.
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
