//! The live page: the report of a run in progress, in a browser, with a button that stops the run.
//!
//! # Decisions
//! - The page is the report's page with what is known so far. It is rendered once a second for all viewers, and only while
//!   there are any. At the end it is the stored report.
//! - Each update is the whole state, so a slow viewer misses states and never has a queue.
//! - `guard` decides which requests may view and stop the run, `serve` answers them.

mod guard;
mod serve;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Exporter, RunEvent, RunInProgress};
use crate::report::RunResult;
use crate::report::html;
use crate::report::run_dir::PAGE;

pub use guard::AccessToken;
use guard::Guard;
use serve::{LivePage, Serving};

/// How long a viewer may take to read the end.
const LINGER: Duration = Duration::from_secs(2);

/// The user's way to stop the run from the page.
pub struct StopControl {
    /// Asks the run to stop: arrivals in flight may end.
    pub ask: Box<dyn Fn() + Send + Sync>,
    /// Whether it was asked to stop, by the page or by a signal.
    pub asked: Box<dyn Fn() -> bool + Send + Sync>,
}

/// The port of a live page: bound, not yet served.
#[derive(Debug)]
pub struct PageSocket {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<AccessToken>,
}

impl PageSocket {
    /// Returns a page on this port. With a `token` each request must carry it; without one the port must be on loopback.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(listener: TcpListener, token: Option<AccessToken>) -> io::Result<PageSocket> {
        listener.set_nonblocking(true)?;
        Ok(PageSocket { address: listener.local_addr()?, listener, token })
    }

    /// Returns its URL, with the token if there is one.
    pub fn url(&self) -> String {
        let token = self.token.as_ref().map(|token| format!("?token={}", token.told())).unwrap_or_default();
        format!("http://{}/{token}", self.address)
    }
}

/// A live page of a run.
pub struct Dashboard {
    /// Where it is.
    pub socket: PageSocket,
    /// The run, of which nothing is known yet.
    pub run: RunInProgress,
    /// How it is stopped.
    pub stop_control: StopControl,
    /// The run directory.
    pub files: PathBuf,
}

impl Exporter for Dashboard {
    fn export(
        self: Box<Self>,
        mut events: UnboundedReceiver<RunEvent>,
    ) -> LocalBoxFuture<'static, Vec<String>> {
        Box::pin(async move {
            let Dashboard { socket: PageSocket { listener, token, .. }, run, stop_control, files } = *self;
            let live_page = Arc::new(LivePage::new(run, Guard::new(token), stop_control, &files));
            let serving = match Serving::start(listener, live_page.clone()) {
                Ok(serving) => serving,
                Err(error) => return vec![format!("there was no live page: {error}")],
            };
            while let Some(what) = events.recv().await {
                match what {
                    RunEvent::Second(second) => live_page.second(&second),
                    RunEvent::Over(result) => {
                        live_page.over(report(&files, &result));
                        break;
                    }
                }
            }
            tokio::time::timeout(LINGER, serving.finish()).await.ok();
            Vec::new()
        })
    }
}

/// The report as it is stored; made from the result alone if it could not be stored.
fn report(files: &Path, result: &RunResult) -> String {
    std::fs::read_to_string(files.join(PAGE)).unwrap_or_else(|_| {
        let (profile, environment, timeline) = (None, None, None);
        html::write(html::PageInput { result, profile, environment, timeline, conditions: None, live: None })
    })
}
