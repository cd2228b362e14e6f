//! A run as text, for an administrator who must decide tonight: the judgement first, the numbers below, nothing empty.
//!
//! Only [`RunResult`] is read. The sections stand in files of their own: `load` (schedule, times, steps), `trouble`
//! (outcomes and conditions), `own` (assertions, generator, ledger, what searches found).
//!
//! # Decisions
//! - Response time stands beside service time, always: the difference is the queue that a caller would have felt.
//! - No averages, and no time of one outcome mixed with another's.

pub(super) mod capacity;
pub(super) mod limits;
mod load;
mod own;
mod trouble;

use std::io::{self, Write};

use super::format;
use super::layout::{INDENT, Page, Span, Tone};
use super::run_dir::INTERRUPTED;
use super::stored::{RunResult, StoredAssertion, StoredAssertionStatus, StoredPhase, StoredStatus};

/// How to write the text.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    /// The columns of the terminal; at most 80 are used.
    pub width: usize,
    /// Whether to colour. Everything can be read without.
    pub colour: bool,
    /// The run directory to point to, if there is one.
    pub files: Option<&'a str>,
}

/// Writes the run as text.
///
/// # Errors
/// Those of `out`.
pub fn write(result: &RunResult, style: Style<'_>, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page::new(out, style.width, style.colour);
    verdict(result, page)?;
    own::assertions(result, page)?;
    load::schedule(result, page)?;
    load::times(result, page)?;
    load::steps(result, page)?;
    trouble::outcomes(result, page)?;
    trouble::conditions(result, page)?;
    limits::limits(result, page)?;
    capacity::capacity(result, page)?;
    page.gap()?;
    own::generator(result, page)?;
    own::ledger(result, page)?;
    match style.files {
        Some(files) => page.uncut("Files", files),
        None => Ok(()),
    }
}

/// The judgement in words, its reasons, and what was run.
fn verdict(result: &RunResult, page: &mut Page<'_>) -> io::Result<()> {
    let status = result.verdict.status;
    let (word, tone) = match status {
        StoredStatus::Pass => ("PASS", Tone::Good),
        StoredStatus::Fail => ("FAIL", Tone::Bad),
        // A search that did not come to its answer measured all the same.
        StoredStatus::NoData if result.capacity.is_some() => ("INCONCLUSIVE", Tone::Warning),
        StoredStatus::NoData => ("NO DATA", Tone::Bad),
        StoredStatus::Invalid => ("INVALID", Tone::Bad),
        StoredStatus::Interrupted => ("INTERRUPTED", Tone::Warning),
    };
    let sentence = format!("{} (exit code {})", sentence(result), result.verdict.exit_code);
    page.flow(0, 0, &[Span::new(word, tone), "  ".into(), Span::new(sentence, Tone::Strong)])?;
    for (i, reason) in result.validity.reasons.iter().enumerate() {
        match result.validity.explanations.get(i) {
            Some(words) => page.paragraph(INDENT, &format!("{reason}: {words}"), Tone::Bad)?,
            None => page.paragraph(INDENT, reason, Tone::Bad)?,
        }
    }
    if let Some(expr) = &result.verdict.aborted_by {
        page.paragraph(INDENT, &format!("stopped early, as the profile asks, by: {expr}"), Tone::Warning)?;
    }
    if measured(result).all(|phase| phase.accepted == 0) {
        trouble::foremost(result, page)?;
    }
    let profile = &result.profile;
    let what = format!(
        "{} -> {}, {}, {}, seed {}",
        profile.name,
        result.target,
        result.started_at,
        format::seconds(result.took_s),
        profile.seed
    );
    page.paragraph(0, &what, Tone::Quiet)
}

