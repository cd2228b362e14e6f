//! The server of the live page. It sends the page and its updates, and accepts the request to stop the run. Connections,
//! viewers, the size of a request's head and the time to send the head are limited. Bodies are not read.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinHandle;

use super::StopControl;
use super::guard::Guard;
use crate::collector::agents::AgentProgress;
use crate::collector::snapshot::Interval;
use crate::event::EventRun;
use crate::telemetry::RunInProgress;

/// The most connections at once. More connections wait until one ends.
const CONNECTIONS: usize = 64;
/// The most viewers: connections that receive an event for each second of the run.
const VIEWERS: usize = 16;
/// The size of the largest head of a request in bytes, and the longest time to send it.
const HEAD: usize = 16 * 1024;
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(200);

/// The latest event for all viewers.
#[derive(Clone, Debug)]
enum Broadcast {
    /// There is no event yet.
    Nothing,
    /// The state of a second, encoded.
    State(Arc<str>),
    /// The report, encoded.
    Over(Arc<str>),
}

/// The event that a viewer receives.
#[derive(Serialize)]
struct Sent<'a> {
    /// The whole page, or only the parts that change.
    page: &'a str,
    /// The folder of the run's files.
    files: &'a str,
}

/// The live page of a run.
pub struct LivePage {
    pages: Mutex<Pages>,
    told: watch::Sender<Broadcast>,
    seats: Arc<Semaphore>,
    guard: Guard,
    stop_control: StopControl,
    files: String,
}

/// The run so far, and the pages rendered from it.
struct Pages {
    run: RunInProgress,
    /// The whole page, and the time of the run at which it was rendered.
    page: Option<(Duration, Arc<str>)>,
    report: Option<Arc<str>>,
}

impl LivePage {
    /// Creates the page of a run that starts. `files` is the folder of its files.
    pub fn new(run: RunInProgress, guard: Guard, stop_control: StopControl, files: &Path) -> LivePage {
        LivePage {
            pages: Mutex::new(Pages { run, page: None, report: None }),
            told: watch::channel(Broadcast::Nothing).0,
            seats: Arc::new(Semaphore::new(VIEWERS)),
            guard,
            stop_control,
            files: files.display().to_string(),
        }
    }

    /// Adds a second, and sends the state to all viewers.
    pub fn second(&self, second: &Interval) {
        let mut pages = self.pages();
        pages.run.add(second);
        if (self.stop_control.asked)() {
            pages.run.stopping();
        }
        if self.told.receiver_count() > 0 {
            let page = pages.run.page(false);
            self.told.send_replace(Broadcast::State(self.sent(&page)));
        }
    }

    /// Sets the state of the run's events. Viewers see it with the next second.
    pub fn events(&self, events: &[EventRun]) {
        self.pages().run.set_events(events.to_vec());
    }

    /// Sets the state of the agents of a fleet. Viewers see it with the next second.
    pub fn agents(&self, agents: &[AgentProgress]) {
        self.pages().run.set_agents(agents);
    }

    /// Ends the page: sends the report to all viewers, and returns it to later requests.
    pub fn over(&self, report: String) {
        self.told.send_replace(Broadcast::Over(self.sent(&report)));
        self.pages().report = Some(report.into());
    }

    fn sent(&self, page: &str) -> Arc<str> {
        let sent = Sent { page, files: &self.files };
        serde_json::to_string(&sent).expect("texts have a JSON form").into()
    }

    /// Returns the current page, rendered at most once for each second of the run.
    fn page(&self) -> Arc<str> {
        let mut pages = self.pages();
        if let Some(report) = &pages.report {
            return report.clone();
        }
        let now = pages.run.took();
        match &pages.page {
            Some((at, page)) if *at == now => page.clone(),
            _ => {
                let page: Arc<str> = pages.run.page(true).into();
                pages.page = Some((now, page.clone()));
                page
            }
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // A panic while the lock was held has been printed. A page that may be partly wrong is better than no page.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        matches!(*self.told.borrow(), Broadcast::Over(_))
    }
}

/// A running server.
pub struct Serving {
    enough: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Starts to answer requests.
    ///
    /// # Errors
    /// The runtime refuses the listener.
    pub fn start(listener: TcpListener, live_page: Arc<LivePage>) -> io::Result<Serving> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (enough, end) = oneshot::channel();
        let task = tokio::spawn(serve(listener, routes(live_page), end));
        Ok(Serving { enough, task })
    }

