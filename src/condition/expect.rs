//! The rules a profile brings about replies: refusals that are expected, and names for replies of its own.

use regex::Regex;

use super::Condition;
use crate::smtp::Step;

/// When a refusal is expected, by the number of our sessions open at that moment (the refused one included).
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
    /// The same of one of several generators that open sessions in turn; `share`: how many of the first so many are its own.
    #[must_use]
    pub fn shared(self, share: impl FnOnce(u64) -> u64) -> When {
        match self {
            When::Always | When::SessionsFrom(0) => When::Always,
            When::SessionsAbove(n) => When::SessionsAbove(share(n)),
            When::SessionsFrom(n) => When::SessionsAbove(share(n - 1)),
        }
    }
}

/// One `[[expect]]`: an answer that is right and no failure. All that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Its name in expressions (`expect.NAME rate >= 99%`) and reports; the place in the profile if absent.
    pub name: Option<String>,
    /// Only in the phase of this index.
    pub phase: Option<u32>,
    /// Only at this step.
    pub step: Option<Step>,
    /// Only this condition (a parent covers its children: `too-many-connections`).
    pub condition: Option<Condition>,
    /// Only this reply code.
    pub code: Option<u16>,
    /// Only then.
    pub when: When,
}

impl Expect {
    /// Whether it covers this refusal, `sessions` being open.
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

/// One `[[classify]]`: the user's own name for a reply; asked before the built-in rules. All that is given must hold.
#[derive(Clone, Debug)]
pub struct UserRule {
    /// Matched against the whole reply as it came, lines separated by `\n`, without regard to case.
    pub pattern: Option<Regex>,
    /// Only this code.
    pub code: Option<u16>,
    /// Only at this step.
    pub step: Option<Step>,
    /// What it means.
    pub condition: Condition,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions that several generators open in turn: the one that holds the k-th judges as one that holds all.
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
