//! Classifies failures: returns the condition and the outcome of a failed step.

use crate::collector::Outcome;
use crate::condition::Classifier;
use crate::condition::Condition;
use crate::net::dial;
use crate::net::tls::client::TlsClient;
use crate::smtp::client::{Failure, Lacking};
use crate::smtp::machine::{Handshake, Insecure};
use crate::smtp::{Closed, Reply, Step};

/// The class of a failed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureClass {
    /// The condition.
    pub condition: Condition,
    /// The outcome of the step's arrival.
    pub outcome: Outcome,
}

/// Classifies a failed step of a session. `in_doubt` says that the listener may have the message.
pub fn classify(classifier: &Classifier, step: Step, failure: &Failure, in_doubt: bool) -> FailureClass {
    let (condition, outcome) = match failure {
        Failure::Reply(reply) => {
            let condition = classifier.classify(Some(step), reply, reply.code == 421);
            let outcome = if in_doubt { Outcome::InDoubt } else { refused(step, reply) };
            return FailureClass { condition, outcome };
        }
        Failure::Challenged { reply, understood: true, .. } => {
            let condition = classifier.classify(Some(step), reply, reply.code == 421);
            return FailureClass { condition, outcome: refused(step, reply) };
        }
        Failure::Challenged { understood: false, .. } => {
            (Condition::AuthChallengeNotUnderstood, Outcome::Malformed)
        }
        Failure::Unexpected(reply) => (classifier.classify(Some(step), reply, false), Outcome::Malformed),
        Failure::Surplus(_) => (Condition::SurplusReply, Outcome::Malformed),
        Failure::NotOffered(what) => (lacking(*what), Outcome::Refused),
        Failure::Injected(_) => (Condition::ProtocolViolation, Outcome::Malformed),
        // With TLS 1.3 the listener refuses the client's certificate after the client has completed the handshake.
        Failure::Insecure(_) if matches!(step, Step::Tls | Step::Greeting | Step::Hello) => {
            (Condition::TlsFailure, Outcome::Refused)
        }
        // The TLS stream broke after the handshake.
        Failure::Insecure(_) => (Condition::TlsFailure, Outcome::Dropped),
        Failure::Malformed(_) => (Condition::MalformedReply, Outcome::Malformed),
        Failure::TimedOut(_) => (silence(step), Outcome::TimedOut),
        // The outcome that a longer run would have seen is unknown (M12b).
        Failure::Aborted => (silence(step), Outcome::Interrupted),
        Failure::SessionTimedOut => (Condition::SessionTimeout, Outcome::TimedOut),
        Failure::Closed(how, _) => match (step, how) {
            (Step::Greeting, Closed::Eof) => (Condition::ClosedBeforeGreeting, Outcome::Refused),
            (Step::Greeting, Closed::Gone) => (Condition::HostUnreachable, Outcome::Refused),
            (Step::Greeting, _) => (Condition::ResetBeforeGreeting, Outcome::Refused),
            _ if in_doubt => (Condition::LostAfterDot, Outcome::InDoubt),
            (_, Closed::Eof) => (Condition::ConnectionClosed, Outcome::Dropped),
            (_, Closed::Gone) => (Condition::HostUnreachable, Outcome::Dropped),
            (_, Closed::Reset | Closed::Error(_)) => (Condition::ConnectionReset, Outcome::Dropped),
        },
        // A failure of this machine is never counted against the listener (M24). The arrival has started, so it cannot
        // be shed.
        Failure::Lost(_) => {
            return FailureClass { condition: Condition::ContentLost, outcome: Outcome::Interrupted };
        }
        Failure::Missing { why, .. } => {
            let FailureClass { outcome, .. } = classify(classifier, step, why, in_doubt);
            return FailureClass { condition: Condition::RepliesMissing, outcome };
        }
    };
    // Without a valid reply to the final dot, the listener may have the message.
    FailureClass { condition, outcome: if in_doubt { Outcome::InDoubt } else { outcome } }
}

