//! The profile with every default filled in, and its rendering as TOML: what the run directory stores.
//!
//! Rendering and parsing again gives the same profile, so a stored one repeats its run.

use std::time::Duration;

use super::message;
use super::schema::{
    Arrival, Chunking, Hello, Load, OnSaturation, Phase, Pipelining, Profile, Proxy, Quit, Session, Target,
    Timeouts, Unit,
};
use super::tls::Tls;
use super::units::{Count, Level, Seed, Size, Time, TimeRange};
use super::value::Distribution;
use crate::net::address::{Protocol, Target as Address};
use crate::smtp::{extensions, script};

/// Sessions that an open load may have open at once unless the profile says otherwise.
pub const MAX_SESSIONS: u64 = 1000;
/// How long arrivals may take to end after their phase unless the profile says otherwise.
pub const GRACEFUL_STOP: Duration = Duration::from_secs(30);

/// Fills in what is absent and does not depend on the machine. `seed` is used if the profile has none, `name` likewise.
///
/// What has no default (the target's address, a rate) stays absent, for `compile` to name; so do keys that a load model
/// has no use for.
pub fn fill(mut profile: Profile, seed: u64, name: &str) -> Profile {
    profile.schema.get_or_insert(1);
    profile.name.get_or_insert_with(|| name.to_owned());
    profile.seed.get_or_insert(Seed(seed));
    target(profile.target.get_or_insert_default());
    timeouts(profile.timeouts.get_or_insert_default());
    session(profile.session.get_or_insert_default());
    message::fill(profile.message.get_or_insert_default());
    for (index, one) in profile.phase.iter_mut().enumerate() {
        phase(one, index);
    }
    for assert in &mut profile.assert {
        assert.abort.get_or_insert(false);
    }
    profile
}

/// The profile as TOML.
///
/// # Panics
/// Never: every type of the schema has a TOML form.
pub fn render(profile: &Profile) -> String {
    toml::to_string(profile).expect("every type of the schema has a TOML form")
}

/// The profile with its target's protocol in place of the address, and no hosts allowed: the same for two targets of which
/// the same is asked. A listener inside the process is kept apart from any other: it takes from the generator's own time.
pub fn addressless(profile: &Profile, to: &Address) -> Profile {
    let mut profile = profile.clone();
    let target = profile.target.get_or_insert_default();
    let place = match (to.is_embedded(), to.protocol()) {
        (true, _) => "embedded",
        (false, Protocol::Smtp) => "smtp",
        (false, Protocol::Lmtp) => "lmtp",
    };
    target.address = Some(place.to_owned());
    target.allow = None;
    profile
}

fn target(target: &mut Target) {
    // An address with TLS in it has said so.
    let implicit = target.address.as_deref().is_some_and(|address| address.starts_with("smtps://"));
    target.tls.get_or_insert(if implicit { Tls::Implicit } else { Tls::None });
    target.proxy.get_or_insert(Proxy::None);
    target.xclient.get_or_insert(false);
}

fn timeouts(timeouts: &mut Timeouts) {
    let default = script::Timeouts::default();
    timeouts.connect.get_or_insert(Time(default.connect));
    timeouts.greeting.get_or_insert(Time(default.greeting));
    timeouts.command.get_or_insert(Time(default.command));
    timeouts.data.get_or_insert(Time(default.data));
    timeouts.body.get_or_insert(Time(default.body));
    timeouts.session.get_or_insert(Time(default.session));
}

fn session(session: &mut Session) {
    session.hello.get_or_insert(Hello::Ehlo);
    session.name.get_or_insert_with(|| "load.example".to_owned());
    session.messages.get_or_insert(Distribution::Fixed(Count(1)));
    session.pipelining.get_or_insert(Pipelining::Auto);
    session.chunking.get_or_insert(Chunking::Auto);
    session.chunk_size.get_or_insert(Size(extensions::Chunking::default().size.get()));
    session.think.get_or_insert(TimeRange::default());
    session.quit.get_or_insert(Quit::Clean);
}

fn phase(phase: &mut Phase, index: usize) {
    phase.name.get_or_insert_with(|| default_name(index));
    let Some(load) = phase.load else { return };
    phase.unit.get_or_insert(default_unit(load, phase.from));
    phase.warmup.get_or_insert(false);
    phase.graceful_stop.get_or_insert(Time(GRACEFUL_STOP));
    if matches!(load, Load::ConstantSessions | Load::SharedMessages) && phase.unit == Some(Unit::Message) {
        phase.open_first.get_or_insert(false);
    }
    if is_rate(load, phase.from) {
        phase.arrival.get_or_insert(Arrival::Uniform);
    }
    if is_rate(load, phase.from) || load == Load::Burst {
        phase.max_sessions.get_or_insert(Count(MAX_SESSIONS));
        phase.on_saturation.get_or_insert(OnSaturation::Queue);
    }
}

/// What a phase without a name is called.
pub(super) fn default_name(index: usize) -> String {
    format!("phase-{}", index + 1)
}

/// Whether the load is arrivals at a rate.
pub(super) fn is_rate(load: Load, from: Option<Level>) -> bool {
    match load {
        Load::ConstantRate | Load::RampingRate => true,
        Load::Staircase => !matches!(from, Some(Level::Sessions(_))),
        Load::ConstantSessions
        | Load::RampingSessions
        | Load::SharedMessages
        | Load::Burst
        | Load::HeldSessions => false,
    }
}

fn default_unit(load: Load, from: Option<Level>) -> Unit {
    if is_rate(load, from) || matches!(load, Load::Burst | Load::SharedMessages) {
        Unit::Message
    } else {
        Unit::Session
    }
}
