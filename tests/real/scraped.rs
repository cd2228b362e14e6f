//! Metrics that a real Prometheus scraped: the final values are those of result.json, in text and in native histograms.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::listener::{self, Processes};
use crate::smtpress;

/// The paths of Prometheus: that of `install.sh`, and that of Debian's package.
pub const PROGRAMS: &[&str] = &["target/real-listeners/prometheus/usr/bin/prometheus", "/usr/bin/prometheus"];

/// A Prometheus that scrapes one port of this machine every second.
struct Prometheus {
    port: u16,
    target: u16,
    _processes: Processes,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts it. With native histograms it requests protobuf, otherwise text. `None` if it is not installed.
    fn start(native: bool) -> Option<Prometheus> {
        let Some(program) = listener::program(PROGRAMS) else {
            return listener::missing("Prometheus is not installed");
        };
        let (folder, port, target) = (listener::folder(), listener::free_port(), listener::free_port());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs: [{{job_name: smtpress, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
        );
        fs::write(path("prometheus.yml"), config).unwrap();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", path("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        if native {
            command.arg("--enable-feature=native-histograms");
        }
        let log = folder.path().join("log");
        let processes = Processes::start(&mut command, &log);
        let this = Prometheus { port, target, _processes: processes, _folder: folder };
        let ready = listener::wait_until(|| this.get("/-/ready").is_some_and(|body| body.contains("Ready")));
        // Prometheus scrapes its targets only after a while. It counts as started when it has found the target down.
        let scrapes = || !this.query("up == 0", None).is_empty();
        assert!(ready && listener::wait_until(scrapes), "{}", fs::read_to_string(log).unwrap());
        Some(this)
    }

    /// Returns the body of an answer with code 200.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.0 200").then(|| body.to_owned())
    }

    /// Returns the labels and the value of each series of an expression, at a given time or now.
    fn query(&self, expression: &str, at: Option<f64>) -> Vec<(Value, f64)> {
        let coded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let at = at.map_or_else(String::new, |at| format!("&time={at:.3}"));
        let body = self.get(&format!("/api/v1/query?query={coded}{at}"));
        let body: Value =
            serde_json::from_str(&body.unwrap_or_else(|| panic!("refused: {expression}"))).unwrap();
        let series = body["data"]["result"].as_array().unwrap();
        let read = |one: &Value| (one["metric"].clone(), one["value"][1].as_str().unwrap().parse().unwrap());
        series.iter().map(read).collect()
    }

    /// Returns the only value of an expression.
    #[track_caller]
    fn value(&self, expression: &str, at: f64) -> f64 {
        let given = self.query(expression, Some(at));
        let [(_, value)] = given[..] else { panic!("{expression}: {given:?}") };
        value
    }

    /// Returns the time of the scrape that saw the end of the run.
    #[track_caller]
    fn end(&self) -> f64 {
        let expression = "max_over_time(timestamp(smtpress_run_over == 1)[10m:250ms])";
        let mut found = Vec::new();
        assert!(listener::wait_until(|| {
            found = self.query(expression, None);
            !found.is_empty()
        }));
        found[0].1
    }
}

/// Returns count, mean and median of the response times of accepted arrivals.
fn response(result: &Value) -> (f64, f64, f64) {
    let metrics = result["metrics"].as_array().unwrap();
    let of = |one: &&Value| one["name"] == "response" && one["outcome"] == "accepted";
    let [metric] = metrics.iter().filter(of).collect::<Vec<_>>()[..] else { panic!("{metrics:#?}") };
    let percentiles = metric["percentiles"].as_array().unwrap();
    let median = percentiles.iter().find(|one| one["q"] == 0.5).unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    (number(&metric["count"]), number(&metric["mean_ns"]) / 1e9, number(&median["value_ns"]) / 1e9)
}

/// Runs a load with refusals, which is scraped to its end. Returns the result, and the time of the last scrape.
fn scraped(prometheus: &Prometheus) -> (smtpress::Outcome, f64) {
    let flags = format!(
        "-c 8 -r 100/s -z 5s --messages-per-session 0 --set listener.max_messages_per_session=7 --prometheus 127.0.0.1:{} --linger 2m",
        prometheus.target
    );
    let outcome = smtpress::run_at("embedded", &flags);
    (outcome, prometheus.end())
}

/// Checks that every count is that of result.json.
fn assert_counts(prometheus: &Prometheus, outcome: &smtpress::Outcome, at: f64) {
    assert!(outcome.count("accepted") > 0, "{:#}", outcome.result["phases"]);
    for (labels, count) in prometheus.query("sum by (outcome) (smtpress_arrivals_total)", Some(at)) {
        let name = labels["outcome"].as_str().unwrap().replace('-', "_");
        assert_eq!(count, outcome.count(&name) as f64, "{name}");
    }
    for name in ["scheduled", "started"] {
        let expression = format!("sum(smtpress_arrivals_{name}_total)");
        assert_eq!(prometheus.value(&expression, at), outcome.count(name) as f64, "{name}");
    }
    let phase = &outcome.result["phases"][0];
    for (expression, expected) in [
        ("smtpress_sent_bytes_total", &phase["bytes"]["sent"]),
        ("smtpress_received_bytes_total", &phase["bytes"]["received"]),
        ("smtpress_sessions_opened_total", &phase["sessions"]["opened"]),
        ("smtpress_transactions_total{outcome='accepted'}", &phase["transactions"]["accepted"]),
        ("smtpress_run_exit_code", &outcome.result["verdict"]["exit_code"]),
    ] {
        assert_eq!(prometheus.value(expression, at), expected.as_f64().unwrap(), "{expression}");
    }
    let conditions = outcome.result["conditions"].as_array().unwrap();
    assert!(!conditions.is_empty(), "the listener refused nobody");
    let told: f64 = conditions.iter().map(|row| row["count"].as_f64().unwrap()).sum();
    assert_eq!(prometheus.value("sum(smtpress_conditions_total)", at), told);
    let info = format!("smtpress_run_info{{run_id='{}'}}", outcome.result["run_id"].as_str().unwrap());
    assert_eq!(prometheus.value(&info, at), 1.0);
}

/// Checks that every expression of the shipped dashboard is valid and has data, and that the panels are
/// distinguishable.
#[track_caller]
fn assert_dashboard_has_data(prometheus: &Prometheus, at: f64) {
    let dashboard: Value = serde_json::from_str(include_str!("../../grafana/smtpress.json")).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "run", "phase"]);
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()) && titles.insert(title), "{title} twice");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            let written = target["expr"].as_str().unwrap();
            // The variables are filled in as by Grafana, with all runs and phases selected.
            let mut expression = written.replace("$__rate_interval", "1m");
            for name in &names[1..] {
                expression = expression.replace(&format!("${name}"), ".*");
            }
            assert!(!expression.contains('$'), "{title}: a variable that is not there: {written}");
            assert!(!prometheus.query(&expression, Some(at)).is_empty(), "{title} is empty: {expression}");
        }
    }
    assert!(ids.len() > 5);
}

