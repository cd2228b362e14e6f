//! The page of a comparison: it has the figures of the JSON, makes no requests, and works in every window.

use serde_json::Value;

use crate::browser::{Browser, DESKTOP, PHONE, installed};
use crate::figures;
use crate::stage::Stage;

const QUIET: [Value; 0] = [];

/// Enough messages for a p90, and no schedule.
const PROFILE: &str = "schema = 1\nname = \"nightly\"\nseed = 7\n[target]\naddress = \"embedded\"\n[[phase]]\nname = \"few\"\n\
                       load = \"shared-messages\"\nmessages = 200\nsessions = 20\n";

/// A testbed with runs `base-1`, `base-2` and so on, and slow ones, `slow-1` and so on.
fn ran() -> Stage {
    let stage = Stage::new();
    let slow = format!("{PROFILE}[listener]\ndelays = {{ body = \"100ms\" }}\n");
    for (name, profile) in [("base", PROFILE), ("slow", &slow)] {
        std::fs::write(stage.path(&format!("{name}.toml")), profile).unwrap();
        for i in 1..=4 {
            let run = ["run", &format!("{name}.toml"), "-o", &format!("{name}-{i}"), "-q"];
            // Browsers on the same cores may delay a load thread. The test only checks what the page shows of the runs.
            assert!(matches!(stage.smtpress(&run).0, 0 | 98));
        }
    }
    stage
}

/// The page of a comparison, and its JSON.
fn compared(stage: &Stage, arguments: &[&str], code: i32) -> (String, Value) {
    let page = stage.smtpress(&[&["compare"], arguments, &["--format", "html", "-o", "page.html"]].concat());
    assert_eq!(page, (code, String::new()));
    let (found, json) =
        stage.smtpress(&[&["compare"], arguments, &["--json", "--html", "beside.html"]].concat());
    assert_eq!(found, code);
    let read = |name: &str| std::fs::read(stage.path(name)).unwrap();
    assert_eq!(read("beside.html"), read("page.html"), "the same runs give the same page");
    (format!("file://{}", stage.path("page.html").display()), serde_json::from_str(&json).unwrap())
}

const FOUR: [&str; 11] = [
    "base-1",
    "base-2",
    "base-3",
    "base-4",
    "--against",
    "slow-1",
    "slow-2",
    "slow-3",
    "slow-4",
    "--metric",
    "p50",
];

#[test]
fn every_figure_of_a_comparison_is_that_of_its_json() {
    let Some(program) = installed() else { return };
    let stage = ran();
    let mut browser = Browser::start(&program);
    let all = [&FOUR[..9], &["--force"]].concat();
    for (name, arguments, code, word) in [
        ("compared-regressed", [&FOUR[..], &["--force"]].concat(), 99, "REGRESSED"),
        ("compared-inconclusive", all, 5, "INCONCLUSIVE"),
        ("compared-equivalent", vec!["base-1", "--against", "base-1", "--force"], 0, "EQUIVALENT"),
    ] {
        let (url, json) = compared(&stage, &arguments, code);
        for (window, kind) in [
            (DESKTOP, "desktop-light"),
            (DESKTOP.dark(), "desktop-dark"),
            (PHONE, "phone-light"),
            (PHONE.dark(), "phone-dark"),
        ] {
            browser.open(&url, window);
            assert_eq!(browser.complaints(), QUIET, "{name}");
            assert_eq!(browser.requests(), [""; 0], "{name}");
            assert_eq!(
                browser.value("document.documentElement.scrollWidth <= innerWidth"),
                true,
                "{name} {kind}"
            );
            browser.picture(&format!("{name}-{kind}"));
        }
        let metrics = json["metrics"].as_array().unwrap().len();
        // The figures are phase, name, verdict, medians, change, ends, margin and both p, and the verdict twice more.
        let found = figures::compare(&mut browser, &json);
        assert!(found > 11 * metrics, "{found} figures of {metrics} metrics");
        assert_eq!(browser.value("document.querySelector('header .word').textContent"), word);
        // Each interval is drawn, and has a description for screen readers.
        assert_eq!(browser.value("document.querySelectorAll('svg[role=img][aria-label]').length"), metrics);
        let carried = browser.value("document.querySelector('#json').textContent");
        let carried: Value = serde_json::from_str(carried.as_str().unwrap()).unwrap();
        assert_eq!(carried, json);
    }
}

