//! The result of one limit, with its verdict.

use super::kind::LimitKind;

/// The result of one limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitResult {
    /// The name of the limit: that of the condition that shows it, with a variant after a dot, as in
    /// `line-too-long.command`.
    pub name: String,
    /// The largest value that is served; `None`: it is not known exactly.
    pub value: Option<u64>,
    /// The largest value that is known to be served.
    pub at_least: Option<u64>,
    /// The largest value that may be served; `None`: no upper bound is known.
    pub at_most: Option<u64>,
    /// The unit: `sessions`, `messages`, `bytes`, `ms`, ...
    pub unit: String,
    /// The value that the administrator configured.
    pub expected: Option<u64>,
    /// The verdict.
    pub verdict: LimitVerdict,
    /// How the listener showed the limit.
    pub shown_by: Option<ShownBy>,
    /// The reply that showed the limit.
    pub reply: Option<String>,
    /// The reply's code.
    pub code: Option<u16>,
    /// The reply's enhanced code.
    pub enhanced: Option<String>,
    /// The condition that the reply means.
    pub condition: Option<String>,
    /// The step at which the limit showed.
    pub step: Option<String>,
    /// Whether the listener closed the connection with the reply.
    pub closed: Option<bool>,
    /// Whether the open sessions stayed usable while one more was refused.
    pub inside_alive: Option<bool>,
    /// How long after the end of an open session a new session was served, in milliseconds; `None`: no new session was
    /// served, or none was tried.
    pub release_ms: Option<f64>,
    /// The number of trials.
    pub trials: u64,
    /// The number of repeats that agree.
    pub repeats: u64,
    /// The number of measurements.
    pub looked: u64,
    /// Why the value is not exact.
    pub inexact: Option<String>,
    /// The length of the window of a rate limit, or the time between two refills of its bucket, in milliseconds.
    pub window_ms: Option<f64>,
    /// How long the listener took to reply to the last error before the limit, in milliseconds.
    pub delay_ms: Option<f64>,
    /// Remarks, in words.
    pub remarks: Vec<String>,
}

/// The verdict of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitVerdict {
    /// The limit is enforced at the expected value.
    AsExpected,
    /// The limit is enforced at another value.
    Differs,
    /// The limit was not reached up to the highest value tried.
    NotReached,
    /// The repeats or the replies contradict each other, or the value is too inexact for another verdict.
    Unstable,
    /// More is served than the expected value allows.
    NotEnforced,
    /// The behaviour of the listener at the limit is unsafe.
    Unsafe,
    /// The limit was found, and no value was expected.
    Found,
    /// Another cause prevented the measurement.
    #[default]
    Obstructed,
}

/// How a limit showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownBy {
    /// A reply.
    Reply,
    /// A reset.
    Reset,
    /// An orderly close without a reply.
    Close,
    /// The greeting, or another reply, did not come.
    NoGreeting,
    /// The connection was not established.
    NoConnect,
}

impl LimitResult {
    /// Creates the result of this limit, with nothing known yet.
    pub fn new(kind: LimitKind, expected: Option<u64>) -> LimitResult {
        LimitResult {
            name: kind.name().to_owned(),
            unit: kind.unit().to_owned(),
            expected,
            ..LimitResult::default()
        }
    }

    /// Sets the exact value of the limit.
    pub fn exactly(&mut self, value: u64) {
        (self.value, self.at_least, self.at_most) = (Some(value), Some(value), Some(value));
        self.inexact = None;
    }

    /// Sets the bounds between which the limit lies, and the reason why it is not known exactly.
    pub fn between(&mut self, at_least: u64, at_most: u64, why: &str) {
        (self.value, self.at_least, self.at_most) = (None, Some(at_least), Some(at_most));
        self.inexact = Some(why.to_owned());
    }

    /// Notes that the limit was not reached up to this value.
    pub fn not_reached(&mut self, tried: u64) {
        (self.value, self.at_least, self.at_most) = (None, Some(tried), None);
    }

