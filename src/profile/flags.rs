//! The flags of `smtpress run` that users know from k6, oha, hey and vegeta, as changes to a profile, or as a profile of
//! their own when no file is given. Which variable or argument a value comes from, the command line knows.
//!
//! # Decisions
//! - A flag is an [`Override`] of a key, so that it is read, checked and shown by the same code, and `--print-profile`
//!   shows what it does.
//! - A flag about the load changes every measured phase that has its key; warm-ups stay as they are.

use super::document::Document;
use super::error::{Place, ProfileError, ProfileFault};
use super::overrides::{Origin, Override};
use super::schema::phase::{Load, Phase};

/// A flag that stands for keys of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `--target URL`
    Target,
    /// `-c`, `--sessions N`: sessions of closed loads, the most sessions of open ones.
    Sessions,
    /// `-n`, `--messages N`: messages in all.
    Messages,
    /// `-z`, `--for TIME`
    For,
    /// `-r`, `--rate RATE`
    Rate,
    /// `--open-first`: all sessions of a closed load are open before its first message.
    OpenFirst,
    /// `--size SIZE`
    Size,
    /// `--recipients N`
    Recipients,
    /// `--messages-per-session N`
    MessagesPerSession,
    /// `--hello ehlo|ehlo-only|helo`
    Hello,
    /// `--pipelining off|auto|full`
    Pipelining,
    /// `--tls none|starttls|implicit`
    Tls,
    /// `--threads N`
    Threads,
    /// `--seed N`
    Seed,
    /// `--assert EXPR`; may be given more than once.
    Assert,
}

/// How long a run without `--for` and `--messages` lasts.
const DEFAULT_LENGTH: &str = "10s";
/// How many sessions a run without `--sessions` and `--rate` has.
const DEFAULT_SESSIONS: &str = "10";

impl Flag {
    /// The flag's long form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Flag::Target => "--target",
            Flag::Sessions => "--sessions",
            Flag::Messages => "--messages",
            Flag::For => "--for",
            Flag::Rate => "--rate",
            Flag::OpenFirst => "--open-first",
            Flag::Size => "--size",
            Flag::Recipients => "--recipients",
            Flag::MessagesPerSession => "--messages-per-session",
            Flag::Hello => "--hello",
            Flag::Pipelining => "--pipelining",
            Flag::Tls => "--tls",
            Flag::Threads => "--threads",
            Flag::Seed => "--seed",
            Flag::Assert => "--assert",
        }
    }

    /// What the user wrote: the flag, or the variable that stands for it (`SMTPRESS_MESSAGES_PER_SESSION`).
    fn name_at(self, origin: Origin) -> String {
        match origin {
            Origin::Environment => {
                format!("SMTPRESS_{}", self.as_str().trim_start_matches('-').replace('-', "_").to_uppercase())
            }
            Origin::Set | Origin::Flag => self.as_str().to_owned(),
        }
    }

    /// The key of the flag, if it is not one of phases or lists.
    const fn key(self) -> Option<&'static str> {
        match self {
            Flag::Target => Some("target.address"),
            Flag::Size => Some("message.size"),
            Flag::Recipients => Some("message.recipients"),
            Flag::MessagesPerSession => Some("session.messages"),
            Flag::Hello => Some("session.hello"),
            Flag::Pipelining => Some("session.pipelining"),
            Flag::Tls => Some("target.tls"),
            Flag::Threads => Some("threads"),
            Flag::Seed => Some("seed"),
            Flag::Sessions | Flag::Messages | Flag::For | Flag::Rate | Flag::OpenFirst | Flag::Assert => None,
        }
    }

    /// The key of the flag in a phase of this load, if the load has one.
    fn key_of(self, load: Load) -> Option<&'static str> {
        match (self, load) {
            (Flag::Rate, Load::ConstantRate | Load::HeldSessions) => Some("rate"),
            (Flag::Messages, Load::SharedMessages) => Some("messages"),
            (Flag::OpenFirst, Load::ConstantSessions | Load::SharedMessages) => Some("open_first"),
            (Flag::For, Load::Staircase) => None,
            (Flag::For, _) => Some("for"),
            (Flag::Sessions, Load::ConstantSessions | Load::SharedMessages | Load::HeldSessions) => {
                Some("sessions")
            }
            (Flag::Sessions, Load::ConstantRate | Load::RampingRate | Load::Burst) => Some("max_sessions"),
            _ => None,
        }
    }
}

/// A flag as it was given, on the command line or by a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Which.
    pub flag: Flag,
    /// Where.
    pub origin: Origin,
    /// Its value, as a text.
    pub value: String,
}