#[track_caller]
fn assert_near(value: f64, expected: f64, factor: f64) {
    assert!(value <= expected * factor && value * factor >= expected, "{value} is not {expected}");
}

// Table: Prometheus: metrics scraped
#[test]
fn what_prometheus_holds_in_the_end_is_the_result() {
    let Some(prometheus) = Prometheus::start(false) else { return };
    let (outcome, at) = scraped(&prometheus);
    assert_counts(&prometheus, &outcome, at);
    assert_dashboard_has_data(&prometheus, at);
    let (count, mean, median) = response(&outcome.result);
    let of = |suffix: &str| format!("sum(smtpress_response_seconds_{suffix}{{outcome='accepted'}})");
    assert_eq!(prometheus.value(&of("count"), at), count);
    assert_near(prometheus.value(&of("sum"), at), mean * count, 1.000_001);
    // The classic buckets are at most 3 times as wide as their lower bound.
    let buckets =
        "histogram_quantile(0.5, sum by (le) (smtpress_response_seconds_bucket{outcome='accepted'}))";
    assert_near(prometheus.value(buckets, at), median, 3.1);
}

// Table: Prometheus: native histograms
#[test]
fn native_histograms_are_as_narrow_as_they_say() {
    let Some(prometheus) = Prometheus::start(true) else { return };
    let (outcome, at) = scraped(&prometheus);
    assert_counts(&prometheus, &outcome, at);
    assert_dashboard_has_data(&prometheus, at);
    let (count, mean, median) = response(&outcome.result);
    let all = "sum(smtpress_response_seconds{outcome='accepted'})";
    assert_eq!(prometheus.value(&format!("histogram_count({all})"), at), count);
    assert_near(prometheus.value(&format!("histogram_sum({all})"), at), mean * count, 1.000_001);
    // A bucket is 4.4 % wide, and the two medians may be in adjacent buckets.
    let quantile = format!("histogram_quantile(0.5, {all})");
    assert_near(prometheus.value(&quantile, at), median, 1.1);
    assert!(prometheus.query("smtpress_response_seconds_bucket", Some(at)).is_empty(), "they came as text");
}

// Table: Prometheus: metrics scraped
/// Each scraper gets a format that it can read, and Prometheus' own checker has no complaint about the classic text.
#[test]
fn promtool_finds_nothing_to_say() {
    const PROMTOOL: &[&str] = &["target/real-listeners/prometheus/usr/bin/promtool", "/usr/bin/promtool"];
    let Some(promtool) = listener::program(PROMTOOL) else {
        listener::missing::<()>("promtool is not installed");
        return;
    };
    let port = listener::free_port();
    let flags = format!(
        "-c 4 -r 50/s -z 4s --messages-per-session 0 --set listener.max_messages_per_session=7 --prometheus 127.0.0.1:{port} --linger 2m"
    );
    let run = std::thread::spawn(move || smtpress::run_at("embedded", &flags));
    let ask = |accept: &str| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{accept}\r\n")
            .ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(answer[..end].to_vec()).ok()?.to_lowercase();
        let body = match head.contains("transfer-encoding: chunked") {
            true => panic!("{head}"),
            false => answer[end + 4..].to_vec(),
        };
        head.starts_with("http/1.1 200").then_some((head, body))
    };
    // The check runs during the run, and at its end with all conditions.
    let mut last = String::new();
    for round in 0..2 {
        let seen = |text: &str| match round {
            0 => text.contains("smtpress_run_over 0") && text.contains("smtpress_response_seconds_bucket"),
            _ => text.contains("smtpress_run_over 1"),
        };
        assert!(listener::wait_until(|| {
            ask("").is_some_and(|(head, body)| {
                assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
                last = String::from_utf8(body).unwrap();
                seen(&last)
            })
        }));
        let mut child = Command::new(&promtool)
            .args(["check", "metrics"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(last.as_bytes()).unwrap();
        let said = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && text.trim().is_empty(), "{text}\n{last}");
    }
    assert!(last.contains("smtpress_conditions_total{"), "{last}");
    run.join().unwrap();
}
