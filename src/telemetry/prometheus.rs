//! Serves metrics for Prometheus: `/metrics` during the run, and after it until the final values were scraped.
//!
//! # Decisions
//! - `prometheus-client` writes OpenMetrics, because it accepts complete distributions (`encode_histogram`): the
//!   collector has HDR counts, not observations. `classic` writes Prometheus' classic text, which that library lacks,
//!   and `protobuf` writes Prometheus' messages.
//! - A request without `Accept` gets classic text; `exposition` decides what `Accept` prefers.
//! - On loopback a request must name loopback (see `hosts`), so that no page in a browser of this machine can read the
//!   metrics.
//! - The values are those of the last whole second. They are rendered for each request, on the exporters' thread.
//! - After the run the exporter waits, for a limited time, for a scrape that starts after the end: only this scrape reads
//!   the final values. For a run that is shorter than the scrape interval, it is also the first scrape.

mod classic;
mod exposition;
mod protobuf;

use std::fmt;
use std::io;
use std::net::{self, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::LocalBoxFuture;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::hosts::is_loopback;
use super::metrics::{
    self, MetricFamily, MetricKind, MetricSample, RunInfo, RunMetrics, SampleValue, TABLE, buckets,
};
use super::{Exporter, RunEvent};
use exposition::ExpositionFormat;

/// How long answers in progress may take after the wait for a scrape.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// Serves the metrics of a run.
pub struct Prometheus {
    listener: net::TcpListener,
    linger: Duration,
    say: Arc<dyn Fn(&str) + Send + Sync>,
    shared: Arc<ScrapeState>,
}

/// The state that the server and the exporter share. Both are on one thread.
struct ScrapeState {
    metrics: Arc<Mutex<RunMetrics>>,
    registry: Registry,
    scraped: Mutex<Scraped>,
    seen: Notify,
    /// Whether the port is on loopback, so that a request must name loopback.
    local: bool,
}

/// The scrapes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scraped {
    #[default]
    Never,
    Before,
    Final,
}

impl Prometheus {
    /// Creates an exporter on a bound port. After the run it waits `linger` for a scrape of the final values. `say`
    /// prints its messages.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn new(
        listener: net::TcpListener,
        info: RunInfo,
        linger: Duration,
        say: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> io::Result<Prometheus> {
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?.ip().to_canonical().is_loopback();
        let metrics = Arc::new(Mutex::new(RunMetrics::new(info)));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape(metrics.clone())));
        let scraped = Mutex::new(Scraped::default());
        let shared = ScrapeState { metrics, registry, scraped, seen: Notify::new(), local };
        Ok(Prometheus { listener, linger, say, shared: Arc::new(shared) })
    }

    async fn serve(self, mut events: UnboundedReceiver<RunEvent>) -> io::Result<Vec<String>> {
        let Prometheus { listener, linger, say, shared } = self;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let app = axum::Router::new().route("/metrics", get(answer)).with_state(shared.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
        let server = tokio::spawn(server.into_future());
        let over = loop {
            match events.recv().await {
                Some(what) => locked(&shared.metrics).hear(&what),
                None => break false,
            }
            // No event follows, and the sender keeps the channel open until this task ends.
            if locked(&shared.metrics).is_over() {
                break true;
            }
        };
        let remark = if over { wait(&shared, address, linger, &*say).await } else { None };
        drop(stop);
        // A client that does not read its answer must not delay the run.
        timeout(LAST_ANSWER, server).await.ok();
        Ok(remark.into_iter().collect())
    }
}

impl Exporter for Prometheus {
    fn export(self: Box<Self>, events: UnboundedReceiver<RunEvent>) -> LocalBoxFuture<'static, Vec<String>> {
        Box::pin(async move {
            let failed = |error| vec![format!("the metrics could not be served: {error}")];
            self.serve(events).await.unwrap_or_else(failed)
        })
    }
}

