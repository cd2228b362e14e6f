//! The page in several kinds of windows, under a pointer, in print, and with an hour of data.

use std::path::Path;

use serde_json::{Value, json};

use crate::browser::{Browser, DESKTOP, PHONE, installed, pictures};
use crate::stage::{GOLDEN, Stage};

const QUIET: [Value; 0] = [];

#[test]
fn the_page_is_quiet_and_fits_in_every_window() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let url = stage.page(Path::new(GOLDEN));
    let mut browser = Browser::start(&program);
    for (name, window) in [
        ("desktop-light", DESKTOP),
        ("desktop-dark", DESKTOP.dark()),
        ("phone-light", PHONE),
        ("phone-dark", PHONE.dark()),
    ] {
        browser.open(&url, window);
        assert_eq!(browser.complaints(), QUIET, "{name}");
        assert_eq!(browser.requests(), [""; 0], "{name}");
        assert_eq!(browser.value("document.documentElement.scrollWidth <= innerWidth"), true, "{name}");
        let charts = browser.value("document.querySelectorAll('figure.chart').length");
        assert_eq!(browser.value("Number(document.documentElement.dataset.drawn)"), charts, "{name}");
        assert_eq!(browser.value("document.querySelectorAll('.uplot canvas').length"), charts, "{name}");
        assert!(charts.as_u64() >= Some(9), "{charts}");
        browser.picture(name);
    }
    // The colour scheme and the window may change while the page is open.
    browser.hold(DESKTOP);
    browser.hold(DESKTOP.dark());
    browser.value("document.querySelector('select').dispatchEvent(new Event('change'))");
    assert_eq!(browser.complaints(), QUIET);
}

#[test]
fn the_pointer_finds_the_exact_values() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let mut browser = Browser::start(&program);
    browser.open(&stage.page(Path::new(GOLDEN)), DESKTOP);
    let place = browser.value(
        "(() => { const r = document.querySelector('[data-chart=\"rates\"] .u-over').getBoundingClientRect(); \
         return [r.left, r.top, r.width, r.height]; })()",
    );
    let of = |i: usize| place[i].as_f64().unwrap();
    // The pointer is over the third second of eleven.
    let (x, y) = (of(0) + of(2) * 3.02 / 11.0, of(1) + of(3) / 2.0);
    for kind in ["mouseMoved", "mouseMoved"] {
        browser.call("Input.dispatchMouseEvent", json!({"type": kind, "x": x, "y": y}));
    }
    let legend = browser.value(
        "new Promise((done) => setTimeout(() => done([...document.querySelectorAll('[data-chart=\"rates\"] .u-value')]\
         .map((e) => e.textContent)), 100))",
    );
    let series = std::fs::read_to_string(format!("{GOLDEN}/timeseries.csv")).unwrap();
    let row: Vec<&str> = series.lines().find(|line| line.starts_with("3.000")).unwrap().split(',').collect();
    let rate = |cell: &str| smtpress::report::format::rate(cell.parse().unwrap());
    assert_eq!(legend, json!(["3 s", rate(row[3]), rate(row[4]), rate(row[5])]));
}

#[test]
fn the_page_can_be_printed() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let mut browser = Browser::start(&program);
    browser.open(&stage.page(Path::new(GOLDEN)), DESKTOP.dark());
    let pdf = browser
        .call("Page.printToPDF", json!({"printBackground": true, "paperWidth": 8.27, "paperHeight": 11.69}));
    let pdf =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, pdf["data"].as_str().unwrap())
            .unwrap();
    assert!(pdf.starts_with(b"%PDF") && pdf.len() > 20_000, "{}", pdf.len());
    std::fs::write(pictures().join("paper.pdf"), pdf).unwrap();
    assert_eq!(browser.complaints(), QUIET);
}

#[test]
fn a_result_without_its_files_is_a_page_too() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let mut browser = Browser::start(&program);
    browser.open(&stage.page(&Path::new(GOLDEN).join("result.json")), DESKTOP);
    assert_eq!(browser.complaints(), QUIET);
    let text = browser.value("document.body.innerText");
    assert!(text.as_str().unwrap().contains("There is no time series"), "{text}");
    assert_eq!(
        browser.value("document.querySelectorAll('figure.chart').length"),
        1,
        "the spectrum is in the result"
    );
}

#[test]
fn what_a_page_does_wrong_is_noticed() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let bad = stage.path("bad.html");
    std::fs::write(&bad, "<img src='http://127.0.0.1:9/x.png'><script>console.error(1); nothing()</script>")
        .unwrap();
    let mut browser = Browser::start(&program);
    browser.open(&format!("file://{}", bad.display()), DESKTOP);
    assert!(browser.complaints().len() >= 2);
    assert_eq!(browser.requests(), ["http://127.0.0.1:9/x.png"]);
    // The page's own policy prevents what it forbids.
    let url = stage.page(Path::new(GOLDEN));
    browser.open(&url, DESKTOP);
    browser.value("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/y.png'}))");
    browser.value(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'owned = 1'}))",
    );
    assert_eq!(browser.value("typeof owned"), "undefined");
    assert!(browser.complaints().len() >= 2, "the policy says what it refused");
}
