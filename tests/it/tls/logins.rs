//! Logins over TLS: each mechanism, -PLUS bound to its session, and no secret before the handshake.

use std::sync::Arc;

use smtpress::collector::Outcome;
use smtpress::listener::limits::{Limits, TlsMode};
use smtpress::plan::Logins;
use smtpress::smtp::auth::verify::Users;
use smtpress::smtp::auth::{Login, Mechanism, Secret};

use super::super::runs::testbed::{run, side_by_side};
use super::{limits, one_by_one};

/// The login of one user at the listener of [`strict`], which requires a login over TLS.
fn login(mechanism: Mechanism, secret: &str) -> Logins {
    Logins { users: vec![Login::new(mechanism, "load", Secret::new(secret))], random: false }
}

fn strict(tls: TlsMode) -> Limits {
    let users = Users::new([("load".to_owned(), Secret::new("right"))]);
    Limits { users: Some(Arc::new(users)), require_auth: true, auth_requires_encryption: true, ..limits(tls) }
}

#[test]
fn each_mechanism_logs_in_over_tls_in_full_and_resumed_sessions() {
    for (client, server) in [(TlsMode::Starttls, TlsMode::Starttls), (TlsMode::Implicit, TlsMode::Implicit)] {
        side_by_side(Mechanism::ALL, |mechanism| {
            let mut plan = one_by_one(6, client);
            assert!(!plan.script.clear_text_login);
            plan.logins = login(mechanism, "right");
            let told = run(&plan, strict(server));
            assert_eq!((told.of(Outcome::Accepted), told.ledger.logins), (6, 6), "{mechanism:?} {client:?}");
            // Each session has its own binding, resumed or not.
            assert!(told.ledger.tls_resumed > 0 && told.ledger.tls_handshakes == 6);

            plan.logins = login(mechanism, "wrong");
            let told = run(&plan, strict(server));
            assert_eq!((told.met("auth-failed"), told.ledger.messages), (6, 0), "{mechanism:?} {client:?}");
        });
    }
}

#[test]
fn without_tls_neither_a_login_nor_a_message_goes_out() {
    for (asked, condition) in [(TlsMode::None, "encryption-required"), (TlsMode::Starttls, "tls-unavailable")]
    {
        let mut plan = one_by_one(3, asked);
        plan.logins = login(Mechanism::Plain, "right");
        let told = run(&plan, strict(TlsMode::None));
        assert_eq!(told.met(condition), 3);
        let ledger = told.ledger;
        assert_eq!((ledger.logins, ledger.failed_logins, ledger.messages), (0, 0, 0));
    }
}
