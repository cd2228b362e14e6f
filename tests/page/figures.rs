//! The page agrees with `result.json`: every figure is at its place, the data is complete, and texts of a listener are
//! shown as texts.

use serde_json::{Value, json};
use smtpress::report::format;

use crate::browser::{Browser, DESKTOP, installed};
use crate::stage::{GOLDEN, Stage, result};

/// All figures of the page: the path in the result, the format and the shown text.
const FIGURES: &str =
    "[...document.querySelectorAll('[data-path]')].map((e) => [e.dataset.path, e.dataset.as, e.textContent])";

/// The text that the page should show for a value.
pub fn written(form: &str, value: &Value) -> String {
    let (whole, number) = (value.as_u64().unwrap_or_default(), value.as_f64().unwrap_or(f64::NAN));
    match form {
        "count" => format::count(whole),
        "rate" => format::rate(number),
        // The lowest bucket of a histogram, 1 ns, holds 0 too, and is shown as 0.
        "duration" if whole == 1 => format::duration(0.0),
        "duration" => format::duration(number),
        "at-least" => format!(">= {}", format::duration(number)),
        "seconds" => format::seconds(number),
        "bytes" => format::bytes(whole),
        "percent" => format::percent(number),
        "exact-percent" => format::exact_percent(number * 100.0),
        "text" => format::harmless(value.as_str().unwrap()),
        "number" => whole.to_string(),
        "ratio" => format::ratio(number),
        "points" => format::points(number),
        "margin-points" => format::points(number).replace('+', ""),
        "p" => format::probability(number),
        "verdict" => value.as_str().unwrap().to_uppercase(),
        form => panic!("no form {form}"),
    }
}

/// Compares every figure of the open page with the result, and returns their number.
pub fn compare(browser: &mut Browser, result: &Value) -> usize {
    let figures = browser.value(FIGURES);
    let figures = figures.as_array().unwrap();
    for figure in figures {
        let (path, form) = (figure[0].as_str().unwrap(), figure[1].as_str().unwrap());
        let stored = result.pointer(path).unwrap_or_else(|| panic!("{path} is not in the result"));
        assert_eq!(figure[2], written(form, stored), "{path}");
    }
    figures.len()
}

#[test]
fn every_figure_is_that_of_the_result() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let mut browser = Browser::start(&program);
    let golden = result(GOLDEN.as_ref());
    browser.open(&stage.page(GOLDEN.as_ref()), DESKTOP);
    let found = compare(&mut browser, &golden);
    assert!(found > 200, "{found}");
    // The data in the page is the stored data.
    let carried =
        browser.value("JSON.parse(document.querySelector('script[data-name=\"result.json\"]').textContent)");
    let carried: Value = serde_json::from_str(carried.as_str().unwrap()).unwrap();
    for field in ["metrics", "verdict", "validity", "ledger", "took_s"] {
        assert_eq!(carried[field], golden[field], "{field}");
    }
    // An earlier version stored fewer of these.
    let conditions = |result: &Value| result["conditions"].as_array().unwrap().clone();
    assert_eq!(conditions(&carried).len(), conditions(&golden).len());
    for (carried, golden) in conditions(&carried).iter().zip(conditions(&golden)) {
        for (field, stored) in golden.as_object().unwrap() {
            assert_eq!(&carried[field], stored, "{field}");
        }
    }
    for (field, stored) in golden["generator"].as_object().unwrap() {
        assert_eq!(&carried["generator"][field], stored, "{field}");
    }
    let series = browser
        .value("JSON.parse(document.querySelector('script[data-name=\"timeseries.csv\"]').textContent)");
    assert_eq!(series, std::fs::read_to_string(format!("{GOLDEN}/timeseries.csv")).unwrap());
    // The test finds a wrong figure.
    browser.value("document.querySelector('[data-path=\"/phases/1/accepted\"]').textContent = '1'");
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| compare(&mut browser, &golden)));
    assert!(found.is_err());
}

/// A run of ten messages a session, of which the listener accepts six.
const MET: [&str; 14] = [
    "--target",
    "embedded",
    "--rate",
    "100/s",
    "--for",
    "3s",
    "-c",
    "4",
    "--messages-per-session",
    "10",
    "--set",
    "listener.max_messages_per_session=6",
    "--set",
    "listener.style=\"cisco\"",
];