/// Returns the condition of a silent listener at a step.
fn silence(step: Step) -> Condition {
    if step == Step::Greeting { Condition::NoGreeting } else { Condition::ReplyTimeout }
}

/// The class of a connection attempt that the end of the run cut off.
pub const CUT_OFF_DIAL: FailureClass =
    FailureClass { condition: Condition::ConnectTimeout, outcome: Outcome::Interrupted };

/// The evidence of a step that the end of the run cut off.
pub const CUT_OFF: &str = "no answer had come when the run ended";

/// Returns the condition of an extension that the listener does not offer.
fn lacking(what: Lacking) -> Condition {
    match what {
        Lacking::Starttls => Condition::TlsUnavailable,
        Lacking::Mechanism(_) | Lacking::ChannelBinding => Condition::AuthNotAvailable,
        Lacking::Encryption => Condition::EncryptionRequired,
        Lacking::Xclient | Lacking::Pipelining | Lacking::Extension(_) => Condition::UnsupportedParameter,
    }
}

/// Returns the outcome of a refusing reply. Such a reply refuses the session itself at the greeting, at the TLS
/// handshake and at EHLO, and with code 421 also at STARTTLS and AUTH.
fn refused(step: Step, reply: &Reply) -> Outcome {
    match step {
        Step::Greeting | Step::Tls | Step::Hello => Outcome::Refused,
        Step::Starttls | Step::Auth if reply.code == 421 => Outcome::Refused,
        _ if reply.class() == 5 => Outcome::Rejected,
        _ => Outcome::Deferred,
    }
}

/// Classifies a connection that failed. After a failure of this machine the arrival is shed.
pub fn classify_dial(fault: dial::ConnectFault) -> FailureClass {
    use dial::{ConnectFault, LocalFault};
    let (condition, outcome) = match fault {
        ConnectFault::NotResolved => (Condition::NameNotResolved, Outcome::Refused),
        ConnectFault::Refused => (Condition::ConnectRefused, Outcome::Refused),
        ConnectFault::Unreachable => (Condition::HostUnreachable, Outcome::Refused),
        ConnectFault::Reset => (Condition::ResetBeforeGreeting, Outcome::Refused),
        ConnectFault::TimedOut => (Condition::ConnectTimeout, Outcome::TimedOut),
        ConnectFault::Own(LocalFault::Descriptors) => (Condition::OutOfDescriptors, Outcome::Shed),
        ConnectFault::Own(LocalFault::Ports) => (Condition::OutOfPorts, Outcome::Shed),
        ConnectFault::Own(LocalFault::Buffers) => (Condition::OutOfBuffers, Outcome::Shed),
        ConnectFault::Own(LocalFault::Memory) => (Condition::OutOfMemory, Outcome::Shed),
        ConnectFault::Own(LocalFault::Source) => (Condition::NoSourceAddress, Outcome::Shed),
        ConnectFault::Own(LocalFault::Other(_)) => (Condition::OwnError, Outcome::Shed),
        // That an address is not allowed is a rule of smtpress, not an outcome of the listener.
        ConnectFault::NotAllowed(_) => (Condition::TargetNotAllowed, Outcome::Shed),
    };
    FailureClass { condition, outcome }
}

/// Describes a completed TLS handshake.
pub fn secured(handshake: &Handshake) -> String {
    let Handshake { version, suite, group, resumed, untrusted, .. } = handshake;
    let group = group.as_deref().unwrap_or("no key exchange");
    let kind = if *resumed { "resumed" } else { "full handshake" };
    let doubt = untrusted
        .as_ref()
        .map(|why| format!("; the certificate was not verified, and would not be trusted: {why}"));
    format!("{version}, {suite}, {group}, {kind}{}", doubt.unwrap_or_default())
}

/// Describes the command that replaces a refused one.
pub fn stepped_down(step: Step, reply: &Reply) -> String {
    match step {
        Step::Auth => format!("the initial response is refused ({reply}): AUTH is sent again without it"),
        _ => format!("EHLO is refused ({reply}): HELO is sent instead, which has no extensions"),
    }
}

