//! What the page says in words and tables, ready for its template: no markup here, and no text of a stranger unharmed.
//!
//! A figure that stands in `result.json` carries the place where it stands there (a JSON pointer) and how it was written.

mod capacity;
mod load;
mod trouble;

use std::fmt::Display;

use crate::report::stored::{
    CapacityStatus, Generator, Limit, Percentile, PercentileStatus, RunResult, StoredAssertion,
    StoredAssertionStatus, StoredMetric, StoredPhase, StoredStatus, ValidityStatus,
};
use crate::report::{format, terminal};

pub use capacity::{Curve, capacity, curve, onsets, remarks, trials};
pub use load::{Bar, addresses, load, spent, times};
pub use trouble::{ConditionView, conditions, failed, limits, outcomes};

/// A table: titles and rows.
#[derive(Debug, Default)]
pub struct Table {
    /// Above the columns.
    pub titles: Vec<String>,
    /// Of cells.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// With these titles and no rows.
    pub fn new<T: Display>(titles: impl IntoIterator<Item = T>) -> Table {
        Table { titles: titles.into_iter().map(|title| title.to_string()).collect(), rows: Vec::new() }
    }
}

/// A cell, or a figure in a sentence.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// What is shown.
    pub text: String,
    /// Where the figure stands in `result.json`; empty if it does not.
    pub path: String,
    /// How it was written: `count`, `duration`, `rate`, `seconds`, `text`, `bytes`, `percent`.
    pub form: &'static str,
    /// How it is looked at: `number`, `good`, `bad`, `warn`, `quiet` or several.
    pub class: &'static str,
}

impl Cell {
    /// Words of ours or of strangers.
    pub fn text(text: impl AsRef<str>) -> Cell {
        Cell { text: format::harmless(text.as_ref()), ..Cell::default() }
    }

    /// A number that stands nowhere as it is.
    pub fn number(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), class: "number", ..Cell::default() }
    }

    /// A count.
    pub fn count(n: u64, path: impl Into<String>) -> Cell {
        Cell { text: format::count(n), path: path.into(), form: "count", class: "number" }
    }

    /// A rate a second.
    pub fn rate(per_s: f64, path: impl Into<String>) -> Cell {
        Cell { text: format::rate(per_s), path: path.into(), form: "rate", class: "number" }
    }

    /// A time in nanoseconds.
    pub fn duration(ns: u64, path: impl Into<String>) -> Cell {
        Cell { text: format::duration(ns as f64), path: path.into(), form: "duration", class: "number" }
    }

    /// A time in seconds.
    pub fn seconds(s: f64, path: impl Into<String>) -> Cell {
        Cell { text: format::seconds(s), path: path.into(), form: "seconds", class: "number" }
    }

    /// A text that stands in the result.
    pub fn stored(text: &str, path: impl Into<String>) -> Cell {
        Cell { text: format::harmless(text), path: path.into(), form: "text", class: "" }
    }

    /// The same, looked at otherwise.
    pub fn class(self, class: &'static str) -> Cell {
        Cell { class, ..self }
    }
}

/// The head of the page: the judgement.
#[derive(Debug)]
pub struct Head {
    /// `PASS`, ...
    pub word: Cell,
    /// `good`, `bad` or `warn`.
    pub tone: &'static str,
    /// What that means.
    pub sentence: String,
    /// The process's exit code.
    pub exit_code: Cell,
    /// Which assertion stopped it, if one did.
    pub aborted_by: Option<String>,
    /// Whether the numbers may be believed, in a sentence.
    pub validity: String,
    /// They may.
    pub valid: bool,
    /// Why not, by name and in words.
    pub reasons: Vec<(String, String)>,
    /// What is odd.
    pub warnings: Vec<String>,
    /// The profile's name.
    pub profile: Cell,
    /// Where the load went.
    pub target: Cell,
    /// When it began.
    pub started_at: Cell,
    /// How long it took.
    pub took: Cell,
    /// The seed.
    pub seed: String,
}

