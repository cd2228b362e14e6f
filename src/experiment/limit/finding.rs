//! What was found about one limit, as it is judged and stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kind::LimitKind;

/// One limit that was looked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The condition that shows it; behind a dot, of which kind it is, as in `line-too-long.command`.
    pub name: String,
    /// The largest that was still served; `null` if that is not known to the unit.
    pub value: Option<u64>,
    /// The largest known to be served.
    pub at_least: Option<u64>,
    /// The largest that can be served, as far as known.
    pub at_most: Option<u64>,
    /// What is counted: `sessions`, `messages`, `bytes`, `ms`, ...
    pub unit: String,
    /// What the administrator configured.
    pub expected: Option<u64>,
    /// The finding.
    pub verdict: Verdict,
    /// By what it showed.
    pub shown_by: Option<ShownBy>,
    /// The reply as it came.
    pub reply: Option<String>,
    /// The reply's code.
    pub code: Option<u16>,
    /// The reply's enhanced code.
    pub enhanced: Option<String>,
    /// What it means.
    pub condition: Option<String>,
    /// Where it showed.
    pub step: Option<String>,
    /// Whether the listener closed the connection with it.
    pub closed: Option<bool>,
    /// Whether those inside the limit were still served while it bit.
    pub inside_alive: Option<bool>,
    /// How long after one inside had left a new one was served; `null`: it never was, or it was not tried.
    pub release_ms: Option<f64>,
    /// Trials made.
    pub trials: u64,
    /// How often it was found the same.
    pub repeats: u64,
    /// How often it was looked for.
    #[serde(default)]
    pub looked: u64,
    /// Why the value is not exact.
    #[serde(default)]
    pub inexact: Option<String>,
    /// Limits by time: how long the window is, or how long until one more is served.
    #[serde(default)]
    pub window_ms: Option<f64>,
    /// How long the listener held back its reply to the last error before the limit (a tarpit).
    #[serde(default)]
    pub delay_ms: Option<f64>,
    /// What else is to be known, in words.
    #[serde(default)]
    pub remarks: Vec<String>,
}

/// What was found about a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It bites where it was expected to.
    AsExpected,
    /// It bites elsewhere.
    Differs,
    /// It was not met up to the highest value tried.
    NotReached,
    /// It bites now here, now there.
    Unstable,
    /// More than was configured is served.
    NotEnforced,
    /// What is served here does harm.
    Unsafe,
    /// It was found; nothing was expected of it.
    Found,
    /// Something else was in the way, and nothing is known.
    #[default]
    Obstructed,
}

/// By what a limit showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShownBy {
    /// A reply.
    Reply,
    /// A reset.
    Reset,
    /// An orderly close without a reply.
    Close,
    /// A greeting, or another reply, that never came.
    NoGreeting,
    /// A connection that was never established.
    NoConnect,
}

impl Finding {
    /// Of this limit, with nothing known yet.
    pub fn new(kind: LimitKind, expected: Option<u64>) -> Finding {
        Finding { name: kind.name().to_owned(), unit: kind.unit().to_owned(), expected, ..Finding::default() }
    }

    /// The limit is known exactly.
    pub fn exactly(&mut self, value: u64) {
        (self.value, self.at_least, self.at_most) = (Some(value), Some(value), Some(value));
    }

    /// The limit is known to lie between the two, and why it is not known better.
    pub fn between(&mut self, at_least: u64, at_most: u64, why: &str) {
        (self.value, self.at_least, self.at_most) = (None, Some(at_least), Some(at_most));
        self.inexact = Some(why.to_owned());
    }

    /// It was not met up to here.
    pub fn unmet(&mut self, tried: u64) {
        (self.value, self.at_least, self.at_most) = (None, Some(tried), None);
    }

    /// Another limit was met first: this one is not known but to lie above `tried`, and why.
    pub fn hidden(&mut self, tried: u64, why: impl Into<String>) {
        self.unmet(tried);
        self.verdict = if self.expected.is_some() { Verdict::Obstructed } else { Verdict::NotReached };
        self.remark(why);
    }

