//! Keys that would change nothing are refused at their place, and accepted where they have an effect.

use super::compiled;

const TARGET: &str = "[target]\naddress = \"embedded\"\n";
const OPEN: &str = "[[phase]]\nname = \"steady\"\nload = \"constant-rate\"\nrate = \"50/s\"\nfor = \"10s\"\n";

/// Asserts that the text, after a target and an open phase, is refused at this line and column for this reason.
#[track_caller]
fn refused(text: &str, place: &str, reason: &str) {
    let said = compiled(&format!("{TARGET}{OPEN}{text}"), &[]).expect_err(text).render(false);
    assert!(said.contains(&format!("profile.toml:{place}\n")) && said.contains(reason), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
}

#[track_caller]
fn accepted(text: &str) {
    compiled(&format!("{TARGET}{text}"), &[]).unwrap_or_else(|error| panic!("{}", error.render(false)));
}

#[test]
fn an_assertion_is_removed_for_the_whole_run_only() {
    let removed = "[[assert]]\nexpr = \"shed == 0\"\nremove = true\n";
    for (key, value) in
        [("phase", "\"steady\""), ("window", "\"5s\""), ("abort", "true"), ("grace", "\"5s\"")]
    {
        refused(
            &format!("{removed}{key} = {value}\n"),
            "11:1",
            &format!("and `{key}` changes nothing of that"),
        );
    }
    accepted(&format!("{OPEN}{removed}abort = false\n"));
}

#[test]
fn a_grace_is_for_assertions_that_are_checked_during_the_run() {
    let assert = "[[assert]]\nexpr = \"p99 < 1s\"\ngrace = \"5s\"\n";
    refused(assert, "10:1", "and this assertion has neither");
    accepted(&format!("{OPEN}{assert}window = \"5s\"\n"));
    accepted(&format!("{OPEN}{assert}abort = true\n"));
}

#[test]
fn pauses_after_a_refused_session_are_for_closed_loads() {
    let reconnect = "[session]\nreconnect = { first = \"1s\" }\n";
    refused(reconnect, "9:1", "`reconnect` is the pause of sessions that begin again");
    accepted(&format!("{reconnect}[[phase]]\nload = \"constant-sessions\"\nsessions = 5\nfor = \"9s\"\n"));
}

#[test]
fn the_offset_of_a_clock_needs_a_delivery_log() {
    let receive = "[receive]\naddress = [\"127.0.0.1:2526\"]\nclock_offset = \"1ms+-1ms\"\n";
    refused(receive, "10:1", "without a delivery log there is no other clock");
    // A log may be joined with the run later.
    accepted(&format!("{OPEN}{receive}keep_transactions = true\n"));
    accepted(&format!("{OPEN}[receive]\ndeliveries = [\"a.jsonl\"]\nclock_offset = \"1ms+-1ms\"\n"));
}

#[test]
fn sessions_that_send_no_message_do_not_share_messages_without_an_end() {
    let profile = |step: &str, more: &str| {
        format!(
            "{TARGET}[session.misbehave]\nhalf_close = \"{step}\"\n[[phase]]\nname = \"all\"\nload = \"shared-messages\"\n\
             messages = 10\nsessions = 2\n{more}"
        )
    };
    let said = compiled(&profile("hello", ""), &[]).unwrap_err().render(false);
    assert!(said.contains("profile.toml:4:14\n") && said.contains("phase `all` ends only when"), "{said}");
    for (step, more) in [("hello", "for = \"5s\"\n"), ("hello", "unit = \"session\"\n"), ("mail", "")] {
        compiled(&profile(step, more), &[]).unwrap_or_else(|error| panic!("{}", error.render(false)));
    }
}

#[test]
fn a_search_by_sessions_has_a_closed_load_of_its_own() {
    for key in ["reconnect = { first = \"1s\" }", "think = \"1s\""] {
        accepted(&format!("[session]\n{key}\n[capacity]\nby = \"sessions\"\n{OPEN}"));
    }
}