pub(super) fn sentence(result: &RunResult) -> String {
    if result.is_unfinished() && result.verdict.exit_code == INTERRUPTED {
        return "no verdict: what follows is what was counted".to_owned();
    }
    if let Some(capacity) = &result.capacity
        && result.phases.is_empty()
        && result.limits.is_empty()
    {
        return capacity::sentence(result, capacity);
    }
    if !result.limits.is_empty() && result.phases.is_empty() {
        return searched(result);
    }
    let broken = result.assertions.iter().filter(|a| a.status != StoredAssertionStatus::Pass).count();
    let all = result.assertions.len();
    match result.verdict.status {
        StoredStatus::Pass if all == 1 => "measured, valid, and the assertion holds".to_owned(),
        StoredStatus::Pass => format!("measured, valid, and all {all} assertions hold"),
        StoredStatus::Fail if broken == 0 => "not as expected".to_owned(),
        StoredStatus::Fail if all == 1 => "the assertion does not hold".to_owned(),
        StoredStatus::Fail => {
            let broken =
                format!("{broken} of {all} assertions {} not hold", if broken == 1 { "does" } else { "do" });
            match unexpected(result) {
                Some(what) => format!("{broken}; unexpected were {what}"),
                None => broken,
            }
        }
        StoredStatus::NoData => "nothing was measured".to_owned(),
        StoredStatus::Invalid => "the numbers below cannot be trusted".to_owned(),
        StoredStatus::Interrupted => {
            format!("stopped by the user after {}", format::seconds(result.took_s))
        }
    }
}

/// What was unexpected, if that is what failed.
fn unexpected(result: &RunResult) -> Option<&str> {
    let fails = |own: &&StoredAssertion| {
        own.status == StoredAssertionStatus::Fail && own.expr.starts_with("unexpected")
    };
    result.assertions.iter().find(fails).map(|own| own.observed.as_str())
}

/// The judgement of a search for limits.
fn searched(result: &RunResult) -> String {
    let broken = result.limits.iter().filter(|limit| limit.fails()).count();
    let limits = format::counted(result.limits.len() as u64, "limit");
    match result.verdict.status {
        StoredStatus::Pass => format!("{limits} looked for, and nothing is other than it should be"),
        StoredStatus::Fail if result.limits.len() == 1 => "the limit is not as it should be".to_owned(),
        StoredStatus::Fail if broken == 1 => format!("1 of {limits} is not as it should be"),
        StoredStatus::Fail => format!("{broken} of {limits} are not as they should be"),
        StoredStatus::Interrupted => format!("stopped by the user after {}", format::seconds(result.took_s)),
        StoredStatus::NoData => "nothing was found".to_owned(),
        StoredStatus::Invalid => "the search could not be carried through".to_owned(),
    }
}

