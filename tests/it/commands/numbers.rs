//! Whole numbers in JSON: each is small enough that jq and JavaScript do not round it.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::stage::{FEW, Listening, Stage};

const MOST: u64 = (1 << 53) - 1;

/// Collects every whole number of a value with its path.
fn walk(value: &Value, place: &str, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(at, own)| walk(own, &format!("{place}/{at}"), found));
        }
        Value::Object(all) => {
            all.iter().for_each(|(name, own)| walk(own, &format!("{place}/{name}"), found));
        }
        Value::Number(number) if number.is_u64() || number.is_i64() => {
            found.push((place.to_owned(), number.as_f64().unwrap()));
        }
        _ => {}
    }
}

#[track_caller]
fn small(what: &str, value: &Value) -> usize {
    let mut found = Vec::new();
    walk(value, what, &mut found);
    let large: Vec<_> = found.iter().filter(|(_, number)| number.abs() > MOST as f64).collect();
    assert!(large.is_empty(), "{large:?}");
    found.len()
}

#[test]
fn no_whole_number_in_any_json_is_rounded_by_its_reader() {
    let stage = Stage::new();
    let listener = Listening::with(
        &stage,
        &[r#"listener.replies=[{ step = "rcpt", reply = "451 no", probability = "50%" }]"#],
    );
    let url = listener.url();
    let mut seen = 0;
    for (arguments, directory) in [
        (vec!["run", "few.toml", "-o", "r"], "r"),
        (vec!["run", "--target", "embedded", "-r", "50/s", "-z", "1s", "-o", "d"], "d"),
        (vec!["run", "--target", &url, "-n", "20", "-c", "2", "-o", "f"], "f"),
        (vec!["limit", "--target", "embedded", "--find", "too-many-recipients", "-o", "l"], "l"),
        (
            vec![
                "capacity",
                "--target",
                "embedded",
                "--goal",
                "p50 < 10s",
                "-o",
                "c",
                "--set",
                "capacity.trial=1s",
                "--set",
                "capacity.warmup=0s",
                "--set",
                "capacity.max=20/s",
                "--set",
                "capacity.start=20/s",
                "--set",
                "capacity.confirm=1s",
                "--set",
                "capacity.duration_sum=2s",
            ],
            "c",
        ),
    ] {
        let said = stage.run(&[&arguments[..], &["--json", "-"]].concat());
        seen += small(directory, &said.json());
        for name in stage.list(directory) {
            let path = format!("{directory}/{name}");
            if name.ends_with(".json") {
                seen += small(&path, &stage.json(&path));
            }
            if name.ends_with(".jsonl") {
                let lines = stage.read(&path);
                let rows = lines.lines().map(|line| serde_json::from_str(line).unwrap());
                seen += rows.map(|row: Value| small(&path, &row)).sum::<usize>();
            }
        }
    }
    for arguments in [
        &["trace", "embedded", "--json"][..],
        &["compare", "r", "--against", "r", "--json"],
        &["codes", "--json"],
        &["schema", "result"],
        &["schema", "compare"],
        &["schema", "profile"],
    ] {
        seen += small(arguments[0], &stage.run(arguments).ended(0).json());
    }
    let replies = stage.feed(&["classify", "--json"], b"421 4.7.0 Too many connections\n");
    replies.out.lines().for_each(|line| seen += small("classify", &serde_json::from_str(line).unwrap()));
    let mut running = stage.start(&["run", "small.toml", "--for", "60s", "-o", "u"]);
    running.hear(" 1 s ");
    running.signal(Signal::SIGKILL);
    drop(running);
    seen += small("unfinished", &stage.json("u/unfinished.json"));
    seen += small("ledger", &listener.ledger());
    assert!(seen > 1000, "{seen}");
}

#[test]
fn seeds_are_drawn_small_and_taken_as_they_are_given() {
    let stage = Stage::new();
    stage.put("drawn.toml", FEW.replace("seed = 7\n", "").replace("messages = 50", "messages = 1"));
    let seed = |arguments: &[&str]| {
        let said = stage.run(&[&["run", "drawn.toml", "-q", "--json", "-"], arguments].concat()).ended(0);
        let result = said.json();
        (result["profile"]["seed"].as_u64().unwrap(), result["warnings"].clone())
    };
    let drawn: Vec<u64> = (0..12).map(|_| seed(&[]).0).collect();
    assert!(drawn.iter().all(|seed| *seed <= MOST), "{drawn:?}");
    // The drawn seeds use the whole range: at least one of them is large.
    assert!(drawn.iter().any(|seed| *seed > MOST >> 8), "{drawn:?}");
    let large = (1_u64 << 60) + 1;
    let (given, warnings) = seed(&["--seed", &large.to_string()]);
    assert_eq!(given, large);
    assert!(warnings[0].as_str().unwrap().contains("2^53"), "{warnings}");
    let said = stage
        .run(&["limit", "--target", "embedded", "--expect", "too-many-recipients=9007199254740993"])
        .ended(2);
    // The bound of this limit is checked before the bound of all numbers.
    assert!(
        said.err.contains("9007199254740993") && said.err.contains("too-many-recipients"),
        "{}",
        said.err
    );
}
