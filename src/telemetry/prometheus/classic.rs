//! Prometheus' text format 0.0.4, which every scraper reads.

use std::fmt::Write;

use crate::telemetry::metrics::{
    MetricFamily, MetricKind, MetricSample, RunMetrics, SampleValue, TABLE, buckets,
};

/// Writes the current values of all metrics.
pub fn write(metrics: &RunMetrics) -> String {
    let mut out = String::new();
    for family in TABLE {
        let samples = family.samples(metrics);
        if !samples.is_empty() {
            one(&mut out, family, &samples);
        }
    }
    out
}

fn one(out: &mut String, family: &MetricFamily, samples: &[MetricSample<'_>]) {
    // The format has no type for a metric that only carries information.
    let kind = match family.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge | MetricKind::Info => "gauge",
        MetricKind::Histogram => "histogram",
    };
    let name = family.exposed_name();
    let help = family.help.replace('\\', r"\\").replace('\n', r"\n");
    line(out, &format!("# HELP {name} {help}"));
    line(out, &format!("# TYPE {name} {kind}"));
    for sample in samples {
        let labels: Vec<String> =
            family.labels.iter().zip(&sample.labels).map(|(name, value)| label(name, value)).collect();
        match sample.value {
            _ if family.kind == MetricKind::Info => line(out, &format!("{name}{} 1", braces(&labels))),
            SampleValue::Count(count) => line(out, &format!("{name}{} {count}", braces(&labels))),
            SampleValue::Number(number) => line(out, &format!("{name}{} {number}", braces(&labels))),
            SampleValue::Spread(hist) => {
                let bounds = buckets::BOUNDS.into_iter().map(|bound| bound.to_string());
                let mut below = 0;
                for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(buckets::classic(hist)) {
                    below += count;
                    let labels = [&labels[..], &[label("le", &bound)]].concat();
                    line(out, &format!("{name}_bucket{} {below}", braces(&labels)));
                }
                line(out, &format!("{name}_sum{} {}", braces(&labels), buckets::sum(hist)));
                line(out, &format!("{name}_count{} {}", braces(&labels), hist.count()));
            }
        }
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("memory takes every text");
}

fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('\n', r"\n").replace('"', r#"\""#);
    format!("{name}=\"{value}\"")
}

fn braces(labels: &[String]) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) }
}
