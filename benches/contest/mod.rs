//! The contenders: how each is called, and what one run of one costs. How figures are put together is `table`'s.

pub mod handshakes;
pub mod listeners;
pub mod soak;
pub mod table;
pub mod workers;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;

use crate::floor::{MESSAGE, Mode};

/// A run that takes longer is ended.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a run's memory is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// The smtpress that is measured, if it is not the one that was built with this bench.
pub static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The smtpress that is measured.
pub fn program() -> &'static Path {
    PROGRAM.get().map_or(Path::new(env!("CARGO_BIN_EXE_smtpress")), PathBuf::as_path)
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    Smtpress,
    SmtpSource,
    Floor,
}

impl Contender {
    /// In the order of their turns.
    pub const ALL: [Contender; 3] = [Contender::Smtpress, Contender::SmtpSource, Contender::Floor];

    pub fn name(self) -> &'static str {
        match self {
            Contender::Smtpress => "smtpress",
            Contender::SmtpSource => "smtp-source",
            Contender::Floor => "floor",
        }
    }
}

/// One line of the contest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub mode: Mode,
    pub sessions: u32,
    pub messages: u64,
    /// All sessions are open before the first message; `smtp-source` cannot.
    pub gate: bool,
    /// Threads of smtpress.
    pub threads: u32,
}

/// What one run cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// User and system CPU of the whole process, from its start to its end.
    pub cpu: Duration,
    /// From its start to its end.
    pub wall: Duration,
    /// The most resident memory seen, in KiB.
    pub resident: u64,
    /// The most sessions open at once. Of who does not tell: half of the machine's TCP sockets that were not there before,
    /// those included that the listener has not accepted yet.
    pub sessions: u64,
    /// The time of the load itself, if it is known: behind a start barrier from its opening on.
    pub window: Option<Duration>,
}

/// What a run says of itself.
struct Told {
    accepted: u64,
    sessions: Option<u64>,
    window: Option<Duration>,
}

/// Runs one contender once; all messages were accepted.
///
/// # Errors
/// It could not be started, ended badly, or did not send all.
pub fn run(contender: Contender, event: Event, sink: SocketAddr, folder: &Path) -> io::Result<Cost> {
    let told = folder.join("told");
    let mut command = command(contender, event, sink, folder)?;
    command.stdin(Stdio::null()).stdout(File::create(&told)?).stderr(File::create(folder.join("stderr"))?);
    let (before, sockets) = (children()?, sockets());
    let started = now();
    let mut child = command.spawn()?;
    let pid = child.id();
    let (ended, watched) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || watch(pid, &watched));
    let status = child.wait()?;
    let wall = started.elapsed();
    drop(ended);
    let (resident, most_sockets) =
        watch.join().map_err(|_| io::Error::other("the watching thread panicked"))?;
    let cpu = children()?.saturating_sub(before);
    let told = told_by(contender, event, &std::fs::read_to_string(&told)?);
    // 98: smtpress says itself that it was the bottleneck, which here is the point.
    let well = status.success() || contender == Contender::Smtpress && status.code() == Some(98);
    let accepted = told.as_ref().map(|told| told.accepted);
    if !well || accepted != Some(event.messages) {
        let said = std::fs::read_to_string(folder.join("stderr")).unwrap_or_default();
        let how = status.signal().map_or_else(|| status.to_string(), |signal| format!("signal {signal}"));
        return Err(io::Error::other(format!(
            "{} ended with {how}, accepted {accepted:?} of {}: {}",
            contender.name(),
            event.messages,
            said.trim()
        )));
    }
    let (sessions, window) = told.map_or((None, None), |told| (told.sessions, told.window));
    let sessions = sessions.unwrap_or(most_sockets.saturating_sub(sockets) / 2);
    Ok(Cost { cpu, wall, resident, sessions, window })
}

fn command(contender: Contender, event: Event, sink: SocketAddr, folder: &Path) -> io::Result<Command> {
    let Event { mode, sessions, messages, gate, threads } = event;
    let one = mode == Mode::OneMessage;
    let mut command;
    match contender {
        Contender::Smtpress => {
            let pipelining = match mode {
                Mode::Single | Mode::OneMessage => "off",
                Mode::Grouped => "auto",
                Mode::Full => "full",
            };
            let out = folder.join("out");
            let _ = std::fs::remove_dir_all(&out);
            command = Command::new(program());
            command
                .args(["run", "--json", "-", "--progress", "none"])
                .args([format!("--threads={threads}"), format!("--open-first={gate}")])
                .args(["--pipelining", pipelining, "--messages-per-session", if one { "1" } else { "0" }])
                .args([format!("--target=smtp://{sink}"), format!("--size={MESSAGE}B")])
                .args([format!("--sessions={sessions}"), format!("--messages={messages}")])
                .arg("--out")
                .arg(out);
        }
        Contender::SmtpSource => {
            command = Command::new("smtp-source");
            command.args((!one).then_some("-d")).args(["-l", &MESSAGE.to_string()]);
            command.args(["-s", &sessions.to_string(), "-m", &messages.to_string()]).arg(sink.to_string());
        }
        Contender::Floor => {
            command = Command::new(std::env::current_exe()?);
            command.args([format!("--floor={sink}"), format!("--modes={mode}")]);
            command.args([format!("--sessions={sessions}"), format!("--messages={messages}")]);
            command.args((!gate).then_some("--no-gate"));
        }
    }
    Ok(command)
}

fn told_by(contender: Contender, event: Event, told: &str) -> Option<Told> {
    match contender {
        Contender::Smtpress => {
            let result: serde_json::Value = serde_json::from_str(told).ok()?;
            let phase = result["phases"].as_array()?.first()?;
            Some(Told {
                accepted: phase["accepted"].as_u64()?,
                sessions: Some(phase["sessions"]["peak"].as_u64()?),
                window: Some(Duration::from_secs_f64(phase["window_s"].as_f64()?)),
            })
        }
        // It stops with an error at the first reply that is not positive.
        Contender::SmtpSource => Some(Told { accepted: event.messages, sessions: None, window: None }),
        Contender::Floor => {
            let mut numbers = told.split_ascii_whitespace().map(|number| number.parse::<u64>().ok());
            Some(Told {
                accepted: numbers.next()??,
                sessions: Some(numbers.next()??),
                window: Some(Duration::from_micros(numbers.next()??)),
            })
        }
    }
}

/// The CPU of all children that ended.
fn children() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// The TCP sockets in use on this machine.
fn sockets() -> u64 {
    let stat = std::fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("TCP: inuse "));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Looks at a process until it ends; returns its peak resident memory in KiB, and the most sockets there were.
fn watch(pid: u32, ended: &mpsc::Receiver<()>) -> (u64, u64) {
    let started = now();
    let (mut peak, mut most) = (0, 0);
    loop {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = kib.unwrap_or(peak).max(peak);
        most = sockets().max(most);
        match ended.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) if started.elapsed() > PATIENCE => end(pid, Signal::SIGKILL),
            Err(RecvTimeoutError::Timeout) => {}
            _ => return (peak, most),
        }
    }
}

/// Sends a signal to a child that was not waited for yet.
fn end(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench of processes measures time")]
fn now() -> Instant {
    Instant::now()
}

/// Whether a program is there.
pub fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Lets this process and its children open as many descriptors as they may; returns how many.
///
/// # Errors
/// The kernel's.
pub fn raise_descriptors() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