/// The judgement of a run.
pub fn head(result: &RunResult) -> Head {
    let (word, tone) = match result.verdict.status {
        StoredStatus::Pass => ("PASS", "good"),
        StoredStatus::Fail => ("FAIL", "bad"),
        // A search that did not come to its answer measured all the same.
        StoredStatus::NoData if result.capacity.is_some() => ("INCONCLUSIVE", "warn"),
        StoredStatus::NoData => ("NO DATA", "bad"),
        StoredStatus::Invalid => ("INVALID", "bad"),
        StoredStatus::Interrupted => ("INTERRUPTED", "warn"),
    };
    let validity = &result.validity;
    let valid = validity.status == ValidityStatus::Valid;
    let explained = |(i, reason): (usize, &String)| {
        let words = validity.explanations.get(i).map(|words| format::harmless(words)).unwrap_or_default();
        (format::harmless(reason), words)
    };
    Head {
        word: Cell {
            text: word.to_owned(),
            path: if word == "INCONCLUSIVE" { String::new() } else { "/verdict/status".to_owned() },
            form: "verdict",
            class: tone,
        },
        tone,
        sentence: terminal::sentence(result),
        exit_code: Cell::count(result.verdict.exit_code.into(), "/verdict/exit_code").class(""),
        aborted_by: result.verdict.aborted_by.as_deref().map(format::harmless),
        validity: if valid { kept_up(&result.generator) } else { NOT_VALID.to_owned() },
        valid,
        reasons: validity.reasons.iter().enumerate().map(explained).collect(),
        warnings: result.warnings.iter().map(|warning| format::harmless(warning)).collect(),
        profile: Cell::stored(&result.profile.name, "/profile/name"),
        target: Cell::stored(&result.target, "/target"),
        started_at: Cell::stored(&result.started_at, "/started_at"),
        took: Cell::seconds(result.took_s, "/took_s").class(""),
        seed: result.profile.seed.to_string(),
    }
}

const NOT_VALID: &str = "The measurement is invalid: the load generator or its machine was the bottleneck, so the numbers \
                         below say more about it than about the listener.";

/// That our own side kept up, with what shows it.
fn kept_up(own: &Generator) -> String {
    let cpu = format::percent(own.cpu_share);
    match own.lag_p99_ns {
        Some(lag) => format!(
            "The measurement is valid: the load generator kept up. 99 of 100 arrivals began within {} of when they were due, \
             and it used {cpu} of its CPU.",
            format::duration(lag as f64)
        ),
        None => "The findings are valid: no trial counts in which the fault was on the side of smtpress."
            .to_owned(),
    }
}

/// What was asked, what happened: a line of words for each phase.
#[derive(Debug)]
pub struct Line {
    /// The phase.
    pub name: String,
    /// Parts of a sentence, figures among them.
    pub parts: Vec<Cell>,
}

/// What was asked of the listener, phase by phase.
pub fn asked(result: &RunResult) -> Vec<Line> {
    let line = |(i, phase): (usize, &StoredPhase)| {
        let unit = if phase.unit == "session" { "sessions" } else { "messages" };
        let mut parts = vec![
            Cell::count(phase.scheduled, format!("/phases/{i}/scheduled")).class("figure"),
            Cell::text(format!(" {unit} over ")),
            Cell::seconds(phase.window_s, format!("/phases/{i}/window_s")).class("figure"),
            Cell::text(" ("),
            Cell::rate(phase.offered_per_s, format!("/phases/{i}/offered_per_s")).class("figure"),
            Cell::text(format!(", {})", phase.model)),
        ];
        if phase.warmup {
            parts.push(Cell::text(" to warm up, not measured").class("quiet"));
        }
        Line { name: format::harmless(&phase.name), parts }
    };
    let mut lines: Vec<Line> = result.phases.iter().enumerate().map(line).collect();
    if !result.limits.is_empty() {
        let configured = result.limits.iter().filter(|limit| limit.expected.is_some()).count() as u64;
        let text = format!(
            " to find {}, and whether {} of them {} as configured",
            format::counted(result.limits.len() as u64, "limit"),
            format::count(configured),
            if configured == 1 { "is" } else { "are" }
        );
        lines.push(Line { name: "limits".to_owned(), parts: vec![Cell::text(text)] });
    }
    if let Some(capacity) = &result.capacity {
        let goals = format::counted(capacity.goals.len() as u64, "goal");
        let text = format!(" to find the highest load that meets {goals}, by {}", capacity.by);
        lines.push(Line { name: "capacity".to_owned(), parts: vec![Cell::text(text)] });
    }
    lines
}

