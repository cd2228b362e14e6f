//! Metrics pushed to a receiver of OpenTelemetry: OTLP over HTTP, in protobuf, cumulative, with exponential histograms.
//!
//! # Decisions
//! - The table is that of `metrics`. A name has a dot behind its first word and carries no unit and no `_total`: a
//!   receiver that forwards it to Prometheus gets the very names that `prometheus` serves. What the run is (the table's info) stands in the
//!   resource, not in a metric.
//! - A push lasts no longer than `ANSWER`, which is less than the time between two: a receiver that is slow or gone makes
//!   nothing grow and delays nothing. All values are cumulative, so a push that was lost is made good by the next one.
//! - Once the run is over, all that is left takes no longer than `LAST`: a push under way is given up for the final one.
//! - A push is a connection of its own. Only `http` is spoken; a collector on this machine speaks TLS to others.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::metrics::{
    MetricFamily, MetricKind, MetricSample, MetricUnit, RunInfo, RunMetrics, SampleValue, TABLE, buckets,
};
use super::{Exporter, RunEvent};
use crate::collector::histogram::Hist;

/// The time between two pushes, in seconds of the run.
const EVERY: u64 = 5;
/// A push that takes longer has failed.
const ANSWER: Duration = Duration::from_secs(3);
/// The last values are pushed so often before they are given up, and for no longer than this in all.
const LAST_TRIES: u32 = 3;
const LAST: Duration = Duration::from_secs(2);
/// Between two of these tries.
const PAUSE: Duration = Duration::from_millis(400);
/// The longest answer that is read, in bytes; an answer has a few.
const LONGEST_ANSWER: usize = 64 * 1024;
/// Where OTLP over HTTP takes metrics, below the receiver's address.
const PATH: &str = "v1/metrics";

/// Where a receiver is: its URL, and the address that it was resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpReceiver {
    /// The whole URL, path included.
    url: Uri,
    address: SocketAddr,
}

