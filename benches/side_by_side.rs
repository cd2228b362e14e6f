//! smtpress, `smtp-source` and the floor side by side against one listener: `cargo bench --bench side_by_side`, with
//! `-- --quick` for a quick run, `-- --help` for what can be chosen. It needs Postfix's test programs (Debian: `postfix`).
//!
//! They run in turn, A B C A B C, so that what the machine does meanwhile meets all alike; ratios are taken within a round.
//! `-- --two-workers` runs one generator thread and two instead, against a listener that is not the bottleneck, and
//! `-- --soak 30` thirty minutes of load, to see whether memory grows.
//! The tables go to standard output and, as Markdown, to `target/side_by_side.md`, `two_workers.md` or `soak.md`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench tells its figures")]

mod contest;
mod floor;

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use contest::listeners::{self, Frugal, Sink};
use contest::table::{self, Rounds};
use contest::{Contender, Cost, Event, soak, workers};
use floor::{Mode, Task, sink};

/// Whose programs are missing, and how to get them.
const MISSING: &str = "not there: install Postfix (Debian: apt-get install postfix), with /usr/sbin in PATH";
/// Messages that each session carries at least, or the opening of many sessions would be most of what is measured.
const LEAST_EACH: u64 = 10;
/// From so many sessions on the frugal listener takes the messages, unless one is named: the CPU that `smtp-sink` takes for
/// a message grows with the sessions it has open.
const FRUGAL_FROM: u32 = 2_000;
/// The sessions of a run with two workers, if none are named.
const OF_TWO_WORKERS: u32 = 100;

/// Who takes the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Listener {
    /// smtp-sink up to 1999 sessions, the frugal one from 2000 on
    Auto,
    /// Postfix's smtp-sink
    SmtpSink,
    /// A raw epoll loop of one thread that takes everything
    Frugal,
}

/// smtpress, smtp-source and a raw epoll loop side by side against one listener.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds of each event
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Messages of a run, but ten for each session at least; with one message a session a fifth, but one for each
    #[arg(long, default_value_t = 50_000)]
    messages: u64,
    /// Sessions at once [10,100,1000,10000; with --two-workers 100]
    #[arg(long, value_delimiter = ',')]
    sessions: Vec<u32>,
    /// Dialogues
    #[arg(long, value_delimiter = ',', default_values_t = Mode::value_variants().to_vec())]
    modes: Vec<Mode>,
    /// Who takes the messages
    #[arg(long, value_enum, default_value_t = Listener::Auto)]
    listener: Listener,
    /// The smtpress to measure, instead of the one that was built with this bench
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Two rounds of 10,000 messages over 10 and 100 sessions
    #[arg(long)]
    quick: bool,
    /// Only TLS handshakes, against openssl s_time
    #[arg(long)]
    handshakes: bool,
    /// Begin with the sessions there are, instead of opening all of them first
    #[arg(long)]
    no_gate: bool,
    /// One generator thread and two, against a listener that is not the bottleneck
    #[arg(long)]
    two_workers: bool,
    /// 2,000 messages a second for so many minutes: does memory grow (M26)?
    #[arg(long, value_name = "MINUTES")]
    soak: Option<f64>,
    /// Be the floor, against this address: one mode, one number of sessions, as many messages as said
    #[arg(long, hide = true)]
    floor: Option<SocketAddr>,
    /// Be the frugal listener, with so many threads, until ended
    #[arg(long, hide = true)]
    sink: Option<usize>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse();
    if let Some(address) = args.floor {
        let sessions = usize::try_from(args.sessions[0])?;
        let (mode, messages, gate) = (args.modes[0], args.messages, !args.no_gate);
        let done = floor::run(Task { address, mode, sessions, messages, gate })?;
        println!("{} {} {}", done.accepted, done.peak, done.window.as_micros());
        return Ok(());
    }
    if let Some(threads) = args.sink {
        let (address, serving) = sink::start(threads.max(1))?;
        println!("{address}");
        for thread in serving {
            thread.join().map_err(|_| "a thread of the frugal listener panicked")??;
        }
        return Ok(());
    }
    if !args.bench {
        println!("nothing is measured by cargo test: cargo bench --bench side_by_side");
        return Ok(());
    }
    if let Some(program) = args.program.take() {
        contest::PROGRAM.get_or_init(|| program);
    }
    if args.quick {
        (args.rounds, args.messages) = (2, 10_000);
    }
    if args.handshakes {
        let folder = tempfile::tempdir()?;
        return tell(&contest::handshakes::run(args.rounds, folder.path(), &machine())?, "handshakes.md");
    }
    if args.sessions.is_empty() {
        args.sessions = match (args.two_workers, args.quick) {
            (true, _) => vec![OF_TWO_WORKERS],
            (false, true) => vec![10, 100],
            (false, false) => vec![10, 100, 1_000, 10_000],
        };
    }
    let descriptors = contest::raise_descriptors()?;
    let most = args.sessions.iter().copied().max().unwrap_or(0);
    if u64::from(most) + 100 > descriptors {
        return Err(format!("{most} sessions need more than the {descriptors} descriptors allowed").into());
    }
    let (text, file, well) = if let Some(minutes) = args.soak {
        let folder = tempfile::tempdir()?;
        let (text, well) = soak::soak(Duration::try_from_secs_f64(minutes * 60.0)?, folder.path())?;
        (format!("{text}\n{}\n", machine()), "soak.md", well)
    } else if args.two_workers {
        (two_workers(&args)?, "two_workers.md", true)
    } else {
        (side_by_side(&args)?, "side_by_side.md", true)
    };
    tell(&text, file)?;
    if well { Ok(()) } else { Err("memory grew".into()) }
}

