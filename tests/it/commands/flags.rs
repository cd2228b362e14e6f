//! Flags: a run without a profile, the order in which settings change a profile, and shards.

use serde_json::Value;

use super::stage::{SMALL, Stage};

/// A key of the profile that these arguments make.
fn made(stage: &Stage, variables: &[(&str, &str)], arguments: &[&str]) -> toml::Table {
    let said = stage.run_with(variables, &[&["run", "--print-profile"], arguments].concat()).ended(0);
    assert_eq!(said.err, "");
    said.out.parse().unwrap()
}

#[test]
fn each_flag_alone_does_what_its_name_says() {
    let stage = Stage::new();
    stage.put("users.csv", "user,password\na,b\n");
    let secret = ("SECRET", "hunter2");
    let plain = ["--tls", "implicit", "--auth", "plain"];
    let user = [&plain[..], &["--user", "u", "--password-env", "SECRET"]].concat();
    let from_environment = [&plain[..], &["--user-env", "SECRET", "--password-env", "SECRET"]].concat();
    let token = ["--tls", "implicit", "--auth", "xoauth2", "--user", "u", "--token-env", "SECRET"];
    let many = [&plain[..], &["--users-file", "users.csv"]].concat();
    let clear = ["--auth", "plain", "--user", "u", "--password-env", "SECRET", "--allow-clear-text"];
    let cases: &[(&[&str], &str, &str)] = &[
        (&["--threads", "1"], "/threads", "1"),
        (&["--tls", "starttls"], "/target/tls", "\"starttls\""),
        (&["--tls", "implicit"], "/target/tls", "\"implicit\""),
        (&user, "/session/auth/mechanism", "\"plain\""),
        (&user, "/session/auth/user", "\"u\""),
        (&user, "/session/auth/password_env", "\"SECRET\""),
        (&from_environment, "/session/auth/user_env", "\"SECRET\""),
        (&token, "/session/auth/token_env", "\"SECRET\""),
        (&many, "/session/auth/users_file", "\"users.csv\""),
        (&clear, "/session/auth/allow_clear_text", "true"),
        (&["-c", "7"], "/phase/0/sessions", "7"),
        (&["--sessions", "7"], "/phase/0/load", "\"constant-sessions\""),
        (&["-n", "2k"], "/phase/0/messages", "2000"),
        (&["-n", "5"], "/phase/0/load", "\"shared-messages\""),
        (&["-z", "90s"], "/phase/0/for", "\"1m30s\""),
        (&["-r", "200/s"], "/phase/0/rate", "\"200/s\""),
        (&["-r", "200/s", "-c", "9"], "/phase/0/max_sessions", "9"),
        (&["--open-first"], "/phase/0/open_first", "true"),
        (&["--open-first"], "/phase/0/unit", "\"message\""),
        (&["-n", "5", "--open-first"], "/phase/0/open_first", "true"),
        (&["-n", "5", "--open-first=false"], "/phase/0/open_first", "false"),
        (&["--size", "2KiB"], "/message/size", "\"2KiB\""),
        (&["--recipients", "3"], "/message/recipients", "3"),
        (&["--messages-per-session", "5"], "/session/messages", "5"),
        (&["--messages-per-session", "0"], "/phase/0/unit", "\"message\""),
        (&["--hello", "helo"], "/session/hello", "\"helo\""),
        (&["--pipelining", "off"], "/session/pipelining", "\"off\""),
        (&["--seed", "99"], "/seed", "99"),
        (&["--receive", "127.0.0.1:2600"], "/receive/address/0", "\"127.0.0.1:2600\""),
        (&["--receive", "127.0.0.1:2600", "--drain", "5s"], "/receive/drain", "\"5s\""),
        (&["--deliveries", "a", "--deliveries", "b"], "/receive/deliveries", "[\"a\",\"b\"]"),
        (&["--deliveries", "a", "--clock-offset", "-1ms+-2us"], "/receive/clock_offset", "\"-1ms+-2us\""),
        (&["--deliveries", "a", "--clock-probe", "127.0.0.1:26"], "/receive/clock_probe", "\"127.0.0.1:26\""),
    ];
    for (flags, pointer, expected) in cases {
        let profile = made(&stage, &[secret], &[&["--target", "embedded"], *flags].concat());
        let value = serde_json::to_value(&profile).unwrap();
        let found = value.pointer(pointer).unwrap_or(&Value::Null).to_string();
        assert_eq!(&found, expected, "{flags:?}");
    }
    // `--help` lists no other flags.
    let help = stage.run(&["run", "--help"]).ended(0).out;
    let mut heading = "";
    let mut untold = Vec::new();
    for line in help.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            heading = name;
        }
        if !matches!(heading, "Load" | "Dialogue") || !line.trim_start().starts_with('-') {
            continue;
        }
        let names: Vec<&str> =
            line.split([' ', ',', '[', '=']).filter(|word| word.starts_with('-') && *word != "-").collect();
        let told = cases
            .iter()
            .flat_map(|(flags, ..)| *flags)
            .any(|flag| names.contains(&flag.split('=').next().unwrap_or(flag)));
        if !told && names != ["--target"] {
            untold.push(names);
        }
    }
    assert!(untold.is_empty() && help.contains("--allow-clear-text"), "not in the table: {untold:?}");
    let profile = made(&stage, &[], &["--target", "embedded", "--assert", "p99 < 1s"]);
    assert_eq!(profile["assert"][0]["expr"].as_str(), Some("p99 < 1s"));
}

