//! Whether the target can be reached at all. The first sessions of a run tell: no connection is made for that alone, because the
//! listener would count it (M29b).
//!
//! # Decisions
//! - The first dial that ends decides, whichever thread it belongs to. One that is reset was let in.
//! - What our own side could not do says nothing of the target.
//! - A dial that hangs is waited for 10 s, or for the time-out of the connect if that is shorter.
//! - Whether the target is still there when all is over is asked only where the last arrival of all leaves it open
//!   (`work`): by one connection more, after the load, which counts nowhere.

use std::sync::OnceLock;
use std::time::Duration;

use super::clock;
use crate::net::dial::{self, Endpoint, Fault};
use crate::smtp::Step;
use crate::smtp::script::{Script, Tls};

/// How long the first dial may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it is waited for a sign of life after the load.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// What the first dials of a run came to.
#[derive(Debug)]
pub(super) struct Reach {
    /// How long the first dial may hang.
    patience: Duration,
    /// When the first dial began, since the run's epoch.
    begun: OnceLock<Duration>,
    /// How the first one ended: why the target was not reached, if it was not.
    ended: OnceLock<Option<Fault>>,
}

impl Reach {
    /// `timeout`: that of a connect; `is_asked`: whether anybody wants to know.
    pub fn new(is_asked: bool, timeout: Duration) -> Reach {
        let ended = OnceLock::new();
        if !is_asked {
            ended.set(None).ok();
        }
        Reach { patience: PATIENCE.min(timeout), begun: OnceLock::new(), ended }
    }

    /// A dial begins.
    pub fn begun(&self, at: Duration) {
        self.begun.get_or_init(|| at);
    }

    /// A dial ended.
    pub fn ended(&self, failure: Option<(Step, Fault)>) {
        match failure {
            Some((_, Fault::Own(_))) => {}
            Some((Step::Dns | Step::Connect, fault)) => {
                self.ended.get_or_init(|| Some(fault));
            }
            _ => {
                self.ended.get_or_init(|| None);
            }
        }
    }

    /// Why the target cannot be reached, if that is so at `now`.
    pub fn failure(&self, now: Duration) -> Option<Fault> {
        match self.ended.get() {
            Some(ended) => *ended,
            None => self.begun.get().filter(|begun| now > **begun + self.patience).map(|_| Fault::TimedOut),
        }
    }
}

/// Whether somebody still listens at `endpoint`, after the load: who lets us in, and says or does something unless TLS is to
/// come first. What our own side cannot do says nothing.
pub(super) fn still_listens(endpoint: &Endpoint, script: &Script) -> bool {
    let endpoint = Endpoint { timeout: endpoint.timeout.min(LAST_PATIENCE), ..endpoint.clone() };
    let patience = script.timeouts.greeting.min(LAST_PATIENCE);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return true };
    runtime.block_on(async {
        match dial::dial(&endpoint, 0, clock::now).await.result {
            Ok(_) if script.tls == Tls::Implicit => true,
            Ok(mut stream) => !stream.is_silent(patience).await,
            Err((_, Fault::Own(_) | Fault::NotAllowed(_) | Fault::Reset)) => true,
            Err((_, Fault::Refused | Fault::TimedOut | Fault::Unreachable | Fault::NotResolved)) => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dial::Own;

    #[test]
    fn the_first_dial_that_ends_decides() {
        let seconds = Duration::from_secs;
        let reach = Reach::new(true, seconds(30));
        assert_eq!(reach.failure(seconds(100)), None, "none was begun");
        reach.begun(seconds(1));
        reach.begun(seconds(5));
        reach.ended(Some((Step::Connect, Fault::Own(Own::Ports))));
        assert_eq!((reach.failure(seconds(11)), reach.failure(seconds(12))), (None, Some(Fault::TimedOut)));
        reach.ended(Some((Step::Connect, Fault::Refused)));
        reach.ended(None);
        assert_eq!(reach.failure(seconds(2)), Some(Fault::Refused));
        for good in [None, Some((Step::Greeting, Fault::Reset))] {
            let reach = Reach::new(true, seconds(30));
            reach.begun(seconds(0));
            reach.ended(good);
            reach.ended(Some((Step::Connect, Fault::Refused)));
            assert_eq!(reach.failure(seconds(99)), None, "{good:?}: it was reached, and refuses now");
        }
        let nobody_asks = Reach::new(false, seconds(30));
        nobody_asks.begun(seconds(0));
        nobody_asks.ended(Some((Step::Dns, Fault::NotResolved)));
        assert_eq!(nobody_asks.failure(seconds(99)), None);
    }
}
