//! The flags of a run that is told while it goes on, and the tellers that they ask for.
//!
//! # Decisions
//! - One rule for all of them: nothing of a run leaves this machine unless the user says so, with one flag.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use clap::Args;

use super::exit::{Failure, PREFLIGHT};
use super::prepare::Prepared;
use super::progress::Voice;
use crate::live::Teller;
use crate::live::metrics::About;
use crate::live::prometheus::Prometheus;

/// How long the final metrics wait for a scrape if nothing else is asked.
const LINGER: Duration = Duration::from_secs(30);

/// Who may look on, and where metrics go.
#[derive(Debug, Default, Args)]
pub struct LiveArgs {
    /// Serve metrics for Prometheus at http://ADDR/metrics
    #[arg(long, value_name = "ADDR", env = "SMTPRESS_PROMETHEUS")]
    pub prometheus: Option<SocketAddr>,
    /// How long the final metrics wait for a scrape [30s]
    #[arg(long, value_name = "TIME", env = "SMTPRESS_LINGER", value_parser = humantime::parse_duration)]
    pub linger: Option<Duration>,
    /// Let what is live reach beyond this machine; whoever reaches it sees the run
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

/// What was asked for, ready to tell: ports are bound, addresses are allowed.
///
/// # Errors
/// A port that cannot be bound, an address that is not allowed.
pub fn tellers(args: &LiveArgs, prepared: &Prepared, voice: &Voice) -> Result<Vec<Box<dyn Teller>>, Failure> {
    let mut tellers: Vec<Box<dyn Teller>> = Vec::new();
    if let Some(address) = args.prometheus {
        let listener = args.bind("--prometheus", address)?;
        voice.say(&format!("smtpress: metrics at http://{}/metrics", listener.local_addr()?));
        let linger = args.linger.unwrap_or(LINGER);
        let say = voice.clone();
        let say = Box::new(move |line: &str| say.say(line));
        tellers.push(Box::new(Prometheus::new(listener, about(prepared), linger, say)?));
    }
    Ok(tellers)
}

/// What is known of the run before it begins.
fn about(prepared: &Prepared) -> About {
    let plan = &prepared.compiled.plan;
    About {
        run_id: plan.run_id.clone(),
        profile: plan.name.clone(),
        seed: plan.seed,
        phases: plan.phases.iter().map(|phase| phase.name.clone()).collect(),
        started_at: prepared.started_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(args: &LiveArgs, address: SocketAddr) -> String {
        match args.bind("--prometheus", address) {
            Err(Failure::Told(PREFLIGHT, sentence)) => sentence,
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
