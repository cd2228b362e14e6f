//! The reachability check: whether the target can be reached at all. The first sessions of a run show whether it can.
//! There is no extra connection for this check, because the listener would count the connection (M29b).
//!
//! # Decisions
//! - The first connection attempt that ends decides, no matter on which thread. A connection that is reset was accepted
//!   before.
//! - A failure of this machine decides nothing.
//! - An attempt may hang for 10 s, or for the connect time-out if that is shorter. Within this time every address of the
//!   target is tried (see `net::dial`).
//! - After the load, the target is checked only if the last arrival leaves open whether the listener is still there
//!   (`work`): with one more connection, which is not counted.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use super::clock;
use super::connector::Connector;
use super::preflight;
use super::runner::RunError;
use crate::net::address::Transport;
use crate::net::dial::{self, ConnectFault, Dialed, Endpoint, PATIENCE};
use crate::plan::Plan;
use crate::smtp::Step;
use crate::smtp::script::TlsMode;

/// How long the check after the load waits for a greeting or a close.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// The results of the first connection attempts of a run.
#[derive(Debug)]
pub(super) struct Reach {
    /// How long the first attempt may hang.
    patience: Duration,
    /// The start of the first attempt, since the run's epoch.
    started: OnceLock<Duration>,
    /// The result of the first attempt that ended: the reason, if the target was not reached.
    ended: OnceLock<Option<ConnectFault>>,
}

impl Reach {
    /// Returns the state before the first attempt. `timeout`: the time-out of a connect; `is_asked`: whether the check
    /// is wanted.
    pub fn new(is_asked: bool, timeout: Duration) -> Reach {
        let ended = OnceLock::new();
        if !is_asked {
            ended.set(None).ok();
        }
        Reach { patience: PATIENCE.min(timeout), started: OnceLock::new(), ended }
    }

    /// Notes the start of an attempt.
    pub fn started(&self, at: Duration) {
        self.started.get_or_init(|| at);
    }

    /// Notes the end of an attempt.
    pub fn ended(&self, failure: Option<(Step, ConnectFault)>) {
        match failure {
            Some((_, ConnectFault::Own(_))) => {}
            Some((Step::Dns | Step::Connect, fault)) => {
                self.ended.get_or_init(|| Some(fault));
            }
            _ => {
                self.ended.get_or_init(|| None);
            }
        }
    }

    /// Returns why the target cannot be reached; `None`: at `now` the target can be reached, or this is not known yet.
    pub fn failure(&self, now: Duration) -> Option<ConnectFault> {
        match self.ended.get() {
            Some(ended) => *ended,
            None => self
                .started
                .get()
                .filter(|started| now > **started + self.patience)
                .map(|_| ConnectFault::TimedOut),
        }
    }
}

/// Checks whether a load may be sent to the plan's target, and whether the target is there: connects once and closes.
///
/// # Errors
/// The target does not resolve, is not allowed or cannot be reached.
pub fn check_target(plan: &Plan) -> Result<(), RunError> {
    preflight::check_before_load(plan)?;
    // The embedded listener is not started yet.
    if plan.target.is_embedded() {
        return Ok(());
    }
    let connector = Connector::new(plan, None)?;
    let Some(dialed) = connect_once(&connector, PATIENCE, |dialed| async { dialed }) else { return Ok(()) };
    match &dialed.result {
        // The listener accepted the connection before it reset the connection. The load will show what that means.
        Ok(_) | Err((_, ConnectFault::Reset)) => Ok(()),
        // A unix socket whose queue is full has a listener.
        Err((_, ConnectFault::TimedOut)) if matches!(plan.target.transport, Transport::Unix { .. }) => Ok(()),
        Err((_, fault)) => Err(preflight::unreachable(plan, *fault, dialed.in_words(*fault)).into()),
    }
}

/// Checks whether the listener is still there after the load: whether it accepts a connection, and then sends a greeting
/// or closes the connection. If TLS comes first, an accepted connection is enough. After a failure of this machine the
/// result is true.
pub(super) fn still_listens(connector: &Connector) -> bool {
    let script = &connector.plan().script;
    let patience = script.timeouts.greeting.min(LAST_PATIENCE);
    let listens = connect_once(connector, LAST_PATIENCE, |dialed| async move {
        match dialed.result {
            Ok(_) if script.tls == TlsMode::Implicit => true,
            Ok(mut stream) => !stream.is_silent(patience).await,
            Err((_, ConnectFault::Own(_) | ConnectFault::NotAllowed(_) | ConnectFault::Reset)) => true,
            Err((
                _,
                ConnectFault::Refused
                | ConnectFault::TimedOut
                | ConnectFault::Unreachable
                | ConnectFault::NotResolved,
            )) => false,
        }
    });
    listens.unwrap_or(true)
}

/// Connects once, within `most`, and evaluates the result; `None`: this machine could not connect.
fn connect_once<T, F: Future<Output = T>>(
    connector: &Connector,
    most: Duration,
    judge: impl FnOnce(Dialed) -> F,
) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let endpoint = connector.endpoint();
    let endpoint = Endpoint { timeout: endpoint.timeout.min(most), ..endpoint.clone() };
    Some(
        runtime.block_on(async {
            judge(dial::dial(&endpoint, 0, clock::now, &Cell::new(Step::Dns)).await).await
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dial::LocalFault;

    #[test]
    fn the_first_dial_that_ends_decides() {
        let seconds = Duration::from_secs;
        let reach = Reach::new(true, seconds(30));
        assert_eq!(reach.failure(seconds(100)), None, "none was started");
        reach.started(seconds(1));
        reach.started(seconds(5));
        reach.ended(Some((Step::Connect, ConnectFault::Own(LocalFault::Ports))));
        assert_eq!(
            (reach.failure(seconds(11)), reach.failure(seconds(12))),
            (None, Some(ConnectFault::TimedOut))
        );
        reach.ended(Some((Step::Connect, ConnectFault::Refused)));
        reach.ended(None);
        assert_eq!(reach.failure(seconds(2)), Some(ConnectFault::Refused));
        for good in [None, Some((Step::Greeting, ConnectFault::Reset))] {
            let reach = Reach::new(true, seconds(30));
            reach.started(seconds(0));
            reach.ended(good);
            reach.ended(Some((Step::Connect, ConnectFault::Refused)));
            assert_eq!(reach.failure(seconds(99)), None, "{good:?}: it was reached, and refuses now");
        }
        let nobody_asks = Reach::new(false, seconds(30));
        nobody_asks.started(seconds(0));
        nobody_asks.ended(Some((Step::Dns, ConnectFault::NotResolved)));
        assert_eq!(nobody_asks.failure(seconds(99)), None);
    }
}
