//! `smtpress receive`: the receiver behind a relay as a process of its own.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::args::receive::ReceiveArgs;
use super::overrides::{list, set};
use super::screen::Screen;
use super::{prepare, serve};
use crate::command::CommandError;
use crate::command::signals::Requests;
use crate::delivery::clock::HopClock;
use crate::delivery::{LoggingReceiver, ReceivedInAll, ReceivedOfRun};
use crate::generator::preflight;
use crate::load::Shard;
use crate::profile::overrides::{OverrideOrigin, apply_in_order};
use crate::profile::{Override, Purpose};
use crate::report::format;
use crate::verdict::ExitCode;

/// The interval at which the state of the log is checked, and the number of intervals between two marks.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 10;
/// The largest number of runs that the summary names.
const NAMED: usize = 15;

/// Receives until Ctrl-C or the end of its time, then prints a summary of the received messages.
pub fn receive(args: &ReceiveArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let mut document = prepare::read(args.profile.as_deref())?;
    let mut changes = set(&args.set)?;
    if !args.receive.is_empty() {
        let addresses = list(&args.receive);
        changes.push(Override::for_key(OverrideOrigin::Flag, "--receive", "receive.address", &addresses));
    }
    apply_in_order(&mut document, changes)?;
    let prepared = prepare::finish(&document, Purpose::Receive, Shard::WHOLE, args.profile.as_deref())?;
    let length = args.length.as_deref().map(serve::length).transpose()?;
    let settings = prepared.compiled.receiver.expect("a profile for it has a receiver");
    let file = match (&args.deliveries, settings.logs.as_slice()) {
        (Some(file), _) => Some(file.clone()),
        (None, []) => None,
        (None, [file]) => Some(file.clone()),
        (None, _) => {
            return Err(CommandError::usage(
                "the profile names several delivery logs, and each is written by a receiver of its own: name one with --deliveries",
            ));
        }
    };
    preflight::raise_descriptors(0)?;
    let seed = args.seed.unwrap_or(prepared.compiled.plan.seed);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let receiver = LoggingReceiver::start(&settings, seed, file.as_deref(), host.trim(), HopClock::here())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(async {
        let mut requests = Requests::register()?;
        let places: Vec<String> = receiver.places().map(ToString::to_string).collect();
        // Printed only now: a reader of this line may send the signal at once.
        screen.note(&format!(
            "smtpress: receiving on {}{}; Ctrl-C ends it",
            places.join(", "),
            into(file.as_deref())
        ));
        std::io::Result::Ok(serve::until_asked(&mut requests, length, watch(&receiver)).await)
    })?;
    if asked {
        screen.note("");
    }
    let (received, log) = receiver.stop();
    write!(screen.out(), "{}", summary(&received))?;
    log.map(|()| ExitCode::Success).map_err(|(error, lost)| {
        let left = match lost {
            0 => String::new(),
            lost => format!("; {} that were answered are not in it", format::counted(lost, "message")),
        };
        let sentence = format!(
            "{error}; the receiver ended, because it answers nothing that it cannot log: what the log holds is right, and a \
             run that joins it is invalid{left}"
        );
        CommandError::Failed(ExitCode::Fault, sentence)
    })
}

fn into(file: Option<&Path>) -> String {
    match file {
        Some(file) => format!(", the delivery log is {}", file.display()),
        None => ", no delivery log is written (--deliveries FILE)".to_owned(),
    }
}

/// Writes a mark to the log each second. Ends when the log cannot be written.
async fn watch(receiver: &LoggingReceiver) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for look in 0_u32.. {
        looks.tick().await;
        if receiver.log_has_failed() {
            return;
        }
        if look.is_multiple_of(LOOKS) {
            receiver.mark();
        }
    }
}

/// Returns a summary of the received messages.
fn summary(received: &ReceivedInAll) -> String {
    let mut text = String::new();
    let mut line = |name: &str, of: &ReceivedOfRun| {
        text += &format!(
            "{}: {} for {}, {}\n",
            format::harmless(name),
            format::counted(of.copies, "message"),
            format::counted(of.recipients, "recipient"),
            format::counted(of.notifications, "notification")
        );
    };
    received.runs.iter().take(NAMED).for_each(|(run, of)| line(&format!("run {run}"), of));
    let mut others = received.others;
    let rest: Vec<&ReceivedOfRun> = received.runs.values().skip(NAMED).collect();
    for of in &rest {
        others.copies += of.copies;
        others.recipients += of.recipients;
        others.notifications += of.notifications;
    }
    if others.copies + others.notifications > 0 {
        line("other runs", &others);
    }
    if received.foreign > 0 {
        text += &format!("of no run: {}\n", format::counted(received.foreign, "message"));
    }
    if text.is_empty() { "nothing came out\n".to_owned() } else { text }
}