/// What happened, phase by phase.
pub fn happened(result: &RunResult) -> Vec<Line> {
    let phases = result.phases.iter().enumerate().filter(|(_, phase)| !phase.warmup);
    let line = |(i, phase): (usize, &StoredPhase)| Line {
        name: format::harmless(&phase.name),
        parts: fate(result, i, phase),
    };
    let mut lines: Vec<Line> = phases.map(line).collect();
    if !result.limits.is_empty() {
        let text = format!(" {}", terminal::limits::tally(&result.limits));
        lines.push(Line { name: "limits".to_owned(), parts: vec![Cell::text(text)] });
    }
    for goal in result.capacity.iter().flat_map(|capacity| &capacity.goals) {
        let parts = vec![Cell::text(" "), Cell::text(format::capacity_found(goal)).class("figure")];
        lines.push(Line { name: format::harmless(&goal.name), parts });
    }
    lines
}

fn fate(result: &RunResult, i: usize, phase: &StoredPhase) -> Vec<Cell> {
    let mut parts = vec![
        Cell::count(phase.accepted, format!("/phases/{i}/accepted")).class("figure"),
        Cell::text(format!(
            " of {} accepted ({})",
            format::count(phase.scheduled),
            format::share(phase.accepted, phase.scheduled)
        )),
    ];
    if phase.expected > 0 {
        parts.push(Cell::text(", "));
        parts.push(Cell::count(phase.expected, format!("/phases/{i}/expected")).class("figure"));
        parts.push(Cell::text(" refused as the profile expects"));
    }
    let other = failed(phase);
    if other > 0 {
        parts.push(Cell::text(", "));
        parts.push(Cell::text(format!("{} failed", format::count(other))).class("bad"));
    }
    if phase.shed > 0 {
        parts.push(Cell::text(", "));
        parts.push(Cell::text(format!("{} never begun", format::count(phase.shed))).class("bad"));
    }
    let accepted = |(_, metric): &(usize, &StoredMetric)| {
        metric.phase == phase.name && metric.name == "response" && metric.outcome == "accepted"
    };
    let Some((at, metric)) = result.metrics.iter().enumerate().find(accepted) else { return parts };
    parts.push(Cell::text(". "));
    let half = if phase.unit == "session" { "Half were over within " } else { "Half were answered within " };
    for (q, words) in [(0.5, half), (0.99, "99 of 100 within ")] {
        let known = metric.percentiles.iter().position(|own| own.q == q && own.value_ns.is_some());
        if let Some(k) = known {
            parts.push(Cell::text(words));
            parts.push(percentile(&metric.percentiles[k], at, k).class("figure"));
            parts.push(Cell::text(", "));
        }
    }
    let slowest = if parts.last().is_some_and(|last| last.text == ", ") {
        "the slowest took "
    } else {
        "The slowest took "
    };
    parts.push(Cell::text(slowest));
    parts.push(Cell::duration(metric.max_ns, format!("/metrics/{at}/max_ns")).class("figure"));
    parts.push(Cell::text("."));
    parts
}

/// The percentile `k` of the metric `at`; `n/a` where too few values can say it.
pub fn percentile(own: &Percentile, at: usize, k: usize) -> Cell {
    let path = format!("/metrics/{at}/percentiles/{k}/value_ns");
    match (own.status, own.value_ns) {
        (PercentileStatus::NotAvailable, _) | (_, None) => {
            Cell { text: "n/a".to_owned(), class: "number quiet", ..Cell::default() }
        }
        (PercentileStatus::AtLeast, Some(ns)) => {
            let text = format!(">= {}", format::duration(ns as f64));
            Cell { text, path, form: "at-least", class: "number" }
        }
        (PercentileStatus::Exact, Some(ns)) => Cell::duration(ns, path),
    }
}

