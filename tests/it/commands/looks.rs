//! The commands that only print: check, codes, classify, help, completions and the manual.

use serde_json::Value;

use super::stage::{SMALL, Stage};

#[test]
fn check_previews_the_schedule_of_the_run_it_announces() {
    let stage = Stage::new();
    let said = stage.run(&["check", "small.toml"]).ended(0);
    for part in ["steady", "50 messages", "descriptors", "0.000s, 0.020s"] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let result = stage.run(&["run", "small.toml", "-q", "--json", "-", "-o", "r"]).measured().json();
    assert!(said.out.contains(result["profile"]["schedule_sha256"].as_str().unwrap()));
    assert!(said.out.contains(result["profile"]["sha256"].as_str().unwrap()));
    assert_eq!(stage.list(""), ["few.toml", "r", "small.toml"], "check leaves nothing behind");
    let other =
        stage.run(&["check", "small.toml", "--seed", "8", "--set", "phase.steady.rate=60/s"]).ended(0);
    assert!(other.out.contains("60 messages") && other.out.contains("seed      8"), "{}", other.out);
}

#[test]
fn check_says_what_the_machine_lacks() {
    let stage = Stage::new();
    let huge =
        SMALL.replace("constant-rate", "held-sessions").replace("rate = \"50/s\"", "sessions = 900000000");
    stage.put("huge.toml", huge);
    let said = stage.run(&["check", "huge.toml"]).ended(3);
    assert!(said.err.contains("descriptors are needed") && said.err.contains("ulimit"), "{}", said.err);
    assert!(said.out.contains("descriptors"), "the preview is shown all the same");
    stage.run(&["run", "huge.toml", "-o", "r"]).ended(3);
    assert!(!stage.path("r").exists());
}

#[test]
fn every_shipped_profile_passes_check() {
    let stage = Stage::new();
    let profiles = shipped("");
    assert!(profiles.len() > 10, "{profiles:?}");
    for path in profiles {
        let text = std::fs::read_to_string(&path).unwrap();
        // A profile that is only for `listen` has no run to check.
        let code = if text.contains("[[phase]]") { 0 } else { 2 };
        stage.run(&["check", &path]).ended(code);
    }
}

#[test]
fn every_shipped_profile_of_limits_is_planned() {
    let stage = Stage::new();
    let profiles = shipped("/limits");
    assert!(profiles.len() > 2, "{profiles:?}");
    for path in profiles {
        let said = stage.run(&["limit", &path, "--plan"]).ended(0);
        assert!(
            said.out.contains(" limits against ") && said.out.contains(", expected "),
            "{path}: {}",
            said.out
        );
    }
}

/// The paths of the profiles in a folder below `profiles`.
fn shipped(folder: &str) -> Vec<String> {
    let folder = format!("{}/profiles{folder}", env!("CARGO_MANIFEST_DIR"));
    let names = super::stage::list(std::path::Path::new(&folder));
    names.iter().filter(|name| name.ends_with(".toml")).map(|name| format!("{folder}/{name}")).collect()
}

#[test]
fn codes_lists_every_condition_and_every_row() {
    let stage = Stage::new();
    let json = stage.run(&["codes", "--json"]).ended(0).json();
    let rows = json["cisco"].as_array().unwrap();
    assert_eq!(rows.len(), 52);
    let text = stage.run(&["codes"]).ended(0).out;
    for condition in json["conditions"].as_array().unwrap() {
        assert!(text.contains(condition["condition"].as_str().unwrap()));
    }
    assert!(rows.iter().all(|row| text.contains(row["reply"].as_str().unwrap())));
}

