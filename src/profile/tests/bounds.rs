//! The upper bounds of a profile, and the needs that `check` reports.

use super::super::check::{Has, Needs};
use super::compiled;
use super::plans::plan;
use crate::load;

#[test]
fn needs_are_no_more_than_the_arrivals_and_tell_of_all_that_grows() {
    let needs = |text: &str| Needs::of(&plan(text));
    let phase = |text: &str| needs(&format!("[[phase]]\nunit = \"session\"\n{text}"));
    for text in [
        "load = \"ramping-rate\"\nfrom = \"0/s\"\nto = \"10/s\"\nfor = \"20s\"",
        "load = \"staircase\"\nfrom = \"1/s\"\nstep = \"1/s\"\nevery = \"10s\"\nsteps = 4",
        "load = \"burst\"\nsize = 100\nfor = \"60s\"",
        "load = \"constant-rate\"\nrate = \"5/s\"\nfor = \"20s\"",
        "load = \"held-sessions\"\nsessions = 100\nrate = \"10/s\"\nfor = \"20s\"",
    ] {
        let needs = phase(text);
        assert_eq!((needs.ports, needs.arrivals[0]), (100, Some(100)), "{text}");
    }
    let endless = phase("load = \"constant-rate\"\nrate = \"100000/s\"\nfor = \"24h\"");
    assert_eq!(endless.waiting, 1 << 20);
    assert!(endless.memory > (1 << 20) * 48, "{}", endless.memory);
    let dropped =
        phase("load = \"constant-rate\"\nrate = \"100000/s\"\nfor = \"24h\"\non_saturation = \"drop\"");
    assert_eq!(dropped.waiting, 0);
    let text = "threads = 1024\n[target]\naddress = \"embedded\"\n[[phase]]\nload = \"constant-sessions\"\nsessions = 1\nfor = \"1s\"";
    let threads = Needs::of(&compiled(text, &[]).unwrap().plan);
    assert!(threads.memory > 400 << 20, "{}", threads.memory);
    let phases = needs(&"[[phase]]\nload = \"burst\"\nsize = 1\nfor = \"1s\"\n".repeat(2000));
    assert!(phases.memory > 400 << 20, "{}", phases.memory);
    let closed = "[[phase]]\nload = \"constant-sessions\"\nsessions = 1000\nfor = \"1s\"\n";
    let many = needs(&format!("[message]\nrecipients = 1000000\n{closed}"));
    assert!(many.memory > 1000 * 1_000_000 * 20, "{}", many.memory);
    let lacking = many.lacking_memory(&Has { memory: Some(1 << 34), ..Has::default() }).unwrap();
    assert!(lacking.contains("1000 sessions") && lacking.contains("16GiB are free"), "{lacking}");
}

#[test]
fn ports_are_those_of_the_busiest_minute_in_whichever_phases_it_lies() {
    let ports = |phases: &[&str]| {
        let phase = |text: &&str| format!("[[phase]]\nunit = \"session\"\n{text}\n");
        Needs::of(&plan(&phases.iter().map(phase).collect::<String>())).ports
    };
    let few = "load = \"constant-rate\"\nrate = \"10/s\"\nmax_sessions = 5\nfor = \"40s\"";
    let many = "load = \"constant-rate\"\nrate = \"100/s\"\nmax_sessions = 5\nfor = \"40s\"";
    let burst = "load = \"burst\"\nsize = 500\nmax_sessions = 5\nfor = \"50s\"";
    let held = "load = \"held-sessions\"\nsessions = 30\nfor = \"10s\"";
    let closed = "load = \"constant-sessions\"\nsessions = 700\nfor = \"40s\"";
    assert_eq!(ports(&[many]), 40 * 100);
    assert_eq!(ports(&[few, many, few]), 40 * 100 + 20 * 10);
    assert_eq!(ports(&[many, many, many]), 60 * 100);
    assert_eq!(ports(&[burst, few]), 500 + 10 * 10);
    assert_eq!(ports(&[few, burst, few]), 40 * 10 + 500);
    assert_eq!(ports(&[burst, burst, many]), 40 * 100, "a burst is over in a moment");
    assert_eq!(ports(&[few, held]), 40 * 10 + 30);
    assert_eq!(ports(&[few, closed, few]), 700, "the target decides how many more a closed load opens");
}