#[test]
fn a_run_from_flags_alone_is_done_as_asked() {
    let stage = Stage::new();
    let said = stage
        .run(&[
            "run",
            "--target",
            "embedded",
            "-n",
            "30",
            "-c",
            "3",
            "--recipients",
            "2",
            "--size",
            "2KiB",
            "--messages-per-session",
            "5",
            "--hello",
            "helo",
            "--threads",
            "1",
            "--seed",
            "3",
            "--assert",
            "accepted == 30",
            "--json",
            "-",
            "-o",
            "r",
        ])
        .ended(0);
    let result = said.json();
    let ledger = &result["ledger"];
    assert_eq!((&ledger["messages"], &ledger["recipients"]), (&30.into(), &60.into()));
    assert_eq!(result["profile"]["seed"], 3);
    assert_eq!(result["phases"][0]["recipients"]["accepted"], 60);
    assert!(ledger["connections"].as_u64() >= Some(6), "five messages a session: {ledger}");
}

#[test]
fn a_printed_profile_prints_itself_and_runs_the_same() {
    let stage = Stage::new();
    let printed =
        stage.run(&["run", "--target", "embedded", "-r", "40/s", "-z", "1s", "--print-profile"]).ended(0);
    stage.put("printed.toml", &printed.out);
    assert_eq!(stage.run(&["run", "printed.toml", "--print-profile"]).ended(0).out, printed.out);
    let schema = stage.run(&["schema", "profile"]).ended(0).json();
    let profile = serde_json::to_value(printed.out.parse::<toml::Table>().unwrap()).unwrap();
    assert!(jsonschema::is_valid(&schema, &profile), "{profile:#}");
    let hash = |said: super::stage::Said| said.json()["profile"]["schedule_sha256"].clone();
    let a = hash(stage.run(&["run", "printed.toml", "--json", "-", "-o", "a"]).measured());
    let b = hash(stage.run(&["run", "printed.toml", "--json", "-", "-o", "b"]).measured());
    assert_eq!(a, b);
    assert_eq!(stage.read("a/profile.toml"), printed.out);
}

#[test]
fn a_flag_wins_over_a_variable_over_set_over_the_profile() {
    let stage = Stage::new();
    let rate = |variables: &[(&str, &str)], arguments: &[&str]| {
        let profile = made(&stage, variables, &[&["small.toml"], arguments].concat());
        profile["phase"][0]["rate"].as_str().unwrap().to_owned()
    };
    let set = "phase.steady.rate=60/s";
    let variable = ("SMTPRESS_RATE", "70/s");
    assert_eq!(rate(&[], &[]), "50/s");
    assert_eq!(rate(&[], &["--set", set]), "60/s");
    assert_eq!(rate(&[variable], &["--set", set]), "70/s");
    assert_eq!(rate(&[variable], &["--set", set, "-r", "80/s"]), "80/s");
    assert_eq!(rate(&[variable], &[]), "70/s");
    // The error for a wrong variable shows the variable.
    let said = stage.run_with(&[("SMTPRESS_RATE", "70 apples")], &["run", "small.toml"]).ended(2);
    assert!(said.err.contains("SMTPRESS_RATE=70 apples") && said.err.contains("environment"), "{}", said.err);
}