    /// Adds a remark, once.
    pub fn remark(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }

    /// Gives the verdict that follows from the bracket and from what was expected. `slack`: by how much the bracket may miss
    /// what was expected and still hold it.
    pub fn judge(&mut self, slack: u64) {
        self.verdict = match (self.at_least, self.at_most, self.expected) {
            (None, None, _) => Verdict::Obstructed,
            (Some(tried), None, Some(expected)) if tried > expected.saturating_add(slack) => {
                Verdict::NotEnforced
            }
            (_, None, _) => Verdict::NotReached,
            (_, Some(_), None) => Verdict::Found,
            (at_least, Some(at_most), Some(expected)) => {
                let low = at_least.unwrap_or(0).saturating_sub(slack);
                let holds = (low..=at_most.saturating_add(slack)).contains(&expected);
                if holds { Verdict::AsExpected } else { Verdict::Differs }
            }
        };
    }

    /// Whether it speaks against the listener, or leaves open what was to be shown.
    pub fn fails(&self) -> bool {
        match self.verdict {
            Verdict::AsExpected | Verdict::Found => false,
            Verdict::NotReached | Verdict::Obstructed | Verdict::Unstable => self.expected.is_some(),
            Verdict::Differs | Verdict::NotEnforced | Verdict::Unsafe => true,
        }
    }
}

/// Gives each variant of a plain enum its stored name, for text.
macro_rules! named {
    ($type:ident { $($variant:ident => $name:literal),* $(,)? }) => {
        impl $type {
            /// The name, as it is stored.
            pub const fn as_str(self) -> &'static str {
                match self { $($type::$variant => $name,)* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

named!(Verdict {
    AsExpected => "as-expected", Differs => "differs", NotReached => "not-reached", Unstable => "unstable",
    NotEnforced => "not-enforced", Unsafe => "unsafe", Found => "found", Obstructed => "obstructed",
});

named!(ShownBy {
    Reply => "reply", Reset => "reset", Close => "close", NoGreeting => "no-greeting", NoConnect => "no-connect",
});

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(at_least: Option<u64>, at_most: Option<u64>, expected: Option<u64>) -> Verdict {
        let mut finding = Finding { at_least, at_most, expected, ..Finding::default() };
        finding.judge(1);
        finding.verdict
    }

    #[test]
    fn the_verdict_follows_from_the_bracket_and_the_expectation() {
        assert_eq!(judged(Some(50), Some(50), Some(50)), Verdict::AsExpected);
        assert_eq!(judged(Some(50), Some(50), Some(51)), Verdict::AsExpected, "the slack");
        assert_eq!(judged(Some(50), Some(50), Some(52)), Verdict::Differs);
        assert_eq!(judged(Some(40), Some(60), Some(50)), Verdict::AsExpected, "the bracket holds it");
        assert_eq!(judged(Some(50), Some(50), None), Verdict::Found);
        assert_eq!(judged(Some(100), None, Some(50)), Verdict::NotEnforced);
        assert_eq!(judged(Some(50), None, Some(50)), Verdict::NotReached, "never as expected without a bite");
        assert_eq!(judged(Some(100), None, None), Verdict::NotReached);
        assert_eq!(judged(None, None, Some(50)), Verdict::Obstructed);
    }

    #[test]
    fn what_is_left_open_fails_only_where_something_was_expected() {
        let fails = |verdict, expected| Finding { verdict, expected, ..Finding::default() }.fails();
        assert!(fails(Verdict::Obstructed, Some(1)) && !fails(Verdict::Obstructed, None));
        assert!(fails(Verdict::Unstable, Some(1)) && !fails(Verdict::Unstable, None));
        assert!(fails(Verdict::NotReached, Some(1)) && !fails(Verdict::NotReached, None));
        assert!(fails(Verdict::Unsafe, None) && fails(Verdict::Differs, Some(1)));
        assert!(!fails(Verdict::AsExpected, Some(1)) && !fails(Verdict::Found, None));
    }
}