/// One thing that decides whether the run is good.
#[derive(Debug)]
pub struct Claim {
    /// Whether it holds.
    pub word: Cell,
    /// What should be.
    pub what: String,
    /// Where, and what was seen.
    pub seen: String,
}

/// Goals of a capacity and limits told in the short answer; the tables below have all.
const LIMITS: usize = 8;

/// Whether it is good: what was asserted, the limits that are not as they should be, the goals of a capacity.
pub fn claims(result: &RunResult) -> Vec<Claim> {
    let word = |word: &str, class| Cell { text: word.to_owned(), class, ..Cell::default() };
    let asserted = |row: &Vec<Cell>| Claim {
        word: row[0].clone(),
        what: row[1].text.clone(),
        seen: format!("{}: observed {}", row[2].text, row[3].text),
    };
    let mut claims: Vec<Claim> = assertions(result).rows.iter().map(asserted).collect();
    let broken: Vec<&Limit> = result.limits.iter().filter(|limit| limit.fails()).collect();
    claims.extend(broken.iter().take(LIMITS).map(|limit| Claim {
        word: word("FAILS", "bad"),
        what: format::harmless(&limit.name),
        seen: match limit.expected {
            Some(own) => format!(
                "{}: {} served, {} configured",
                limit.verdict,
                format::limit_found(limit),
                format::limit_amount(limit, own)
            ),
            None => format!("{}: {} served", limit.verdict, format::limit_found(limit)),
        },
    }));
    let rest = result.limits.len() - broken.len().min(LIMITS);
    if rest > 0 {
        let (text, class) = if broken.len() > LIMITS { ("more", "quiet") } else { ("holds", "good") };
        let what = format::counted(rest as u64, if broken.is_empty() { "limit" } else { "other limit" });
        claims.push(Claim { word: word(text, class), what, seen: "see below".to_owned() });
    }
    for goal in result.capacity.iter().flat_map(|capacity| &capacity.goals) {
        let (text, class) = match goal.status {
            CapacityStatus::Inconclusive => ("UNKNOWN", "bad"),
            _ if goal.lower.is_none() => ("FAILS", "bad"),
            CapacityStatus::Found => ("carries", "good"),
            CapacityStatus::GeneratorLimited | CapacityStatus::MaxReached => ("at least", "warn"),
        };
        let seen = format!("{}, {}", format::capacity_found(goal), goal.status);
        claims.push(Claim { word: word(text, class), what: format::harmless(&goal.name), seen });
    }
    claims
}

/// Every assertion, those that do not hold first.
pub fn assertions(result: &RunResult) -> Table {
    let mut table = Table::new(["", "asserted", "phase", "observed"]);
    let mut all: Vec<(usize, &StoredAssertion)> = result.assertions.iter().enumerate().collect();
    all.sort_by_key(|(_, assertion)| (assertion.status == StoredAssertionStatus::Pass, assertion.builtin));
    for (i, assertion) in all {
        let (word, class) = match assertion.status {
            StoredAssertionStatus::Pass => ("holds", "good"),
            StoredAssertionStatus::Fail => ("FAILS", "bad"),
            StoredAssertionStatus::NoData => ("NO DATA", "bad"),
            StoredAssertionStatus::NotJudged => ("not judged", "warn"),
        };
        let builtin = if assertion.builtin { ", always asserted" } else { "" };
        let over =
            assertion.window_s.map(|s| format!(" over every {}", format::seconds(s))).unwrap_or_default();
        table.rows.push(vec![
            Cell { text: word.to_owned(), class, ..Cell::default() },
            Cell::stored(&assertion.expr, format!("/assertions/{i}/expr")).class("code"),
            Cell::text(format!("{}{over}{builtin}", assertion.phase.as_deref().unwrap_or("overall"))),
            Cell::stored(&assertion.observed, format!("/assertions/{i}/observed")),
        ]);
    }
    table
}