#[test]
fn conditions_over_time_are_those_of_the_result() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let run = stage.path("met");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_smtpress"));
    command.arg("run").args(MET).args(["-q", "-o"]).arg(&run).output().unwrap();
    let result = result(&run);
    let rows = result["conditions"].as_array().unwrap();
    let all: u64 = rows.iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert!(all > 0, "{rows:?}");
    let mut browser = Browser::start(&program);
    let url = stage.page(&run);
    browser.open(&url, DESKTOP);
    assert_eq!(browser.complaints(), [] as [Value; 0]);
    let drawn = browser.value("JSON.parse(document.getElementById('data').textContent).timeline.conditions");
    for kind in drawn["most"].as_array().unwrap() {
        let own = |row: &&Value| row["condition"] == kind["name"] && row["expected"] == kind["expected"];
        let stored: u64 = rows.iter().filter(own).map(|row| row["count"].as_u64().unwrap()).sum();
        let counts = kind["counts"].as_array().unwrap();
        let sum: u64 = counts.iter().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(sum, stored, "{kind}");
    }
    // The values under the pointer in the second second are those of the file.
    let place = browser.value(
        "(() => { document.querySelector('[data-chart=\"conditions\"]').scrollIntoView({behavior: 'instant'}); \
         const u = document.querySelector('[data-chart=\"conditions\"] .u-over').getBoundingClientRect(); \
         return [u.left, u.top, u.width, u.height]; })()",
    );
    let of = |i: usize| place[i].as_f64().unwrap();
    let took = result["took_s"].as_f64().unwrap().max(3.0);
    let (x, y) = (of(0) + of(2) * 1.05 / took, of(1) + of(3) / 2.0);
    for kind in ["mouseMoved", "mouseMoved"] {
        browser.call("Input.dispatchMouseEvent", json!({"type": kind, "x": x, "y": y}));
    }
    let legend = browser.value(
        "new Promise((done) => setTimeout(() => done([...document.querySelectorAll('[data-chart=\"conditions\"] .u-value')]\
         .map((e) => e.textContent)), 100))",
    );
    let counts: Vec<String> = drawn["most"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|kind| written("rate", &kind["counts"][1]))
        .collect();
    assert_eq!(legend, json!([&["1 s".to_owned()][..], &counts[..]].concat()));
    let series = std::fs::read_to_string(run.join("conditions.csv")).unwrap();
    let saved = browser
        .value("JSON.parse(document.querySelector('script[data-name=\"conditions.csv\"]').textContent)");
    assert_eq!(saved, series);
    let second = series.lines().filter(|row| row.starts_with("1.000"));
    let second: u64 = second.map(|row| row.rsplit(',').next().unwrap().parse::<u64>().unwrap()).sum();
    let shown: u64 =
        drawn["most"].as_array().unwrap().iter().map(|kind| kind["counts"][1].as_u64().unwrap()).sum();
    assert_eq!(second, shown);
    browser.picture("conditions");
}

#[test]
fn the_figures_of_searches_failures_and_invalid_runs_too() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let mut browser = Browser::start(&program);
    let run = stage.run("searched", searched);
    browser.open(&stage.page(&run), DESKTOP);
    compare(&mut browser, &result(&run));
    assert_eq!(browser.complaints(), [] as [Value; 0]);
    let page = browser.value("document.body.innerText");
    let page = page.as_str().unwrap();
    for part in [
        "not-enforced",
        "50 sessions",
        ">= 20,971,520 bytes",
        "812.0 to 853.0 messages/s",
        "the open sessions stayed usable",
        "2.10 ms",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    browser.picture("searched");
    let run = stage.run("invalid", invalid);
    browser.open(&stage.page(&run), DESKTOP);
    compare(&mut browser, &result(&run));
    let banner = browser.value("document.querySelector('#validity').innerText");
    assert!(banner.as_str().unwrap().contains("invalid"), "{banner}");
    let page = browser.value("document.body.innerText");
    assert!(page.as_str().unwrap().contains("generator-lag: arrivals started late"), "{page}");
    browser.picture("invalid");
}

/// Adds two limits and a capacity to a result.
fn searched(result: &mut Value) {
    result["limits"] = json!([
        {"name": "too-many-connections-from-host", "value": 50, "at_least": 50, "at_most": 50, "unit": "sessions",
         "expected": 50, "verdict": "as-expected", "shown_by": "reply", "reply": "421 Too many connections", "code": 421,
         "enhanced": "4.4.5", "condition": "too-many-connections-from-host", "step": "greeting", "closed": true,
         "inside_alive": true, "release_ms": 2.1, "trials": 9, "repeats": 3},
        {"name": "message-size-exceeded", "value": null, "at_least": 20971520, "at_most": null, "unit": "bytes",
         "expected": 20971520, "verdict": "not-enforced", "shown_by": null, "reply": null, "code": null, "enhanced": null,
         "condition": null, "step": null, "closed": null, "inside_alive": null, "release_ms": null, "trials": 12,
         "repeats": 0}]);
    result["capacity"] = json!({"by": "rate",
        "goals": [{"name": "strict", "lower": 812.0, "upper": 853.0, "unit": "messages/s", "status": "found"}],
        "trials": [trial(1, 400.0, true), trial(2, 1600.0, false), trial(3, 812.0, true)]});
}