/// The positions in the picture of an interval: its margin, its ends and its dot, in percent of the width.
const DRAWN: &str = "(() => { const s = document.querySelector('.interval svg'), \
    n = (q, a) => parseFloat(s.querySelector(q).getAttribute(a)); \
    return [n('.margin', 'x'), n('.margin', 'width'), n('.reach', 'x1'), n('circle', 'cx'), n('.reach', 'x2')]; })()";

#[test]
fn the_picture_lies_where_the_figures_are() {
    let Some(program) = installed() else { return };
    let stage = ran();
    let mut browser = Browser::start(&program);
    let (url, json) = compared(&stage, &[&FOUR[..], &["--force"]].concat(), 99);
    browser.open(&url, DESKTOP);
    let drawn = browser.value(DRAWN);
    let drawn: Vec<f64> = drawn.as_array().unwrap().iter().map(|at| at.as_f64().unwrap()).collect();
    let ratio = &json["metrics"][0]["ratio"];
    let log = |name: &str| ratio[name].as_f64().unwrap().ln();
    // The width of the margin gives the scale.
    let unit = drawn[1] / 2.0 / 1.05_f64.ln();
    assert!((drawn[0] + drawn[1] / 2.0 - 50.0).abs() < 0.02, "{drawn:?}");
    for (at, name) in [(2, "low"), (3, "middle"), (4, "high")] {
        let expected = (50.0 + log(name) * unit).min(100.0);
        // The axis ends at a ratio of ten, and positions are rounded to a hundredth.
        assert!((drawn[at] - expected).abs() < 0.5, "{name}: {} {expected}", drawn[at]);
    }
}

#[test]
fn what_a_stranger_says_in_a_comparison_is_shown_and_never_obeyed() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let hostile =
        "<img src=x onerror='owned=1'></pre></svg><script>owned=1</script>{{7*7}}\u{1b}[2J\u{202e}\"'>&amp;";
    let slash = hostile.replace('/', "");
    let change = |result: &mut Value, id: &str| {
        result["profile"]["name"] = hostile.into();
        result["run_id"] = format!("{hostile}{id}").into();
        result["target"] = format!("{hostile}{id}").into();
        result["started_at"] = hostile.into();
        result["validity"] =
            serde_json::json!({"status": "invalid", "reasons": [hostile], "explanations": [hostile]});
        result["profile"]["sha256"] = id.into();
    };
    stage.run(&slash, |result| change(result, "1"));
    stage.run("other", |result| change(result, "2"));
    let (url, json) = compared(&stage, &[&slash, "--against", "other", "--force"], 0);
    let mut browser = Browser::start(&program);
    browser.open(&url, DESKTOP);
    assert_eq!(browser.complaints(), QUIET);
    assert_eq!(browser.requests(), [""; 0]);
    assert_eq!(browser.value("typeof owned"), "undefined");
    assert_eq!(
        browser.value("document.querySelectorAll('img, a, base, iframe, object, form, script').length"),
        0
    );
    figures::compare(&mut browser, &json);
    assert!(json["base"][0]["path"].as_str().unwrap().contains("<img"), "{json}");
    let text = browser.value("document.body.innerText");
    assert!(!text.as_str().unwrap().contains(['\u{1b}', '\u{202e}']));
    assert!(text.as_str().unwrap().contains("compared because of --force"));
    browser.picture("compared-hostile");
}
