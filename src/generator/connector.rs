//! The connector: takes a plan and returns a connected and identified session, or a classified failure. Every command
//! opens its sessions here: address, source, PROXY header, TLS, XCLIENT and login follow from the plan in one place.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::clock;
use super::failure_class;
use super::runner::RunError;
use crate::net::address::Transport;
use crate::net::address::allowed::Allowed;
use crate::net::dial::{self, Destination, Dialed, Endpoint, Resolve};
use crate::net::tls::client::TlsClient;
use crate::net::tls::{Security, TlsError};
use crate::plan::Plan;
use crate::smtp::auth::{Login, Redactor};
use crate::smtp::client::Failure;
use crate::smtp::command::xclient_attributes;
use crate::smtp::raw_client::RawClient;
use crate::smtp::script::{SessionIdentity, TlsMode};
use crate::smtp::{Client, Content, Script, Step};

/// The listener inside this process.
#[derive(Clone, Debug)]
pub struct EmbeddedListener {
    /// The address or path on which it listens.
    pub place: Destination,
    /// The certificate, which is trusted unless the plan names others.
    pub certificate: Option<CertificateDer<'static>>,
}

/// Opens the sessions of a plan, on any thread.
#[derive(Clone, Debug)]
pub struct Connector {
    plan: Arc<Plan>,
    endpoint: Endpoint,
    tls: Option<TlsClient>,
}

impl Connector {
    /// Returns a connector for `plan`. With TLS it reads the trusted authorities, which is slow.
    ///
    /// # Errors
    /// The target is embedded and there is no listener, or TLS cannot be set up.
    pub fn new(plan: &Plan, embedded: Option<&EmbeddedListener>) -> Result<Connector, RunError> {
        let (place, allowed) = match &plan.target.transport {
            Transport::Tcp { host, port } => {
                (Destination::Tcp { host: host.clone(), port: *port }, Allowed::new(host, &plan.allow))
            }
            Transport::Unix { path } => (Destination::Unix(path.clone()), Allowed::default()),
            // The listener of this process, at the address where it listens.
            Transport::Embedded => (embedded.ok_or(RunError::NoListener)?.place.clone(), Allowed::Any),
        };
        let endpoint = Endpoint {
            allowed,
            timeout: plan.script.timeouts.connect,
            origin: plan.origin.clone(),
            proxied_tls: plan.script.tls == TlsMode::Implicit,
            ..Endpoint::new(place)
        };
        let certificate = embedded.and_then(|embedded| embedded.certificate.as_ref());
        Ok(Connector { plan: Arc::new(plan.clone()), endpoint, tls: tls(plan, certificate)? })
    }

    /// Returns the connector with another resolver of names.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolve>) -> Connector {
        self.endpoint.resolver = resolver;
        self
    }

    /// Returns the connector for sessions without TLS and without a login.
    #[must_use]
    pub fn in_clear_text(&self) -> Connector {
        let mut plan = Plan::clone(&self.plan);
        plan.script.tls = TlsMode::None;
        plan.logins = Default::default();
        let endpoint = Endpoint { proxied_tls: false, ..self.endpoint.clone() };
        Connector { plan: Arc::new(plan), endpoint, tls: None }
    }

    /// Returns the plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Returns the settings of the connections.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether sessions are encrypted.
    pub fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns the connector of one thread, whose sessions resume each other's TLS. Must be called on that thread,
    /// because the TLS library then prepares the thread here and not in the first handshake.
    ///
    /// # Errors
    /// TLS cannot be set up, although [`Connector::new`] could.
    pub fn on_thread(&self) -> Result<ThreadConnector, TlsError> {
        let security = self.tls.as_ref().map(TlsClient::security).transpose()?;
        Ok(ThreadConnector { script: Rc::new(self.plan.script.clone()), security, connector: self.clone() })
    }
}

/// Returns the TLS settings of a plan's sessions, if it uses TLS; `embedded`: the certificate of the listener inside
/// the process.
fn tls(plan: &Plan, embedded: Option<&CertificateDer<'static>>) -> Result<Option<TlsClient>, TlsError> {
    if !plan.speaks_tls() {
        return Ok(None);
    }
    let mut tls = plan.tls.clone();
    if plan.target.is_embedded() && tls.authorities.is_none() {
        tls.authorities = Some(embedded.cloned().into_iter().collect());
    }
    // The embedded listener has an address of this machine; a unix socket has no host name.
    let host = plan.target.host().unwrap_or("127.0.0.1");
    TlsClient::new(&tls, host).map(Some)
}

/// Opens the sessions of a plan, on one thread. The number of a session determines its source address and its login.
#[derive(Debug)]
pub struct ThreadConnector {
    connector: Connector,
    script: Rc<Script>,
    security: Option<Security>,
}

impl ThreadConnector {
    /// Returns the connector of all threads.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Returns the script of the sessions.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// Connects session `serial`; `step` holds the current step, for a caller that stops waiting.
    pub async fn connect(&self, serial: u64, step: &Cell<Step>) -> Dialed {
        dial::dial(&self.connector.endpoint, serial, clock::now, step).await
    }

    /// Returns the client machine of a connected session.
    pub fn client<C: Content>(&self, serial: u64) -> Client<C> {
        Client::new(self.script.clone(), self.identity(serial), clock::now())
    }

    /// Returns the raw client of a connected session, which is driven line by line after its opening.
    pub fn raw_client(&self, serial: u64) -> RawClient {
        RawClient::new(self.script.clone(), self.identity(serial), clock::now())
    }

    /// Returns the login of a session.
    pub fn login(&self, serial: u64) -> Option<&Login> {
        let plan = &self.connector.plan;
        plan.logins.of(plan.seed, serial)
    }

    /// Returns the TLS settings of a session.
    pub fn security(&self) -> Option<&Security> {
        self.security.as_ref()
    }

    /// Returns what removes the secret of a session's login from the listener's text.
    pub fn redactor(&self, serial: u64) -> Redactor {
        self.login(serial).map(Login::redactor).unwrap_or_default()
    }

    /// Returns the evidence of a failed step of a session, as text without the secret of its login.
    pub fn evidence(&self, serial: u64, step: Step, failure: &Failure) -> String {
        let tls = self.connector.tls.as_ref();
        failure_class::sample_at(step, &failure.redacted(&self.redactor(serial)), tls)
    }

    fn identity(&self, serial: u64) -> SessionIdentity {
        let xclient = self.connector.plan.origin.told(serial);
        SessionIdentity {
            login: self.login(serial).cloned(),
            xclient: xclient.map(|address| xclient_attributes(address, &self.script.name)),
        }
    }
}
