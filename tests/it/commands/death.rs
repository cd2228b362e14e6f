//! A listener in its own process that dies during the run. With any load the run does not pass, and it reports the
//! planned work, the done work and the reason.

use std::io::{BufRead, BufReader, Write};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::stage::{Listening, Stage};

/// Each load model with its keys, for about three seconds, and whether its arrivals may be messages or sessions.
pub const LOADS: [(&str, &str, bool); 9] = [
    ("constant-rate", "rate = \"60/s\"\nfor = \"3s\"", true),
    ("ramping-rate", "from = \"20/s\"\nto = \"90/s\"\nfor = \"3s\"", true),
    ("staircase", "from = \"20/s\"\nstep = \"30/s\"\nevery = \"1s\"\nsteps = 3", true),
    ("burst", "size = 20\nevery = \"250ms\"\nfor = \"3s\"", true),
    ("constant-sessions", "sessions = 5\nfor = \"3s\"", true),
    ("ramping-sessions", "from = 2\nto = 8\nfor = \"3s\"", true),
    ("shared-messages", "messages = 200000\nsessions = 5", true),
    ("shared-messages", "messages = 200000\nsessions = 5\nfor = \"3s\"", true),
    ("held-sessions", "sessions = 20\nfor = \"10s\"", false),
];

/// How a listener dies: at once, in an orderly way, or stopped, so that it no longer answers.
const DEATHS: [Signal; 3] = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGSTOP];

fn profile(url: &str, load: &str, keys: &str, unit: &str) -> String {
    format!(
        "schema = 1\nname = \"dies\"\nseed = 7\n[target]\naddress = \"{url}\"\n\
         [timeouts]\nconnect = \"1s\"\ngreeting = \"1s\"\ncommand = \"1s\"\ndata = \"1s\"\nbody = \"1s\"\n\
         [[phase]]\nname = \"p\"\nload = \"{load}\"\n{keys}\nunit = \"{unit}\"\ngraceful_stop = \"2s\"\n"
    )
}

pub fn asserted<'a>(result: &'a Value, expr: &str) -> &'a Value {
    let all = result["assertions"].as_array().unwrap();
    all.iter().find(|one| one["expr"] == expr).unwrap_or_else(|| panic!("{expr} is not asserted"))
}

pub fn sum(phase: &Value, names: &[&str]) -> u64 {
    names.iter().map(|name| phase[name].as_u64().unwrap()).sum()
}

/// Runs a load against a listener that dies after one second.
fn dies(load: &str, keys: &str, unit: &str, death: Signal) {
    let what = format!("{load} of {unit}s, {death}");
    let stage = Stage::new();
    let listening = Listening::with(&stage, &["listener.delays.body=\"20ms\""]);
    stage.put("dies.toml", profile(&listening.url(), load, keys, unit));
    let mut run = stage.start(&["run", "dies.toml", "-o", "r", "--progress", "log"]);
    // One second by the clock of the run, because a busy machine starts it late.
    run.hear(" 1 s ");
    listening.running.signal(death);
    let ledger: Option<Value> = (death == Signal::SIGTERM).then(|| listening.running.end().json());
    let said = run.end();
    let result = stage.json("r/result.json");
    let phase = &result["phases"][0];
    // The run is invalid on a busy machine.
    assert!(matches!(said.code, Some(99 | 98)), "{what}: {:?}\n{}", said.code, said.out);
    let done = asserted(&result, "done rate == 100%");
    let sentence = done["observed"].as_str().unwrap();
    assert_eq!(done["status"], "fail", "{what}: {sentence}");
    for part in [" asked for, ", " done; ", " s"] {
        assert!(sentence.contains(part), "{what}: {sentence}");
    }
    let names = [" at connect", " at body", " at mail", " at idle", " at greeting", " at data", " at rcpt"];
    assert!(names.iter().any(|name| sentence.contains(name)), "{what}: {sentence}");
    assert!(said.out.contains("done rate == 100%"), "{what}: {}", said.out);
    let work = &phase["work"];
    assert!(work["done"].as_u64() < work["asked"].as_u64(), "{what}: {work}");
    assert_eq!(sentence.split("; ").nth(1), work["why"].as_str(), "{what}");
    // M10, and M10b if there is a ledger.
    assert_eq!(sum(phase, &["scheduled"]), sum(phase, &["shed", "started"]), "{what}: {phase}");
    let outcomes = ["accepted", "expected", "deferred", "rejected", "refused", "dropped", "timed_out"];
    let others = ["in_doubt", "malformed", "interrupted"];
    assert_eq!(sum(phase, &["started"]), sum(phase, &outcomes) + sum(phase, &others), "{what}: {phase}");
    if let Some(ledger) = ledger {
        let transactions = &phase["transactions"];
        let [accepted, doubted] = ["accepted", "in_doubt"].map(|name| sum(transactions, &[name]));
        let taken = sum(&ledger, &["messages"]);
        assert!(accepted <= taken && taken <= accepted + doubted, "{what}: {accepted} {taken} {doubted}");
    }
}

