//! Tests of the pushed values, and of the URLs of a receiver.

use std::io;
use std::sync::Arc;

use super::*;
use crate::report::fixtures;
use crate::telemetry::metrics::tests::{HOSTILE, metrics, second};

fn here(_: &str, port: u16) -> io::Result<Option<SocketAddr>> {
    Ok(Some(([127, 0, 0, 1], port).into()))
}

fn text(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let value = |own: &KeyValue| match own.value.clone().and_then(|value| value.value) {
        Some(Any::StringValue(text)) => text,
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|own| (own.key.clone(), value(own))).collect()
}

fn pushed() -> ResourceMetrics {
    let metrics = metrics([second(0), second(1), RunEvent::Over(Arc::new(fixtures::accepted()))]);
    // Encoded and decoded again.
    let body = request(&metrics).encode_to_vec();
    let mut read = ExportMetricsServiceRequest::decode(body.as_slice()).unwrap();
    read.resource_metrics.pop().unwrap()
}

fn data(pushed: &ResourceMetrics, name: &str) -> Data {
    let metrics = &pushed.scope_metrics[0].metrics;
    metrics.iter().find(|metric| metric.name == name).unwrap().data.clone().unwrap()
}

#[test]
fn a_url_is_that_of_the_receiver_or_of_its_metrics() {
    for (url, whole) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/metrics"),
        ("http://collector/", "http://collector:4318/v1/metrics"),
        ("http://collector:80/otlp", "http://collector:80/otlp/v1/metrics"),
        ("http://[::1]:9/v1/metrics", "http://[::1]:9/v1/metrics"),
    ] {
        assert_eq!(OtlpReceiver::new(url, here).unwrap().url.to_string(), whole, "{url}");
    }
    for url in ["https://c:4318", "127.0.0.1:4318", "c", "", "http://u:p@c", "http://c?x=1", "ftp://c"] {
        let wrong = OtlpReceiver::new(url, here).unwrap_err();
        assert!(wrong.contains("as in http://127.0.0.1:4318"), "{wrong}");
        assert!(!wrong.contains("u:p"), "no secret is said aloud: {wrong}");
    }
    assert!(OtlpReceiver::new("http://c", |_, _| Ok(None)).unwrap_err().contains("no address"));
}

#[test]
fn what_is_pushed_is_what_was_counted() {
    let pushed = pushed();
    let resource = text(&pushed.resource.as_ref().unwrap().attributes);
    for (key, value) in
        [("service.name", "smtpress"), ("service.instance.id", "8c1f7a3e"), ("smtpress.seed", "42")]
    {
        assert!(resource.contains(&(key.into(), value.into())), "{key}: {resource:?}");
    }
    let Data::Sum(arrivals) = data(&pushed, "smtpress.arrivals") else { panic!("no sum") };
    assert!(arrivals.is_monotonic);
    assert_eq!(arrivals.aggregation_temporality(), AggregationTemporality::Cumulative);
    let accepted = [("phase".to_owned(), HOSTILE.to_owned()), ("outcome".to_owned(), "accepted".to_owned())];
    let point = arrivals.data_points.iter().find(|point| text(&point.attributes) == accepted).unwrap();
    assert_eq!(point.value, Some(Number::AsInt(14)));
    assert!(
        point.start_time_unix_nano == 1_700_000_000_000_000_000
            && point.time_unix_nano > point.start_time_unix_nano
    );
    let Data::Gauge(over) = data(&pushed, "smtpress.run_over") else { panic!("no gauge") };
    assert_eq!(over.data_points[0].value, Some(Number::AsInt(1)));
    let told: Vec<&str> = pushed.scope_metrics[0].metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert!(!told.contains(&"smtpress.run"), "that stands in the resource");
}

#[test]
fn a_value_lies_in_the_bucket_that_names_it() {
    let Data::ExponentialHistogram(response) = data(&pushed(), "smtpress.response") else {
        panic!("no spread")
    };
    let point = &response.data_points[0];
    let buckets = point.positive.as_ref().unwrap();
    // Two values each of a nanosecond, 1.5 ms and 3 s.
    assert_eq!((point.count, buckets.bucket_counts.iter().sum::<u64>()), (6, 6));
    assert!((point.sum.unwrap() - 2.0 * 3.0015).abs() < 1e-2, "{:?}", point.sum);
    let base = 2_f64.powf(2_f64.powi(-point.scale));
    let filled: Vec<(f64, f64, u64)> = buckets
        .bucket_counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(at, count)| {
            let index = buckets.offset + i32::try_from(at).unwrap();
            // A bucket of OpenTelemetry holds values above base^index, up to and including base^(index + 1).
            (base.powi(index), base.powi(index + 1), *count)
        })
        .collect();
    assert_eq!(filled.len(), 3);
    for ((below, above, count), value) in filled.iter().zip([1e-9, 1.5e-3, 3.0]) {
        assert!(
            below / 1.001 < value && value <= above * 1.000_001 && *count == 2,
            "{below} {value} {above}"
        );
    }
    assert!(point.min.unwrap() <= 1e-9 && point.max.unwrap() >= 3.0, "{point:?}");
}

#[test]
fn an_answer_is_read_for_what_was_not_taken() {
    assert_eq!(understood(StatusCode::OK, b""), Ok(()));
    assert!(understood(StatusCode::SERVICE_UNAVAILABLE, b"").unwrap_err().contains("503"));
    let mut partly = ExportMetricsServiceResponse::default();
    partly.partial_success.get_or_insert_default().rejected_data_points = 7;
    assert!(understood(StatusCode::OK, &partly.encode_to_vec()).unwrap_err().contains('7'));
}
