//! Small habits of users: targets without a scheme, profiles from standard input, typing errors, and a first try.

use super::stage::{FEW, Listening, Stage};

#[test]
fn a_target_without_a_scheme_is_smtp() {
    let stage = Stage::new();
    let listening = Listening::with(&stage, &[]);
    let (address, url) = (listening.address.to_string(), listening.url());
    let arguments = ["run", "--target", &address, "-n", "3", "-c", "1", "-o", "run", "--json", "-", "-q"];
    let run = stage.run(&arguments).measured();
    assert_eq!(run.json()["target"], url);
    let trace = stage.run(&["trace", &address, "--json"]).ended(0);
    assert_eq!(trace.json()["target"], url);
    let limit = ["limit", "--target", &address, "--find", "rule.mail-twice", "--plan"];
    assert!(stage.run(&limit).ended(0).out.contains(&url));
    let goal = "response p99 < 5s";
    let capacity = ["capacity", "--target", "127.0.0.1:1", "--goal", goal, "--by", "sessions"];
    assert!(stage.run(&capacity).ended(3).err.contains("smtp://127.0.0.1:1"));
    let v6 = "[::1]:1";
    for call in [
        &["run", "--target", v6, "-n", "1"][..],
        &["run", "--set", "target.address=[::1]:1", "-n", "1"],
        &["trace", v6],
    ] {
        let said = stage.run(call).ended(3);
        assert!([said.out, said.err].concat().contains("[::1]:1"), "{call:?}");
    }
    stage.put("bare.toml", FEW.replace("\"embedded\"", "\"localhost\""));
    let checked = stage.run(&["check", "bare.toml"]).ended(0);
    assert!(checked.out.contains("smtp://localhost:25"), "{}", checked.out);
    let candidate = ["compare", "--interleave", "1", "few.toml", "--candidate", "127.0.0.1:1"];
    let set = ["--target", &address, "--cooldown", "0s"];
    assert!(stage.run(&[&candidate[..], &set].concat()).ended(3).err.contains("127.0.0.1:1"));
    assert_eq!(listening.ledger()["messages"], 4);
}

#[test]
fn a_profile_comes_from_standard_input() {
    let stage = Stage::new();
    let profile = FEW.as_bytes();
    let run = stage.feed(&["run", "-", "--json", "-", "-q", "-o", "run"], profile).measured().json();
    assert_eq!((&run["profile"]["name"], &run["profile"]["path"]), (&"few".into(), &serde_json::Value::Null));
    assert!(stage.feed(&["check", "-"], profile).ended(0).out.contains("few"));
    let limit = stage.feed(&["limit", "-", "--plan"], profile).ended(0);
    assert!(limit.out.contains("embedded"), "{}", limit.out);
    let capacity = stage.feed(&["capacity", "-"], profile).ended(2);
    assert!(capacity.err.contains("--goal"), "{}", capacity.err);
    let listen = stage.feed(&["listen", "-", "--bind", "127.0.0.1:0", "-z", "50ms"], profile).ended(0);
    assert!(listen.err.contains("listening on"), "{}", listen.err);
    let compare =
        ["compare", "--interleave", "1", "-", "--candidate", "embedded", "--cooldown", "0s", "--force"];
    let compared = stage.feed(&compare, profile);
    assert!(compared.err.contains("run 2 of 2"), "{}", compared.err);
    let broken = stage.feed(&["check", "-"], FEW.replace("messages =", "mesages =").as_bytes()).ended(2);
    assert!(broken.err.contains("stdin:9:1") && broken.err.contains("`messages`"), "{}", broken.err);
}

#[test]
fn a_slip_gets_the_nearest_name() {
    let stage = Stage::new();
    for (arguments, near) in [
        (&["rnu"][..], "'run'"),
        (&["run", "--taget", "embedded"], "'--target'"),
        (&["report", "x", "--format", "mardown"], "'markdown'"),
        (&["schema", "profil"], "'profile'"),
        (&["limit", "--target", "embedded", "--find", "too-many-recipient", "--plan"], "too-many-recipients"),
        (&["limit", "--target", "embedded", "--skip", "idle-timout", "--plan"], "idle-timeout"),
        (
            &["limit", "--target", "embedded", "--expect", "too-many-recipient=5", "--plan"],
            "too-many-recipients",
        ),
        (&["capacity", "--target", "embedded", "--goal", "a: p99 < 1s", "--by", "sesions"], "sessions"),
        (
            &["capacity", "--target", "embedded", "--goal", "strict: p99 < 1s", "--expect", "strikt: >= 5/s"],
            "strict",
        ),
        (&["compare", "a", "--against", "b", "--metric", "respones p99"], "response p99"),
        (&["run", "--target", "embeded"], "or embedded"),
        (&["trace", "embedded", "--auth", "plian", "--user", "u", "--password-env", "P"], "`plain`"),
    ] {
        let said = stage.run(arguments).ended(2);
        assert!(said.err.contains(near), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn run_without_arguments_shows_the_first_steps() {
    let stage = Stage::new();
    let said = stage.run(&["run"]).ended(2);
    for step in ["run --target embedded", "trace 127.0.0.1:2525 --helo", "--assert 'p99 < 500ms'"] {
        assert!(said.err.contains(step), "{}", said.err);
    }
    assert_eq!(stage.run(&["--help"]).ended(0).out.matches("First steps:").count(), 1);
    assert!(!stage.run(&["run", "-c", "5"]).ended(2).err.contains("First steps"));
}