fn every_load_dies_of(death: Signal) {
    thread::scope(|scope| {
        for (load, keys, either) in LOADS {
            for unit in ["message", "session"] {
                // A listener that is silent at the end of a held session has held the session.
                let held = load == "held-sessions" && death == Signal::SIGSTOP;
                if (either || unit == "session") && !held {
                    scope.spawn(move || dies(load, keys, unit, death));
                }
            }
        }
    });
}

#[test]
fn no_load_passes_when_the_listener_is_killed() {
    every_load_dies_of(DEATHS[0]);
}

#[test]
fn no_load_passes_when_the_listener_is_ended_in_order() {
    every_load_dies_of(DEATHS[1]);
}

#[test]
fn no_load_passes_when_nothing_answers_any_more() {
    every_load_dies_of(DEATHS[2]);
}

#[test]
fn a_load_whose_listener_dies_at_the_very_end_does_not_pass_either() {
    // 20 of 2400 arrivals: less than one in a hundred.
    let stage = Stage::new();
    let listening = Listening::with(&stage, &[]);
    let keys = "rate = \"400/s\"\nfor = \"6s\"";
    stage.put("dies.toml", profile(&listening.url(), "constant-rate", keys, "session"));
    let mut run = stage.start(&["run", "dies.toml", "-o", "r", "--progress", "none"]);
    run.hear("files in");
    thread::sleep(Duration::from_millis(5975));
    listening.running.signal(Signal::SIGKILL);
    let said = run.end();
    let result = stage.json("r/result.json");
    let refused = sum(&result["phases"][0], &["refused"]);
    let done = asserted(&result, "done rate == 100%");
    // On a late machine the listener may die after the last arrival. Then nothing was refused.
    if refused > 1 {
        assert_ne!(said.code, Some(0), "{}", said.out);
        assert_eq!(done["status"], "fail", "{done}");
        let sentence = done["observed"].as_str().unwrap();
        let dead = ["(connect-refused at connect)", "(reset-before-greeting at greeting)"];
        assert!(dead.iter().any(|how| sentence.contains(&format!("not served {how}"))), "{sentence}");
    }
}

