//! Metrics pushed to a receiver of OpenTelemetry: OTLP over HTTP, in protobuf, cumulative, with exponential histograms.
//!
//! # Decisions
//! - The metrics are those of the table in `metrics`. A name has a dot after its first word, and neither a unit nor `_total`.
//!   A receiver that forwards the metrics to Prometheus adds both, so that Prometheus gets the names that `prometheus`
//!   serves. The description of the run (`MetricKind::Info`) is sent as attributes of the resource, not as a metric.
//! - A push takes at most `ANSWER`, which is shorter than the interval between two pushes. A receiver that is slow or
//!   unreachable therefore neither delays the run nor lets a queue grow. All values are cumulative, so the next push contains
//!   the values of a lost push.
//! - After the end of the run the exporter takes at most `LAST`. A push in progress is cancelled in favour of the final push.
//! - Each push opens its own connection. Only `http` is supported; a collector on this machine can forward with TLS.

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
/// The maximum time of a push; a push that takes longer has failed.
const ANSWER: Duration = Duration::from_secs(3);
/// The maximum number of attempts to push the final values.
const LAST_TRIES: u32 = 3;
/// The maximum time for all of these attempts together.
const LAST: Duration = Duration::from_secs(2);
/// The pause between two of these attempts.
const PAUSE: Duration = Duration::from_millis(400);
/// How many bytes of an answer are read at most. A normal answer has a few bytes.
const LONGEST_ANSWER: usize = 64 * 1024;
/// The path for metrics in OTLP over HTTP, relative to the receiver's URL.
const PATH: &str = "v1/metrics";

/// A receiver: its URL, and the address to which it was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpReceiver {
    /// The whole URL, including the path.
    url: Uri,
    address: SocketAddr,
}

impl OtlpReceiver {
    /// Returns the receiver at `url`, such as `http://127.0.0.1:4318`. The default port is 4318. `/v1/metrics` is appended
    /// to the path, as OTLP requires. `resolve` returns the address of a host and port.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the URL.
    pub fn new(
        url: &str,
        resolve: impl Fn(&str, u16) -> io::Result<Option<SocketAddr>>,
    ) -> Result<OtlpReceiver, String> {
        // The error does not repeat a URL that may contain a password.
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

    /// Returns the address to which pushes connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one request; fails after `ANSWER`.
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
        // The task drives the connection during the exchange. Dropping the set aborts it when the exchange is cancelled.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| told(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        understood(status, &body.map(|body| body.to_bytes()).unwrap_or_default())
    }
}

/// Checks a receiver's answer. An error means that the receiver did not take all values (OTLP 1.9, "OTLP/HTTP response").
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
    /// Returns an exporter that pushes to `receiver`.
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
            if metrics.is_over() {
                break;
            }
            if !matches!(what, RunEvent::Second(_)) {
                continue;
            }
            seconds += 1;
            // Seconds that wait in the channel are counted first: one push covers them all.
            if seconds.is_multiple_of(EVERY) && events.is_empty() {
                let body = request(&metrics).encode_to_vec();
                tokio::select! {
                    _ = pushes.once(body) => {}
                    () = end(&mut events, &mut metrics, &mut seconds) => break,
                }
            }
        }
        // The channel closed without `RunEvent::Over`: the run failed, and there are no final values.
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

/// Receives events until the run is over.
async fn end(events: &mut UnboundedReceiver<RunEvent>, metrics: &mut RunMetrics, seconds: &mut u64) {
    while let Some(what) = events.recv().await {
        metrics.hear(&what);
        *seconds += u64::from(matches!(what, RunEvent::Second(_)));
        if metrics.is_over() {
            return;
        }
    }
}

/// Pushes to a receiver. Counts the pushes and those that failed.
struct Pushes<'a> {
    receiver: &'a OtlpReceiver,
    made: u32,
    failed: u32,
}

impl Pushes<'_> {
    async fn once(&mut self, body: Vec<u8>) -> Result<(), String> {
        // A push counts as failed until it succeeds, so that a cancelled push counts as failed.
        self.made += 1;
        self.failed += 1;
        let pushed = self.receiver.push(body).await;
        self.failed -= u32::from(pushed.is_ok());
        pushed
    }

    /// Pushes the final values; retries a failed push up to `LAST_TRIES` attempts and within `LAST`.
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

/// Returns the request with the current values of all metrics.
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

/// The period that cumulative values cover, in nanoseconds since the Unix epoch.
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
        // Not "1", which would mean a ratio.
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

/// Returns the buckets without gaps. OpenTelemetry's index stands for the lower bound of a bucket, the index of
/// `buckets::exponential` for the upper bound: hence `first - 1`.
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