#[test]
fn what_no_machine_can_do_is_refused_with_its_arithmetic() {
    let refused = |phase: &str| {
        let text = format!("[target]\naddress = \"embedded\"\n[[phase]]\n{phase}\n");
        compiled(&text, &[]).unwrap_err().render(false)
    };
    for (phase, says) in [
        (
            "load = \"constant-rate\"\nrate = \"1000000000/s\"\nfor = \"60s\"",
            "1000000000 arrivals a second are more than can be started: 60000000000 in 60.000 s, one each 1.00 ns",
        ),
        (
            "load = \"ramping-rate\"\nfrom = \"1/s\"\nto = \"1000000000/s\"\nfor = \"1s\"",
            "more than can be started",
        ),
        (
            "load = \"staircase\"\nfrom = \"1/s\"\nstep = \"1000000/s\"\nevery = \"1ms\"\nsteps = 1000",
            "more than can be started",
        ),
        (
            "load = \"burst\"\nsize = 1000000000\nfor = \"1s\"",
            "a burst of 1000000000 arrivals at once: at most 1048576",
        ),
        (
            "load = \"burst\"\nsize = 100000\nevery = \"1ms\"\nfor = \"1s\"",
            "100000 arrivals every 1ms are 100000000 a second",
        ),
        (
            "load = \"held-sessions\"\nsessions = 10\nrate = \"1000000000/s\"\nfor = \"1s\"",
            "opened at 1000000000 a second",
        ),
        (
            "load = \"shared-messages\"\nmessages = 100000000000\nsessions = 2\nfor = \"1s\"",
            "100000000000 messages in 1s are 100000000000 a second",
        ),
    ] {
        let said = refused(phase);
        assert!(said.contains(says) && said.contains("help: write"), "{said}");
    }
    let stages = vec!["{ for = \"1ms\", rate = \"1/s\" }"; 10_001].join(", ");
    let said = refused(&format!("load = \"ramping-rate\"\nfrom = \"1/s\"\nstages = [{stages}]"));
    assert!(said.contains("10001 stages of a ramp"), "{said}");
}

#[test]
fn held_sessions_that_are_not_all_opened_in_their_phase_are_refused() {
    let held = |sessions: u32, rate: &str, length: &str| {
        let text = format!(
            "[target]\naddress = \"embedded\"\n[[phase]]\nload = \"held-sessions\"\nsessions = {sessions}\n\
             rate = \"{rate}\"\nfor = \"{length}\"\n"
        );
        compiled(&text, &[]).map(|compiled| load::expected_arrivals(&compiled.plan.phases[0].load))
    };
    for (sessions, rate, length, says) in [
        (300, "10/s", "10s", "300 sessions at 10/s take 30s, and the phase lasts 10s"),
        (101, "10/s", "10s", "101 sessions at 10/s take 10s100ms, and the phase lasts 10s"),
        (90, "30/min", "1m", "90 sessions at 30/min take 3m, and the phase lasts 1m"),
    ] {
        let said = held(sessions, rate, length).unwrap_err().render(false);
        assert!(said.contains(says), "{said}");
    }
    let said = held(300, "10/s", "10s").unwrap_err().render(false);
    assert!(said.contains("write a faster `rate`, a longer `for`, or at most 100 `sessions`"), "{said}");
    for (sessions, rate, length) in [(100, "10/s", "10s"), (10, "4/s", "2500ms"), (3, "1/s", "2100ms")] {
        assert_eq!(held(sessions, rate, length).unwrap(), Some(sessions.into()), "{sessions} at {rate}");
    }
}

