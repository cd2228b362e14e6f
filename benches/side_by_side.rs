//! smtpress, `smtp-source` and the floor side by side against one `smtp-sink`: `cargo bench --bench side_by_side`, with
//! `-- --quick` for a look, `-- --handshakes` for TLS against `openssl s_time`, `-- --help` for what can be chosen. It needs Postfix's test programs (Debian: `postfix`).
//!
//! They run in turn, A B C A B C, so that what the machine does meanwhile meets all alike; ratios are taken within a round.
//! The tables go to standard output and, as Markdown, to `target/side_by_side.md`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench tells its figures")]

mod contest;
mod floor;

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use clap::{Parser, ValueEnum};

use contest::table::{self, Rounds};
use contest::{Contender, Event, Sink};
use floor::Mode;

/// Whose programs are missing, and how to get them.
const MISSING: &str = "not there: install Postfix (Debian: apt-get install postfix), with /usr/sbin in PATH";

/// smtpress, smtp-source and a raw epoll loop side by side against one smtp-sink.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds of each event
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Messages of a run; with one message a session a fifth, but one for each session at least
    #[arg(long, default_value_t = 50_000)]
    messages: u64,
    /// Sessions at once
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000])]
    sessions: Vec<u32>,
    /// Dialogues
    #[arg(long, value_delimiter = ',', default_values_t = Mode::value_variants().to_vec())]
    modes: Vec<Mode>,
    /// Two rounds of 10,000 messages over 10 and 100 sessions
    #[arg(long)]
    quick: bool,
    /// Only TLS handshakes, against openssl s_time
    #[arg(long)]
    handshakes: bool,
    /// Be the floor, against this address: one mode, one number of sessions, as many messages as said
    #[arg(long, hide = true)]
    floor: Option<SocketAddr>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse();
    if let Some(address) = args.floor {
        let sessions = usize::try_from(args.sessions[0])?;
        let (accepted, peak) = floor::run(address, args.modes[0], sessions, args.messages)?;
        println!("{accepted} {peak}");
        return Ok(());
    }
    if !args.bench {
        println!("nothing is measured by cargo test: cargo bench --bench side_by_side");
        return Ok(());
    }
    if args.quick {
        (args.rounds, args.messages, args.sessions) = (2, 10_000, vec![10, 100]);
    }
    if args.handshakes {
        let folder = tempfile::tempdir()?;
        return tell(&contest::handshakes::run(args.rounds, folder.path(), &machine())?, "handshakes.md");
    }
    for program in ["smtp-source", "smtp-sink"] {
        if !contest::is_installed(program) {
            return Err(format!("{program} is {MISSING}").into());
        }
    }
    let descriptors = contest::raise_descriptors()?;
    let most = args.sessions.iter().copied().max().unwrap_or(0);
    if u64::from(most) + 100 > descriptors {
        return Err(format!("{most} sessions need more than the {descriptors} descriptors allowed").into());
    }
    let folder = tempfile::tempdir()?;
    let sink = Sink::start()?;
    let mut all = Vec::new();
    for &mode in &args.modes {
        for &sessions in &args.sessions {
            let event = Event { mode, sessions, messages: messages(&args, mode, sessions) };
            all.push(contend(event, args.rounds, &sink, folder.path())?);
        }
    }
    tell(&table::markdown(&all, &machine()), "side_by_side.md")
}

/// Prints the tables, and writes them to a file of the target folder.
fn tell(text: &str, name: &str) -> Result<(), Box<dyn Error>> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("the target folder has no parent")?;
    let path = target.join(name);
    fs::write(&path, text)?;
    println!("{text}\nwritten to {}", path.display());
    Ok(())
}

fn messages(args: &Args, mode: Mode, sessions: u32) -> u64 {
    match mode {
        Mode::OneMessage => (args.messages / 5).max(u64::from(sessions)),
        _ => args.messages,
    }
}

/// One event, every contender once a round.
fn contend(event: Event, rounds: u32, sink: &Sink, folder: &Path) -> Result<Rounds, Box<dyn Error>> {
    let mut costs = Vec::new();
    for round in 1..=rounds {
        let mut turn = Vec::new();
        for contender in Contender::ALL {
            turn.push(contest::run(contender, event, sink.address, folder)?);
        }
        let each =
            turn.iter().map(|cost| format!("{:.1}", cost.cpu.as_secs_f64() * 1e6 / event.messages as f64));
        let each = each.collect::<Vec<_>>().join(" ");
        eprintln!("{}, {} sessions, round {round}: {each} us", table::name(event.mode), event.sessions);
        costs.push(turn.try_into().map_err(|_| "a round has three costs")?);
    }
    Ok(Rounds { event, costs })
}

/// The machine in a sentence.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (info, kernel) = (read("/proc/cpuinfo"), read("/proc/sys/kernel/osrelease"));
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    format!("{cores} cores ({model}), Linux {}.", kernel.trim())
}
