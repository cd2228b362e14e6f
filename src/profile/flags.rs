//! The flags of `smtpress run` that users know from k6, oha, hey and vegeta. They change a profile, or form a profile
//! of their own if no file is given. The command line knows from which variable or argument a value comes.
//!
//! # Decisions
//! - A flag is an [`Override`] of a key. So the same code reads, checks and shows flag and key, and `--print-profile`
//!   shows the effect of the flag. The declaration of the key names the flag (`flag "--rate"`).
//! - A flag about the load changes every measured phase that has its key; warm-ups stay unchanged. If several keys have
//!   the same flag, it sets the first one that the phase's load takes: `--sessions` sets the sessions of closed loads,
//!   and the most sessions of open loads.
//! - `--rate` sets the arrivals of loads at a rate only. The `rate` at which held sessions are opened is part of their
//!   test: at another one they would not all be open before the phase ends.

use super::document::{Document, PartialProfile};
use super::error::{COMMAND_LINE, ProfileError, ProfileFault, TextPlace};
use super::overrides::{Override, OverrideOrigin};
use super::schema::Profile;
use super::schema::message::Message;
use super::schema::phase::{Load, Phase};
use super::schema::receive::Receive;
use super::schema::session::Session;
use super::schema::target::Target;
use super::table::KeyTable;

/// The flag of an assertion. Each use adds one more.
pub const ASSERT: &str = "--assert";

/// The length of a run without `--for` and `--messages`.
const DEFAULT_LENGTH: &str = "10s";
/// The number of sessions of a run without `--sessions` and `--rate`.
const DEFAULT_SESSIONS: &str = "10";

/// Returns the key of a flag, except for keys of phases or lists.
fn key(flag: &str) -> Option<String> {
    let tables = [
        ("", Profile::FLAGS),
        ("target.", Target::FLAGS),
        ("session.", Session::FLAGS),
        ("message.", Message::FLAGS),
        ("receive.", Receive::FLAGS),
    ];
    let find = |(table, keys)| Some(format!("{table}{}", keys_of(keys, flag).next()?));
    tables.into_iter().find_map(find)
}

/// Returns the key of a flag in this phase, if its load has one. A ramp in stages has its lengths in the stages, and the
/// `rate` of held sessions is not one of arrivals.
fn key_in(flag: &str, phase: &Phase) -> Option<&'static str> {
    let load = phase.load?;
    let takes = load.keys(phase.from);
    let is_taken = |key: &&str| match *key {
        "for" if phase.stages.is_some() => false,
        "rate" if load == Load::HeldSessions => false,
        key => takes.contains(&key),
    };
    keys_of(Phase::FLAGS, flag).find(is_taken)
}

fn keys_of(
    keys: &'static [(&'static str, &'static [&'static str])],
    flag: &str,
) -> impl Iterator<Item = &'static str> {
    keys.iter().filter(move |(_, flags)| flags.contains(&flag)).map(|(key, _)| *key)
}

/// Returns the flag, or the name of the variable that stands for it (`SMTPRESS_MESSAGES_PER_SESSION`).
fn written(flag: &str, origin: OverrideOrigin) -> String {
    match origin {
        OverrideOrigin::Environment => {
            format!("SMTPRESS_{}", flag.trim_start_matches('-').replace('-', "_").to_uppercase())
        }
        OverrideOrigin::Set | OverrideOrigin::Flag => flag.to_owned(),
    }
}

/// A flag that was given, on the command line or by a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The long form, as in `--rate`.
    pub flag: &'static str,
    /// The origin.
    pub origin: OverrideOrigin,
    /// The value, as a text.
    pub value: String,
}

/// Returns the profile for flags without a file: a target, and one phase whose load model follows from the given flags.
/// It does not hold the values yet: apply [`overrides`].
///
/// A rate makes an open load. A number of messages is shared among the sessions. Otherwise the sessions send for a
/// time.
///
/// # Panics
/// Never: the text is a constant of this function, and valid TOML.
pub fn document(given: &[Given]) -> Document {
    let has = |flag| given.iter().any(|one| one.flag == flag);
    let mut phase = match (has("--rate"), has("--messages")) {
        (true, _) => "load = \"constant-rate\"\n".to_owned(),
        (false, true) => "load = \"shared-messages\"\n".to_owned(),
        (false, false) => "load = \"constant-sessions\"\n".to_owned(),
    };
    if !has("--rate") && !has("--sessions") {
        phase += &format!("sessions = {DEFAULT_SESSIONS}\n");
    }
    if !has("--for") && !has("--messages") {
        phase += &format!("for = \"{DEFAULT_LENGTH}\"\n");
    }
    let text = format!("schema = 1\nname = \"run\"\n\n[[phase]]\nname = \"load\"\n{phase}");
    Document::parse(COMMAND_LINE, &text).expect("our own text is TOML")
}