    /// Accepts no more connections, and waits until the open ones have received the final event.
    pub async fn finish(self) {
        drop(self.enough);
        self.task.await.ok();
    }
}

async fn serve(listener: tokio::net::TcpListener, routes: Router, mut end: oneshot::Receiver<()>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let next = async {
            let room = connections.clone().acquire_owned().await;
            (listener.accept().await, room)
        };
        let (accepted, room) = tokio::select! {
            next = next => next,
            _ = &mut end => break,
        };
        let Ok((stream, _)) = accepted else {
            // Most likely there are no free descriptors, because the load uses them.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD);
        let connection =
            http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes.clone()));
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            // A viewer may close the page at any time.
            watched.await.ok();
            drop(room);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

fn routes(live_page: Arc<LivePage>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/events", get(events))
        .route("/stop", post(stop))
        .layer(middleware::from_fn_with_state(live_page.clone(), door))
        .with_state(live_page)
}

/// Returns the response to a request with the security headers. Requests that are not admitted are refused.
async fn door(State(live_page): State<Arc<LivePage>>, request: Request, next: Next) -> Response {
    let admitted = live_page.guard.admit(request.method(), request.uri().query(), request.headers());
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err((status, sentence)) => (status, format!("{sentence}\n")).into_response(),
    };
    let always = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // The page itself holds the rest of its policy, and a browser applies both.
        (CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in always {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn page(State(live_page): State<Arc<LivePage>>) -> Html<Body> {
    Html(Body::from(live_page.page().to_string()))
}

async fn events(State(live_page): State<Arc<LivePage>>) -> Response {
    let Ok(seat) = live_page.seats.clone().try_acquire_owned() else {
        let sentence = format!("{VIEWERS} viewers are connected already; close one of their pages.\n");
        return (StatusCode::SERVICE_UNAVAILABLE, sentence).into_response();
    };
    let told = viewed(&live_page.told);
    Sse::new(stream::unfold(Some((told, seat)), next_event)).keep_alive(KeepAlive::default()).into_response()
}

/// Returns the channel of a new viewer.
fn viewed(told: &watch::Sender<Broadcast>) -> watch::Receiver<Broadcast> {
    // The current state counts as seen, because the viewer's page already shows it, unless the run has ended since.
    let mut viewed = told.subscribe();
    if matches!(*told.borrow(), Broadcast::Over(_)) {
        viewed.mark_changed();
    }
    viewed
}

/// A viewer: the channel of its updates, and its permit.
type Viewer = (watch::Receiver<Broadcast>, OwnedSemaphorePermit);

/// Returns the next event for a viewer: the latest state. States that the viewer was too slow for are skipped. No event
/// follows the report.
async fn next_event(viewer: Option<Viewer>) -> Option<(Result<Event, Infallible>, Option<Viewer>)> {
    let (mut told, seat) = viewer?;
    loop {
        told.changed().await.ok()?;
        let now = told.borrow_and_update().clone();
        // The JSON is one line: a line end would end the event.
        match now {
            Broadcast::Nothing => {}
            Broadcast::State(state) => {
                return Some((Ok(Event::default().event("state").data(state)), Some((told, seat))));
            }
            Broadcast::Over(report) => return Some((Ok(Event::default().event("over").data(report)), None)),
        }
    }
}

async fn stop(State(live_page): State<Arc<LivePage>>) -> Response {
    if live_page.is_over() {
        return (StatusCode::CONFLICT, "The run is over.\n").into_response();
    }
    (live_page.stop_control.ask)();
    (StatusCode::ACCEPTED, [(CONTENT_TYPE, "text/plain; charset=utf-8")], "Stopping.\n").into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_viewer_that_comes_while_the_run_ends_gets_the_report() {
        let begin = Barrier::new(2);
        let mut missed = 0;
        let rounds = 20_000;
        let channels: Vec<_> = (0..rounds).map(|_| watch::channel(Broadcast::Nothing).0).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for told in &channels {
                    begin.wait();
                    told.send_replace(Broadcast::Over("report".into()));
                    begin.wait();
                }
            });
            for (round, told) in channels.iter().enumerate() {
                begin.wait();
                // The viewer comes a little earlier or later from round to round.
                (0..round % 64 * 8).for_each(|_| std::hint::spin_loop());
                let viewed = viewed(told);
                begin.wait();
                missed += u32::from(!viewed.has_changed().unwrap());
            }
        });
        assert_eq!(missed, 0, "viewers without the report, of {rounds}");
    }
}
