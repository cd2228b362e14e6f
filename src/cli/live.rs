//! The flags of a run that is told while it goes on, and the exporters that they ask for.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use rand::TryRng;
use rand::rngs::SysRng;

use super::prepare::Prepared;
use super::run;
use crate::command::CommandError;
use crate::command::Messages;
use crate::command::signals::Signals;
use crate::report::Underway;
use crate::telemetry::Exporter;
use crate::telemetry::dashboard::{Brake, Dashboard, Site, Token};
use crate::telemetry::metrics::RunInfo;
use crate::telemetry::otlp::{Otlp, Receiver};
use crate::telemetry::prometheus::Prometheus;
use crate::verdict::ExitCode;

/// How long the final metrics wait for a scrape if nothing else is asked.
const LINGER: Duration = Duration::from_secs(30);

/// Who may look on, and where metrics go.
#[derive(Debug, Default, Args)]
pub struct LiveArgs {
    /// Serve the report live, as in 127.0.0.1:8025; port 0: any
    #[arg(long, value_name = "ADDR", env = "SMTPRESS_DASHBOARD")]
    pub dashboard: Option<SocketAddr>,
    /// Serve metrics to Prometheus, and --linger 30s at the end
    #[arg(long, value_name = "ADDR", env = "SMTPRESS_PROMETHEUS")]
    pub prometheus: Option<SocketAddr>,
    /// How long the final metrics wait for a scrape [30s]
    #[arg(
        long,
        hide = true,
        value_name = "TIME",
        env = "SMTPRESS_LINGER",
        value_parser = humantime::parse_duration
    )]
    pub linger: Option<Duration>,
    /// Push metrics by OTLP (HTTP), as in http://127.0.0.1:4318
    #[arg(long, value_name = "URL", env = "SMTPRESS_OTLP")]
    pub otlp: Option<String>,
    /// Let other machines reach what is live, and see the run
    #[arg(long)]
    pub live_beyond_loopback: bool,
}

impl LiveArgs {
    /// A port for those who look on, bound; on loopback unless the user says otherwise.
    ///
    /// # Errors
    /// It is not loopback and was not allowed, or the kernel refuses it: then there is no load.
    pub fn bind(&self, flag: &str, address: SocketAddr) -> Result<TcpListener, CommandError> {
        self.allows(flag, address)?;
        TcpListener::bind(address).map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => "end what listens there, or name another port (0: any free one)",
                io::ErrorKind::PermissionDenied => "ports below 1024 need a right of their own: name another",
                _ => "name an address of this machine",
            };
            CommandError::Failed(
                ExitCode::Preflight,
                format!("cannot listen on {address} for {flag}: {error}; {remedy}"),
            )
        })
    }

    /// Whether what is live may reach this address.
    ///
    /// # Errors
    /// It is not loopback and was not allowed.
    pub fn allows(&self, flag: &str, address: SocketAddr) -> Result<(), CommandError> {
        if address.ip().to_canonical().is_loopback() || self.live_beyond_loopback {
            return Ok(());
        }
        Err(CommandError::Failed(
            ExitCode::Preflight,
            format!(
                "{flag} {address} is not on this machine's loopback: others would see the run; if they may, say --live-beyond-loopback"
            ),
        ))
    }
}

/// The run that is to be told.
pub struct Scene<'a> {
    /// What is asked.
    pub prepared: &'a Prepared,
    /// The run directory.
    pub directory: &'a Path,
    /// How it is stopped.
    pub signals: &'a Signals,
    /// How the user is told where to look.
    pub voice: &'a Messages,
}

/// What was asked for: ports are bound, addresses are allowed.
#[derive(Debug)]
pub struct Places {
    dashboard: Option<Site>,
    prometheus: Option<(TcpListener, Duration)>,
    otlp: Option<Receiver>,
}