#[test]
fn classify_names_replies_from_stdin_and_files() {
    let stage = Stage::new();
    let replies = b"421-mx.example\r\n421 4.7.0 Too many connections from your host\r\n\r\nnothing\n552 5.3.4 message size exceeds limit\n";
    let said = stage.feed(&["classify", "--json"], replies).ended(0);
    let lines: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let named: Vec<&str> = lines.iter().map(|line| line["condition"].as_str().unwrap()).collect();
    assert_eq!(named, ["too-many-connections-from-host", "malformed-reply", "message-size-exceeded"]);
    assert_eq!(lines[0]["group"], "connection-limit");
    stage.put("mail.log", replies);
    assert_eq!(stage.run(&["classify", "--json", "mail.log"]).ended(0).out, said.out);
    let table = stage.run(&["classify", "mail.log"]).ended(0).out;
    assert!(table.starts_with("code ") && table.lines().count() == 4, "{table}");
    let objects = b"{\"id\": 9, \"reply\": \"550 ?\", \"step\": \"rcpt\"}\n";
    let said = stage.feed(&["classify", "--jsonl", "--json", "-"], objects).ended(0);
    assert_eq!((&said.json()["id"], &said.json()["condition"]), (&9.into(), &"unknown-user".into()));
    assert_eq!(stage.feed(&["classify"], b"\x00\xff\xfe\x1b[2J\n").ended(0).out.matches('\u{1b}').count(), 0);
    assert_eq!(stage.feed(&["classify", "--json"], b"").ended(0).out, "");
    for wrong in ["missing.log", "."] {
        let said = stage.run(&["classify", wrong]).ended(2);
        assert!(said.err.contains("give a file of replies"), "{}", said.err);
    }
}

#[test]
fn help_fits_a_screen_is_grouped_and_has_examples() {
    let stage = Stage::new();
    let help = stage.run(&["run", "--help"]).ended(0);
    assert_eq!(help.out, stage.run(&["run", "-h"]).ended(0).out, "one help, not two");
    assert!(help.out.lines().count() <= 60, "{}", help.out.lines().count());
    for part in ["\nLoad:\n", "\nDialogue:\n", "\nRun:\n", "\nResult:\n", "\nExamples:\n", "SMTPRESS_"] {
        assert!(help.out.contains(part), "{part}");
    }
    let main = stage.run(&["--help"]).ended(0).out;
    for part in ["Exit codes:", "98", "105", "First steps:", "trace", "classify"] {
        assert!(main.contains(part), "{part}");
    }
    assert!(main.lines().chain(help.out.lines()).all(|line| line.chars().count() <= 100));
    assert_eq!(stage.run(&["--version"]).ended(0).out, concat!("smtpress ", env!("CARGO_PKG_VERSION"), "\n"));
    let nothing = stage.run(&[]).ended(2);
    assert!(nothing.out.is_empty() && nothing.err.contains("Usage:"), "{}", nothing.err);
}

#[test]
fn slips_of_the_pen_get_a_suggestion() {
    let stage = Stage::new();
    for (arguments, tip) in [
        (&["clasify"][..], "'classify'"),
        (&["report2"], "'report'"),
        (&["run", "small.toml", "--asert", "x"], "'--assert'"),
        (&["run", "small.toml", "--progress", "logs"], "'log'"),
        (&["schema", "profil"], "'profile'"),
    ] {
        let said = stage.run(arguments).ended(2);
        assert!(said.err.contains("similar") && said.err.contains(tip), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn completions_and_the_manual_know_every_command() {
    let stage = Stage::new();
    let commands =
        ["run", "trace", "listen", "check", "report", "classify", "codes", "schema", "completions", "man"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = stage.run(&["completions", shell]).ended(0).out;
        assert!(commands.iter().all(|command| text.contains(command)), "{shell}");
        assert!(text.contains("print-profile"), "{shell}");
    }
    let manual = stage.run(&["man"]).ended(0).out;
    for command in commands {
        assert!(manual.contains(&format!(".SH \"SMTPRESS {}\"", command.to_uppercase())), "{command}");
    }
    for command in ["run", "capacity", "limit", "status", "collect", "init"] {
        assert!(manual.contains(&format!(".SH \"SMTPRESS FLEET {}\"", command.to_uppercase())), "{command}");
    }
    for part in ["\\-\\-max\\-start\\-skew", "\\-\\-ssh", "\\fBsmtpress fleet init\\fR"] {
        assert!(manual.contains(part), "{part}");
    }
    for part in [".TH smtpress 1", "SMTPRESS_MESSAGES_PER_SESSION", "Exit codes", "\\-\\-print\\-profile"] {
        assert!(manual.contains(part), "{part}");
    }
}
