//! The contenders: how each is called, and what one run of one costs. How figures are put together is `table`'s.

pub mod handshakes;
pub mod table;

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::{Pid, Uid};

use crate::floor::{MESSAGE, Mode};

/// A run that takes longer is ended.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a run's memory is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// What `smtp-sink` holds at once, and how many connections may wait to be accepted.
const SINK: [&str; 2] = ["20000", "4096"];

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
    /// The most sessions open at once, if it is told: while the listener is busy it accepts few, and messages may be over
    /// before all sessions are there.
    pub sessions: Option<u64>,
}

/// Runs one contender once; all messages were accepted.
///
/// # Errors
/// It could not be started, ended badly, or did not send all.
pub fn run(contender: Contender, event: Event, sink: SocketAddr, folder: &Path) -> io::Result<Cost> {
    let told = folder.join("told");
    let mut command = command(contender, event, sink, folder)?;
    command.stdin(Stdio::null()).stdout(File::create(&told)?).stderr(File::create(folder.join("stderr"))?);
    let before = children()?;
    let begun = now();
    let mut child = command.spawn()?;
    let pid = child.id();
    let (ended, watched) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || watch(pid, &watched));
    let status = child.wait()?;
    let wall = begun.elapsed();
    drop(ended);
    let resident = watch.join().map_err(|_| io::Error::other("the watching thread panicked"))?;
    let cpu = children()?.saturating_sub(before);
    let told = told_by(contender, event, &std::fs::read_to_string(&told)?);
    // 98: smtpress says itself that it was the bottleneck, which here is the point.
    let well = status.success() || contender == Contender::Smtpress && status.code() == Some(98);
    let accepted = told.map(|(accepted, _)| accepted);
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
    Ok(Cost { cpu, wall, resident, sessions: told.and_then(|(_, sessions)| sessions) })
}

fn command(contender: Contender, event: Event, sink: SocketAddr, folder: &Path) -> io::Result<Command> {
    let Event { mode, sessions, messages } = event;
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
            command = Command::new(env!("CARGO_BIN_EXE_smtpress"));
            command
                .args(["run", "--threads", "1", "--json", "-", "--progress", "none"])
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
        }
    }
    Ok(command)
}

/// What a run says: messages accepted, and the most sessions at once.
fn told_by(contender: Contender, event: Event, told: &str) -> Option<(u64, Option<u64>)> {
    match contender {
        Contender::Smtpress => {
            let result: serde_json::Value = serde_json::from_str(told).ok()?;
            let phase = result["phases"].as_array()?.first()?;
            Some((phase["accepted"].as_u64()?, phase["sessions"]["peak"].as_u64()))
        }
        // It stops with an error at the first reply that is not positive.
        Contender::SmtpSource => Some((event.messages, None)),
        Contender::Floor => {
            let (accepted, sessions) = told.trim().split_once(' ')?;
            Some((accepted.parse().ok()?, sessions.parse().ok()))
        }
    }
}

/// The CPU of all children that ended.
fn children() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// Looks at a process until its end is told; returns its peak resident memory in KiB.
fn watch(pid: u32, ended: &mpsc::Receiver<()>) -> u64 {
    let begun = now();
    let mut peak = 0;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = kib.unwrap_or(peak).max(peak);
        match ended.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) if begun.elapsed() > PATIENCE => end(pid, Signal::SIGKILL),
            Err(RecvTimeoutError::Timeout) => {}
            _ => return peak,
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

/// The listener of the contest; it is stopped when this is dropped.
pub struct Sink {
    child: Child,
    pub address: SocketAddr,
}

impl Sink {
    /// Starts `smtp-sink` on a free port of loopback.
    ///
    /// # Errors
    /// It is not there, or does not listen.
    pub fn start() -> io::Result<Sink> {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let mut command = Command::new("smtp-sink");
        // It wants to be nobody of importance.
        command.args(Uid::effective().is_root().then_some(["-u", "postfix"]).into_iter().flatten());
        command.args(["-m", SINK[0], &address.to_string(), SINK[1]]).stdin(Stdio::null());
        let mut sink = Sink { child: command.spawn()?, address };
        for _ in 0..500 {
            if TcpStream::connect(address).is_ok() {
                return Ok(sink);
            }
            if let Some(status) = sink.child.try_wait()? {
                return Err(io::Error::other(format!("smtp-sink ended with {status}")));
            }
            std::thread::sleep(LOOK);
        }
        Err(io::Error::other("smtp-sink does not listen"))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        end(self.child.id(), Signal::SIGTERM);
        let _ = self.child.wait();
    }
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