#[test]
fn what_was_done_can_be_asserted_otherwise_or_not_at_all() {
    let stage = Stage::new();
    // 20 s of work, but only 1 s of time.
    let keys = "[target]\naddress = \"embedded\"\n[listener.delays]\nbody = \"100ms\"\n[[phase]]\nname = \"p\"\n\
                load = \"shared-messages\"\nmessages = 200\nsessions = 1\nfor = \"1s\"\n";
    for (assertion, code) in [
        ("", 99),
        ("[[assert]]\nexpr = \"done rate == 100%\"\nremove = true\n", 0),
        (
            "[[assert]]\nexpr = \"done rate == 100%\"\nremove = true\n[[assert]]\nexpr = \"done rate >= 50%\"\n",
            99,
        ),
    ] {
        stage.put("p.toml", format!("schema = 1\nname = \"p\"\nseed = 7\n{keys}{assertion}"));
        let said = stage.run(&["run", "p.toml", "--json", "-", "-q"]);
        assert!(
            said.code == Some(code) || said.code == Some(98),
            "{assertion}: {:?} {}",
            said.code,
            said.out
        );
        let work = &said.json()["phases"][0]["work"];
        assert_eq!((&work["unit"], &work["asked"]), (&"messages".into(), &200.into()));
        assert!((1..=20).contains(&work["done"].as_u64().unwrap()), "{work}");
        assert_eq!(work["why"], "the time that it may take was over");
    }
    for (key, value) in [("window", "\"2s\""), ("abort", "true")] {
        let assertion = format!("[[assert]]\nexpr = \"done rate > 50%\"\n{key} = {value}\n");
        stage.put("p.toml", format!("schema = 1\nname = \"p\"\nseed = 7\n{keys}{assertion}"));
        let said = stage.run(&["check", "p.toml"]).ended(2);
        assert!(said.err.contains("at the end of the run only"), "{}", said.err);
    }
    let said = stage.run(&["run", "few.toml", "--assert", "done == 50"]).ended(2);
    assert!(said.err.contains("`done` is a share"), "{}", said.err);
}

/// A listener that accepts this number of messages and then closes the session instead of the next reply. With `dies`
/// it also stops to listen.
fn listener_of(messages: usize, dies: bool) -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("smtp://{}", socket.local_addr().unwrap());
    thread::spawn(move || {
        let mut taken = 0;
        while let Ok((stream, _)) = socket.accept() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let say = |text: &str| (&stream).write_all(text.as_bytes()).unwrap_or_default();
            say("220 mx.test\r\n");
            while let Some(line) = lines.next() {
                match line.get(..4) {
                    Some("DATA") => {
                        say("354 go\r\n");
                        lines.by_ref().find(|line| line == ".");
                        taken += 1;
                        if taken == messages + 1 {
                            break;
                        }
                        say("250 taken\r\n");
                    }
                    Some("QUIT") => {
                        say("221 bye\r\n");
                        break;
                    }
                    _ => say("250 ok\r\n"),
                }
            }
            if taken == messages + 1 && dies {
                return;
            }
        }
    });
    url
}

/// `unexpected rate` allows one failed message of 200. So the verdict depends on whether the listener is still there.
#[test]
fn a_listener_that_dies_at_the_very_last_message_is_no_pass() {
    for (load, keys) in [
        ("shared-messages", "messages = 200\nsessions = 1"),
        ("constant-rate", "rate = \"200/s\"\nfor = \"1s\"\nmax_sessions = 1"),
        ("burst", "size = 200\nevery = \"1s\"\nfor = \"1s\"\nmax_sessions = 1"),
    ] {
        for dies in [true, false] {
            let stage = Stage::new();
            let url = listener_of(199, dies);
            let text = format!(
                "schema = 1\nname = \"last\"\nseed = 7\n[target]\naddress = \"{url}\"\n\
                 [[phase]]\nname = \"p\"\nload = \"{load}\"\n{keys}\n"
            );
            stage.put("last.toml", text);
            let said = stage.run(&["run", "last.toml", "-o", "r"]);
            let result = stage.json("r/result.json");
            let done = asserted(&result, "done rate == 100%");
            let what = format!("{load} dies {dies}: {:?} {done}", said.code);
            let expected = if dies { [Some(99), Some(98)] } else { [Some(0), Some(98)] };
            assert!(expected.contains(&said.code), "{what}\n{}", said.out);
            assert_eq!(done["status"], if dies { "fail" } else { "pass" }, "{what}");
            if dies {
                let sentence = done["observed"].as_str().unwrap();
                assert!(sentence.contains("200 messages asked for, 199 done; the last one"), "{what}");
            }
            assert_eq!(result["phases"][0]["accepted"], 199, "{what}");
        }
    }
}