/// The phases that are measured.
fn measured(result: &RunResult) -> impl Iterator<Item = &StoredPhase> {
    result.phases.iter().filter(|phase| !phase.warmup)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    fn text(result: &RunResult, width: usize, colour: bool) -> String {
        let mut out = Vec::new();
        let style = Style { width, colour, files: Some("smtpress-runs/20261123T123000Z-mx-rollout") };
        write(result, style, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn all_accepted() {
        insta::assert_snapshot!(text(&fixtures::accepted(), 80, false));
    }

    #[test]
    fn encrypted() {
        insta::assert_snapshot!(text(&fixtures::encrypted(), 80, false));
    }

    #[test]
    fn a_limit_bites() {
        insta::assert_snapshot!(text(&fixtures::limit_bites(), 80, false));
    }

    #[test]
    fn invalid() {
        insta::assert_snapshot!(text(&fixtures::invalid(), 80, false));
    }

    #[test]
    fn no_data() {
        insta::assert_snapshot!(text(&fixtures::no_data(), 80, false));
    }

    #[test]
    fn refused() {
        insta::assert_snapshot!(text(&fixtures::refused(), 80, false));
    }

    #[test]
    fn interrupted() {
        insta::assert_snapshot!(text(&fixtures::interrupted(), 80, false));
    }

    #[test]
    fn several_phases() {
        insta::assert_snapshot!(text(&fixtures::several_phases(), 80, false));
    }

    #[test]
    fn limits_and_capacity() {
        insta::assert_snapshot!(text(&fixtures::searched(), 80, false));
    }

    #[test]
    fn nothing_at_all() {
        insta::assert_snapshot!(text(&fixtures::empty(), 80, false));
    }

    #[test]
    fn a_limit_that_showed_without_a_reply_has_a_sentence_and_nothing_is_lost_where_it_is_narrow() {
        use crate::report::stored::ShownBy;
        let mut result = fixtures::searched();
        for (by, step, sentence) in [
            (ShownBy::Close, "rcpt", "the listener closed the connection at rcpt, without a reply"),
            (ShownBy::Reset, "body", "the listener reset the connection at body, without a reply"),
            (ShownBy::NoGreeting, "greeting", "no greeting came"),
            (ShownBy::NoGreeting, "mail", "no reply came at mail"),
            (ShownBy::NoConnect, "connect", "the connection was not established"),
        ] {
            let limit = &mut result.limits[0];
            (limit.shown_by, limit.reply, limit.code) = (Some(by), None, None);
            limit.step = Some(step.to_owned());
            for width in [40, 48, 80, 200] {
                let flat = text(&result, width, false).split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(flat.contains(sentence), "{width}: {flat}");
            }
        }
        let result = fixtures::searched();
        for width in [40, 48, 60, 72, 80] {
            let flat = text(&result, width, false).split_whitespace().collect::<Vec<_>>().join(" ");
            for fact in ["shown by 421 at greeting", "configured 50 sessions", "released after 2.10 ms"] {
                assert!(flat.contains(fact), "{width}: no {fact}: {flat}");
            }
        }
    }

    #[test]
    fn narrow() {
        insta::assert_snapshot!(text(&fixtures::limit_bites(), 48, false));
    }

    #[test]
    fn no_line_is_wider_than_the_page_and_colour_adds_nothing_else() {
        let escape = regex::Regex::new("\x1b\\[[0-9;]+m").unwrap();
        let half_a_number = regex::Regex::new(r"(^|\s)p?\d[\d.,]*…").unwrap();
        for result in fixtures::all() {
            for width in [40, 48, 60, 72, 80, 200] {
                let plain = text(&result, width, false);
                for line in plain.lines().filter(|line| !line.starts_with("Files")) {
                    assert!(format::columns(line) <= width.min(80), "{width}: {line}");
                    assert_eq!(line.trim_end(), line);
                    assert!(!half_a_number.is_match(line), "{width}: {line}");
                }
                let coloured = text(&result, width, true);
                assert!(escape.is_match(&coloured));
                assert_eq!(escape.replace_all(&coloured, ""), plain);
            }
        }
    }

    #[test]
    fn a_long_name_takes_no_room_from_the_numbers() {
        let mut result = fixtures::several_phases();
        let name = "a-phase-with-a-name-that-is-longer-than-anybody-would-ever-want-to-read".to_owned();
        result.phases[2].name.clone_from(&name);
        result.metrics.iter_mut().filter(|m| m.phase == "peak").for_each(|m| m.phase.clone_from(&name));
        let text = text(&result, 80, false);
        assert!(text.contains("930.0/s  1,200\n") && text.contains(" 384 ms "), "{text}");
    }

    #[test]
    fn a_ledger_that_does_not_agree_is_told() {
        let mut result = fixtures::limit_bites();
        assert!(text(&result, 200, false).contains("agrees with ours"));
        result.phases[0].transactions.accepted += 1;
        assert!(text(&result, 200, false).contains("DOES NOT AGREE"));
        result.phases[0].transactions.accepted -= 2;
        assert!(text(&result, 200, false).contains("DOES NOT AGREE"));
        result.phases[0].transactions.in_doubt = 1;
        assert!(text(&result, 200, false).contains("agrees with ours"));
    }

    #[test]
    fn a_hostile_reply_reaches_the_terminal_only_as_text() {
        let mut result = fixtures::limit_bites();
        result.conditions[0].sample = "421 \u{1b}]0;owned\u{7}\u{1b}[2J \u{202e}gnihton".to_owned();
        result.profile.name = "\u{1b}[2J".to_owned();
        let text = text(&result, 80, false);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}'));
    }
}
