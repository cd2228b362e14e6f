//! Against OpenSMTPD: the counts of smtpress equal its counts, and each limit is named, with its reply.
//!
//! The replies are those of OpenSMTPD 6.8.0p2 on the wire. It offers no PIPELINING.

use crate::opensmtpd::Opensmtpd;
use crate::smtpress;

// Table: OpenSMTPD: SMTP
#[test]
fn accepted_is_what_opensmtpd_took() {
    let Some(opensmtpd) = Opensmtpd::start("") else { return };
    let outcome = smtpress::run(opensmtpd.plain, "-c 10 -n 500 --messages-per-session 50");
    outcome.assert_counts_reconcile();
    assert_eq!(outcome.count("accepted"), 500);
    assert_eq!(opensmtpd.taken(), 500);
}

// Three recipients, then: 451 4.5.3 Too many recipients: Too many recipients
// Four messages, then at MAIL: 452 4.5.3 Too many recipients: Too many messages sent
// Table: OpenSMTPD: limits
#[test]
fn the_limits_of_a_session_are_named() {
    let Some(opensmtpd) = Opensmtpd::start("smtp limit max-rcpt 3\nsmtp limit max-mails 4") else { return };
    let outcome = smtpress::run(opensmtpd.plain, "-c 1 -n 12 --messages-per-session 0 --recipients 5");
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition("rcpt", "too-many-recipients");
    assert_eq!(count, 8, "two recipients of each of 4 messages");
    assert!(sample.contains("451 4.5.3 Too many recipients: Too many recipients"), "{sample}");
    let (count, sample) = outcome.condition("mail", "too-many-messages-per-session");
    assert_eq!(count, 8, "all messages but 4");
    assert!(sample.contains("452 4.5.3 Too many recipients: Too many messages sent"), "{sample}");
    assert_eq!((outcome.count("accepted"), opensmtpd.taken()), (4, 4));
}

// Table: OpenSMTPD: PROXY
#[test]
fn clients_carried_by_a_proxy_header_are_who_they_are_said_to_be() {
    let Some(opensmtpd) = Opensmtpd::start("") else { return };
    let flags = "-c 5 -n 100 --set target.sources=[\"127.0.3.0/24\"] --set target.proxy=v2";
    let outcome = smtpress::run(opensmtpd.proxied, flags);
    outcome.assert_counts_reconcile();
    assert_eq!((outcome.count("accepted"), opensmtpd.taken()), (100, 100));
    assert_eq!(opensmtpd.lines(" smtp connected address=127.0.3."), 100, "{}", opensmtpd.log());
}