/// Returns the evidence of a failed step as text; for a failed TLS handshake also what the client offered.
pub fn sample_at(step: Step, failure: &Failure, tls: Option<&TlsClient>) -> String {
    let is_telling = match failure {
        Failure::Insecure(Insecure::Alert(_) | Insecure::Broken(_)) => true,
        Failure::Closed(..) | Failure::TimedOut(_) => step == Step::Tls,
        _ => false,
    };
    match tls {
        Some(client) if is_telling => format!("{}; offered were {}", sample(failure), client.offered()),
        _ => sample(failure),
    }
}

/// Returns the evidence of a failed step as text.
pub fn sample(failure: &Failure) -> String {
    match failure {
        Failure::Reply(reply) | Failure::Unexpected(reply) => reply.to_string(),
        Failure::Challenged { reply, challenge, understood: true } => {
            format!("{reply}\nthe listener's reason, in the challenge before: {challenge}")
        }
        Failure::Challenged { reply, challenge, understood: false } => format!(
            "smtpress cannot answer the listener's challenge, so it cancelled the login; whether user and password are right \
             is unknown: {challenge:?}; then {reply}"
        ),
        Failure::Surplus(reply) => reply.to_string(),
        Failure::Missing { came, due, why } => {
            let once = match (came, &**why) {
                (1, Failure::Unexpected(_)) => "; the listener answers once for all recipients",
                (1, _) => "; the listener may answer once for all recipients",
                _ => "",
            };
            format!(
                "{came} of {due} replies to the content came (LMTP: one a recipient){once}: {}",
                sample(why)
            )
        }
        Failure::Malformed(malformed) => malformed.to_string(),
        Failure::TimedOut(partial) if partial.is_empty() => "nothing came in time".to_owned(),
        Failure::TimedOut(partial) => format!("only part of a reply came in time: \"{partial}\""),
        Failure::NotOffered(what) => not_offered(*what),
        Failure::Injected(bytes) => {
            format!("clear text came before the TLS handshake: \"{}\"", bytes.trim_end())
        }
        Failure::Insecure(Insecure::ClearText(bytes)) => {
            format!("no TLS handshake: clear text came: \"{}\"", String::from_utf8_lossy(bytes).trim_end())
        }
        Failure::Insecure(Insecure::Alert(alert)) => format!("the listener ended the TLS handshake: {alert}"),
        Failure::Insecure(Insecure::Certificate(why)) => format!("the certificate is not trusted: {why}"),
        Failure::Insecure(Insecure::Broken(why)) => format!("the TLS handshake failed: {why}"),
        Failure::SessionTimedOut => "the session took longer than its time-out".to_owned(),
        Failure::Closed(how, partial) if partial.is_empty() => closed(*how),
        Failure::Closed(how, partial) => {
            format!("{}; only part of a reply had come: \"{partial}\"", closed(*how))
        }
        Failure::Lost(why) => format!("the message cannot be sent to its end: {why}"),
        Failure::Aborted => CUT_OFF.to_owned(),
    }
}

/// Describes the end of a connection.
fn closed(how: Closed) -> String {
    match how {
        Closed::Eof => "the connection was closed".to_owned(),
        Closed::Reset => "the connection was reset".to_owned(),
        Closed::Gone => "the host no longer answers: nothing that was sent is acknowledged".to_owned(),
        Closed::Error(errno) => format!("the connection failed (errno {errno})"),
    }
}

fn not_offered(what: Lacking) -> String {
    match what {
        Lacking::Starttls => {
            "STARTTLS is asked for and not offered; nothing was sent in clear text".to_owned()
        }
        Lacking::Xclient => "XCLIENT is asked for and not offered to this client".to_owned(),
        Lacking::Pipelining => "PIPELINING is required and not offered".to_owned(),
        Lacking::Extension(keyword) => format!("{keyword} is required and not offered"),
        Lacking::Mechanism(mechanism) => {
            format!("AUTH {} is asked for and not offered", mechanism.as_str())
        }
        Lacking::ChannelBinding => {
            "AUTH is to be bound to the TLS session, and this one has no tls-exporter binding".to_owned()
        }
        Lacking::Encryption => "the session is in clear text, and the login was not sent over it".to_owned(),
    }
}

