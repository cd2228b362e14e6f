//! Compiles a document to a [`Plan`]: every value is checked against the others, and nothing is silently ignored.

mod auth;
mod capacity;
mod event;
mod extensions;
mod faults;
mod listener;
pub mod message;
mod misbehave;
mod phase;
mod receive;
mod rule;
mod session;
mod target;
mod tls;

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::document::Document;
use super::error::ProfileError;
use super::resolved;
use super::schema::Profile;
use crate::condition::expect::Expect;
use crate::delivery::settings::ReceiverSettings;
use crate::experiment::capacity::CapacityPlan;
use crate::experiment::limit::LimitKind;
use crate::listener::limits::Limits;
use crate::load::Shard;
use crate::mail;
use crate::net::address::bind::Bind;
use crate::plan::{Plan, PlanPart};
use crate::smtp::extensions::Use;
use crate::smtp::script::{Hello, Script};
use crate::verdict::grammar::Assertion;
use faults::Faults;

pub use tls::describe as tls_description;

/// The purpose of a profile. It decides which keys are required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A run. It needs a target and phases.
    Run,
    /// A search for limits or capacity. It needs a target, and does not run the phases.
    Search,
    /// The embedded listener alone. It needs nothing else.
    Listen,
    /// The receiver behind a relay alone. It needs only `[receive]`.
    Receive,
}

impl Purpose {
    /// Whether messages are sent. If not, every key about them may be absent.
    pub fn sends(self) -> bool {
        matches!(self, Purpose::Run | Purpose::Search)
    }
}

/// The values from outside the profile.
#[derive(Clone, Debug)]
pub struct Context {
    /// The purpose.
    pub purpose: Purpose,
    /// The seed if the profile has none. The caller draws it.
    pub seed: u64,
    /// The identifier of the run in its messages.
    pub run_id: String,
    /// The number of threads if the profile does not set it; at least 1.
    pub threads: u32,
    /// The part of the load that this process carries.
    pub shard: Shard,
}

/// A compiled profile.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The plan of the load.
    pub plan: Plan,
    /// The assertions: the built-in ones that are not removed, then the user's.
    pub assertions: Vec<Assertion>,
    /// The limits that the embedded listener enforces.
    pub listener: Limits,
    /// Where the listener listens, if the profile sets it.
    pub listen: Option<Bind>,
    /// The receiver behind the relay, if there is one.
    pub receiver: Option<ReceiverSettings>,
    /// The configured limits for `smtpress limit`, by kind, each in its unit.
    pub limits: BTreeMap<LimitKind, u64>,
    /// The search of `smtpress capacity`, if the profile has one.
    pub capacity: Option<CapacityPlan>,
    /// The profile with its defaults.
    pub profile: Profile,
    /// The profile with its defaults as TOML: the `profile.toml` of the run directory.
    pub resolved: String,
    /// SHA-256 of `resolved` in hexadecimal, as `sha256sum profile.toml` prints it.
    pub sha256: String,
    /// SHA-256 of the load alone: of the profile without the keys that [`resolved::addressless`] removes, such as the
    /// address of the target.
    pub load_sha256: String,
}

impl Compiled {
    /// Returns the files that are sent as whole messages, in their order.
    pub fn whole_messages(&self) -> impl Iterator<Item = &Path> {
        let corpus = match &self.plan.mail.body {
            mail::Body::Files { corpus, .. } => Some(corpus),
            _ => None,
        };
        corpus.into_iter().flat_map(|corpus| corpus.paths())
    }
}

