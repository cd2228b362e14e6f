//! Measures how long this machine stood still during a measurement (M5b): a thread wakes up every [`EVERY`] and notes
//! its delay. In a process that was stopped or starved of CPU, late replies are not the listener's fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::generator::clock;

const EVERY: Duration = Duration::from_millis(20);
/// Shorter delays are normal on a busy machine, and within the tolerances of a search.
const STALL: Duration = Duration::from_millis(200);

/// The thread that watches.
pub(super) struct Stalls {
    nanoseconds: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    watch: Option<JoinHandle<()>>,
}

impl Stalls {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn watch() -> std::io::Result<Stalls> {
        let (nanoseconds, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (sum, ends) = (nanoseconds.clone(), over.clone());
        let watch = std::thread::Builder::new().name("stalls".to_owned()).spawn(move || {
            let mut last = clock::now();
            while !ends.load(Ordering::Relaxed) {
                std::thread::sleep(EVERY);
                let now = clock::now();
                let late = now.saturating_duration_since(last).saturating_sub(EVERY);
                if late >= STALL {
                    sum.fetch_add(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                last = now;
            }
        })?;
        Ok(Stalls { nanoseconds, over, watch: Some(watch) })
    }

    /// Returns the sum of all standstills so far.
    pub fn so_far(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(watch) = self.watch.take() {
            watch.join().ok();
        }
    }
}
