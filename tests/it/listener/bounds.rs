//! The bounds of a session, one by one, at the largest number that is still served and one beyond it.

use smtpress::listener::limits::Patterns;
use smtpress::listener::{Limits, Style};

use super::client::{Client, TRANSACTION};
use super::start;

#[test]
fn unknown_recipients_are_answered_so_often_and_the_next_ends_the_session() {
    for (style, unknown, last) in [
        (Style::Cisco, "550 #5.1.0 Address rejected.", "550 Too many invalid recipients"),
        (
            Style::Postfix,
            "550 5.1.1 <nobody1@x.example>: Recipient address rejected: User unknown in local recipient table",
            "421 4.7.0 mx.recipient.example Error: too many errors",
        ),
        (Style::Exim, "550 Unknown user", "550 Rejected for too many bad recipients"),
    ] {
        let listener = start(Limits {
            style,
            unknown_recipients: Patterns::parse(&["nobody*@*"]).unwrap(),
            max_invalid_recipients: Some(3),
            ..Limits::default()
        });
        let mut client = Client::greeted(&listener);
        client.say(TRANSACTION[0]);
        assert_eq!(client.say("RCPT TO:<nobody1@x.example>"), unknown);
        assert_eq!(client.say(TRANSACTION[1])[..3], *"250");
        assert_eq!(client.say("RCPT TO:<Nobody1@x.example>")[..3], *"550");
        // The message still goes to those that are known, and the count is the session's.
        assert_eq!(client.say("DATA")[..3], *"354");
        assert_eq!(client.say(TRANSACTION[3])[..3], *"250");
        client.say(TRANSACTION[0]);
        assert_eq!(client.say("RCPT TO:<nobody@x.example>")[..3], *"550");
        assert_eq!(client.say("RCPT TO:<nobody@x.example>"), last);
        assert!(client.is_closed());
        let ledger = listener.stop();
        assert_eq!((ledger.messages, ledger.recipients), (1, 1));
        assert_eq!((ledger.refused["unknown-user"], ledger.refused["too-many-invalid-recipients"]), (3, 1));
    }
}