/// Waits until a scrape has read the final values.
async fn wait(
    shared: &ScrapeState,
    address: SocketAddr,
    linger: Duration,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Option<String> {
    let scraped = || *locked(&shared.scraped);
    let place = format!("http://{address}/metrics");
    let waits = humantime::format_duration(linger);
    if scraped() != Scraped::Final && !linger.is_zero() {
        say(&format!(
            "smtpress: the final metrics wait up to {waits} for a scrape of {place}; Ctrl-C ends the wait"
        ));
        timeout(linger, shared.seen.notified()).await.ok();
    }
    match scraped() {
        Scraped::Never => Some(format!("no scrape of {place}: its metrics were not read")),
        Scraped::Before if !linger.is_zero() => Some(format!(
            "no scrape read the final metrics at {place} within {waits}; for a longer scrape interval give a longer --linger"
        )),
        Scraped::Before | Scraped::Final => None,
    }
}

/// Locks a mutex. The lock is never contended: all its users are on one thread, and no user waits while holding it.
fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(shared): State<Arc<ScrapeState>>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if shared.local && !is_loopback(host) {
        return (StatusCode::MISDIRECTED_REQUEST, "There is nothing of that name here; ask for localhost.\n")
            .into_response();
    }
    let accept: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let final_values = locked(&shared.metrics).is_over();
    let form = ExpositionFormat::liked(&accept.join(","));
    let written = match form {
        ExpositionFormat::Classic => Ok(classic::write(&locked(&shared.metrics)).into_bytes()),
        ExpositionFormat::OpenMetrics => {
            let mut body = String::new();
            text::encode(&mut body, &shared.registry).map(|()| body.into_bytes()).map_err(|e| e.to_string())
        }
        ExpositionFormat::Protobuf => Ok(protobuf::write(&locked(&shared.metrics))),
    };
    match written {
        Ok(body) => {
            *locked(&shared.scraped) = if final_values { Scraped::Final } else { Scraped::Before };
            if final_values {
                shared.seen.notify_one();
            }
            ([(header::CONTENT_TYPE, form.content_type()), (header::VARY, "Accept")], body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

/// Encodes the current values of the table.
struct Scrape(Arc<Mutex<RunMetrics>>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = locked(&self.0);
        for family in TABLE {
            let samples = family.samples(&metrics);
            if !samples.is_empty() {
                write(family, &samples, &mut encoder)?;
            }
        }
        Ok(())
    }
}

fn write(
    family: &MetricFamily,
    samples: &[MetricSample<'_>],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let unit = family.unit.map(|unit| match unit {
        metrics::MetricUnit::Seconds => Unit::Seconds,
        metrics::MetricUnit::Bytes => Unit::Bytes,
    });
    let kind = match family.kind {
        MetricKind::Counter => MetricType::Counter,
        MetricKind::Gauge => MetricType::Gauge,
        MetricKind::Histogram => MetricType::Histogram,
        MetricKind::Info => MetricType::Info,
    };
    let mut all = encoder.encode_descriptor(family.name, family.help, unit.as_ref(), kind)?;
    for sample in samples {
        let labels: Vec<(&str, &str)> =
            family.labels.iter().copied().zip(sample.labels.iter().map(|value| &**value)).collect();
        match (family.kind, sample.value) {
            (MetricKind::Info, _) => all.encode_info(&labels)?,
            // A series without labels has no braces.
            (MetricKind::Counter, SampleValue::Number(number)) if labels.is_empty() => {
                all.encode_counter::<NoLabelSet, _, u64>(&number, None)?;
            }
            (MetricKind::Gauge, SampleValue::Count(count)) if labels.is_empty() => {
                all.encode_gauge(&count)?
            }
            (MetricKind::Gauge, SampleValue::Number(number)) if labels.is_empty() => {
                all.encode_gauge(&number)?
            }
            (MetricKind::Counter, SampleValue::Count(count)) => {
                all.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
            (MetricKind::Counter, SampleValue::Number(number)) => {
                all.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&number, None)?;
            }
            (_, SampleValue::Count(count)) => all.encode_family(&labels)?.encode_gauge(&count)?,
            (_, SampleValue::Number(number)) => all.encode_family(&labels)?.encode_gauge(&number)?,
            (_, SampleValue::Spread(hist)) => spread(hist, &mut all.encode_family(&labels)?)?,
        }
    }
    Ok(())
}

fn spread(hist: &crate::collector::histogram::Hist, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
    let bounds = buckets::BOUNDS.into_iter().chain([f64::INFINITY]);
    let classic: Vec<(f64, u64)> = bounds.zip(buckets::classic(hist)).collect();
    encoder.encode_histogram::<NoLabelSet>(buckets::sum(hist), hist.count(), &classic, None)
}

#[cfg(test)]
mod tests;
