//! TLS over loopback: whole runs against the embedded listener, and listeners and clients that break TLS.

mod clients;
mod commands;
mod hostile;
mod logins;
mod runs;

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use smtpress::listener::limits::{Limits, TlsMode};
use smtpress::net::address::tls::Credential;
use smtpress::plan::{Messages, Plan, Unit};

use super::runs::testbed::{phase, plan, shared};

/// The plan of messages over sessions with one message each, one after the other, on one thread.
fn one_by_one(messages: u64, tls: TlsMode) -> Plan {
    let mut plan = plan(vec![phase(shared(messages, 1), None, Unit::Message)]);
    plan.messages = Messages::Fixed(1);
    plan.threads = 1;
    plan.script.tls = tls;
    plan
}

fn limits(tls: TlsMode) -> Limits {
    Limits { tls, ..Limits::default() }
}

/// A self-signed certificate for `names`, valid in these years.
pub fn credential(names: &[&str], years: (i32, i32)) -> Credential {
    marked(names, years, IsCa::NoCa)
}

fn marked(names: &[&str], years: (i32, i32), is_ca: IsCa) -> Credential {
    made(names, years, |params| params.is_ca = is_ca)
}

/// A certificate for TLS clients, which a server must not use.
pub fn of_a_client(names: &[&str]) -> Credential {
    made(names, ALWAYS, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])
}

fn made(names: &[&str], (from, to): (i32, i32), mark: impl FnOnce(&mut CertificateParams)) -> Credential {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
    mark(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate: CertificateDer<'static> = params.self_signed(&key).unwrap().der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Credential { chain: vec![certificate], key: Arc::new(key) }
}

/// The configuration of a rustls server with this certificate.
pub fn server_config(credential: &Credential) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let (chain, key) = (credential.chain.clone(), credential.key.clone_key());
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

/// The basic constraints that `openssl req -x509` sets.
const AUTHORITY: IsCa = IsCa::Ca(BasicConstraints::Unconstrained);

/// The years of a certificate that is valid in each test.
pub const ALWAYS: (i32, i32) = (2000, 3000);
