//! The flags of a run that is told while it goes on, and the tellers that they ask for.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use clap::Args;
use rand::TryRng;
use rand::rngs::SysRng;

use super::exit::{FAULT, Failure, PREFLIGHT};
use super::prepare::Prepared;
use super::progress::Voice;
use super::signals::Signals;
use crate::collector::summary::PhaseInfo;
use crate::live::Teller;
use crate::live::dashboard::{Brake, Dashboard, Site, Token};
use crate::report::{Asked, Underway};

/// Who may look on, and where metrics go.
#[derive(Debug, Default, Args)]
pub struct LiveArgs {
    /// Serve the report live, as in 127.0.0.1:8025; port 0: any
    #[arg(long, value_name = "ADDR", env = "SMTPRESS_DASHBOARD")]
    pub dashboard: Option<SocketAddr>,
    /// Let other machines reach what is live, and see the run
    #[arg(long)]
    pub live_beyond_loopback: bool,
}

impl LiveArgs {
    /// A port for those who look on, bound; on loopback unless the user says otherwise.
    ///
    /// # Errors
    /// It is not loopback and was not allowed, or the kernel refuses it: then there is no load.
    pub fn bind(&self, flag: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
        self.allows(flag, address)?;
        TcpListener::bind(address).map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => "end what listens there, or name another port (0: any free one)",
                io::ErrorKind::PermissionDenied => "ports below 1024 need a right of their own: name another",
                _ => "name an address of this machine",
            };
            Failure::Told(PREFLIGHT, format!("cannot listen on {address} for {flag}: {error}; {remedy}"))
        })
    }

    /// Whether what is live may reach this address.
    ///
    /// # Errors
    /// It is not loopback and was not allowed.
    pub fn allows(&self, flag: &str, address: SocketAddr) -> Result<(), Failure> {
        if address.ip().to_canonical().is_loopback() || self.live_beyond_loopback {
            return Ok(());
        }
        Err(Failure::Told(
            PREFLIGHT,
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
    /// Its phases.
    pub infos: Vec<PhaseInfo>,
    /// The run directory.
    pub directory: &'a Path,
    /// How it is stopped.
    pub signals: &'a Signals,
    /// How the user is told where to look.
    pub voice: &'a Voice,
}

/// What was asked for: ports are bound, addresses are allowed.
#[derive(Debug)]
pub struct Places {
    dashboard: Option<Site>,
}

impl Places {
    /// Binds all that was asked for.
    ///
    /// # Errors
    /// A port that cannot be bound, an address that is not allowed; nothing was sent yet.
    pub fn bind(args: &LiveArgs) -> Result<Places, Failure> {
        let site = |address: SocketAddr| {
            let listener = args.bind("--dashboard", address)?;
            // On this machine alone nobody needs to know a secret.
            let local = address.ip().to_canonical().is_loopback();
            let token = if local { None } else { Some(token()?) };
            Ok::<_, Failure>(Site::new(listener, token)?)
        };
        Ok(Places { dashboard: args.dashboard.map(site).transpose()? })
    }

    /// Those who tell this run, and the user where.
    pub fn tellers(self, scene: &Scene<'_>) -> Vec<Box<dyn Teller>> {
        let mut tellers: Vec<Box<dyn Teller>> = Vec::new();
        if let Some(site) = self.dashboard {
            // Also where all else is silent: there is no other way to the page.
            scene.voice.say(&format!("smtpress: live page at {}", site.url()));
            tellers.push(Box::new(dashboard(site, scene)));
        }
        tellers
    }
}

fn dashboard(site: Site, scene: &Scene<'_>) -> Dashboard {
    let prepared = scene.prepared;
    let underway = Underway::new(Asked {
        plan: prepared.compiled.plan.clone(),
        infos: scene.infos.clone(),
        assertions: prepared.compiled.assertions.clone(),
        profile_path: prepared.path.clone(),
        profile_sha256: prepared.compiled.sha256.clone(),
        profile: prepared.compiled.resolved.clone(),
        started_at: prepared.started_at,
    });
    let (ask, asked) = scene.signals.brake();
    let brake = Brake { ask: Box::new(ask), asked: Box::new(asked) };
    Dashboard { site, underway, brake, files: scene.directory.to_owned() }
}

/// Drawn by the system's randomness: it is a secret, and no seed may tell it.
fn token() -> Result<Token, Failure> {
    let mut random = [0; 32];
    let drawn = SysRng.try_fill_bytes(&mut random);
    drawn.map_err(|error| {
        Failure::Told(FAULT, format!("failed to draw a token for the live page: {error}"))
    })?;
    Ok(Token::new(random))
}
