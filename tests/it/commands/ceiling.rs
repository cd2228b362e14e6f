//! The stored ceiling of the last selftest, and the warning of `check` about a profile that exceeds it (M25).

use super::stage::Stage;

#[test]
fn m25_check_warns_of_a_rate_above_four_fifths_of_what_the_machine_can() {
    let stage = Stage::new();
    let state = stage.path("state");
    std::fs::create_dir_all(state.join("smtpress")).unwrap();
    let state = state.to_str().unwrap();
    let check = |rate: &str| {
        let set = format!("phase.steady.rate={rate}");
        stage.run_with(&[("XDG_STATE_HOME", state)], &["check", "small.toml", "--set", &set]).ended(0).err
    };
    assert!(!check("1000/s").contains("selftest"), "no selftest was made here");
    stage.put("state/smtpress/selftest.json", r#"{ "ceiling": { "rate_per_s": 50.0 } }"#);
    assert!(!check("40/s").contains("selftest"));
    let warning = check("41/s");
    assert!(warning.contains("warning: the profile asks for 41.0/s"), "{warning}");
    assert!(warning.contains("on time up to 50.0/s only"), "{warning}");
    // A machine that was late at any rate is not known.
    stage.put("state/smtpress/selftest.json", r#"{ "ceiling": { "rate_per_s": 0.0 } }"#);
    assert_eq!(check("1000/s"), "");
    // A stored file that cannot be read is no reason to fail.
    stage.put("state/smtpress/selftest.json", "}");
    assert_eq!(check("1000/s"), "");
}