    /// Notes that another limit is enforced first, so that this limit is at `tried` or above. `why`: the reason.
    pub fn hidden(&mut self, tried: u64, why: impl Into<String>) {
        self.not_reached(tried);
        self.verdict =
            if self.expected.is_some() { LimitVerdict::Obstructed } else { LimitVerdict::NotReached };
        self.remark(why);
    }

    /// Adds a remark, unless the result already has it.
    pub fn remark(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }

    /// Sets the verdict that follows from the bracket and the expected value. `slack`: how far outside of the bracket
    /// the expected value may lie.
    pub fn judge(&mut self, slack: u64) {
        self.verdict = match (self.at_least, self.at_most, self.expected) {
            (None, None, _) => LimitVerdict::Obstructed,
            (Some(tried), None, Some(expected)) if tried > expected.saturating_add(slack) => {
                LimitVerdict::NotEnforced
            }
            (_, None, _) => LimitVerdict::NotReached,
            (_, Some(_), None) => LimitVerdict::Found,
            (at_least, Some(at_most), Some(expected)) => {
                let low = at_least.unwrap_or(0).saturating_sub(slack);
                let holds = (low..=at_most.saturating_add(slack)).contains(&expected);
                if holds { LimitVerdict::AsExpected } else { LimitVerdict::Differs }
            }
        };
    }

    /// Whether the result shows a fault of the listener, or does not confirm the expected value if there is one.
    pub fn fails(&self) -> bool {
        self.verdict.fails(self.expected.is_some())
    }
}

impl LimitVerdict {
    /// Whether the verdict shows a fault of the listener, or does not confirm the expected value if there is one.
    pub fn fails(self, is_expected: bool) -> bool {
        match self {
            LimitVerdict::AsExpected | LimitVerdict::Found => false,
            LimitVerdict::NotReached | LimitVerdict::Obstructed | LimitVerdict::Unstable => is_expected,
            LimitVerdict::Differs | LimitVerdict::NotEnforced | LimitVerdict::Unsafe => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(at_least: Option<u64>, at_most: Option<u64>, expected: Option<u64>) -> LimitVerdict {
        let mut result = LimitResult { at_least, at_most, expected, ..LimitResult::default() };
        result.judge(1);
        result.verdict
    }

    #[test]
    fn the_verdict_follows_from_the_bracket_and_the_expectation() {
        assert_eq!(judged(Some(50), Some(50), Some(50)), LimitVerdict::AsExpected);
        assert_eq!(judged(Some(50), Some(50), Some(51)), LimitVerdict::AsExpected, "the slack");
        assert_eq!(judged(Some(50), Some(50), Some(52)), LimitVerdict::Differs);
        assert_eq!(judged(Some(40), Some(60), Some(50)), LimitVerdict::AsExpected, "the bracket holds it");
        assert_eq!(judged(Some(50), Some(50), None), LimitVerdict::Found);
        assert_eq!(judged(Some(100), None, Some(50)), LimitVerdict::NotEnforced);
        assert_eq!(
            judged(Some(50), None, Some(50)),
            LimitVerdict::NotReached,
            "never as expected without a refusal"
        );
        assert_eq!(judged(Some(100), None, None), LimitVerdict::NotReached);
        assert_eq!(judged(None, None, Some(50)), LimitVerdict::Obstructed);
    }

    #[test]
    fn what_is_left_open_fails_only_where_something_was_expected() {
        let fails = |verdict, expected| LimitResult { verdict, expected, ..LimitResult::default() }.fails();
        assert!(fails(LimitVerdict::Obstructed, Some(1)) && !fails(LimitVerdict::Obstructed, None));
        assert!(fails(LimitVerdict::Unstable, Some(1)) && !fails(LimitVerdict::Unstable, None));
        assert!(fails(LimitVerdict::NotReached, Some(1)) && !fails(LimitVerdict::NotReached, None));
        assert!(fails(LimitVerdict::Unsafe, None) && fails(LimitVerdict::Differs, Some(1)));
        assert!(!fails(LimitVerdict::AsExpected, Some(1)) && !fails(LimitVerdict::Found, None));
    }
}