/// Prints the tables, and writes them to a file of the target folder.
fn tell(text: &str, name: &str) -> Result<(), Box<dyn Error>> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("the target folder has no parent")?;
    let path = target.join(name);
    fs::write(&path, text)?;
    println!("{text}\nwritten to {}", path.display());
    Ok(())
}

/// All that was chosen, in the order of dialogues and sessions.
fn events(args: &Args) -> Vec<Event> {
    let of = |mode, sessions| Event {
        mode,
        sessions,
        messages: match mode {
            Mode::OneMessage => (args.messages / 5).max(u64::from(sessions)),
            _ => args.messages.max(LEAST_EACH * u64::from(sessions)),
        },
        // Sessions that come and go are never all there.
        gate: !args.no_gate && mode != Mode::OneMessage,
        threads: 1,
    };
    args.modes
        .iter()
        .flat_map(|&mode| args.sessions.iter().map(move |&sessions| of(mode, sessions)))
        .collect()
}

fn side_by_side(args: &Args) -> Result<String, Box<dyn Error>> {
    for program in ["smtp-source", "smtp-sink"] {
        if !contest::is_installed(program) {
            return Err(format!("{program} is {MISSING}").into());
        }
    }
    let folder = tempfile::tempdir()?;
    let (sink, frugal) = (Sink::start()?, Frugal::start(1)?);
    let rounds = |event: Event| {
        let (listener, address) = match args.listener {
            Listener::Frugal => ("frugal", frugal.address),
            Listener::Auto if event.sessions >= FRUGAL_FROM => ("frugal", frugal.address),
            Listener::Auto | Listener::SmtpSink => ("smtp-sink", sink.address),
        };
        let costs = contend(event, args.rounds, address, folder.path())?;
        Ok::<_, Box<dyn Error>>(Rounds { event, listener, costs })
    };
    let all = events(args).into_iter().map(rounds).collect::<Result<Vec<_>, _>>()?;
    Ok(table::markdown(&all, &machine()))
}

/// One event, every contender once a round.
fn contend(
    event: Event,
    rounds: u32,
    listener: SocketAddr,
    folder: &Path,
) -> Result<Vec<[Option<Cost>; 3]>, Box<dyn Error>> {
    let mut costs: Vec<[Option<Cost>; 3]> = Vec::new();
    for round in 1..=rounds {
        let mut turn = [None; 3];
        for contender in Contender::ALL {
            // What it could not do once it is not asked again.
            if costs.first().is_some_and(|first| first[contender as usize].is_none()) {
                continue;
            }
            listeners::settle(listener)?;
            turn[contender as usize] = match contest::run(contender, event, listener, folder) {
                Ok(cost) => Some(cost),
                // It is no program of ours: that it cannot do this is a finding.
                Err(error) if contender == Contender::SmtpSource => {
                    eprintln!("smtp-source could not: {error}");
                    None
                }
                Err(error) => return Err(error.into()),
            };
        }
        let micros = |cost: &Cost| format!("{:.1}", cost.cpu.as_secs_f64() * 1e6 / event.messages as f64);
        let each = turn.iter().map(|cost| cost.as_ref().map_or("n/a".to_owned(), micros)).collect::<Vec<_>>();
        let (mode, sessions) = (table::name(event.mode), event.sessions);
        eprintln!("{mode}, {sessions} sessions, round {round}: {} us", each.join(" "));
        costs.push(turn);
    }
    Ok(costs)
}

fn two_workers(args: &Args) -> Result<String, Box<dyn Error>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let folder = tempfile::tempdir()?;
    let frugal = Frugal::start(cores)?;
    let mut all = Vec::new();
    for event in events(args) {
        eprintln!("{}, {} sessions", table::name(event.mode), event.sessions);
        all.push(workers::scale(event, args.rounds, &frugal, folder.path())?);
    }
    Ok(format!("{}\n{}\n", workers::markdown(&all, cores), machine()))
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