/// Our own side, by what and how much.
pub fn generator(result: &RunResult) -> Table {
    let own = &result.generator;
    let mut table = Table::new(["what", "value", "what it means"]);
    // What was not looked at (a search does not) has no row.
    let mut row = |what: &str, cell: Cell, meaning: &str| {
        if cell.text.starts_with('0') && what != "own failures" {
            return;
        }
        table.rows.push(vec![Cell::text(what), cell, Cell::text(meaning).class("quiet")]);
    };
    if let Some(lag) = own.lag_p99_ns {
        let cell = Cell::duration(lag, "/generator/lag_p99_ns");
        row("lag p99", cell, "how late arrivals began through our own fault");
    }
    for (what, delay, path) in [
        ("loop delay p99", own.loop_delay_p99_ns, "/generator/loop_delay_p99_ns"),
        ("loop delay max", own.loop_delay_max_ns, "/generator/loop_delay_max_ns"),
    ] {
        if let Some(delay) = delay {
            row(
                what,
                Cell::duration(delay, path),
                "how late its threads came round; late, they measure themselves",
            );
        }
    }
    for (what, seconds, path, meaning) in [
        ("waited for a core", own.cpu_wait_s, "/generator/cpu_wait_s", "with work to do, the worst thread"),
        (
            "throttled",
            own.throttled_s,
            "/generator/throttled_s",
            "held up by the CPU quota of its control group",
        ),
        ("stolen", own.stolen_s, "/generator/stolen_s", "taken by the hypervisor from this virtual machine"),
    ] {
        row(what, Cell::seconds(seconds, path), meaning);
    }
    let cpu = Cell {
        text: format::percent(own.cpu_share),
        path: "/generator/cpu_share".into(),
        form: "percent",
        class: "number",
    };
    row("CPU", cpu, "the mean share of its threads' CPU; near 100 % it measures itself");
    let threads = Cell::count(own.threads.into(), "/generator/threads");
    row("threads", threads, "of the generator");
    row(
        "descriptors",
        Cell::count(own.peak_descriptors, "/generator/peak_descriptors"),
        "open at once, at most",
    );
    let memory = Cell {
        text: format::bytes(own.peak_rss_bytes),
        path: "/generator/peak_rss_bytes".into(),
        form: "bytes",
        class: "number",
    };
    row("memory", memory, "resident, at most");
    row("local ports", Cell::count(own.ports_used, "/generator/ports_used"), "used, at most");
    row(
        "clock drift",
        Cell::duration(own.clock_drift_ns, "/generator/clock_drift_ns"),
        "between wall clock and monotonic clock",
    );
    let failures = Cell::count(own.own_failures, "/generator/own_failures");
    let failures = if own.own_failures > 0 { failures.class("number bad") } else { failures };
    row("own failures", failures, "of this machine: descriptors, ports, buffers, memory");
    table
}

/// The listener's own counts, by name.
pub fn ledger(result: &RunResult) -> Option<Table> {
    let mut table = Table::new(["the listener counted", ""]);
    flat(result.ledger.as_ref()?, "/ledger", "", &mut table);
    Some(table)
}

/// The plain values of JSON, each by the names that lead to it.
pub fn flat(value: &serde_json::Value, path: &str, name: &str, table: &mut Table) {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                let inner = if name.is_empty() { key.clone() } else { format!("{name} {key}") };
                let escaped = key.replace('~', "~0").replace('/', "~1");
                flat(field, &format!("{path}/{escaped}"), &inner.replace('_', " "), table);
            }
        }
        Value::Array(items) => {
            let text = items.iter().map(plain).collect::<Vec<_>>().join(" ");
            table.rows.push(vec![Cell::text(name), Cell::text(text)]);
        }
        Value::Number(n) => {
            let cell = match n.as_u64() {
                Some(n) => Cell::count(n, path),
                None => Cell::number(n.to_string()),
            };
            table.rows.push(vec![Cell::text(name), cell]);
        }
        Value::Null => {}
        value => table.rows.push(vec![Cell::text(name), Cell::text(plain(value))]),
    }
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
