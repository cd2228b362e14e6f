//! A run on many machines: the processes that the coordinator starts, and how an agent prepares its shard.

use std::any::Any;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::error::CommandError;
use super::message_files::use_sent_files;
use super::run::check_before_load;
use crate::fleet::agent::{FilePaths, Prepare, PreparedShard};
use crate::fleet::gathering::Fleet;
use crate::fleet::message::{ListenerOfRun, RunSpec};
use crate::fleet::probing::OwnProbes;
use crate::generator::connector::EmbeddedListener;
use crate::generator::probe::NetworkProbes;
use crate::generator::reachability::check_target;
use crate::generator::runner::RunError;
use crate::generator::{Connector, Local, Runner, Stop, preflight};
use crate::load::Shard;
use crate::net::address::allowed::Allowed;
use crate::plan::{Plan, PlanPart};
use crate::profile::overrides::OverrideOrigin;
use crate::profile::{Compiled, Context, Document, Override, Purpose, compile};

/// Descriptors that a search for limits may need beside its sessions.
const SPARE: u64 = 64;

/// A fleet that waits for its run, and the processes that were started for it.
pub struct GatheredFleet {
    /// The agents.
    pub fleet: Fleet,
    /// Processes that end when this value is dropped.
    pub processes: Box<dyn Any>,
}

/// Returns why another coordinator cannot continue a run of this profile; `None` if it can.
pub fn cannot_be_taken_over(part: PlanPart, compiled: &Compiled) -> Option<&'static str> {
    if part != PlanPart::Run {
        return Some("it is a trial of a search for the capacity");
    }
    if compiled.plan.target.is_embedded() {
        return Some("the embedded listener ends with its coordinator");
    }
    if let Some(receiver) = &compiled.receiver {
        return Some(match receiver {
            receiver if receiver.agent.is_some() => {
                "the receiver on its agent ends with its coordinator, and what was delivered since is unknown"
            }
            receiver if receiver.addresses.is_empty() => {
                "its deliveries are joined by its coordinator, from logs on that machine"
            }
            _ => {
                "the receiver behind the relay ends with its coordinator, and what was delivered since is unknown"
            }
        });
    }
    (!compiled.plan.events.is_empty())
        .then_some("its events are run by its coordinator, and which of them took place is unknown")
}

/// Returns the function by which an agent prepares a shard. `allow` lists the hosts beyond loopback that this machine
/// may load; the list in the profile is ignored.
pub fn prepare_shards(allow: Vec<String>) -> Prepare {
    Arc::new(move |spec, files| shard(spec, files, &allow))
}

fn shard(spec: &RunSpec, files: &FilePaths, allow: &[String]) -> Result<PreparedShard, String> {
    check_embedded(spec.embedded.as_ref(), allow)?;
    let plan = plan(spec, files, allow)?;
    let checked = check_before_load(&plan).and_then(|()| check_target(&plan).map_err(CommandError::from));
    checked.map_err(|error| match error {
        CommandError::Failed(_, sentence) => sentence,
        CommandError::Profile(error) => error.to_string(),
        CommandError::ReaderGone => String::new(),
    })?;
    let (date, listener) = (spec.date.clone(), spec.embedded.clone().map(as_target));
    let for_probes = (plan.clone(), listener.clone(), spec.part);
    let runner = move |stop: watch::Receiver<Stop>, epoch: Instant| -> Box<dyn Runner> {
        let local = Local::new(stop, date).starting_at(epoch);
        Box::new(match listener {
            Some(EmbeddedListener { place, certificate }) => {
                local.with_listener(place).with_certificate(certificate)
            }
            None => local,
        })
    };
    let probes = move |stop| {
        let (plan, listener, part) = for_probes;
        probes(&plan, listener.as_ref(), part, stop).map_err(|error| error.to_string())
    };
    Ok(PreparedShard { plan, runner: Box::new(runner), probes: Box::new(probes) })
}

/// Checks that this machine may load the address that the coordinator gives for its embedded listener. The checks of a
/// plan take an embedded listener for one of this process, and admit any address.
fn check_embedded(listener: Option<&ListenerOfRun>, allow: &[String]) -> Result<(), String> {
    let Some(ip) = listener.map(|listener| listener.address.ip()) else { return Ok(()) };
    if Allowed::new(&ip.to_string(), allow).admits(ip) {
        return Ok(());
    }
    Err(format!(
        "the coordinator's embedded listener has the address {ip}, which is not on this machine's loopback: if this machine may load \
         it, add --allow-target {ip}"
    ))
}

/// Returns the coordinator's embedded listener, as the sessions of this machine see it.
fn as_target(listener: ListenerOfRun) -> EmbeddedListener {
    let certificate = listener.certificate.map(CertificateDer::from);
    EmbeddedListener { place: listener.address.into(), certificate }
}

/// Returns the sessions of a search for limits on this machine.
fn probes(
    plan: &Plan,
    listener: Option<&EmbeddedListener>,
    part: PlanPart,
    stop: watch::Receiver<Stop>,
) -> Result<OwnProbes, RunError> {
    if let PlanPart::Limits { sessions, .. } = part {
        preflight::raise_descriptors(sessions.saturating_add(SPARE)).ok();
    }
    let probes = NetworkProbes::new(&Connector::new(plan, listener)?)?.stopped_by(stop);
    Ok((Box::new(probes), own_address(plan)))
}