/// The profile that flags alone stand for: a target, and one phase whose load model follows from what is given. The
/// values are not in it yet: apply [`overrides`].
///
/// A rate makes an open load; a number of messages shares them among the sessions; else the sessions send for a time.
///
/// # Panics
/// Never: the text is ours, and TOML.
pub fn document(given: &[Given]) -> Document {
    let has = |flag| given.iter().any(|one| one.flag == flag);
    let mut phase = match (has(Flag::Rate), has(Flag::Messages)) {
        (true, _) => "load = \"constant-rate\"\n".to_owned(),
        (false, true) => "load = \"shared-messages\"\n".to_owned(),
        (false, false) => "load = \"constant-sessions\"\n".to_owned(),
    };
    if !has(Flag::Rate) && !has(Flag::Sessions) {
        phase += &format!("sessions = {DEFAULT_SESSIONS}\n");
    }
    if !has(Flag::For) && !has(Flag::Messages) {
        phase += &format!("for = \"{DEFAULT_LENGTH}\"\n");
    }
    let text = format!("schema = 1\nname = \"run\"\n\n[[phase]]\nname = \"load\"\n{phase}");
    Document::parse("command line", &text).expect("our own text is TOML")
}

/// What flags change in a document, in the order of precedence of their origins. `--set` comes before them: apply it first,
/// so that the phases it changes are seen here.
///
/// # Errors
/// A document that is no profile, or a flag that no measured phase has a use for.
pub fn overrides(document: &Document, given: &[Given]) -> Result<Vec<Override>, ProfileError> {
    let profile = document.read()?;
    let mut asserts = profile.assert().len();
    let mut changes = Vec::new();
    for Given { flag, origin, value } in given {
        let name = flag.name_at(*origin);
        let mut change = |path: &str| changes.push(Override::for_key(*origin, &name, path, value));
        if let Some(key) = flag.key() {
            change(key);
        } else if *flag == Flag::Assert {
            change(&format!("assert.{asserts}.expr"));
            asserts += 1;
        } else {
            let measured =
                profile.phase.iter().flatten().enumerate().filter(|(_, phase)| phase.warmup != Some(true));
            let keys: Vec<(usize, &str)> =
                measured.filter_map(|(index, phase)| key_in(*flag, phase).map(|key| (index, key))).collect();
            if keys.is_empty() {
                let text = format!("{name} {value}");
                let place = Place { origin: origin.as_str().to_owned(), span: 0..name.len(), text, base: 0 };
                return Err(ProfileFault::new(
                    format!("no measured phase of this profile has a use for {}", flag.as_str()),
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

/// The key of a flag in this phase. A ramp in stages has its lengths there.
fn key_in(flag: Flag, phase: &Phase) -> Option<&'static str> {
    if flag == Flag::For && phase.stages.is_some() {
        return None;
    }
    phase.load.and_then(|load| flag.key_of(load))
}

#[cfg(test)]
mod tests {
    use super::super::{Compiled, Context, Purpose, compile};
    use super::*;
    use crate::load::{self, Shard};
    use crate::plan::Messages;

    fn given(flags: &[(Flag, &str)]) -> Vec<Given> {
        let one = |(flag, value): &(Flag, &str)| Given {
            flag: *flag,
            origin: Origin::Flag,
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

    fn alone(flags: &[(Flag, &str)]) -> Compiled {
        let given = given(flags);
        made(document(&given), &given).unwrap_or_else(|e| panic!("{}", e.render(false)))
    }

    #[test]
    fn flags_alone_make_a_profile_whose_load_follows_from_them() {
        let target = (Flag::Target, "smtp://127.0.0.1:2525");
        let open = alone(&[target, (Flag::Rate, "200/s"), (Flag::For, "30s"), (Flag::Sessions, "50")]);
        let phase = &open.plan.phases[0];
        assert_eq!((phase.model.as_str(), phase.max_sessions), ("constant-rate", 50));
        assert_eq!(load::expected_arrivals(&phase.load), Some(6000));

        let shared = alone(&[target, (Flag::Messages, "20k"), (Flag::Sessions, "50")]);
        assert_eq!(load::expected_arrivals(&shared.plan.phases[0].load), Some(20_000));
        assert_eq!(shared.plan.phases[0].load.length, None);

        let closed = alone(&[
            target,
            (Flag::MessagesPerSession, "5"),
            (Flag::Assert, "p99 < 1s"),
            (Flag::Assert, "rejected == 0"),
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
        let flags = given(&[(Flag::Rate, "20/s"), (Flag::Sessions, "60")]);
        let plan = made(quickstart(), &flags).unwrap().plan;
        assert_eq!(load::expected_arrivals(&plan.phases[0].load), Some(100), "the warm-up is as it was");
        assert_eq!(plan.phases[1].max_sessions, 60);
        assert_eq!(load::expected_arrivals(&plan.phases[2].load), Some(60), "held sessions are sessions");

        let error = made(quickstart(), &given(&[(Flag::Rate, "20")])).unwrap_err();
        assert!(error.render(false).contains("command line:1:8\n"), "{}", error.render(false));
        let error = made(quickstart(), &given(&[(Flag::Messages, "20")])).unwrap_err();
        assert_eq!(error.faults()[0].message, "no measured phase of this profile has a use for --messages");
    }
}