#[test]
fn the_shards_of_a_run_are_together_the_whole() {
    let stage = Stage::new();
    for (load, total) in [("-r 101/s -z 1s", 101), ("-n 101 -c 4", 101)] {
        let load: Vec<&str> = load.split(' ').collect();
        let run = |shard: &[&str]| {
            let common = ["run", "--target", "embedded", "--seed", "5", "--json", "-", "-q"];
            let name = format!("of{}{}", load[0], shard.join("").replace('/', "-"));
            let out = stage.path(&name).display().to_string();
            let result = stage.run(&[&common[..], &load, shard, &["-o", &out]].concat()).measured().json();
            (result["phases"][0]["accepted"].as_u64().unwrap(), result["profile"]["schedule_sha256"].clone())
        };
        let (whole, hash) = run(&[]);
        let (first, first_hash) = run(&["--shard", "0/2"]);
        let (second, second_hash) = run(&["--shard", "1/2"]);
        assert_eq!((whole, first + second), (total, total));
        assert!(first.abs_diff(second) <= 1, "{first} and {second}");
        assert_eq!((&first_hash, &second_hash), (&hash, &hash), "one schedule, two parts of it");
    }
}

#[test]
fn flags_change_the_measured_phases_of_a_profile() {
    let stage = Stage::new();
    stage.put("two.toml", format!("{SMALL}\n[[phase]]\nname = \"warm\"\nload = \"constant-rate\"\nrate = \"5/s\"\nfor = \"1s\"\nwarmup = true\n"));
    let profile = made(&stage, &[], &["two.toml", "-r", "90/s", "-z", "2s"]);
    assert_eq!(profile["phase"][0]["rate"].as_str(), Some("90/s"));
    assert_eq!(profile["phase"][0]["for"].as_str(), Some("2s"));
    assert_eq!(profile["phase"][1]["rate"].as_str(), Some("5/s"), "a warm-up stays as it is");
    let said = stage.run(&["run", "two.toml", "-n", "5"]).ended(2);
    assert!(said.err.contains("no measured phase of this profile has a use for --messages"), "{}", said.err);
}

#[test]
fn a_variable_that_nobody_reads_is_not_passed_over() {
    let stage = Stage::new();
    for (name, near) in [
        ("SMTPRESS_TARGTE", "SMTPRESS_TARGET"),
        ("SMTPRESS_RAET", "SMTPRESS_RATE"),
        ("SMTPRESS_SESSION", "SMTPRESS_SESSIONS"),
        ("SMTPRESS_SEEED", "SMTPRESS_SEED"),
    ] {
        for arguments in [
            &["run", "few.toml", "-q", "-o", "r"][..],
            &["check", "few.toml"],
            &["limit", "--target", "embedded", "--plan"],
            &["trace", "embedded"],
        ] {
            let said = stage.run_with(&[(name, "x")], arguments).ended(2);
            assert!(said.err.contains(name) && said.err.contains(near), "{}", said.err);
        }
    }
    assert!(!stage.path("r").exists(), "nothing was done");
    // An unknown variable with no similar name gives a warning, and the run continues.
    let said = stage.run_with(&[("SMTPRESS_REAL", "1")], &["run", "few.toml", "-q", "-o", "a"]).ended(0);
    assert!(said.err.contains("SMTPRESS_REAL") && said.err.lines().count() == 1, "{}", said.err);
    assert_eq!(said.out, "");
    // A variable that a login names is used, so it gives no warning.
    let login = ["--auth", "plain", "--user", "u", "--password-env", "SMTPRESS_SEEDS", "--allow-clear-text"];
    let said = stage.run_with(&[("SMTPRESS_SEEDS", "x")], &[&["trace", "embedded"], &login[..]].concat());
    assert!(!said.err.contains("none of smtpress"), "{}", said.err);
}
