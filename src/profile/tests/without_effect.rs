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
