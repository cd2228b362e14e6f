//! Pages that a server sends with its own Content-Security-Policy, which allows neither scripts nor styles, as CI
//! servers send their artefacts.

use std::path::Path;

use crate::browser::{Browser, DESKTOP, installed};
use crate::stage::{GOLDEN, Stage};

/// The policies of Jenkins and others, nearly. In the page itself they mean the same as in a header.
const POLICIES: [&str; 3] = [
    "default-src 'none'",
    "sandbox; default-src 'none'; img-src 'self'; style-src 'self'",
    "script-src 'none'; style-src 'unsafe-inline'",
];

/// Returns the page with a policy of its server.
fn under(stage: &Stage, page: &str, policy: &str) -> String {
    let path = page.strip_prefix("file://").unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    // A page cannot set `sandbox` for itself. The rest of the policy is as strict without it.
    let policy = policy.trim_start_matches("sandbox; ");
    let meta = format!("<head>\n<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">");
    let strict = stage.path("strict.html");
    std::fs::write(&strict, text.replacen("<head>", &meta, 1)).unwrap();
    format!("file://{}", strict.display())
}

#[test]
fn where_scripts_are_not_let_the_page_says_what_is_missing() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let page = stage.page(Path::new(GOLDEN));
    let mut browser = Browser::start(&program);
    const SEEN: &str = "(document.getElementById('unscripted') || {offsetHeight: 0}).offsetHeight > 0";
    for policy in POLICIES {
        browser.open(&under(&stage, &page, policy), DESKTOP);
        assert_eq!(browser.value(SEEN), true, "{policy}");
        let said = browser.value("document.getElementById('unscripted').innerText");
        assert!(said.as_str().unwrap().contains("open the file"), "{said}");
        assert_eq!(browser.value("document.querySelectorAll('.uplot').length"), 0, "{policy}");
        // All texts and tables are shown.
        assert!(browser.value("document.querySelectorAll('table td').length").as_u64() > Some(50));
    }
    browser.open(&page, DESKTOP);
    assert_eq!(browser.value(SEEN), false, "where they run nothing is missing");
}

#[test]
fn where_styles_are_not_let_a_comparison_has_no_black_bars() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    for name in ["a", "b"] {
        let load = ["run", "--target", "embedded", "-n", "200", "-c", "20", "--seed", "7", "-q", "-o", name];
        // Browsers on the same cores may delay a load thread.
        assert!(matches!(stage.smtpress(&load).0, 0 | 98));
    }
    stage.smtpress(&["compare", "a", "--against", "b", "--force", "--format", "html", "-o", "c.html"]);
    let page = format!("file://{}", stage.path("c.html").display());
    let mut browser = Browser::start(&program);
    // The fill and the stroke of every shape.
    const BLACK: &str = "[...document.querySelectorAll('svg *')].filter((one) => { \
        const style = getComputedStyle(one), black = 'rgb(0, 0, 0)'; \
        return one.tagName === 'line' ? style.stroke === 'none' : style.fill === black; }).length";
    for policy in POLICIES {
        browser.open(&under(&stage, &page, policy), DESKTOP);
        assert!(browser.value("document.querySelectorAll('svg rect').length").as_u64() > Some(0));
        assert_eq!(browser.value(BLACK), 0, "{policy}");
    }
    browser.open(&page, DESKTOP);
    assert_eq!(browser.value(BLACK), 0);
}