/// Compiles a document.
///
/// # Errors
/// All faults of the document, each with its place.
pub fn compile(document: &Document, context: &Context) -> Result<Compiled, ProfileError> {
    let (written, mut faults) = Faults::read(document);
    let written_target = written.target();
    let mut profile = resolved::fill(written, context.seed, &default_name(document));
    message::anchor(document, &mut profile, context.purpose);
    event::anchor(document, &mut profile);
    let (session, listener) = (profile.session(), profile.listener());

    let to = faults.keep(&["target"], target::address(document, &profile, context.purpose));
    let phases = phase::compile_all(document, &profile, context.purpose, &mut faults);
    if let Some(phases) = &phases {
        faults.keep(
            &["session", "phase"],
            session::fits(document, &session, phases, profile.capacity.as_ref()),
        );
    }
    let allow = faults.keep(&["target"], target::allowed(document, &profile));
    let tls = to.as_ref().and_then(|to| faults.keep(&["target"], tls::mode(document, &written_target, to)));
    let listen = faults.keep(&["listener"], target::listen(document, &profile));
    let origin = to
        .as_ref()
        .and_then(|to| faults.keep(&["target", "listener"], target::origin(document, &profile, to)));
    let limits_of_listener = to.as_ref().zip(tls).and_then(|(to, tls)| {
        let clients = to.is_embedded().then_some(tls);
        let serves = context.purpose == Purpose::Listen || to.is_embedded();
        faults.keep(&["listener", "target"], listener::compile(document, &listener, clients, serves))
    });
    let protocol = to.as_ref().map(|to| if to.is_embedded() { listener.protocol().0 } else { to.protocol() });
    let script = protocol.zip(tls).and_then(|(protocol, tls)| {
        let script = session::script(document, &profile, protocol, &mut faults)?;
        Some(Script { tls, ..script })
    });
    let with_logins = to.as_ref().zip(script).and_then(|(to, script)| {
        let compiled = auth::compile(document, &session, script, to, context.purpose);
        faults.keep(&["session", "target"], compiled)
    });
    let client = to
        .as_ref()
        .zip(tls)
        .and_then(|(to, tls)| faults.keep(&["target"], tls::client(document, &profile, to, tls)));
    let utf8 = session.extensions().smtputf8().0 != Use::Off && session.hello().0 != Hello::Helo;
    let mail = faults.keep(&["message", "session"], message::compile(document, &profile, utf8));
    let reconnect = faults.keep(&["session"], session::reconnect(document, &session));
    let retry = phases.as_ref().and_then(|phases| {
        let compiled = session::retry(document, &session, phases, context.purpose);
        faults.keep(&["session", "phase"], compiled)
    });
    let expects = faults.keep_each("expect", &profile.expect(), |index, expect| {
        let made = rule::expect(document, &profile.phase(), index, expect)?;
        // A shard sees only its own sessions.
        Ok(Expect { when: made.when.shared(|sessions| context.shard.share(sessions)), ..made })
    });
    let classify =
        faults.keep_each("classify", &profile.classify(), |index, one| rule::classify(document, index, one));
    let for_run = phases.as_ref().filter(|_| context.purpose == Purpose::Run);
    let events = for_run.and_then(|phases| {
        let make = |index, written: &_| event::compile(document, &profile, phases, index, written);
        faults.keep_each("event", &profile.event(), make)
    });
    let assertions = rule::assertions(document, &profile, &mut faults);
    let limits = rule::limits(document, &profile.limits(), &mut faults);
    let messages = phases
        .as_ref()
        .and_then(|phases| faults.keep(&["session", "phase"], session::messages(document, &session, phases)));
    let mail = mail.zip(phases.as_ref()).and_then(|(mail, phases)| {
        let fits = message::fits(document, &mail, phases);
        faults.keep(&["message", "phase"], fits).map(|()| mail)
    });
    let receiver = receiver(document, &profile, mail.as_ref(), context.purpose, &mut faults);
    let capacity = match (&profile.capacity, &phases, &mail) {
        (Some(written), Some(phases), Some(mail)) => {
            let compiled = capacity::compile(document, &profile, written, phases, mail, &assertions);
            faults.keep(&["capacity", "session", "phase", "message"], compiled)
        }
        _ => None,
    };
    faults.end()?;
    let whole = "without a fault every part is there";
    let (mut script, logins) = with_logins.expect(whole);
    let mail = mail.expect(whole);
    let seed = profile.seed.map_or(context.seed, |seed| seed.0);
    script.verify.whom = message::names_to_verify(&mail, seed, &context.run_id, script.verify.times);
    let plan = Plan {
        name: profile.name.clone().unwrap_or_default(),
        seed,
        run_id: context.run_id.clone(),
        origin: origin.expect(whole),
        tls: client.expect(whole),
        target: to.expect(whole),
        allow: allow.expect(whole),
        script: message::requiring_utf8(script, &mail),
        logins,
        messages: messages.expect(whole),
        expects: expects.expect(whole),
        classify: classify.expect(whole),
        reconnect: reconnect.expect(whole),
        retry: retry.expect(whole),
        phases: phases.expect(whole),
        threads: profile.threads.unwrap_or(context.threads),
        shard: context.shard,
        events: events.unwrap_or_default(),
        lists_transactions: receiver.is_some(),
        part: PlanPart::Run,
        mail,
    };
    let footprint = message::footprint(&plan.mail);
    let resolved = resolved::render(&profile) + &footprint;
    let load = resolved::render(&resolved::addressless(&profile, &plan.target)) + &footprint;
    Ok(Compiled {
        assertions,
        listener: limits_of_listener.expect(whole),
        listen: listen.expect(whole),
        receiver,
        limits,
        capacity,
        sha256: hash(&resolved),
        load_sha256: hash(&load),
        plan,
        profile,
        resolved,
    })
}

/// Returns the receiver behind the relay, if the command has one.
fn receiver(
    document: &Document,
    profile: &Profile,
    mail: Option<&mail::Spec>,
    purpose: Purpose,
    faults: &mut Faults,
) -> Option<ReceiverSettings> {
    match (&profile.receive, mail, purpose) {
        (Some(written), Some(mail), Purpose::Run | Purpose::Search) => {
            faults.keep(&["receive", "message"], receive::compile(document, written, Some(mail)))
        }
        (written, _, Purpose::Receive) => {
            let written = written.clone().unwrap_or_default();
            faults.keep(&["receive"], receive::compile(document, &written, None))
        }
        _ => None,
    }
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a name for the profile, made from the name of its file.
fn default_name(document: &Document) -> String {
    let name: String = document
        .stem()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    if name.bytes().any(|b| b.is_ascii_alphanumeric()) { name } else { "profile".to_owned() }
}