/// Returns the changes of a document by flags, in the order of precedence of their origins. Apply `--set` first, so
/// that the phases that it changes are seen here.
///
/// # Errors
/// A flag that fits no measured phase.
pub fn overrides(document: &Document, given: &[Given]) -> Result<Vec<Override>, ProfileError> {
    // Keys that cannot be read are reported when the document is compiled.
    let PartialProfile { profile, faults, .. } = document.read_what_can_be();
    let mut asserts = profile.assert().len();
    let mut changes = Vec::new();
    for Given { flag, origin, value } in given {
        let name = written(flag, *origin);
        let mut change = |path: &str| changes.push(Override::for_key(*origin, &name, path, value));
        if let Some(key) = key(flag) {
            change(&key);
        } else if *flag == ASSERT {
            change(&format!("assert.{asserts}.expr"));
            asserts += 1;
        } else {
            let measured =
                profile.phase.iter().flatten().enumerate().filter(|(_, phase)| phase.warmup != Some(true));
            let keys: Vec<(usize, &str)> =
                measured.filter_map(|(index, phase)| key_in(flag, phase).map(|key| (index, key))).collect();
            if keys.is_empty() && faults.is_empty() {
                let text = format!("{name} {value}");
                let place =
                    TextPlace { origin: origin.as_str().to_owned(), span: 0..name.len(), text, base: 0 };
                return Err(ProfileFault::new(
                    format!("no measured phase of this profile has a use for {flag}"),
                    "change a key of a phase with --set phase.NAME.KEY=VALUE",
                    Some(place),
                )
                .into());
            }
            keys.into_iter().for_each(|(index, key)| change(&format!("phase.{index}.{key}")));
        }
    }
    changes.sort_by_key(Override::origin);
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::super::{Compiled, Context, Purpose, compile};
    use super::*;
    use crate::load::{self, Shard};
    use crate::plan::Messages;

    fn given(flags: &[(&'static str, &str)]) -> Vec<Given> {
        let one = |(flag, value): &(&'static str, &str)| Given {
            flag,
            origin: OverrideOrigin::Flag,
            value: (*value).to_owned(),
        };
        flags.iter().map(one).collect()
    }

    fn made(mut document: Document, flags: &[Given]) -> Result<Compiled, ProfileError> {
        for change in overrides(&document, flags)? {
            document.apply(change)?;
        }
        let context = Context {
            purpose: Purpose::Run,
            seed: 7,
            run_id: "run".to_owned(),
            threads: 2,
            shard: Shard::WHOLE,
        };
        compile(&document, &context)
    }

    fn alone(flags: &[(&'static str, &str)]) -> Compiled {
        let given = given(flags);
        made(document(&given), &given).unwrap_or_else(|e| panic!("{}", e.render(false)))
    }

    #[test]
    fn flags_alone_make_a_profile_whose_load_follows_from_them() {
        let target = ("--target", "smtp://127.0.0.1:2525");
        let open = alone(&[target, ("--rate", "200/s"), ("--for", "30s"), ("--sessions", "50")]);
        let phase = &open.plan.phases[0];
        assert_eq!((phase.model.as_str(), phase.max_sessions), ("constant-rate", 50));
        assert_eq!(load::expected_arrivals(&phase.load), Some(6000));

        let shared = alone(&[target, ("--messages", "20k"), ("--sessions", "50")]);
        assert_eq!(load::expected_arrivals(&shared.plan.phases[0].load), Some(20_000));
        assert_eq!(shared.plan.phases[0].load.length, None);

        let closed = alone(&[
            target,
            ("--messages-per-session", "5"),
            (ASSERT, "p99 < 1s"),
            (ASSERT, "rejected == 0"),
        ]);
        assert_eq!(
            (closed.plan.phases[0].model.as_str(), &closed.plan.messages),
            ("constant-sessions", &Messages::Fixed(5))
        );
        assert_eq!(closed.assertions.iter().filter(|assertion| !assertion.builtin).count(), 2);
    }

    #[test]
    fn a_flag_changes_measured_phases_and_an_error_shows_it() {
        let text = include_str!("../../profiles/quickstart.toml");
        let quickstart = || Document::parse("quickstart.toml", text).unwrap();
        let flags = given(&[("--rate", "9/s"), ("--sessions", "60")]);
        let plan = made(quickstart(), &flags).unwrap().plan;
        assert_eq!(load::expected_arrivals(&plan.phases[0].load), Some(100), "the warm-up is as it was");
        assert_eq!(plan.phases[1].max_sessions, 60);
        assert_eq!(load::expected_arrivals(&plan.phases[2].load), Some(60), "held sessions are sessions");
        let opened =
            |rate| matches!(&plan.phases[2].load.model, load::LoadModel::Held { rate: r, .. } if *r == rate);
        assert!(opened(40.0), "they are opened at their own rate");

        let error = made(quickstart(), &given(&[("--rate", "20")])).unwrap_err();
        assert!(error.render(false).contains("command line:1:8\n"), "{}", error.render(false));
        let error = made(quickstart(), &given(&[("--messages", "20")])).unwrap_err();
        assert_eq!(error.faults()[0].message, "no measured phase of this profile has a use for --messages");

        let text = include_str!("../../profiles/held-sessions.toml");
        let held = Document::parse("held-sessions.toml", text).unwrap();
        let error = made(held, &given(&[("--rate", "9/s")])).unwrap_err();
        assert_eq!(error.faults()[0].message, "no measured phase of this profile has a use for --rate");
    }
}
