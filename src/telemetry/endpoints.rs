//! The endpoints to which a run in progress is exported. Binds their ports, and checks that the addresses are allowed.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use thiserror::Error;

use super::dashboard::{AccessToken, Dashboard, PageSocket, StopControl};
use super::metrics::RunInfo;
use super::otlp::{Otlp, OtlpReceiver};
use super::prometheus::Prometheus;
use super::{Exporter, RunInProgress};
use crate::report::RunDescription;

/// How long the final metrics wait for a scrape by default.
const LINGER: Duration = Duration::from_secs(30);

/// The endpoints that the user asks for.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The port of the live page.
    pub dashboard: Option<SocketAddr>,
    /// The port that Prometheus scrapes.
    pub prometheus: Option<SocketAddr>,
    /// How long the final metrics wait for a scrape.
    pub linger: Option<Duration>,
    /// The URL of an OTLP receiver.
    pub otlp: Option<String>,
    /// Whether addresses beyond loopback are allowed.
    pub beyond_loopback: bool,
}

/// Why an endpoint cannot be used. The run has not started.
#[derive(Debug, Error)]
pub enum SetupError {
    /// A URL is wrong.
    #[error("{0}")]
    Usage(String),
    /// A port cannot be bound, or an address is not allowed.
    #[error("{0}")]
    NotAvailable(String),
    /// The system has no random bytes for the token.
    #[error("{0}")]
    System(String),
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The run that is exported.
pub struct ObservedRun<'a> {
    /// The description of the run.
    pub description: RunDescription,
    /// The run directory.
    pub directory: &'a Path,
    /// The way to stop the run.
    pub stop_control: StopControl,
    /// Prints a line for the user.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
}

/// The endpoints that the user asked for. Their ports are bound, and their addresses are allowed.
#[derive(Debug)]
pub struct Endpoints {
    dashboard: Option<PageSocket>,
    prometheus: Option<(TcpListener, Duration)>,
    otlp: Option<OtlpReceiver>,
}

impl Endpoints {
    /// Binds all endpoints of the settings.
    ///
    /// # Errors
    /// A port cannot be bound, or an address is not allowed.
    pub fn bind(settings: &Settings) -> Result<Endpoints, SetupError> {
        let socket = |address: SocketAddr| {
            let listener = settings.bind("--dashboard", address)?;
            // A page that only this machine can reach needs no token.
            let local = address.ip().to_canonical().is_loopback();
            let token = if local { None } else { Some(token()?) };
            Ok::<_, SetupError>(PageSocket::new(listener, token)?)
        };
        let scraped = |address: SocketAddr| {
            let listener = settings.bind("--prometheus", address)?;
            Ok::<_, SetupError>((listener, settings.linger.unwrap_or(LINGER)))
        };
        let receiver = |url: &str| {
            let resolve = |host: &str, port| Ok((host, port).to_socket_addrs()?.next());
            let receiver = OtlpReceiver::new(url, resolve)
                .map_err(|wrong| SetupError::Usage(format!("--otlp: {wrong}")))?;
            settings.allows("--otlp", receiver.address())?;
            Ok::<_, SetupError>(receiver)
        };
        Ok(Endpoints {
            dashboard: settings.dashboard.map(socket).transpose()?,
            prometheus: settings.prometheus.map(scraped).transpose()?,
            otlp: settings.otlp.as_deref().map(receiver).transpose()?,
        })
    }

    /// Returns the exporters of this run, and prints their URLs.
    ///
    /// # Errors
    /// A system call failed.
    pub fn exporters(self, run: ObservedRun<'_>) -> Result<Vec<Box<dyn Exporter>>, SetupError> {
        let ObservedRun { description, directory, stop_control, say } = run;
        let info = RunInfo::new(&description);
        let mut exporters: Vec<Box<dyn Exporter>> = Vec::new();
        if let Some(socket) = self.dashboard {
            // Printed even with --quiet, because there is no other way to learn the URL.
            say(&format!("smtpress: live page at {}", socket.url()));
            let run = RunInProgress::new(description);
            exporters.push(Box::new(Dashboard { socket, run, stop_control, files: directory.to_owned() }));
        }
        if let Some((listener, linger)) = self.prometheus {
            say(&format!("smtpress: metrics at http://{}/metrics", listener.local_addr()?));
            exporters.push(Box::new(Prometheus::new(listener, info.clone(), linger, say)?));
        }
        if let Some(receiver) = self.otlp {
            exporters.push(Box::new(Otlp::new(receiver, info)));
        }
        Ok(exporters)
    }
}

impl Settings {
    /// Binds a port. The port must be on loopback unless the user allows other addresses.
    ///
    /// # Errors
    /// The address is not loopback and was not allowed, or the kernel refuses to bind it.
    fn bind(&self, flag: &str, address: SocketAddr) -> Result<TcpListener, SetupError> {
        self.allows(flag, address)?;
        TcpListener::bind(address).map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => "end what listens there, or name another port (0: any free one)",
                io::ErrorKind::PermissionDenied => "ports below 1024 need a right of their own: name another",
                _ => "name an address of this machine",
            };
            SetupError::NotAvailable(format!("cannot listen on {address} for {flag}: {error}; {remedy}"))
        })
    }

    /// Checks that a run may be exported to this address.
    ///
    /// # Errors
    /// The address is not loopback and was not allowed.
    fn allows(&self, flag: &str, address: SocketAddr) -> Result<(), SetupError> {
        if address.ip().to_canonical().is_loopback() || self.beyond_loopback {
            return Ok(());
        }
        Err(SetupError::NotAvailable(format!(
            "{flag} {address} is not on this machine's loopback: others would see the run; if they may, say --live-beyond-loopback"
        )))
    }
}

/// Draws a token from the system's randomness. The token is a secret, which the seed of a run must not determine.
fn token() -> Result<AccessToken, SetupError> {
    let mut random = [0; 32];
    SysRng
        .try_fill_bytes(&mut random)
        .map_err(|error| SetupError::System(format!("failed to draw a token for the live page: {error}")))?;
    Ok(AccessToken::new(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(settings: &Settings, address: SocketAddr) -> String {
        match settings.bind("--prometheus", address) {
            Err(SetupError::NotAvailable(sentence)) => sentence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_bound_beyond_loopback_unless_allowed() {
        let settings = Settings::default();
        let said = refused(&settings, ([0, 0, 0, 0], 0).into());
        assert!(said.contains("0.0.0.0:0") && said.contains("--live-beyond-loopback"), "{said}");
        settings.allows("--prometheus", "[::ffff:127.0.0.1]:9464".parse().unwrap()).unwrap();
        settings.bind("--prometheus", ([127, 0, 0, 1], 0).into()).unwrap();
        let allowed = Settings { beyond_loopback: true, ..Settings::default() };
        allowed.allows("--prometheus", "[2001:db8::1]:9464".parse().unwrap()).unwrap();
    }

    #[test]
    fn a_port_in_use_is_reported_with_a_remedy() {
        let settings = Settings::default();
        let first = settings.bind("--prometheus", ([127, 0, 0, 1], 0).into()).unwrap();
        let said = refused(&settings, first.local_addr().unwrap());
        assert!(said.contains("--prometheus") && said.contains("another port"), "{said}");
    }
}