impl OtlpReceiver {
    /// The URL of a receiver, as in `http://127.0.0.1:4318`; without a port it is 4318, and `/v1/metrics` is added as the
    /// standard says. `resolve` finds the address of host and port.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the URL.
    pub fn new(
        url: &str,
        resolve: impl Fn(&str, u16) -> io::Result<Option<SocketAddr>>,
    ) -> Result<OtlpReceiver, String> {
        // What may hold a password is not said aloud.
        let named = if url.contains('@') { "the URL".to_owned() } else { format!("{url:?}") };
        let wrong = |why: &str| format!("{named} is no receiver of OTLP: {why}, as in http://127.0.0.1:4318");
        let uri: Uri = url.parse().map_err(|_| wrong("give a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(wrong("only http is spoken; give a collector that speaks TLS to others"));
            }
            _ => return Err(wrong("it begins with http://")),
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong("it has no user, no password and no query"));
        }
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(4318));
        let unbracketed = host.trim_start_matches('[').trim_end_matches(']');
        let address = match resolve(unbracketed, port) {
            Ok(Some(address)) => address,
            Ok(None) => return Err(wrong("its host has no address")),
            Err(error) => return Err(wrong(&format!("its host is not found ({error}); give one that is"))),
        };
        let base = uri.path().trim_end_matches('/');
        let path = if base.ends_with(PATH) { base.to_owned() } else { format!("{base}/{PATH}") };
        let whole = format!("http://{host}:{port}{path}");
        let url = whole.parse().map_err(|_| wrong("give a URL"))?;
        Ok(OtlpReceiver { url, address })
    }

    /// The address that is written to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Pushes once.
    async fn push(&self, body: Vec<u8>) -> Result<(), String> {
        match timeout(ANSWER, self.ask(body)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
        }
    }

    async fn ask(&self, body: Vec<u8>) -> Result<(), String> {
        let told = |error: &dyn std::error::Error| error.to_string();
        let stream = TcpStream::connect(self.address).await.map_err(|error| told(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| told(&error))?;
        let host = self.url.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let request = Request::post(self.url.path())
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("smtpress/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| told(&error))?;
        // Driven beside the exchange, which sees its end; aborted when the exchange is given up.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| told(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        understood(status, &body.map(|body| body.to_bytes()).unwrap_or_default())
    }
}

/// What the answer of a receiver means (OTLP 1.9, "OTLP/HTTP response").
fn understood(status: StatusCode, body: &[u8]) -> Result<(), String> {
    if status != StatusCode::OK {
        return Err(format!("it answered {status}"));
    }
    let answer = ExportMetricsServiceResponse::decode(body).unwrap_or_default();
    match answer.partial_success {
        Some(partial) if partial.rejected_data_points > 0 => {
            Err(format!("it took all but {} values", partial.rejected_data_points))
        }
        _ => Ok(()),
    }
}

/// Pushes the metrics of a run.
#[derive(Debug)]
pub struct Otlp {
    receiver: OtlpReceiver,
    info: RunInfo,
}

impl Otlp {
    /// To this receiver.
    pub fn new(receiver: OtlpReceiver, info: RunInfo) -> Otlp {
        Otlp { receiver, info }
    }

    async fn push(self, mut events: UnboundedReceiver<RunEvent>) -> Vec<String> {
        let Otlp { receiver, info } = self;
        let mut metrics = RunMetrics::new(info);
        let mut pushes = Pushes { receiver: &receiver, made: 0, failed: 0 };
        let mut seconds = 0_u64;
        while let Some(what) = events.recv().await {
            metrics.hear(&what);
            seconds += 1;
            if metrics.is_over() {
                break;
            }
            // What has piled up meanwhile is pushed at once, not second by second.
            if seconds.is_multiple_of(EVERY) && events.is_empty() {
                let body = request(&metrics).encode_to_vec();
                tokio::select! {
                    _ = pushes.once(body) => {}
                    () = end(&mut events, &mut metrics, &mut seconds) => break,
                }
            }
        }
        // Without its end the run could not be done.
        let last = if metrics.is_over() { pushes.push_last(&metrics).await } else { Ok(()) };
        let (url, Pushes { made, failed, .. }) = (&receiver.url, pushes);
        match last {
            Err(why) => {
                vec![format!(
                    "the final metrics did not reach {url}: {why}; {failed} of {made} pushes failed"
                )]
            }
            Ok(()) if failed > 0 => {
                vec![format!("{failed} of {made} pushes to {url} failed; the final metrics are there")]
            }
            Ok(()) => Vec::new(),
        }
    }
}

/// Hears what comes until the run is over.
async fn end(events: &mut UnboundedReceiver<RunEvent>, metrics: &mut RunMetrics, seconds: &mut u64) {
    while let Some(what) = events.recv().await {
        metrics.hear(&what);
        *seconds += 1;
        if metrics.is_over() {
            return;
        }
    }
}

/// What came of the pushes to a receiver.
struct Pushes<'a> {
    receiver: &'a OtlpReceiver,
    made: u32,
    failed: u32,
}

impl Pushes<'_> {
    async fn once(&mut self, body: Vec<u8>) -> Result<(), String> {
        // One that is given up before its end has failed.
        self.made += 1;
        self.failed += 1;
        let pushed = self.receiver.push(body).await;
        self.failed -= u32::from(pushed.is_ok());
        pushed
    }

    /// Pushes the final values, again if need be, for as long as that may take.
    async fn push_last(&mut self, metrics: &RunMetrics) -> Result<(), String> {
        let body = request(metrics).encode_to_vec();
        let mut last = Err(format!("no answer within {} s", LAST.as_secs()));
        let tries = async {
            for again in 0..LAST_TRIES {
                if again > 0 {
                    sleep(PAUSE).await;
                }
                last = self.once(body.clone()).await;
                if last.is_ok() {
                    break;
                }
            }
        };
        timeout(LAST, tries).await.ok();
        last
    }
}

impl Exporter for Otlp {
    fn export(self: Box<Self>, events: UnboundedReceiver<RunEvent>) -> LocalBoxFuture<'static, Vec<String>> {
        Box::pin(self.push(events))
    }
}