/// Returns the address from which this machine would reach the target. It sends no packet.
fn own_address(plan: &Plan) -> Option<IpAddr> {
    let target = preflight::check_allowed(plan).ok()?.first().copied()?;
    let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Compiles the plan of a shard.
fn plan(spec: &RunSpec, files: &FilePaths, allow: &[String]) -> Result<Plan, String> {
    let mut document =
        Document::parse("the coordinator's profile", &spec.profile).map_err(|error| error.to_string())?;
    let listed = toml::Value::Array(allow.iter().cloned().map(toml::Value::String).collect()).to_string();
    document
        .apply(Override::for_key(OverrideOrigin::Flag, "--allow-target", "target.allow", &listed))
        .map_err(|error| error.to_string())?;
    use_sent_files(&mut document, &spec.profile, files)?;
    let context = Context {
        purpose: if spec.part == PlanPart::Run { Purpose::Run } else { Purpose::Search },
        seed: 0,
        run_id: spec.run.clone(),
        threads: u32::try_from(std::thread::available_parallelism().map_or(1, usize::from)).unwrap_or(1),
        shard: Shard { index: spec.shard.0, of: spec.shard.1 },
    };
    let compiled = compile(&document, &context).map_err(|error| error.to_string())?;
    let shard = compiled.plan.shard;
    if let PlanPart::Limits { patience, .. } = spec.part {
        let mut plan = Plan { run_id: spec.run.clone(), ..compiled.plan };
        plan.script.timeouts.bound(patience);
        return Ok(plan);
    }
    let plan = match &compiled.capacity {
        Some(search) => search.part(&compiled.plan, spec.part),
        None => compiled.plan,
    };
    let sessions = plan.sessions_to_share();
    if u64::from(spec.shard.1) > sessions {
        return Err(format!(
            "{} agents cannot share {sessions} sessions: some would have none; use at most {sessions} agents, or allow more sessions",
            spec.shard.1
        ));
    }
    Ok(Plan { run_id: spec.run.clone(), shard, lists_transactions: spec.lists_transactions, ..plan })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::files::FilePlace;

    fn spec(message: &str) -> RunSpec {
        let profile = format!(
            "schema = 1\nseed = 1\n[target]\naddress = \"127.0.0.1:9\"\n[message]\n{message}\n[[phase]]\nname = \"load\"\n\
             load = \"shared-messages\"\nmessages = 9\nsessions = 3\n"
        );
        RunSpec {
            run: "6a2-1".to_owned(),
            profile,
            shard: (0, 1),
            date: "Thu, 01 Jan 1970 00:00:00 +0000".to_owned(),
            embedded: None,
            part: PlanPart::Run,
            lists_transactions: false,
        }
    }

    /// A holder of the coordinator's key must not be able to have an agent load any host as an "embedded" listener.
    #[test]
    fn an_agent_loads_an_embedded_listener_only_where_it_may_load_a_host() {
        let embedded = |address: &str, part, allow: &[&str]| {
            let allow: Vec<String> = allow.iter().map(|&host| host.to_owned()).collect();
            let listener = ListenerOfRun { address: address.parse().unwrap(), certificate: None };
            let profile = spec("").profile.replace("127.0.0.1:9", "embedded");
            let spec = RunSpec { profile, embedded: Some(listener), part, ..spec("") };
            shard(&spec, &FilePaths::new(), &allow).map(drop)
        };
        let limits = PlanPart::Limits { patience: Duration::from_secs(1), sessions: 1 };
        for part in [PlanPart::Run, limits] {
            for allow in [&[][..], &["mx.example", "203.0.113.2"]] {
                let why = embedded("203.0.113.1:25", part, allow).unwrap_err();
                assert!(why.contains("add --allow-target 203.0.113.1"), "{why}");
            }
        }
        assert_eq!(embedded("127.0.0.1:25", PlanPart::Run, &[]), Ok(()));
        assert_eq!(embedded("[::1]:25", PlanPart::Run, &[]), Ok(()));
        assert_eq!(embedded("203.0.113.1:25", PlanPart::Run, &["203.0.113.1"]), Ok(()));
    }

    /// A holder of the coordinator's key must not be able to read a file of an agent's machine by having the agent send
    /// it as a message.
    #[test]
    fn an_agent_opens_no_path_that_the_profile_names() {
        let here = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(here.path(), "secret of this machine").unwrap();
        let path = here.path().display().to_string();
        let up = format!("../../../../../../../..{path}");
        for place in FilePlace::ALL {
            for path in [&path, &up, "/etc/passwd", "/etc/*"] {
                let spec = spec(&format!("{} = \"{path}\"", place.key()));
                let why = plan(&spec, &FilePaths::new(), &[]).unwrap_err();
                assert!(why.contains(path) && why.contains("did not send it"), "{why}");
            }
        }
        // The received file is used, even if a file exists at the path that the profile names.
        std::fs::write(here.path(), "a text for {n}").unwrap();
        let sent = FilePaths::from([(FilePlace::Text, here.path().to_owned())]);
        let plan = plan(&spec("text_file = \"/etc/passwd\""), &sent, &[]).unwrap();
        assert!(format!("{:?}", plan.mail.body).contains("\"a text for {n}\""), "{plan:?}");
    }
}