impl Places {
    /// Binds all that was asked for.
    ///
    /// # Errors
    /// A port that cannot be bound, an address that is not allowed; nothing was sent yet.
    pub fn bind(args: &LiveArgs) -> Result<Places, CommandError> {
        let site = |address: SocketAddr| {
            let listener = args.bind("--dashboard", address)?;
            // On this machine alone nobody needs to know a secret.
            let local = address.ip().to_canonical().is_loopback();
            let token = if local { None } else { Some(token()?) };
            Ok::<_, CommandError>(Site::new(listener, token)?)
        };
        let scraped = |address: SocketAddr| {
            Ok::<_, CommandError>((args.bind("--prometheus", address)?, args.linger.unwrap_or(LINGER)))
        };
        let receiver = |url: &str| {
            let resolve = |host: &str, port| Ok((host, port).to_socket_addrs()?.next());
            let receiver = Receiver::new(url, resolve)
                .map_err(|wrong| CommandError::usage(format!("--otlp: {wrong}")))?;
            args.allows("--otlp", receiver.address())?;
            Ok::<_, CommandError>(receiver)
        };
        Ok(Places {
            dashboard: args.dashboard.map(site).transpose()?,
            prometheus: args.prometheus.map(scraped).transpose()?,
            otlp: args.otlp.as_deref().map(receiver).transpose()?,
        })
    }

    /// Those who tell this run, and the user where.
    ///
    /// # Errors
    /// The kernel has a port no more.
    pub fn exporters(self, scene: &Scene<'_>) -> Result<Vec<Box<dyn Exporter>>, CommandError> {
        let mut exporters: Vec<Box<dyn Exporter>> = Vec::new();
        if let Some(site) = self.dashboard {
            // Also where all else is silent: there is no other way to the page.
            scene.voice.say(&format!("smtpress: live page at {}", site.url()));
            exporters.push(Box::new(dashboard(site, scene)));
        }
        if let Some((listener, linger)) = self.prometheus {
            scene.voice.say(&format!("smtpress: metrics at http://{}/metrics", listener.local_addr()?));
            let voice = scene.voice.clone();
            let say = Box::new(move |line: &str| voice.say(line));
            exporters.push(Box::new(Prometheus::new(listener, info(scene.prepared), linger, say)?));
        }
        if let Some(receiver) = self.otlp {
            exporters.push(Box::new(Otlp::new(receiver, info(scene.prepared))));
        }
        Ok(exporters)
    }
}

/// What is known of the run before it begins.
fn info(prepared: &Prepared) -> RunInfo {
    let plan = &prepared.compiled.plan;
    RunInfo {
        run_id: plan.run_id.clone(),
        profile: plan.name.clone(),
        seed: plan.seed,
        phases: plan.phases.iter().map(|phase| phase.name.clone()).collect(),
        started_at: prepared.started_at,
    }
}

fn dashboard(site: Site, scene: &Scene<'_>) -> Dashboard {
    let prepared = scene.prepared;
    let underway = Underway::new(run::asked(prepared));
    let (ask, asked) = scene.signals.brake();
    let brake = Brake { ask: Box::new(ask), asked: Box::new(asked) };
    Dashboard { site, underway, brake, files: scene.directory.to_owned() }
}

/// Drawn by the system's randomness: it is a secret, and no seed may tell it.
fn token() -> Result<Token, CommandError> {
    let mut random = [0; 32];
    let drawn = SysRng.try_fill_bytes(&mut random);
    drawn.map_err(|error| {
        CommandError::Failed(ExitCode::Fault, format!("failed to draw a token for the live page: {error}"))
    })?;
    Ok(Token::new(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(args: &LiveArgs, address: SocketAddr) -> String {
        match args.bind("--prometheus", address) {
            Err(CommandError::Failed(ExitCode::Preflight, sentence)) => sentence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_bound_beyond_loopback_unless_told() {
        let args = LiveArgs::default();
        let said = refused(&args, ([0, 0, 0, 0], 0).into());
        assert!(said.contains("0.0.0.0:0") && said.contains("--live-beyond-loopback"), "{said}");
        args.allows("--prometheus", "[::ffff:127.0.0.1]:9464".parse().unwrap()).unwrap();
        args.bind("--prometheus", ([127, 0, 0, 1], 0).into()).unwrap();
        let told = LiveArgs { live_beyond_loopback: true, ..LiveArgs::default() };
        told.allows("--prometheus", "[2001:db8::1]:9464".parse().unwrap()).unwrap();
    }

    #[test]
    fn a_port_in_use_is_told_with_a_remedy() {
        let args = LiveArgs::default();
        let first = args.bind("--prometheus", ([127, 0, 0, 1], 0).into()).unwrap();
        let said = refused(&args, first.local_addr().unwrap());
        assert!(said.contains("--prometheus") && said.contains("another port"), "{said}");
    }
}
