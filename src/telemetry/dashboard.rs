//! The live page: the report of a run in progress, in a browser, with a button that stops the run.
//!
//! # Decisions
//! - The page is the page of the report, with the values so far. It is rendered once a second for all viewers together, and
//!   only while there is a viewer. At the end the stored report replaces it.
//! - Each update contains the complete state. A slow viewer skips updates, and no queue grows for it.
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

/// The maximum time for viewers to fetch the final page after the end of the run.
const LINGER: Duration = Duration::from_secs(2);

/// The way to stop the run from the page.
pub struct StopControl {
    /// Asks the run to stop: no more arrivals start, and those in flight may end.
    pub ask: Box<dyn Fn() + Send + Sync>,
    /// Whether the run was asked to stop, by the page or by a signal.
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
    /// Creates a page on this port. With a `token` each request must carry it; without one the port must be on
    /// loopback.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn new(listener: TcpListener, token: Option<AccessToken>) -> io::Result<PageSocket> {
        listener.set_nonblocking(true)?;
        Ok(PageSocket { address: listener.local_addr()?, listener, token })
    }

    /// Returns the URL of the page, with the token if there is one.
    pub fn url(&self) -> String {
        let token = self.token.as_ref().map(|token| format!("?token={}", token.told())).unwrap_or_default();
        format!("http://{}/{token}", self.address)
    }
}

/// A live page of a run.
pub struct Dashboard {
    /// The port that serves the page.
    pub socket: PageSocket,
    /// The state of the run, without any seconds yet.
    pub run: RunInProgress,
    /// The user's way to stop the run.
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
                    RunEvent::Agents(agents) => live_page.agents(&agents),
                    RunEvent::Commands(events) => live_page.events(&events),
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

/// Returns the stored report. If it is missing, the report is rendered from the result alone.
fn report(files: &Path, result: &RunResult) -> String {
    std::fs::read_to_string(files.join(PAGE)).unwrap_or_else(|_| {
        let (profile, environment, timeline) = (None, None, None);
        html::write(html::PageInput { result, profile, environment, timeline, conditions: None, live: None })
    })
}
