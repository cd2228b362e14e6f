//! Against Postfix: the counts of smtpress equal those of Postfix's queue, and each limit is named, with Postfix's
//! reply.
//!
//! The replies are those of Postfix 3.7.11 on the wire.

use crate::postfix::Postfix;
use crate::smtpress;

// Table: Postfix: SMTP
#[test]
fn accepted_is_what_postfix_queued() {
    let Some(postfix) = Postfix::plain().start() else { return };
    let outcome = smtpress::run(postfix.port, "-c 20 -n 2000 --messages-per-session 0");
    outcome.assert_counts_reconcile();
    assert_eq!(outcome.count("accepted"), 2_000);
    assert_eq!(postfix.queued_in_the_end(2_000), 2_000);
}

// Five greetings, then: 421 4.7.0 postfix.test Error: too many connections from 127.0.0.1
// Table: Postfix: limits
#[test]
fn the_connection_limit_is_named() {
    let Some(postfix) = Postfix::plain().set("smtpd_client_connection_count_limit", 5).start() else {
        return;
    };
    let outcome = smtpress::run(postfix.port, "-c 12 -n 400 --messages-per-session 0");
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition("greeting", "too-many-connections-from-host");
    assert!(count >= 1);
    assert!(sample.contains("421 4.7.0 postfix.test Error: too many connections from 127.0.0.1"), "{sample}");
    // With refusals too, the counts of the run equal those of the listener.
    let accepted = outcome.count("accepted");
    assert!(accepted >= 1);
    assert_eq!(postfix.queued_in_the_end(accepted), accepted);
}

// Three recipients, then: 452 4.5.3 Error: too many recipients
// Table: Postfix: limits
#[test]
fn the_recipient_limit_is_named_and_the_message_goes_to_the_rest() {
    let Some(postfix) = Postfix::plain().set("smtpd_recipient_limit", 3).start() else { return };
    let outcome = smtpress::run(postfix.port, "-c 2 -n 20 --recipients 5");
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition("rcpt", "too-many-recipients");
    assert_eq!(count, 40, "two recipients of each of 20 messages");
    assert!(sample.contains("452 4.5.3 Error: too many recipients"), "{sample}");
    assert_eq!(postfix.queued_in_the_end(20), 20);
    assert!(
        postfix
            .log()
            .lines()
            .filter(|line| line.ends_with("(queue active)"))
            .all(|line| line.contains("nrcpt=3"))
    );
}

// With MAIL ... SIZE=20480: 552 5.3.4 Message size exceeds fixed limit
// Table: Postfix: limits
#[test]
fn the_size_limit_is_named_at_mail() {
    let Some(postfix) = Postfix::plain().set("message_size_limit", 10_000).start() else { return };
    let outcome = smtpress::run(postfix.port, "-c 2 -n 20 --size 20KiB --hello ehlo");
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition("mail", "message-size-exceeded");
    assert_eq!(count, 20);
    assert!(sample.contains("552 5.3.4 Message size exceeds fixed limit"), "{sample}");
    assert_eq!(outcome.count("rejected"), 20);
    assert_eq!(postfix.queued_in_the_end(0), 0);
}

// After HELO, which announces no SIZE, at the final dot: 552 5.3.4 Error: message file too big
// Table: Postfix: limits
#[test]
fn the_size_limit_is_named_at_the_end_of_the_content() {
    let Some(postfix) = Postfix::plain().set("message_size_limit", 10_000).start() else { return };
    let outcome = smtpress::run(postfix.port, "-c 2 -n 20 --size 20KiB --hello helo");
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition("body", "message-size-exceeded");
    assert_eq!(count, 20);
    assert!(sample.contains("552 5.3.4 Error: message file too big"), "{sample}");
    assert_eq!(outcome.count("accepted"), 0);
    assert_eq!(postfix.queued_in_the_end(0), 0);
}

// The error limit: 500 5.5.2 Error: command not recognized, three times, then: 421 4.7.0 postfix.test Error: too many errors

/// Runs a load of twelve sessions at once with these settings of the clients' addresses, each as `key=value`.
fn from_clients(postfix: &Postfix, settings: &[&str]) -> smtpress::Outcome {
    let settings: String = settings.iter().map(|setting| format!(" --set {setting}")).collect();
    smtpress::run(postfix.port, &format!("-c 12 -n 400 --messages-per-session 0{settings}"))
}

/// Checks, for one way to announce the clients' addresses, that many clients do not reach the limit for a host, and
/// that one client does.
fn limit_of_one_host(postfix: &Postfix, carrier: &[&str]) {
    let many = [&["target.sources=[\"127.0.3.0/24\"]"], carrier].concat();
    let outcome = from_clients(postfix, &many);
    outcome.assert_counts_reconcile();
    assert_eq!(outcome.count("accepted"), 400);
    assert!(postfix.log().contains("client=unknown[127.0.3."), "{}", postfix.log());
    let one = [&["target.sources=[\"127.0.4.1\"]"], carrier].concat();
    let outcome = from_clients(postfix, &one);
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition("greeting", "too-many-connections-from-host");
    assert!(count >= 1);
    assert!(sample.contains("421 4.7.0 postfix.test Error: too many connections from 127.0.4.1"), "{sample}");
}

// Table: Postfix: limits
#[test]
fn clients_at_bound_addresses_are_hosts_of_their_own() {
    let Some(postfix) = Postfix::plain().set("smtpd_client_connection_count_limit", 5).start() else {
        return;
    };
    limit_of_one_host(&postfix, &[]);
}

// Table: Postfix: XCLIENT
#[test]
fn clients_told_by_xclient_are_hosts_of_their_own() {
    let settings = Postfix::plain().set("smtpd_authorized_xclient_hosts", "127.0.0.1");
    let Some(postfix) = settings.start() else { return };
    let outcome = from_clients(&postfix, &["target.sources=[\"127.0.3.0/24\"]", "target.xclient=true"]);
    outcome.assert_counts_reconcile();
    assert_eq!(outcome.count("accepted"), 400);
    assert!(postfix.log().contains("client=unknown[127.0.3."), "{}", postfix.log());
    assert_eq!(postfix.queued_in_the_end(400), 400);
}

// Table: Postfix: PROXY
#[test]
fn clients_carried_by_a_proxy_header_are_hosts_of_their_own() {
    for version in ["v1", "v2"] {
        let settings = Postfix::plain()
            .set("smtpd_client_connection_count_limit", 5)
            .set("smtpd_upstream_proxy_protocol", "haproxy")
            .set("smtpd_upstream_proxy_timeout", "1s");
        let Some(postfix) = settings.start() else { return };
        limit_of_one_host(&postfix, &[&format!("target.proxy={version}")]);
    }
}
