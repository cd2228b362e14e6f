//! The profile with every default filled in, and its rendering as TOML, which the run directory stores.
//!
//! The rendered text parses to the same profile, so a stored profile repeats its run. A default that depends on no
//! other key stands in the declaration of its key. The defaults in this file follow from other keys.

use super::schema::Profile;
use super::schema::message::Message;
use super::schema::phase::{Load, MAX_SESSIONS, Phase};
use super::schema::target::Target;
use super::table::{KeyTable, Word};
use super::units::{Count, Level, Seed, Size};
use super::value::Distribution;
use crate::net::address::{Protocol, Target as Address};
use crate::plan::Unit;
use crate::smtp::script::TlsMode;

/// Fills in absent values that do not depend on the machine. `seed` and `name` are used if the profile has none.
///
/// Keys without a default (the target's address, a rate) stay absent, and `compile` reports them. Keys that a load
/// model does not use stay absent too.
pub fn fill(mut profile: Profile, seed: u64, name: &str) -> Profile {
    profile.fill();
    profile.name.get_or_insert_with(|| name.to_owned());
    profile.seed.get_or_insert(Seed(seed));
    target(profile.target.get_or_insert_default());
    profile.timeouts.get_or_insert_default().fill();
    profile.session.get_or_insert_default().fill();
    message(profile.message.get_or_insert_default());
    for (index, one) in profile.phase.iter_mut().flatten().enumerate() {
        phase(one, index);
    }
    for (index, one) in profile.event.iter_mut().flatten().enumerate() {
        one.name.get_or_insert_with(|| format!("event-{}", index + 1));
    }
    if let Some(receive) = &mut profile.receive {
        receive.fill();
    }
    profile.assert.iter_mut().flatten().for_each(KeyTable::fill);
    profile
}

/// Returns the profile as TOML.
///
/// # Panics
/// Never: every type of the schema has a TOML form.
pub fn render(profile: &Profile) -> String {
    toml::to_string(profile).expect("every type of the schema has a TOML form")
}

/// Returns the profile with the target's protocol in place of its address, and without the allowed hosts, the delivery
/// logs and their clocks, the agent of the receiver, and the folder. The result is equal for two targets that get the
/// same load. The embedded listener stays apart from all others, because it takes CPU time from the generator.
pub fn addressless(profile: &Profile, to: &Address) -> Profile {
    let mut profile = profile.clone();
    let target = profile.target.get_or_insert_default();
    let place = match (to.is_embedded(), to.protocol()) {
        (true, _) => "embedded",
        (false, Protocol::Smtp) => "smtp",
        (false, Protocol::Lmtp) => "lmtp",
    };
    target.address = Some(place.to_owned());
    if let Some(receive) = &mut profile.receive {
        (receive.deliveries, receive.clock_offset) = (None, None);
        (receive.clock_probe, receive.agent) = (None, None);
    }
    target.allow = None;
    profile.folder = None;
    profile
}

fn target(target: &mut Target) {
    target.fill();
    // The scheme `smtps://` implies TLS.
    let implicit = target.address.as_deref().is_some_and(|address| address.starts_with("smtps://"));
    target.tls.get_or_insert(Word(if implicit { TlsMode::Implicit } else { TlsMode::None }));
}

/// Fills in the defaults of `[message]`.
pub(super) fn message(message: &mut Message) {
    message.fill();
    if message.from_file.is_none() {
        message.from.get_or_insert_with(|| "load@sender.example".to_owned());
    }
    if message.to_file.is_none() {
        message.to.get_or_insert_with(|| "user{n}@recipient.example".to_owned());
    }
    let has_a_size = message.text.is_some()
        || message.text_file.is_some()
        || message.files.is_some()
        || message.attachments.is_some();
    if !has_a_size {
        message.size.get_or_insert(Distribution::Fixed(Size(4096)));
    }
}

fn phase(phase: &mut Phase, index: usize) {
    phase.name.get_or_insert_with(|| format!("phase-{}", index + 1));
    let Some(load) = phase.load else { return };
    phase.unit.get_or_insert(Word(default_unit(load, phase.from)));
    phase.warmup = Some(phase.warmup());
    phase.graceful_stop = Some(phase.graceful_stop());
    if matches!(load, Load::ConstantSessions | Load::SharedMessages)
        && phase.unit == Some(Word(Unit::Message))
    {
        phase.open_first = Some(phase.open_first());
    }
    if load.is_rate(phase.from) {
        phase.arrival = Some(phase.arrival());
    }
    if load.is_rate(phase.from) || load == Load::Burst {
        phase.max_sessions.get_or_insert(Count(MAX_SESSIONS));
        phase.on_saturation = Some(phase.on_saturation());
    }
}

fn default_unit(load: Load, from: Option<Level>) -> Unit {
    if load.is_rate(from) || matches!(load, Load::Burst | Load::SharedMessages) {
        Unit::Message
    } else {
        Unit::Session
    }
}