/// A trial in the form in which a search stores it.
fn trial(number: u64, load: f64, good: bool) -> Value {
    json!({"number": number, "load": load, "length_s": 2.0, "why": "double", "began_s": 0.0, "ended_early": !good,
        "invalid": [], "scheduled": 800, "started": 800, "accepted": if good { 800 } else { 512 }, "shed": 0,
        "offered_per_s": load, "accepted_per_s": load * 0.9, "concurrency": 3.1, "peak_sessions": 12,
        "p50_ns": 4_100_000, "p90_ns": 8_200_000, "p99_ns": 61_000_000, "max_ns": 88_000_000,
        "goals": [{"good": good, "bad": 0, "failed": 0, "bad_share": 0.0}], "conditions": [], "cooldown_s": null,
        "backlog_left": false})
}

fn invalid(result: &mut Value) {
    result["validity"] = json!({"status": "invalid", "reasons": ["generator-lag"],
        "explanations": ["arrivals started late: lag p99 48.2 ms, above 5 ms; lower the rate"]});
    result["verdict"] = json!({"status": "invalid", "exit_code": 98, "aborted_by": null});
    result["warnings"] = json!(["phase `steady` was not steady"]);
    result["assertions"][2]["status"] = "fail".into();
    result["metrics"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .for_each(|metric| metric["hdr_base64"] = Value::Null);
}

#[test]
fn what_a_stranger_says_is_shown_and_never_obeyed() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let hostile = "421 <img src=x onerror='owned=1'></pre></script><script>owned=1</script><!--<script> {{7*7}} \
                   \u{1b}[2J\u{202e}drawkcab \"'>&amp;\n421 <a href='//evil.example/'>x</a>";
    let run = stage.run("hostile", |result| {
        for name in ["sample", "condition", "step", "outcome", "enhanced"] {
            result["conditions"][0][name] = hostile.into();
        }
        result["profile"]["name"] = hostile.into();
        result["target"] = hostile.into();
        result["warnings"] = json!([hostile]);
        result["validity"] = json!({"status": "invalid", "reasons": [hostile], "explanations": [hostile]});
        result["assertions"][0]["expr"] = hostile.into();
        result["assertions"][0]["observed"] = hostile.into();
        result["ledger"] = json!({hostile: 1, "messages": hostile});
        result["tool"]["version"] = hostile.into();
        searched(result);
        result["limits"][0]["reply"] = hostile.into();
        result["capacity"]["goals"][0]["name"] = hostile.into();
        result["capacity"]["trials"][0]["why"] = hostile.into();
        result["capacity"]["by"] = hostile.into();
    });
    std::fs::write(run.join("profile.toml"), format!("name = '''{hostile}'''\n")).unwrap();
    std::fs::write(run.join("environment.json"), json!({hostile: hostile, "cores": [hostile]}).to_string())
        .unwrap();
    let mut browser = Browser::start(&program);
    browser.open(&stage.page(&run), DESKTOP);
    assert_eq!(browser.complaints(), [] as [Value; 0]);
    assert_eq!(browser.requests(), [""; 0]);
    assert_eq!(browser.value("typeof owned"), "undefined");
    assert_eq!(browser.value("document.querySelectorAll('img, a, base, iframe, object, form').length"), 0);
    compare(&mut browser, &result(&run));
    let shown = browser.value("document.querySelector('.sample').textContent");
    let lines: Vec<String> = hostile.lines().map(format::harmless).collect();
    assert_eq!(shown, lines.join("\n"));
    let text = browser.value("document.body.innerText");
    assert!(!text.as_str().unwrap().contains(['\u{1b}', '\u{202e}']));
    // The file that the page saves is equal to the stored one.
    let saved = browser.value(SAVED);
    let saved: Value = serde_json::from_str(saved.as_str().unwrap()).unwrap();
    assert_eq!(saved["conditions"][0]["sample"], hostile);
    browser.picture("hostile");
}

/// The file that the button for the result saves.
const SAVED: &str = "(async () => {
  let blob;
  URL.createObjectURL = (given) => { blob = given; return 'data:,'; };
  document.querySelector('[data-file=\"result.json\"]').click();
  return await blob.text();
})()";
