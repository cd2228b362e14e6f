//! `[[expect]]`, `[[assert]]` and `[[classify]]`: expected replies, assertions, and the user's conditions.

use crate::condition::Condition;
use crate::profile::bounds;
use crate::profile::table::{Word, tables};
use crate::profile::units::Time;
use crate::smtp::Step;

tables! {
    /// A reply that is expected, and no failure. All given keys must match.
    Expect {
        /// A name for expressions: `expect.NAME rate >= 99%`.
        name: String, if bounds::plain_name;
        /// Only in this phase.
        phase: String;
        /// Only at this step: dns, connect, tls, greeting, hello, starttls, auth, mail, rcpt, data, body, command or quit.
        step: Word<Step>;
        /// Only with this condition, as `smtpress codes` lists them.
        condition: Word<Condition>;
        /// Only with this reply code.
        code: u16, if bounds::reply_code;
        /// Only while this many sessions are open, the refused one included: "sessions > 50".
        when: String, if bounds::on_sessions;
    }
    /// What must hold for the run to pass.
    Assert {
        /// In this phase, which is no warm-up. Absent: in all measured phases together.
        phase: String;
        /// The expression: "response p99 < 800ms", "unexpected rate < 0.1%", "accepted >= 500". Needed. A rate in /s
        /// counts only the phase's window. A percentile is known to 0.1 %, and fails only where it certainly misses its
        /// bound.
        expr: String;
        /// It must hold in every stretch of this length instead of over the whole.
        window: Time, if bounds::window;
        /// Stop the run when it fails.
        abort: bool = false;
        /// The time from the start of the phase to the first check of an assertion with `window` or `abort`.
        grace: Time, or Time::default();
        /// Remove the built-in assertion with this expression, for the whole run (`accepted > 0`, `shed == 0`,
        /// `done rate == 100%`, `unexpected rate <= 1%`; with `[receive]` also `missing == 0`, `duplicated == 0`,
        /// `altered == 0`, `delivery.unexpected == 0`).
        remove: bool, or false;
    }
    /// Your own condition for a reply. All given keys must match.
    Classify {
        /// A regular expression for the reply, ignoring case.
        pattern: String, if bounds::pattern;
        /// Only with this reply code.
        code: u16, if bounds::reply_code;
        /// Only at this step, as for `[[expect]]`.
        step: Word<Step>;
        /// The condition, as `smtpress codes` lists them. Needed.
        condition: Word<Condition>, if bounds::condition_of_reply;
    }
}
