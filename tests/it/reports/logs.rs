//! `metrics.hlog` and the table of percentiles, read by the Python HdrHistogram.

use std::collections::HashSet;

use serde_json::Value;

use super::readers;
use crate::commands::stage::{FEW, Stage};

/// Prints, by tag, the percentiles of the sum of the log's histograms, and the table of one tag.
const READ: &str = r#"
import json, sys
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
path, table = sys.argv[1:]
tags = [line[4:].split(",", 1)[0] for line in open(path) if line.startswith("Tag=")]
sums = {}
for line in open(path):
    if not line.startswith("Tag="):
        continue
    tag, rest = line.rstrip("\n").split(",", 1)
    hist = HdrHistogram.decode(rest.rsplit(",", 1)[1])
    sums.setdefault(tag[4:], HdrHistogram(1, 1 << 50, 3)).add(hist)
# The log reader of the package reads the same file to its end.
reader, total = HistogramLogReader(path, HdrHistogram(1, 1 << 50, 3)), 0
while True:
    hist = reader.get_next_interval_histogram()
    if hist is None:
        break
    total += hist.get_total_count()
assert total == sum(hist.get_total_count() for hist in sums.values()), (total, sums)
steps, count = [], 0
for step in sums[table].get_recorded_iterator():
    count = step.total_count_to_this_value
    steps.append("%.3f %d" % (step.value_iterated_to / 1e6, count))
ends = "%.3f %.3f" % (sums[table].get_mean_value() / 1e6, sums[table].get_stddev() / 1e6)
told = {tag: {"count": hist.get_total_count(), "quantiles": {
    q: hist.get_value_at_percentile(q * 100) for q in (0.5, 0.9, 0.95, 0.99)}} for tag, hist in sums.items()}
print(json.dumps({"tags": told, "steps": steps, "ends": ends}))
"#;

#[test]
fn another_reader_finds_the_same_percentiles() {
    let Some(python) = readers::python_with("hdrh") else { return };
    let stage = Stage::new();
    stage.put("many.toml", FEW.replace("messages = 50", "messages = 2000"));
    stage.run(&["run", "many.toml", "-q", "-o", "r"]).measured();
    for shard in ["0/2", "1/2"] {
        stage.run(&["run", "many.toml", "-q", "--shard", shard, "-o", &shard[..1]]).measured();
    }
    for runs in [&["r"][..], &["0", "1"]] {
        let form = |form: &str, file: &str| {
            let mut arguments = vec!["report", "--format", form, "-o", file];
            arguments.extend(runs);
            // The shards ran one after the other.
            arguments.extend(["--max-skew", "1h"]);
            stage.run(&arguments).measured();
        };
        form("hlog", "log");
        form("hgrm", "table");
        form("json", "result.json");
        let log = stage.path("log").display().to_string();
        let read: Value =
            serde_json::from_str(&readers::run(&python, READ, &[&log, "few/response/accepted"])).unwrap();
        let mut compared = 0;
        for metric in stage.json("result.json")["metrics"].as_array().unwrap() {
            let text = |field: &str| metric[field].as_str().unwrap().to_owned();
            let theirs = &read["tags"][format!("{}/{}/{}", text("phase"), text("name"), text("outcome"))];
            assert_eq!(theirs["count"], metric["count"], "{}", text("name"));
            for ours in
                metric["percentiles"].as_array().unwrap().iter().filter(|own| own["status"] == "exact")
            {
                let Some(theirs) = theirs["quantiles"].get(ours["q"].to_string()) else { continue };
                // The library returns the greatest value of the bucket. smtpress returns at most the greatest measured
                // value.
                let theirs = theirs.as_u64().unwrap().min(metric["max_ns"].as_u64().unwrap());
                assert_eq!(ours["value_ns"].as_u64().unwrap(), theirs, "{} {}", text("name"), ours["q"]);
                compared += 1;
            }
        }
        assert!(compared > 20, "{compared}");
        // The libraries choose different ticks, but the values at a tick agree.
        let table = stage.read("table");
        let steps: HashSet<&str> =
            read["steps"].as_array().unwrap().iter().map(|step| step.as_str().unwrap()).collect();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert!(rows.len() > 20, "{table}");
        for row in &rows {
            assert!(steps.contains(format!("{} {}", row[0], row[2]).as_str()), "{row:?}");
            assert!(
                row[2].parse::<f64>().unwrap() >= (row[1].parse::<f64>().unwrap() * 2000.0).floor(),
                "{row:?}"
            );
        }
        let mean = table.lines().find(|line| line.starts_with("#[Mean")).unwrap();
        let ends: Vec<&str> = mean.split(['=', ',', ']']).map(str::trim).collect();
        assert_eq!(format!("{} {}", ends[1], ends[3]), read["ends"].as_str().unwrap());
    }
}