#[test]
fn a_session_s_number_is_for_sessions_that_are_arrivals() {
    let of = |unit: &str, message: &str| {
        let text = format!(
            "[target]\naddress = \"embedded\"\n[message]\n{message}\n[[phase]]\nname = \"p\"\nload = \"constant-rate\"\n\
             rate = \"5/s\"\nfor = \"1s\"\nunit = \"{unit}\"\n"
        );
        compiled(&text, &[])
    };
    for message in [
        "from = \"s{session}@x.example\"",
        "to = \"s{session}@x.example\"",
        "subject = \"{session}\"",
        "headers = [\"X-A: {session}\"]",
        "text = \"{session}\"",
    ] {
        let said = of("message", message).unwrap_err().render(false);
        assert!(said.contains("the messages of phase `p` are served by whichever session is free"), "{said}");
        assert!(of("session", message).is_ok());
    }
    assert!(of("message", "text = \"{{session}}\"").is_ok(), "a brace is no placeholder");
}

#[test]
fn limits_beyond_what_is_looked_for_are_refused() {
    let of = |limit: &str| {
        let text = "[target]\naddress = \"embedded\"\n[[phase]]\nload = \"constant-sessions\"\nsessions = 1\nfor = \"1s\"";
        compiled(&format!("{text}\n[limits]\n{limit}\n"), &[])
    };
    for limit in [
        "too-many-recipients = 1000000000000",
        "too-many-messages-per-session = 1000001",
        "message-size-exceeded = \"2GiB\"",
    ] {
        let said = of(limit).unwrap_err().render(false);
        assert!(
            said.contains("is never looked for as far as that") && said.contains("write at most"),
            "{said}"
        );
    }
    assert!(of("too-many-recipients = 1000000\nmessage-size-exceeded = \"1GiB\"").is_ok());
}

#[test]
fn a_search_for_the_capacity_has_the_bounds_of_a_load() {
    let of = |phase: &str, capacity: &str| {
        let text = format!("[target]\naddress = \"embedded\"\n{phase}\n[capacity]\n{capacity}\n");
        compiled(&text, &[])
    };
    let load = "[[phase]]\nload = \"constant-rate\"\nrate = \"5/s\"\nfor = \"9s\"";
    for (capacity, says) in [
        ("start = \"10000001/s\"", "write at most \"10000000/s\""),
        ("max = \"100000k/s\"", "write at most \"10000000/s\""),
        ("by = \"sessions\"\nmax = 4294967296", "write a number below 2^32"),
        ("by = \"size\"\nstart = \"3GiB\"", "write at most \"2GiB\""),
        ("by = \"size\"\nmax = \"3GiB\"", "write at most \"2GiB\""),
    ] {
        let said = of(load, capacity).unwrap_err().render(false);
        assert!(said.contains(says), "{capacity}: {said}");
    }
    for capacity in ["max = \"10000000/s\"", "by = \"size\"\nmax = \"2GiB\""] {
        assert!(of(load, capacity).is_ok(), "{capacity}");
    }
}

#[test]
fn a_limit_on_less_than_one_in_a_minute_is_refused() {
    let of = |rate: &str| {
        let text = "[target]\naddress = \"embedded\"\n[[phase]]\nload = \"constant-sessions\"\nsessions = 1\nfor = \"1s\"";
        compiled(&format!("{text}\n[limits]\nrate-limited = \"{rate}\"\n"), &[])
    };
    for rate in ["59/h", "0.01/s", "0/s"] {
        let said = of(rate).unwrap_err().render(false);
        assert!(
            said.contains("this is less than one") && said.contains("write at least \"1/min\""),
            "{said}"
        );
    }
    assert_eq!(of("60/h").unwrap().limits.values().copied().collect::<Vec<u64>>(), [1]);
}
