//! A compiled profile, with the time and the identity of its run.

use std::time::Duration;

use super::error::CommandError;
use crate::generator::connector::EmbeddedListener;
use crate::listener::{self, Listener};
use crate::net::address::bind::Bind;
use crate::plan::Plan;
use crate::profile::Compiled;
use crate::report::environment::Environment;
use crate::report::{RunDescription, format};

/// A profile that is ready to run.
pub struct Prepared {
    /// The plan, and the rest of the profile.
    pub compiled: Compiled,
    /// The profile's file, if there is one.
    pub path: Option<String>,
    /// The time of the command, since the Unix epoch.
    pub started_at: Duration,
}

impl Prepared {
    /// Returns the plan.
    pub fn plan(&self) -> &Plan {
        &self.compiled.plan
    }

    /// Returns the Date of all messages of a run (RFC 5322 3.3), in UTC.
    pub fn date(&self) -> String {
        let stamp = format::timestamp(self.started_at);
        let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let weekday = weekdays[usize::try_from(self.started_at.as_secs() / 86_400 % 7).unwrap_or(0)];
        // RFC 3339: 2026-11-23T12:00:00Z.
        let month =
            stamp[5..7].parse::<usize>().ok().and_then(|month| months.get(month - 1)).unwrap_or(&"Jan");
        format!("{weekday}, {} {month} {} {} +0000", &stamp[8..10], &stamp[..4], &stamp[11..19])
    }

    /// Returns the description of the run, for its exporters and its stored result.
    pub fn describe(&self) -> RunDescription {
        let compiled = &self.compiled;
        RunDescription {
            plan: compiled.plan.clone(),
            infos: compiled.plan.phase_infos(),
            assertions: compiled.assertions.clone(),
            profile_path: self.path.clone(),
            profile_sha256: compiled.sha256.clone(),
            profile: compiled.resolved.clone(),
            started_at: self.started_at,
        }
    }

    /// Returns the environment: this machine and the command line. An argument may be invalid UTF-8.
    pub fn environment(&self) -> Environment {
        let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
        Environment::read(arguments.collect(), self.started_at)
    }

    /// Starts the embedded listener, if it is the target. The listener counts its outage from the start of the load,
    /// which the caller sets with `count_from`.
    ///
    /// # Errors
    /// The listener cannot be bound.
    pub fn start_listener(&self) -> Result<Option<Listener>, CommandError> {
        if !self.plan().target.is_embedded() {
            return Ok(None);
        }
        let any_port = || Bind::Tcp(([127, 0, 0, 1], 0).into());
        let place = self.compiled.listen.clone().unwrap_or_else(any_port);
        let (limits, seed) = (self.compiled.listener.clone(), self.plan().seed);
        Ok(Some(listener::start_before_load(&place, limits, seed, 1, None)?))
    }
}

/// Returns the embedded listener as its clients see it.
pub fn embedded(listener: &Listener) -> EmbeddedListener {
    EmbeddedListener { place: listener.place().into(), certificate: listener.certificate().cloned() }
}
