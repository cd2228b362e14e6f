//! The live page of a run in progress, in a browser, up to the end of the run.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::browser::{Browser, DESKTOP, PHONE, Window, installed};
use crate::figures::compare;
use crate::stage::{Stage, result};

const QUIET: [Value; 0] = [];

/// A run with a live page, whose run directory is `r`.
struct Live {
    child: Child,
    err: BufReader<ChildStderr>,
    url: String,
}

impl Live {
    fn start(stage: &Stage, length: &str) -> Live {
        let profile = format!(
            "schema = 1\nname = \"live\"\n[target]\naddress = \"embedded\"\n[listener]\nmax_connections = 3\n\
             delays = {{ body = \"2ms..30ms\" }}\n\
             [[phase]]\nname = \"steady\"\nload = \"constant-rate\"\nrate = \"60/s\"\nfor = \"{length}\"\n\
             arrival = \"poisson\"\nmax_sessions = 6\n[[assert]]\nexpr = \"response p50 < 10s\"\n"
        );
        std::fs::write(stage.path("live.toml"), profile).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_smtpress"))
            .args(["run", "live.toml", "-o", "r", "--progress", "none", "--dashboard", "127.0.0.1:0"])
            .current_dir(stage.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("live page at ") {
            line.clear();
            assert!(err.read_line(&mut line).unwrap() > 0, "it ended without a live page");
        }
        let url = line.trim().rsplit_once(' ').unwrap().1.to_owned();
        Live { child, err, url }
    }

    /// Waits for its end and returns the exit code.
    fn end(mut self) -> Option<i32> {
        let mut rest = String::new();
        self.err.read_to_string(&mut rest).unwrap();
        assert!(!rest.contains("panicked"), "{rest}");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until an expression holds in the page.
#[track_caller]
fn wait(browser: &mut Browser, expression: &str) {
    for _ in 0..600 {
        if browser.value(expression) == true {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{expression}: {}", browser.value("document.body.innerText"));
}

const ACCEPTED: &str =
    "Number(document.querySelector('[data-path=\"/phases/0/accepted\"]').textContent.replaceAll(',', ''))";
const STATE: &str = "document.getElementById('live').dataset.is";

/// Shows the whole page at once, so that every chart is drawn, and takes a picture.
fn picture(browser: &mut Browser, name: &str, window: Window) {
    browser.hold(Window { height: 9000, ..window });
    wait(
        browser,
        "document.querySelectorAll('figure.chart').length > 0 && \
         [...document.querySelectorAll('figure.chart')].every((f) => f.querySelector('canvas, .none'))",
    );
    assert_eq!(browser.value("document.documentElement.scrollWidth <= innerWidth"), true, "{name}");
    browser.hold(window);
    browser.picture(name);
}

#[test]
fn a_run_is_seen_while_it_goes_on_and_becomes_its_report() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let live = Live::start(&stage, "20s");
    let mut browser = Browser::start(&program);
    browser.open(&live.url, DESKTOP);
    wait(
        &mut browser,
        &format!("document.querySelector('header .word').textContent === 'RUNNING' && {ACCEPTED} > 0"),
    );
    let first = browser.value(ACCEPTED).as_u64().unwrap();
    // Unfolded parts, a zoom and marks of the user stay while the figures grow.
    browser.value("document.querySelectorAll('#run details')[0].open = true; document.querySelector('h1').dataset.x = '1'");
    browser.value("charts.drawn.get(document.querySelector('[data-chart=rates]')).chart.setScale('x', {min: 0.5, max: 1.5})");
    wait(&mut browser, &format!("{ACCEPTED} > {first}"));
    let second = browser.value(ACCEPTED).as_u64().unwrap();
    wait(&mut browser, &format!("{ACCEPTED} > {second}"));
    // They also stay when a new section comes, such as the first condition of a late failure.
    browser.value("(() => { const late = document.getElementById('generator'); late.nextSibling.remove(); late.remove(); })()");
    wait(&mut browser, "document.querySelector('#generator table') !== null");
    assert_eq!(browser.value("document.querySelectorAll('#run details')[0].open"), true);
    let zoom = "(() => { const { min, max } = charts.drawn.get(document.querySelector('[data-chart=rates]')).chart.scales.x; \
                return [min, max].join(); })()";
    browser.value("document.querySelector('[data-chart=rates]').scrollIntoView()");
    assert_eq!(browser.value(zoom), "0.5,1.5");
    let text = browser.value("document.body.innerText");
    let text = text.as_str().unwrap();
    assert!(
        !text.contains("PASS") && !text.contains("DO NOT RECONCILE") && !text.contains("pass "),
        "{text}"
    );
    for (name, window) in [
        ("live-desktop-light", DESKTOP),
        ("live-desktop-dark", DESKTOP.dark()),
        ("live-phone-light", PHONE),
        ("live-phone-dark", PHONE.dark()),
    ] {
        picture(&mut browser, name, window);
    }
    browser.hold(DESKTOP);
    wait(&mut browser, &format!("{STATE} === 'over'"));
    // Every chart shows the whole run, even one that was never visible.
    let ends = browser.value(
        "[...charts.drawn].filter(([f]) => ['rates', 'bands', 'outcomes', 'steps'].includes(f.dataset.chart))\
         .map(([, { chart }]) => chart.data[0].at(-1))",
    );
    let ends = ends.as_array().unwrap();
    assert!(ends.len() == 4 && ends.iter().all(|end| end.as_f64() >= Some(18.0)), "{ends:?}");
    // The page makes no more requests, because the process of the run has ended.
    let code = live.end();
    assert!(matches!(code, Some(0 | 98 | 99)), "{code:?}");
    let stored = result(&stage.path("r"));
    assert!(compare(&mut browser, &stored) > 50);
    let carried =
        browser.value("JSON.parse(document.querySelector('script[data-name=\"result.json\"]').textContent)");
    assert_eq!(serde_json::from_str::<Value>(carried.as_str().unwrap()).unwrap(), stored);
    assert_eq!(
        browser.value("document.querySelectorAll('button[data-file]:not([hidden])').length > 3"),
        true
    );
    let said = browser.value("document.getElementById('live').innerText");
    assert!(said.as_str().unwrap().contains("files are in r"), "{said}");
    assert_eq!(browser.value("document.getElementById('live').innerText.includes('Stop the run')"), false);
    assert_eq!(browser.complaints(), QUIET);
    let elsewhere: Vec<String> =
        browser.requests().into_iter().filter(|url| !url.ends_with("/events")).collect();
    assert_eq!(elsewhere, [""; 0]);
    for (name, window) in [("live-over-desktop-light", DESKTOP), ("live-over-phone-dark", PHONE.dark())] {
        picture(&mut browser, name, window);
    }
}

#[test]
fn the_page_stops_the_run_when_it_is_asked_twice() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let live = Live::start(&stage, "600s");
    let mut browser = Browser::start(&program);
    browser.open(&live.url, PHONE);
    wait(
        &mut browser,
        &format!("document.querySelector('header .word').textContent === 'RUNNING' && {ACCEPTED} > 0"),
    );
    let press = |browser: &mut Browser, what: &str| {
        browser.value(&format!("document.querySelector('[data-ask={what}]').click()"));
    };
    let shown = |browser: &mut Browser, what: &str| {
        browser.value(&format!("!document.getElementById('{what}').hidden"))
    };
    press(&mut browser, "stop");
    assert_eq!((shown(&mut browser, "ask"), shown(&mut browser, "sure")), (false.into(), true.into()));
    browser.picture("live-sure");
    press(&mut browser, "no");
    assert_eq!((shown(&mut browser, "ask"), shown(&mut browser, "sure")), (true.into(), false.into()));
    press(&mut browser, "stop");
    press(&mut browser, "yes");
    wait(&mut browser, &format!("{STATE} === 'over'"));
    assert_eq!(live.end(), Some(105));
    assert_eq!(browser.value("document.querySelector('header .word').textContent"), "INTERRUPTED");
    let stored = result(&stage.path("r"));
    compare(&mut browser, &stored);
    let phase = &stored["phases"][0];
    assert_eq!(phase["interrupted"], 0, "{phase}");
    assert_eq!(browser.complaints(), QUIET);
}
