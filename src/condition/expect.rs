//! The rules of a profile about replies: expected refusals, and the user's names for replies.

use regex::Regex;

use super::Condition;
use crate::smtp::Step;

/// When a refusal is expected, by the number of sessions that the generator has open (including the refused one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// `sessions > n`.
    SessionsAbove(u64),
    /// `sessions >= n`.
    SessionsFrom(u64),
}

impl When {
    /// Returns the rule for one of several generators that open sessions in turn. `share(n)` is how many of the first n
    /// sessions that generator opens.
    #[must_use]
    pub fn shared(self, share: impl FnOnce(u64) -> u64) -> When {
        match self {
            When::Always | When::SessionsFrom(0) => When::Always,
            When::SessionsAbove(n) => When::SessionsAbove(share(n)),
            When::SessionsFrom(n) => When::SessionsAbove(share(n - 1)),
        }
    }
}

/// One `[[expect]]`: a reply that is expected and no failure. All given fields must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The name in expressions (`expect.NAME rate >= 99%`) and reports; the number in the profile if absent.
    pub name: Option<String>,
    /// Only in the phase with this index.
    pub phase: Option<u32>,
    /// Only at this step.
    pub step: Option<Step>,
    /// Only this condition. `too-many-connections` also covers its variants from-host, to-host and to-listener.
    pub condition: Option<Condition>,
    /// Only this reply code.
    pub code: Option<u16>,
    /// Only at this number of open sessions.
    pub when: When,
}

impl Expect {
    /// Returns the name in expressions and reports. `index` is that in the profile, from 0.
    pub fn name_at(&self, index: usize) -> String {
        self.name.clone().unwrap_or_else(|| (index + 1).to_string())
    }

    /// Whether the rule covers a refusal that happens with this number of open `sessions`.
    pub fn covers(
        &self,
        phase: u32,
        step: Step,
        condition: Condition,
        code: Option<u16>,
        sessions: u64,
    ) -> bool {
        let named = |wanted: Condition| {
            wanted == condition
                || wanted == Condition::TooManyConnections
                    && matches!(
                        condition,
                        Condition::TooManyConnectionsFromHost
                            | Condition::TooManyConnectionsToHost
                            | Condition::TooManyConnectionsToListener
                    )
        };
        self.phase.is_none_or(|p| p == phase)
            && self.step.is_none_or(|s| s == step)
            && self.condition.is_none_or(named)
            && self.code.is_none_or(|c| Some(c) == code)
            && match self.when {
                When::Always => true,
                When::SessionsAbove(n) => sessions > n,
                When::SessionsFrom(n) => sessions >= n,
            }
    }
}

/// One `[[classify]]`: the user's own name for a reply, checked before the built-in rules. All given fields must match.
#[derive(Clone, Debug)]
pub struct UserRule {
    /// The pattern for the whole reply, with lines separated by `\n`. It ignores case.
    pub pattern: Option<Regex>,
    /// Only this reply code.
    pub code: Option<u16>,
    /// Only at this step.
    pub step: Option<Step>,
    /// The condition.
    pub condition: Condition,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Several generators open sessions in turn: the generator of the k-th session decides as a single generator would
    /// decide on it.
    #[test]
    fn a_generator_that_sees_its_own_sessions_alone_judges_as_one_that_sees_all() {
        let holds = |when: When, sessions: u64| match when {
            When::Always => true,
            When::SessionsAbove(n) => sessions > n,
            When::SessionsFrom(n) => sessions >= n,
        };
        for of in 1..8 {
            for (n, k) in (0..40).flat_map(|n| (1..60).map(move |k| (n, k))) {
                let index = (k - 1) % of;
                let share = |total: u64| total / of + u64::from(total % of > index);
                for when in [When::Always, When::SessionsAbove(n), When::SessionsFrom(n)] {
                    assert_eq!(holds(when.shared(share), share(k)), holds(when, k), "{when:?} of {of}: {k}");
                }
            }
        }
    }
}
