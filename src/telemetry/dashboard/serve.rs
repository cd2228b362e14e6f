//! What the live page's server answers: the page, its events, and the request to stop. Every amount is bounded: connections,
//! viewers, heads of requests, the time to send one; bodies are not read.

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
use crate::collector::snapshot::Interval;
use crate::event::EventRun;
use crate::telemetry::RunInProgress;

/// Connections at once; more wait until one ends.
const CONNECTIONS: usize = 64;
/// Of them, those that receive every second.
const VIEWERS: usize = 16;
/// The head of a request, in bytes, and the time that it may take.
const HEAD: usize = 16 * 1024;
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long to wait when a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(200);

/// What every viewer is sent.
#[derive(Clone, Debug)]
enum Broadcast {
    /// Nothing yet.
    Nothing,
    /// The state of a second, ready to be sent.
    State(Arc<str>),
    /// The report.
    Over(Arc<str>),
}

/// What is sent to a viewer.
#[derive(Serialize)]
struct Sent<'a> {
    /// The page, or all that changes of it.
    page: &'a str,
    /// Where the run's files are.
    files: &'a str,
}

/// The run as viewers see it.
pub struct LivePage {
    pages: Mutex<Pages>,
    told: watch::Sender<Broadcast>,
    seats: Arc<Semaphore>,
    guard: Guard,
    stop_control: StopControl,
    files: String,
}

/// The run so far, and the pages made of it.
struct Pages {
    run: RunInProgress,
    /// The whole page, and the time of the run that it was made at.
    page: Option<(Duration, Arc<str>)>,
    report: Option<Arc<str>>,
}

impl LivePage {
    /// Of a run that begins, whose files are in `files`.
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

    /// Takes what is known of the run's events; viewers see it with the next second.
    pub fn events(&self, events: &[EventRun]) {
        self.pages().run.set_events(events.to_vec());
    }

    /// The run is over, and this is its report.
    pub fn over(&self, report: String) {
        self.told.send_replace(Broadcast::Over(self.sent(&report)));
        self.pages().report = Some(report.into());
    }

    fn sent(&self, page: &str) -> Arc<str> {
        let sent = Sent { page, files: &self.files };
        serde_json::to_string(&sent).expect("texts have a JSON form").into()
    }

    /// The page as it is now, made at most once a second.
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
        // A panic while it was held has been printed; a page that is half wrong is better than none.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        matches!(*self.told.borrow(), Broadcast::Over(_))
    }
}

/// A server at work.
pub struct Serving {
    enough: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Starts to answer requests.
    ///
    /// # Errors
    /// The runtime does not take the listener.
    pub fn start(listener: TcpListener, live_page: Arc<LivePage>) -> io::Result<Serving> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (enough, end) = oneshot::channel();
        let task = tokio::spawn(serve(listener, routes(live_page), end));
        Ok(Serving { enough, task })
    }

    /// Accepts no more connections, and waits until the open ones have received the end.
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
            // Out of descriptors, most likely: the load has them.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD);
        let connection =
            http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes.clone()));
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            // A viewer may close its page at any time.
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

/// Refuses requests that are not admitted, and adds the security headers to every response.
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
        // What the page may do stands in the page; it adds up with this.
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
    let mut told = live_page.told.subscribe();
    // The page that asks is of this second, unless the run is over meanwhile.
    if !live_page.is_over() {
        told.mark_unchanged();
    } else {
        told.mark_changed();
    }
    Sse::new(stream::unfold(Some((told, seat)), next_event)).keep_alive(KeepAlive::default()).into_response()
}

/// A viewer: its updates, and its seat.
type Viewer = (watch::Receiver<Broadcast>, OwnedSemaphorePermit);

/// The next event for a viewer: the latest state, whatever came between. Nothing follows the end.
async fn next_event(viewer: Option<Viewer>) -> Option<(Result<Event, Infallible>, Option<Viewer>)> {
    let (mut told, seat) = viewer?;
    loop {
        told.changed().await.ok()?;
        let now = told.borrow_and_update().clone();
        // In a line of JSON nothing can end the line.
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