/// Returns the reply of a failed step, if there was one.
pub fn reply(failure: &Failure) -> Option<&Reply> {
    match failure {
        Failure::Reply(reply)
        | Failure::Challenged { reply, .. }
        | Failure::Unexpected(reply)
        | Failure::Surplus(reply) => Some(reply),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dial::LocalFault;
    use crate::smtp::auth::Mechanism;

    /// Returns failures of most kinds, with hostile evidence.
    fn failures() -> Vec<Failure> {
        let reply = Reply::parse("550 5.1.1 \"a\\b\"").unwrap();
        let mut failures = vec![
            Failure::Reply(reply.clone()),
            Failure::Unexpected(reply),
            Failure::TimedOut(String::new()),
            Failure::TimedOut("250-mx.example.net\r\n250 8BIT".to_owned()),
            Failure::SessionTimedOut,
            Failure::Closed(Closed::Eof, String::new()),
            Failure::Closed(Closed::Reset, String::new()),
            Failure::Closed(Closed::Gone, String::new()),
            Failure::Closed(Closed::Error(32), String::new()),
            Failure::Closed(Closed::Eof, "250-mx.example.net\r\n250 8BIT".to_owned()),
            Failure::Injected("250 ok\r\n".to_owned()),
            Failure::Insecure(Insecure::ClearText(b"421 no\r\n".to_vec())),
            Failure::Insecure(Insecure::Alert("handshake_failure".to_owned())),
            Failure::Insecure(Insecure::Certificate("it is not for this name".to_owned())),
            Failure::Insecure(Insecure::Broken("a record of the wrong kind came".to_owned())),
            Failure::Lost("the file changed".to_owned()),
            Failure::Aborted,
        ];
        failures.extend(
            ["what?\r\n", "250\tok\r\n", "25 ok\r\n"]
                .map(|text| Failure::Malformed(Reply::parse(text).expect_err("none of them is a reply"))),
        );
        failures.extend(
            [
                Lacking::Starttls,
                Lacking::Xclient,
                Lacking::Pipelining,
                Lacking::Extension("SMTPUTF8"),
                Lacking::Mechanism(Mechanism::Plain),
                Lacking::Encryption,
                Lacking::ChannelBinding,
            ]
            .map(Failure::NotOffered),
        );
        failures
    }

    #[test]
    fn no_failure_is_reported_in_the_debug_form() {
        use dial::ConnectFault;
        let faults = [
            ConnectFault::NotResolved,
            ConnectFault::Refused,
            ConnectFault::TimedOut,
            ConnectFault::Unreachable,
            ConnectFault::Reset,
            ConnectFault::Own(LocalFault::Descriptors),
            ConnectFault::Own(LocalFault::Ports),
            ConnectFault::Own(LocalFault::Buffers),
            ConnectFault::Own(LocalFault::Memory),
            ConnectFault::Own(LocalFault::Source),
            ConnectFault::Own(LocalFault::Other(1)),
        ];
        // The pattern matches the output of {:?}: `Own(Ports)`, `Other(OtherError(..))`, `ClearText([52, 50])`,
        // `\\r\\n`.
        let debug = regex::Regex::new(
            r#"[A-Z][a-z]+[A-Z][a-z]|[A-Za-z]\((?:[A-Z][a-z]|")|\[\d|\\[rntu0]|\.\.\)|\{ "#,
        )
        .unwrap();
        let texts = failures()
            .iter()
            .map(sample)
            .chain(faults.iter().map(ConnectFault::to_string))
            .collect::<Vec<_>>();
        for text in &texts {
            assert!(!debug.is_match(text), "{text}");
            assert!(text.len() > 10 && !text.ends_with(['\r', '\n']), "{text}");
        }
        assert!(texts.contains(&"550 5.1.1 \"a\\b\"".to_owned()));
        assert!(debug.is_match(&format!("{:?}", ConnectFault::Own(LocalFault::Ports))));
    }
}
