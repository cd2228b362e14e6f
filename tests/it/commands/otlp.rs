//! Metrics that are pushed by OTLP: the last values at the receiver are those of the result, and a bad receiver does
//! not delay the run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use prost::Message;
use serde_json::Value;
use smtpress::generator::clock;

use super::stage::Stage;

/// Starts a receiver that answers every push with `answer`. Returns its URL and the pushed requests.
fn receiver(answer: &'static str) -> (String, Receiver<ExportMetricsServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, heard) = channel();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let push = read(&stream);
            (&stream).write_all(answer.as_bytes()).ok();
            if told.send(push).is_err() {
                return;
            }
        }
    });
    (url, heard)
}

/// Reads one HTTP request, only as strictly as the test needs.
fn read(stream: &TcpStream) -> ExportMetricsServiceRequest {
    let mut lines = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let at = head.len();
        lines.read_line(&mut head).unwrap();
        let line = head[at..].trim().to_lowercase();
        if let Some(given) = line.strip_prefix("content-length:") {
            length = given.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    assert!(head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/x-protobuf"), "{head}");
    let mut body = vec![0; length];
    lines.read_exact(&mut body).unwrap();
    ExportMetricsServiceRequest::decode(body.as_slice()).unwrap()
}

fn data<'a>(push: &'a ExportMetricsServiceRequest, name: &str) -> &'a Data {
    let metrics = &push.resource_metrics[0].scope_metrics[0].metrics;
    metrics.iter().find(|metric| metric.name == name).unwrap().data.as_ref().unwrap()
}

/// The value of a series that has this label.
fn value(data: &Data, label: Option<(&str, &str)>) -> i64 {
    let points = match data {
        Data::Sum(sum) => &sum.data_points,
        Data::Gauge(gauge) => &gauge.data_points,
        other => panic!("{other:?}"),
    };
    let has = |key: &str, wanted: &str, own: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        let value = own.value.as_ref().and_then(|value| value.value.as_ref());
        own.key == key && matches!(value, Some(Any::StringValue(text)) if text == wanted)
    };
    let of = points.iter().find(|point| {
        label.is_none_or(|(key, wanted)| point.attributes.iter().any(|own| has(key, wanted, own)))
    });
    match of.unwrap().value {
        Some(Number::AsInt(value)) => value,
        ref other => panic!("{other:?}"),
    }
}

fn metric<'a>(result: &'a Value, name: &str, outcome: &str) -> &'a Value {
    let mut metrics = result["metrics"].as_array().unwrap().iter();
    metrics.find(|own| own["name"] == name && own["outcome"] == outcome).unwrap()
}

#[test]
fn what_is_pushed_last_is_the_result() {
    let stage = Stage::new();
    let (url, pushed) = receiver("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let said = stage.run(&["run", "small.toml", "--for", "12s", "-o", "r", "--otlp", &url]);
    let result = stage.json("r/result.json");
    assert!(!said.err.contains("warning"), "{}", said.err);
    let pushes: Vec<_> = pushed.try_iter().collect();
    assert!(pushes.len() >= 2, "while the run goes on, and at its end: {}", pushes.len());
    let (first, last) = (&pushes[0], &pushes[pushes.len() - 1]);
    let accepted = |push| value(data(push, "smtpress.arrivals"), Some(("outcome", "accepted")));
    assert!(accepted(first) < accepted(last), "cumulative");
    let phase = &result["phases"][0];
    assert_eq!(Some(accepted(last)), phase["accepted"].as_i64());
    assert_eq!(Some(value(data(last, "smtpress.sent"), None)), phase["bytes"]["sent"].as_i64());
    assert_eq!(
        Some(value(data(last, "smtpress.run_exit_code"), None)),
        result["verdict"]["exit_code"].as_i64()
    );
    let Data::ExponentialHistogram(response) = data(last, "smtpress.response") else { panic!("no spread") };
    let stored = metric(&result, "response", "accepted");
    let point =
        response.data_points.iter().find(|point| Some(point.count) == stored["count"].as_u64()).unwrap();
    assert_eq!(point.positive.as_ref().unwrap().bucket_counts.iter().sum::<u64>(), point.count);
    let mean = point.sum.unwrap() / point.count as f64 * 1e9;
    assert!((mean / stored["mean_ns"].as_f64().unwrap() - 1.0).abs() < 1e-3, "{mean}: {stored}");
}

#[test]
fn a_receiver_that_is_bad_or_gone_is_reported_and_changes_nothing() {
    let (refusing, _pushed) =
        receiver("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // A receiver that accepts connections in its queue and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = format!("http://{}", mute.local_addr().unwrap());
    for (url, why) in [(refusing.as_str(), "503"), (&mute, ""), ("http://127.0.0.1:1", "")] {
        let stage = Stage::new();
        let before = clock::now();
        let said = stage.run(&["run", "few.toml", "-o", "r", "--otlp", url]).ended(0);
        let (all, run) = (clock::now() - before, stage.json("r/result.json")["took_s"].as_f64().unwrap());
        // The final push may take two seconds, and a debug build on a busy machine is slow to start and to write.
        assert!(all.as_secs_f64() < run + 6.0, "{url}: {all:?} for a run of {run} s");
        assert!(said.err.contains("the final metrics did not reach"), "{}", said.err);
        assert!(said.err.contains(why), "{}", said.err);
        assert_eq!(stage.json("r/result.json")["verdict"]["status"], "pass");
    }
}

#[test]
fn a_receiver_that_cannot_be_or_may_not_be_is_said_before_anything_is_sent() {
    let stage = Stage::new();
    for (url, code, why) in [
        ("https://127.0.0.1:4318", 2, "only http is spoken"),
        ("127.0.0.1:4318", 2, "begins with http://"),
        ("http://192.0.2.1:4318", 3, "--live-beyond-loopback"),
    ] {
        let said = stage.run(&["run", "few.toml", "-o", "q", "--otlp", url]).ended(code);
        assert!(said.err.contains(why), "{}", said.err);
    }
    assert!(!stage.path("q").exists());
}
