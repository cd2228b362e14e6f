//! Prometheus' delimited messages, the only form that has native histograms in addition to classic histograms.
//!
//! # Decisions
//! - The messages are declared here, with the fields that a run needs, under the names and numbers of `metrics.proto`
//!   of `io.prometheus.client`. A library that generates all of them needs a protobuf compiler in every build.

use prost::Message;

use crate::collector::histogram::Hist;
use crate::telemetry::metrics::{
    MetricFamily, MetricKind, MetricSample, MetricUnit, RunMetrics, SampleValue, TABLE, buckets,
};

/// Prometheus counts smaller values as zero: 2^-128, its own default. The least value of a run is a nanosecond.
const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;

#[derive(Clone, PartialEq, Message)]
struct FamilyMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(enumeration = "TypeInMessage", tag = "3")]
    r#type: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<MetricMessage>,
    #[prost(string, tag = "5")]
    unit: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum TypeInMessage {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

#[derive(Clone, PartialEq, Message)]
struct MetricMessage {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<SingleValue>,
    #[prost(message, optional, tag = "3")]
    counter: Option<SingleValue>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<HistogramMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// The message for `Gauge` and `Counter`.
#[derive(Clone, PartialEq, Message)]
struct SingleValue {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct HistogramMessage {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<CumulativeBucket>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct CumulativeBucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// Encodes the current values of all metrics.
pub fn write(metrics: &RunMetrics) -> Vec<u8> {
    let mut out = Vec::new();
    for family in TABLE {
        let samples = family.samples(metrics);
        if !samples.is_empty() {
            out.extend(message(family, &samples).encode_length_delimited_to_vec());
        }
    }
    out
}

fn message(family: &MetricFamily, samples: &[MetricSample<'_>]) -> FamilyMessage {
    let kind = match family.kind {
        MetricKind::Counter => TypeInMessage::Counter,
        // The format has no type for a metric that only carries information.
        MetricKind::Gauge | MetricKind::Info => TypeInMessage::Gauge,
        MetricKind::Histogram => TypeInMessage::Histogram,
    };
    FamilyMessage {
        name: family.exposed_name(),
        help: family.help.to_owned(),
        r#type: kind.into(),
        metric: samples.iter().map(|sample| metric(family, sample)).collect(),
        unit: family.unit.map_or("", MetricUnit::as_str).to_owned(),
    }
}

fn metric(family: &MetricFamily, sample: &MetricSample<'_>) -> MetricMessage {
    let labels = family.labels.iter().zip(&sample.labels);
    let label = labels.map(|(name, value)| LabelPair { name: (*name).to_owned(), value: value.to_string() });
    let of = MetricMessage { label: label.collect(), ..MetricMessage::default() };
    let value = match sample.value {
        _ if family.kind == MetricKind::Info => 1.0,
        SampleValue::Count(count) => count as f64,
        SampleValue::Number(number) => number,
        SampleValue::Spread(hist) => return MetricMessage { histogram: Some(histogram(hist)), ..of },
    };
    match family.kind {
        MetricKind::Counter => MetricMessage { counter: Some(SingleValue { value }), ..of },
        MetricKind::Gauge | MetricKind::Info | MetricKind::Histogram => {
            MetricMessage { gauge: Some(SingleValue { value }), ..of }
        }
    }
}

/// Returns a distribution as a classic and a native histogram in one message.
fn histogram(hist: &Hist) -> HistogramMessage {
    let bounds = buckets::BOUNDS.into_iter().chain([f64::INFINITY]);
    let below = buckets::classic(hist).into_iter().scan(0, |sum, count| {
        *sum += count;
        Some(*sum)
    });
    let (positive_span, positive_delta) = spans(&buckets::exponential(hist));
    HistogramMessage {
        sample_count: hist.count(),
        sample_sum: buckets::sum(hist),
        bucket: bounds
            .zip(below)
            .map(|(upper_bound, cumulative_count)| CumulativeBucket { cumulative_count, upper_bound })
            .collect(),
        schema: buckets::SCALE,
        zero_threshold: ZERO_THRESHOLD,
        positive_span,
        positive_delta,
    }
}

/// Returns the spans of filled buckets as (offset, length), and the counts as differences. An offset is the number of
/// empty buckets since the span before; for the first span it is the index of its first bucket.
fn spans(filled: &[(i32, u64)]) -> (Vec<BucketSpan>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<BucketSpan>::new(), Vec::new());
    let (mut next, mut before) = (0, 0_i64);
    for (index, count) in filled {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(BucketSpan { offset: index - next, length: 1 }),
        }
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        deltas.push(count - before);
        (next, before) = (index + 1, count);
    }
    (spans, deltas)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::report::fixtures;
    use crate::telemetry::RunEvent;
    use crate::telemetry::metrics::tests::{metrics, second};
    use crate::telemetry::prometheus::classic;

    #[test]
    fn spans_hold_every_bucket_once() {
        let filled = [(-40, 3), (-39, 5), (-30, 1), (2, 7), (3, 7)];
        let (spans, deltas) = spans(&filled);
        let pairs: Vec<(i32, u32)> = spans.iter().map(|span| (span.offset, span.length)).collect();
        assert_eq!(pairs, [(-40, 2), (8, 1), (31, 2)]);
        assert_eq!(deltas, [3, 2, -4, 6, 0]);
        // Decoded in the way Prometheus does it.
        let (mut read, mut index, mut count, mut deltas) = (Vec::new(), 0, 0, deltas.into_iter());
        for (offset, length) in pairs {
            index += offset;
            for _ in 0..length {
                count += deltas.next().unwrap();
                read.push((index, count));
                index += 1;
            }
        }
        assert_eq!(read, filled.map(|(index, count)| (index, i64::try_from(count).unwrap_or(0))));
    }

    /// Returns the messages as lines of the classic text.
    fn as_text(mut messages: &[u8]) -> String {
        let mut out = String::new();
        while !messages.is_empty() {
            let family = FamilyMessage::decode_length_delimited(&mut messages).unwrap();
            let kind = format!("{:?}", family.r#type()).to_lowercase();
            writeln!(out, "# HELP {} {}\n# TYPE {} {kind}", family.name, family.help, family.name).unwrap();
            for metric in &family.metric {
                let labels = |more: Option<String>| {
                    let own = metric.label.iter().map(|label| format!("{}={:?}", label.name, label.value));
                    let all: Vec<String> = own.chain(more).collect();
                    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
                };
                let name = &family.name;
                if let Some(value) = metric.counter.as_ref().or(metric.gauge.as_ref()) {
                    writeln!(out, "{name}{} {}", labels(None), value.value).unwrap();
                }
                let Some(hist) = &metric.histogram else { continue };
                for bucket in &hist.bucket {
                    let bound = format!("le=\"{}\"", bucket.upper_bound).replace("inf", "+Inf");
                    writeln!(out, "{name}_bucket{} {}", labels(Some(bound)), bucket.cumulative_count)
                        .unwrap();
                }
                writeln!(out, "{name}_sum{} {}", labels(None), hist.sample_sum).unwrap();
                writeln!(out, "{name}_count{} {}", labels(None), hist.sample_count).unwrap();
                let (mut count, mut all) = (0, 0);
                for delta in &hist.positive_delta {
                    count += delta;
                    all += count;
                }
                assert_eq!(all, i64::try_from(hist.sample_count).unwrap(), "the native buckets hold all");
            }
        }
        out
    }

    #[test]
    fn the_messages_say_what_the_classic_text_says() {
        let metrics = metrics([second(0), RunEvent::Over(std::sync::Arc::new(fixtures::accepted()))]);
        let classic = classic::write(&metrics);
        assert!(classic.lines().count() > 100);
        let ours = as_text(&write(&metrics));
        // The CPU time of this process has grown between the two.
        let moves = |line: &str| line.starts_with("process_cpu_seconds_total ");
        let odd: Vec<(&str, &str)> =
            ours.lines().zip(classic.lines()).filter(|(a, b)| a != b && !(moves(a) && moves(b))).collect();
        assert!(odd.is_empty() && ours.lines().count() == classic.lines().count(), "{odd:#?}");
    }
}
