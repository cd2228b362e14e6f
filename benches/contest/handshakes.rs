//! TLS handshakes: smtpress against `openssl s_time -new`, both full handshakes with the embedded listener's implicit port,
//! which runs as a process of its own. They run in turn.
//!
//! smtpress does more with each: it also reads the greeting and says EHLO, and what that took is in its figures.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::table::Spread;
use super::{children, end, is_installed, now, program};

/// How long each run lasts, in seconds.
const LENGTH: u64 = 5;

/// What one run came to.
#[derive(Clone, Debug)]
struct Cost {
    handshakes: u64,
    cpu: Duration,
    wall: Duration,
    /// What was agreed on, where it is known.
    group: String,
}

/// `smtpress listen`, speaking TLS from the first byte; it ends with its owner.
struct Listener {
    child: Child,
    address: SocketAddr,
    certificate: PathBuf,
}

impl Listener {
    fn start(folder: &Path) -> Result<Listener, Box<dyn Error>> {
        let certificate = folder.join("listener.pem");
        let out = format!("listener.cert_out={:?}", certificate.display().to_string());
        let mut child = Command::new(program())
            .args([
                "listen",
                "--bind",
                "127.0.0.1:0",
                "-z",
                "10m",
                "--set",
                "listener.tls=implicit",
                "--set",
                &out,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let said = BufReader::new(child.stderr.take().ok_or("the listener's stderr was not taken")?);
        let mut listener = Listener { child, address: ([127, 0, 0, 1], 0).into(), certificate };
        for line in said.lines() {
            let line = line?;
            if let Some((_, rest)) = line.split_once("listening on ") {
                listener.address = rest.split(';').next().unwrap_or_default().parse()?;
                return Ok(listener);
            }
        }
        Err("the listener does not listen".into())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        end(self.child.id(), Signal::SIGINT);
        let _ = self.child.wait();
    }
}

/// Runs the part; returns its tables as Markdown.
///
/// # Errors
/// A program could not be started, or made no handshake.
pub fn run(rounds: u32, folder: &Path, machine: &str) -> Result<String, Box<dyn Error>> {
    let listener = Listener::start(folder)?;
    let openssl = is_installed("openssl");
    let mut rows: Vec<(String, Vec<Cost>)> =
        vec![("smtpress, 1 session".into(), vec![]), ("smtpress, 10 sessions".into(), vec![])];
    if openssl {
        rows.push(("openssl s_time -new".into(), vec![]));
    }
    for round in 1..=rounds {
        for (index, (name, costs)) in rows.iter_mut().enumerate() {
            let cost = match index {
                0 => smtpress(&listener, 1, folder)?,
                1 => smtpress(&listener, 10, folder)?,
                _ => s_time(&listener, folder)?,
            };
            let each = cost.cpu.as_secs_f64() * 1e6 / cost.handshakes as f64;
            eprintln!("{name}, round {round}: {} handshakes, {each:.0} us of CPU each", cost.handshakes);
            costs.push(cost);
        }
    }
    let mut out = format!(
        "Median (least..greatest) of {rounds} rounds of {LENGTH} s, in turn against one `smtpress listen` with TLS from the \
         first byte (ECDSA, P-256); full handshakes only, the certificate verified. CPU is of the client's process alone. \
         smtpress reads the greeting and says EHLO besides. {machine}\n\n\
         | | key exchange | full handshakes a second of CPU | a second of time |\n|---|---|---:|---:|\n"
    );
    for (name, costs) in &rows {
        let of = |each: fn(&Cost) -> f64| Spread::of(costs.iter().map(each)).ok_or("there was no round");
        let cpu = of(|cost| cost.handshakes as f64 / cost.cpu.as_secs_f64())?;
        let wall = of(|cost| cost.handshakes as f64 / cost.wall.as_secs_f64())?;
        let group = costs.first().map_or("", |cost| &cost.group);
        let _ = writeln!(out, "| {name} | {group} | {cpu:.0} | {wall:.0} |");
    }
    if !openssl {
        out.push_str("\nThere is nothing to compare with: openssl is not installed (Debian: apt-get install openssl).\n");
    }
    Ok(out)
}

fn smtpress(listener: &Listener, sessions: u32, folder: &Path) -> Result<Cost, Box<dyn Error>> {
    let profile = folder.join("handshakes.toml");
    std::fs::write(
        &profile,
        format!(
            r#"schema = 1
seed = 1
threads = 1
[target]
address = "smtps://{}"
tls_options = {{ ca = {:?}, resumption = false }}
[session]
messages = 0
quit = "close"
[[phase]]
name = "handshakes"
load = "constant-sessions"
sessions = {sessions}
for = "{LENGTH}s"
"#,
            listener.address,
            listener.certificate.display().to_string()
        ),
    )?;
    let (out, told) = (folder.join("out"), folder.join("told"));
    let _ = std::fs::remove_dir_all(&out);
    let mut command = Command::new(program());
    command.args(["run", "--json", "-", "--progress", "none", "--out"]).arg(&out).arg(&profile);
    command.stdin(Stdio::null()).stdout(File::create(&told)?).stderr(Stdio::null());
    let before = children()?;
    let started = now();
    // It says itself when it was the bottleneck, which here is the point.
    command.status()?;
    let (wall, cpu) = (started.elapsed(), children()?.saturating_sub(before));
    let result: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&told)?)?;
    let tls = &result["phases"][0]["tls"];
    let groups = tls["groups"].as_object().map(|groups| groups.keys().cloned().collect::<Vec<_>>());
    let handshakes = tls["full"].as_u64().filter(|n| *n > 0).ok_or("smtpress made no handshake")?;
    Ok(Cost { handshakes, cpu, wall, group: groups.unwrap_or_default().join(", ") })
}

fn s_time(listener: &Listener, folder: &Path) -> Result<Cost, Box<dyn Error>> {
    let told = folder.join("told");
    let mut command = Command::new("openssl");
    command.args(["s_time", "-new", "-connect", &listener.address.to_string(), "-time", &LENGTH.to_string()]);
    command.args(["-verify", "1", "-CAfile"]).arg(&listener.certificate);
    command.stdin(Stdio::null()).stdout(File::create(&told)?).stderr(File::create(folder.join("stderr"))?);
    let before = children()?;
    let started = now();
    command.status()?;
    let (wall, cpu) = (started.elapsed(), children()?.saturating_sub(before));
    let said = std::fs::read_to_string(&told)?;
    // "1234 connections in 1.23s; 1003.25 connections/user sec, bytes read 0"
    let count = said.lines().find_map(|line| line.split_once(" connections in ")?.0.trim().parse().ok());
    let handshakes = count.filter(|n| *n > 0).ok_or_else(|| format!("openssl made no handshake: {said}"))?;
    Ok(Cost { handshakes, cpu, wall, group: group(listener) })
}

/// What OpenSSL's client and the listener agree on, by its own words.
fn group(listener: &Listener) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &listener.address.to_string()]).stdin(Stdio::null());
    let said = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let said = said.unwrap_or_default();
    let told = |head: &str| said.lines().find_map(|line| line.strip_prefix(head)).map(str::trim);
    let group = told("Negotiated TLS1.3 group:").or(told("Server Temp Key:"));
    group.and_then(|group| group.split(',').next()).unwrap_or("not told").to_owned()
}
