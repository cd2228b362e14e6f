//! `smtpress limit` as a process, on hostile listeners: its memory, its time, its exit code and its files.

use std::time::Duration;

use super::rude::Rude;
use super::stage::Stage;

/// The largest memory of a search. Above it, the listener would decide how much memory a search takes.
const MOST_KIB: u64 = 200 * 1024;

fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn a_listener_that_refuses_everything_at_any_step_costs_no_memory_and_no_panic() {
    let steps: [(&str, &[(&str, &str)]); 9] = [
        ("greeting", &[("GREET", "554 5.7.1 no")]),
        ("hello", &[("EHLO", "550 no"), ("HELO", "550 no")]),
        ("mail", &[("MAIL", "550 5.7.1 no")]),
        ("rcpt", &[("RCPT", "550 5.1.1 no such user")]),
        ("data", &[("DATA", "554 no")]),
        ("body", &[("DOT", "554 5.7.1 no")]),
        ("noop", &[("NOOP", "501 no argument"), ("XYZZ", "501 no")]),
        (
            "all but hello",
            &[
                ("MAIL", "502 no"),
                ("RCPT", "502 no"),
                ("DATA", "502 no"),
                ("NOOP", "502 no"),
                ("XYZZ", "502 no"),
                ("AUTH", "502 no"),
                ("QUIT", "502 no"),
            ],
        ),
        ("with the hello", &[("EHLO", "250 mx\r\n421 4.3.2 closing")]),
    ];
    let stage = Stage::new();
    let skip = "idle-timeout,connection-time-exceeded,rate-limited,connection-rate-limited";
    std::thread::scope(|scope| {
        for (step, replies) in steps {
            let stage = &stage;
            scope.spawn(move || {
                let (rude, name) = (Rude::start(replies), step.replace(' ', "-"));
                let call =
                    ["limit", "--target", &rude.url(), "-o", &name, "--progress", "none"].map(str::to_owned);
                let bounds =
                    ["--max-time", "25s", "--timeout", "2s", "--max-sessions", "30", "--max-size", "4MiB"];
                let call: Vec<&str> =
                    call.iter().map(String::as_str).chain(["--skip", skip]).chain(bounds).collect();
                let running = stage.start(&call);
                let mut peak = 0;
                while let Some(now) = peak_kib(running.id()) {
                    peak = now.max(peak);
                    std::thread::sleep(Duration::from_millis(5));
                }
                let said = running.end();
                assert!(peak > 0 && peak < MOST_KIB, "{step}: {peak} KiB");
                assert!(!said.out.contains("a fault in smtpress"), "{step}: {said:?}");
                assert!(matches!(said.code, Some(0 | 3 | 98 | 99)), "{step}: {said:?}");
            });
        }
    });
}

#[test]
fn limits_can_be_left_out_by_name_and_a_name_that_is_none_is_reported() {
    let stage = Stage::new();
    let plan = ["limit", "--target", "embedded", "--plan", "--skip"];
    let said = stage.run(&[&plan[..], &["line-too-long,rule"]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!said.out.contains("line-too-long") && !said.out.contains("rule."), "{said:?}");
    assert!(said.out.contains("message-size-exceeded"), "{said:?}");
    let all = stage.run(&["limit", "--plan"]);
    assert_eq!(all.code, Some(0), "the limits are listed without a target: {all:?}");
    assert!(all.out.contains("line-too-long") && all.out.contains("message-size-exceeded"), "{all:?}");
    let said = stage.run(&[&plan[..], &["line-to-long"]].concat());
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("did you mean line-too-long?"), "{said:?}");
}

#[test]
fn what_was_found_before_a_search_was_killed_is_kept() {
    let stage = Stage::new();
    let find = "too-many-recipients,idle-timeout";
    let call = ["limit", "--target", "embedded", "--find", find, "-o", "r", "--progress", "none"];
    let running = stage.start(&call);
    // The first result is on the disk while the search still waits for the next one.
    let found = |stage: &Stage| {
        let path = stage.path("r/unfinished.json");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        json["limits"].as_array().map_or(0, Vec::len)
    };
    for look in 0.. {
        if found(&stage) > 0 {
            break;
        }
        assert!(look < 1200, "nothing is kept");
        std::thread::sleep(Duration::from_millis(50));
    }
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.end();
    let said = stage.run(&["report", "r"]);
    assert_eq!(said.code, Some(105), "{said:?}");
    assert!(said.out.contains("too-many-recipients"), "{said:?}");
}

/// Messages of a profile that have one size, and recipients that are few.
#[test]
fn the_messages_of_a_search_have_the_sizes_and_recipients_that_it_needs() {
    let stage = Stage::new();
    stage.put("users.txt", "a@recipient.example\nb@recipient.example\nc@recipient.example\n");
    stage.put("one.eml", "Subject: one\r\n\r\nbody\r\n");
    for (message, limits) in [
        ("text = \"hello\"", "\"message-size-exceeded.content\" = \"100kB\""),
        ("attachments = [\"10kB\"]", "\"message-size-exceeded.content\" = \"100kB\""),
        ("files = \"one.eml\"", "\"message-size-exceeded.content\" = \"100kB\""),
        ("to_file = \"users.txt\"", "\"too-many-messages-per-session\" = 5"),
    ] {
        let listener = "[listener]\nmax_message_size = \"100kB\"\nmax_messages_per_session = 5";
        let profile = format!(
            "schema = 1\nname = \"few\"\n[target]\naddress = \"embedded\"\n{listener}\n[message]\n{message}\n[limits]\n{limits}\n"
        );
        stage.put("p.toml", profile);
        let said = stage.run(&["limit", "p.toml", "--progress", "none"]);
        assert_eq!(said.code, Some(0), "{message}: {said:?}");
        assert!(said.out.contains("as expected"), "{message}: {said:?}");
    }
    let said =
        stage.run(&["limit", "p.toml", "--find", "too-many-recipients", "-o", "few", "--progress", "none"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let found = &stage.json("few/result.json")["limits"][0];
    assert_eq!(
        (found["verdict"].as_str(), found["at_least"].as_u64()),
        (Some("not-reached"), Some(3)),
        "{found}"
    );
}
