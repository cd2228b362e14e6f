//! `smtpress listen`: runs the embedded listener by itself.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::args::ListenArgs;
use super::overrides::set;
use super::prepare;
use super::screen::Screen;
use crate::command::CommandError;
use crate::command::signals::Requests;
use crate::generator::preflight;
use crate::load::Shard;
use crate::net::address::bind::Bind;
use crate::profile::Purpose;
use crate::profile::overrides::apply_in_order;
use crate::verdict::ExitCode;

/// The default address.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2525);

/// Listens until Ctrl-C or the end of its time, then writes the ledger as JSON to stdout.
pub fn listen(args: &ListenArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let mut document = prepare::read(args.profile.as_deref())?;
    apply_in_order(&mut document, set(&args.set)?)?;
    let prepared = prepare::finish(&document, Purpose::Listen, Shard::WHOLE, args.profile.as_deref())?;
    let length = args.length.as_deref().map(length).transpose()?;
    let place = args.bind.clone().or(prepared.compiled.listen).unwrap_or(Bind::Tcp(USUAL));
    let seed = args.seed.unwrap_or(prepared.compiled.plan.seed);
    // Raises the limit as far as allowed: the number of clients is unknown.
    preflight::raise_descriptors(0)?;
    let listener = crate::listener::start_at(&place, prepared.compiled.listener, seed, args.threads.max(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let interrupted = runtime.block_on(async {
        let mut requests = Requests::register()?;
        if let Some(certificate) = listener.certificate() {
            let fingerprint = crate::listener::certificate::fingerprint(certificate);
            screen.note(&format!(
                "smtpress: the listener's certificate has the SHA-256 fingerprint {fingerprint}"
            ));
        }
        // Printed only now: a reader of this line may send the signal at once.
        screen.note(&format!("smtpress: listening on {}; Ctrl-C ends it", listener.place()));
        std::io::Result::Ok(until_asked(&mut requests, length, std::future::pending()).await)
    })?;
    let (user, system) = listener.cpu();
    let ledger = listener.stop();
    if interrupted {
        screen.note("");
    }
    screen.note(&format!("smtpress: the listener used {user:.2} s of user and {system:.2} s of system CPU"));
    let ledger = serde_json::to_string_pretty(&ledger)
        .map_err(|error| CommandError::Failed(ExitCode::Fault, error.to_string()))?;
    writeln!(screen.out(), "{ledger}")?;
    Ok(ExitCode::Success)
}

/// Waits for the user's request to end, for the end of the time, or for `other`. Returns whether the user asked.
pub async fn until_asked(
    requests: &mut Requests,
    length: Option<Duration>,
    other: impl Future<Output = ()>,
) -> bool {
    let end = async {
        match length {
            Some(length) => tokio::time::sleep(length).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = requests.next() => true,
        () = end => false,
        () = other => false,
    }
}

/// Parses a length of time on the command line.
pub fn length(text: &str) -> Result<Duration, CommandError> {
    humantime::parse_duration(text).map_err(|error| {
        CommandError::usage(format!("{text:?} is no length of time ({error}): write 30s, 5m or 1h30m"))
    })
}
