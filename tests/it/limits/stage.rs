//! A testbed for searches: a listener, probes, and the limits to find.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use smtpress::condition::Classifier;
use smtpress::experiment::limit::{
    self, LimitKind, LimitRequest, LimitResult, LimitSetting, SearchBudget, SearchOutcome,
};
use smtpress::generator::Stop;
use smtpress::generator::connector::{Connector, EmbeddedListener};
use smtpress::generator::probe::NetworkProbes;
use smtpress::listener::limits::Limits;
use smtpress::net::address::addresses::Addresses;
use smtpress::net::address::origin::ClientAddress;
use smtpress::smtp::script::{Timeouts, TlsMode};
use tokio::sync::watch;

use crate::runs::testbed::plan;

pub const SECOND: Duration = Duration::from_secs(1);

/// A budget that is small enough for a test.
pub fn bounds() -> SearchBudget {
    SearchBudget {
        sessions: 200,
        messages: 200,
        message_bytes: 4 << 20,
        wait: 2 * SECOND,
        release: 3 * SECOND,
        recovery: 3 * SECOND,
        ..SearchBudget::default()
    }
}

/// The request for the limits of these names, each with its expected value, if any.
pub fn request(names: &[(&str, Option<u64>)]) -> LimitRequest {
    let kind = |name: &str| LimitKind::of(name).unwrap_or_else(|| panic!("no limit is called {name}"));
    let expected = names.iter().filter_map(|(name, value)| Some((kind(name), (*value)?))).collect();
    LimitRequest { kinds: names.iter().map(|(name, _)| kind(name)).collect(), expected }
}

/// Searches the listener at `place`.
pub fn search_at(
    place: SocketAddr,
    certificate: Option<&CertificateDer<'static>>,
    bounds: SearchBudget,
    request: &LimitRequest,
) -> SearchOutcome {
    search_until(place, certificate, bounds, request, watch::channel(Stop::Run).1)
}

/// Searches the listener at `place` until the user stops the search.
pub fn search_until(
    place: SocketAddr,
    certificate: Option<&CertificateDer<'static>>,
    bounds: SearchBudget,
    request: &LimitRequest,
    stop: watch::Receiver<Stop>,
) -> SearchOutcome {
    let mut plan = plan(Vec::new());
    plan.script.timeouts =
        Timeouts { connect: SECOND, greeting: SECOND, command: 3 * SECOND, ..Timeouts::default() };
    plan.script.tls = if certificate.is_some() { TlsMode::Starttls } else { TlsMode::None };
    plan.origin = ClientAddress::Bound(Addresses::parse(&["127.0.0.1-127.0.3.254"]).unwrap());
    let embedded = EmbeddedListener { place: place.into(), certificate: certificate.cloned() };
    let connector = Connector::new(&plan, Some(&embedded)).unwrap();
    let mut probes = NetworkProbes::new(&connector).unwrap().stopped_by(stop);
    let setting = LimitSetting {
        mail: plan.mail.clone(),
        seed: 42,
        run_id: "test-run".into(),
        date: "Mon, 23 Nov 2026 12:00:00 +0000".into(),
        script: plan.script.clone(),
        logged_in: false,
        bad_recipient: Some("nobody-at-all@recipient.example".into()),
        classifier: Classifier::default(),
        patience: 10 * SECOND,
        bounds,
    };
    limit::search(&mut probes, &setting, request, &mut ())
}

/// Searches an embedded listener with these limits.
pub fn search(limits: Limits, names: &[(&str, Option<u64>)]) -> SearchOutcome {
    let listener = smtpress::listener::start("127.0.0.1:0".parse().unwrap(), limits, 7, 1).unwrap();
    let outcome = search_at(listener.addr(), listener.certificate(), bounds(), &request(names));
    listener.stop();
    outcome
}

/// Searches one limit and returns its result.
pub fn find(limits: Limits, name: &str, expected: Option<u64>) -> LimitResult {
    one(search(limits, &[(name, expected)]))
}

/// Returns the only result.
pub fn one(outcome: SearchOutcome) -> LimitResult {
    assert_eq!(outcome.ended, None, "{:?}", outcome.results);
    let [finding] = <[LimitResult; 1]>::try_from(outcome.results).unwrap();
    finding
}
