//! Against Exim: the counts of smtpress equal those of Exim, and each limit is named, with Exim's reply.
//!
//! The replies are those of Exim 4.96 on the wire, which have no enhanced status codes.

use crate::exim::Exim;
use crate::smtpress;

// Table: Exim: SMTP
#[test]
fn accepted_is_what_exim_took() {
    let Some(exim) = Exim::plain().start() else { return };
    let outcome = smtpress::run(exim.port, "-c 10 -n 1000 --messages-per-session 0");
    outcome.assert_counts_reconcile();
    assert_eq!(outcome.count("accepted"), 1_000);
    assert_eq!(exim.taken(), 1_000);
}

// Five greetings, then: 421 Too many concurrent SMTP connections from this IP address; please try again later.
// Table: Exim: limits
#[test]
fn the_connection_limit_is_named() {
    let Some(exim) = Exim::plain().set("smtp_accept_max_per_host", 5).start() else { return };
    let outcome = smtpress::run(exim.port, "-c 12 -n 400 --messages-per-session 0");
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition("greeting", "too-many-connections-from-host");
    assert!(count >= 1);
    assert!(sample.contains("421 Too many concurrent SMTP connections from this IP address"), "{sample}");
    assert_eq!(outcome.count("accepted"), exim.taken());
}

// Three recipients, then: 452 too many recipients
// Table: Exim: limits
#[test]
fn the_recipient_limit_is_named() {
    let Some(exim) = Exim::plain().set("recipients_max", 3).start() else { return };
    let outcome = smtpress::run(exim.port, "-c 2 -n 20 --recipients 5");
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition("rcpt", "too-many-recipients");
    assert_eq!(count, 40, "two recipients of each of 20 messages");
    assert!(sample.contains("452 too many recipients"), "{sample}");
    assert_eq!(exim.taken(), 20);
}

// At MAIL with SIZE=20480 and, after HELO, at the final dot alike: 552 Message size exceeds maximum permitted
// Table: Exim: limits
#[test]
fn the_size_limit_is_named_at_mail_and_at_the_end_of_the_content() {
    for (hello, step) in [("ehlo", "mail"), ("helo", "body")] {
        let Some(exim) = Exim::plain().set("message_size_limit", 10_000).start() else { return };
        let outcome = smtpress::run(exim.port, &format!("-c 2 -n 20 --size 20KiB --hello {hello}"));
        outcome.assert_counts_reconcile();
        let (count, sample) = outcome.condition(step, "message-size-exceeded");
        assert_eq!(count, 20, "{hello}");
        assert!(sample.contains("552 Message size exceeds maximum permitted"), "{sample}");
        assert_eq!((outcome.count("rejected"), exim.taken()), (20, 0));
    }
}

// Three messages, then at MAIL: 421 too many messages in this connection
// Table: Exim: limits
#[test]
fn the_message_limit_of_a_session_is_named() {
    let Some(exim) = Exim::plain().set("smtp_accept_max_per_connection", 3).start() else { return };
    let outcome = smtpress::run(exim.port, "-c 1 -n 20 --messages-per-session 0");
    outcome.assert_counts_reconcile();
    let (count, sample) = outcome.condition("mail", "too-many-messages-per-session");
    assert!(count >= 1);
    assert!(sample.contains("421 too many messages in this connection"), "{sample}");
    assert!(outcome.count("accepted") >= 3);
    assert_eq!(outcome.count("accepted"), exim.taken());
}

// The limit of unknown commands: 500 unrecognized command, three times, then: 500 Too many unrecognized commands, and the end.

// Exim counts connections before it reads the header, so its limit for a host applies to the load balancer and not to
// the clients behind it.
// Table: Exim: PROXY
#[test]
fn clients_carried_by_a_proxy_header_are_who_they_are_said_to_be() {
    let Some(exim) = Exim::plain().set("hosts_proxy", "127.0.0.1").start() else { return };
    for version in ["v1", "v2"] {
        let before = exim.taken();
        let flags =
            format!("-c 5 -n 100 --set target.sources=[\"127.0.3.0/24\"] --set target.proxy={version}");
        let outcome = smtpress::run(exim.port, &flags);
        outcome.assert_counts_reconcile();
        assert_eq!((outcome.count("accepted"), exim.taken() - before), (100, 100), "{version}");
        assert_eq!(exim.taken_with("[127.0.3."), exim.taken(), "{}", exim.log());
    }
}