/// All metrics as they stand.
fn request(run: &RunMetrics) -> ExportMetricsServiceRequest {
    let span = ObservedTime { from: nanoseconds(run.info().started_at), to: nanoseconds(run.time()) };
    let metrics = TABLE.iter().filter_map(|family| metric(family, &family.samples(run), span)).collect();
    let scope = InstrumentationScope {
        name: "smtpress".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }];
    let resource = Some(Resource { attributes: resource(run), ..Resource::default() });
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, schema_url: String::new() }],
    }
}

/// The time that values are of, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy)]
struct ObservedTime {
    from: u64,
    to: u64,
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the resource: OpenTelemetry's names for the program, and the table's info on the run.
fn resource(metrics: &RunMetrics) -> Vec<KeyValue> {
    let mut attributes = vec![
        attribute("service.name", "smtpress"),
        attribute("service.version", env!("CARGO_PKG_VERSION")),
        attribute("service.instance.id", &metrics.info().run_id),
    ];
    for family in TABLE.iter().filter(|family| family.kind == MetricKind::Info) {
        for sample in family.samples(metrics) {
            let labels = family.labels.iter().zip(&sample.labels);
            attributes.extend(labels.map(|(name, value)| attribute(&format!("smtpress.{name}"), value)));
        }
    }
    attributes
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Any::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// Returns a family as a metric; `None` if it has no series, or is part of the resource.
fn metric(family: &MetricFamily, samples: &[MetricSample<'_>], span: ObservedTime) -> Option<Metric> {
    if samples.is_empty() {
        return None;
    }
    let temporality = AggregationTemporality::Cumulative.into();
    let numbers = || samples.iter().filter_map(|sample| number(family, sample, span)).collect();
    let data = match family.kind {
        MetricKind::Info => return None,
        MetricKind::Counter => Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        MetricKind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        MetricKind::Histogram => Data::ExponentialHistogram(ExponentialHistogram {
            data_points: samples.iter().filter_map(|sample| spread(family, sample, span)).collect(),
            aggregation_temporality: temporality,
        }),
    };
    let unit = match family.unit {
        Some(MetricUnit::Seconds) => "s",
        Some(MetricUnit::Bytes) => "By",
        // Not "1", which says a ratio.
        None => "",
    };
    Some(Metric {
        name: family.name.replacen('_', ".", 1),
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    })
}

fn attributes(family: &MetricFamily, sample: &MetricSample<'_>) -> Vec<KeyValue> {
    family.labels.iter().zip(&sample.labels).map(|(name, value)| attribute(name, value)).collect()
}

fn number(family: &MetricFamily, sample: &MetricSample<'_>, span: ObservedTime) -> Option<NumberDataPoint> {
    let value = match sample.value {
        SampleValue::Count(count) => Number::AsInt(i64::try_from(count).unwrap_or(i64::MAX)),
        SampleValue::Number(number) => Number::AsDouble(number),
        SampleValue::Spread(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(family, sample),
        start_time_unix_nano: span.from,
        time_unix_nano: span.to,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn spread(
    family: &MetricFamily,
    sample: &MetricSample<'_>,
    span: ObservedTime,
) -> Option<ExponentialHistogramDataPoint> {
    let SampleValue::Spread(hist) = sample.value else { return None };
    let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
    Some(ExponentialHistogramDataPoint {
        attributes: attributes(family, sample),
        start_time_unix_nano: span.from,
        time_unix_nano: span.to,
        count: hist.count(),
        sum: Some(buckets::sum(hist)),
        scale: buckets::SCALE,
        positive: Some(positive(hist)),
        min: Some(seconds(hist.min_ns())),
        max: Some(seconds(hist.max_ns())),
        ..ExponentialHistogramDataPoint::default()
    })
}

/// The buckets side by side. Those of OpenTelemetry are named by their lower bound, ours by their upper one.
fn positive(hist: &Hist) -> Buckets {
    let filled = buckets::exponential(hist);
    let (Some((first, _)), Some((last, _))) = (filled.first(), filled.last()) else {
        return Buckets::default();
    };
    let mut counts = vec![0; usize::try_from(last - first).unwrap_or(0) + 1];
    for (index, count) in &filled {
        if let Some(own) = usize::try_from(index - first).ok().and_then(|at| counts.get_mut(at)) {
            *own = *count;
        }
    }
    Buckets { offset: first - 1, bucket_counts: counts }
}

#[cfg(test)]
mod tests;
