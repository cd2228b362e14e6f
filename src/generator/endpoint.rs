//! Where and how the sessions of a plan are dialled: the same for a run, a search and a single session.

use crate::generator::runner::RunError;
use crate::net::address::Transport;
use crate::net::address::allowed::Allowed;
use crate::net::dial::{Endpoint, Place};
use crate::net::proxy::SpokenTls;
use crate::plan::Plan;
use crate::smtp::script::Tls;

/// The endpoint of a plan; `listener`: where the embedded listener is.
///
/// # Errors
/// The target is embedded, and its listener was not started.
pub fn endpoint(plan: &Plan, listener: Option<&Place>) -> Result<Endpoint, RunError> {
    let (place, allowed) = match &plan.target.transport {
        Transport::Tcp { host, port } => {
            (Place::Tcp { host: host.clone(), port: *port }, Allowed::new(host, &plan.allow))
        }
        Transport::Unix { path } => (Place::Unix(path.clone()), Allowed::default()),
        // It is this process's own, wherever it was told to listen.
        Transport::Embedded => (listener.cloned().ok_or(RunError::NoListener)?, Allowed::Any),
    };
    Ok(Endpoint {
        allowed,
        timeout: plan.script.timeouts.connect,
        origin: plan.origin.clone(),
        proxied_tls: (plan.script.tls == Tls::Implicit).then(SpokenTls::default),
        ..Endpoint::new(place)
    })
}
