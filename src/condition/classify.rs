//! The classifier: finds the meaning of a reply by the rules, weighs it with the learned weights of its words, and uses
//! the codes and the step if no word is known.
//!
//! The rules are data in `rules`, the vocabulary is in `lexicon`, and the weights are in `weights`. Nothing here names
//! a server.

use std::sync::LazyLock;

use super::lexicon::{ConceptSet, ReplyConcepts};
use super::rules::{RULES, ReplyRule};
use super::weights::{LEARNED, WordWeights};
use super::{Condition, Group};
use crate::condition::expect::UserRule;
use crate::smtp::{Reply, Step};

/// Names the condition of a reply that is a failure or does not fit its step, by the built-in rules.
///
/// The result of the rules is weighed with the learned weights of the words. Without a known word, the enhanced code,
/// the code and the step decide (`None` for an unknown step). `closed` says whether the peer closed the connection with
/// the reply. The function never fails: an unknown meaning is `deferred-unspecified`, `rejected-unspecified` or, for a
/// 2yz or 3yz, `unexpected-reply`.
pub fn classify(step: Option<Step>, reply: &Reply, closed: bool) -> Condition {
    classify_by(&LEARNED, step, reply, closed)
}

/// Does the same as [`classify`] with these learned weights.
pub(super) fn classify_by(
    learned: &WordWeights,
    step: Option<Step>,
    reply: &Reply,
    closed: bool,
) -> Condition {
    let meaning = ReplyConcepts::of(reply);
    let (ruled, trust) = by_rules(step, reply, closed, &meaning);
    if !matches!(reply.class(), 4 | 5) {
        return ruled;
    }
    let possible = |condition: Condition| {
        let of_login = reply.code != LOGIN_REFUSED || matches!(condition.group(), Group::Auth | Group::Tls);
        condition == ruled
            || of_login
                && fits_the_step(condition, step)
                && fits_the_code(condition, reply.code)
                && refined(condition, reply) == condition
    };
    learned.weigh(step, reply, &meaning, (ruled, trust), possible)
}

/// Returns what the rules find in the words or else in the codes, and how far the result can be trusted.
pub(super) fn by_rules(
    step: Option<Step>,
    reply: &Reply,
    closed: bool,
    meaning: &ReplyConcepts,
) -> (Condition, i32) {
    let positive = matches!(reply.class(), 2 | 3);
    let said = by_words(&meaning.own, reply)
        .or_else(|| by_words(&meaning.quoted, reply))
        .filter(|condition| !is_bare_refusal(*condition) || meaning.links == ConceptSet::NONE)
        .or_else(|| by_words(&[meaning.links], reply))
        .or_else(|| by_words(&meaning.own, reply))
        .or_else(|| by_words(&meaning.quoted, reply))
        .filter(|_| !positive || sounds_like_failure(meaning))
        .filter(|condition| fits_the_code(*condition, reply.code))
        .map(|condition| refined(condition, reply));
    (said.unwrap_or_else(|| by_code(step, reply, closed)), trust(said))
}

/// Returns the weight of the rules' result beside the weights of the words. Limits of connections and sessions are rare
/// in the learned replies, and their words are clear. A result from codes alone is little more than a guess.
fn trust(said: Option<Condition>) -> i32 {
    match said.map(Condition::group) {
        None => 24,
        Some(Group::ConnectionLimit | Group::SessionLimit) => 112,
        Some(_) => 64,
    }
}

/// Reads the vocabulary and the weights, so that the first refusal of a load does not wait for that.
pub fn prepare() {
    LazyLock::force(&LEARNED);
    ReplyConcepts::prepare();
}

/// The built-in rules, preceded by the user's own rules.
#[derive(Clone, Debug, Default)]
pub struct Classifier {
    user: Vec<UserRule>,
}

impl Classifier {
    /// Creates a classifier that applies these rules first, in their order.
    pub fn new(user: Vec<UserRule>) -> Classifier {
        prepare();
        Classifier { user }
    }

    /// Names the condition of a reply. See [`classify`].
    pub fn classify(&self, step: Option<Step>, reply: &Reply, closed: bool) -> Condition {
        let mut wire = None;
        let mut holds = |rule: &UserRule| {
            rule.code.is_none_or(|code| code == reply.code)
                && rule.step.is_none_or(|wanted| Some(wanted) == step)
                && rule
                    .pattern
                    .as_ref()
                    .is_none_or(|p| p.is_match(wire.get_or_insert_with(|| reply.to_string())))
        };
        match self.user.iter().find(|rule| holds(rule)) {
            Some(rule) => rule.condition,
            None => classify(step, reply, closed),
        }
    }
}

impl ReplyRule {
    fn holds(&self, sentence: ConceptSet, reply: &Reply) -> bool {
        !sentence.meets(self.none)
            && self.all.iter().all(|&set| sentence.meets(set))
            && (self.codes.is_empty() || self.codes.iter().any(|&c| c == reply.code || c == reply.class()))
            && (self.subjects.is_empty()
                || reply.enhanced.and_then(|e| e.subject).is_some_and(|s| self.subjects.contains(&s)))
    }
}

/// Returns the condition of the first rule that matches one of the sentences, or else the concepts of all sentences
/// together.
fn by_words(sentences: &[ConceptSet], reply: &Reply) -> Option<Condition> {
    let all = sentences.iter().fold(ConceptSet::NONE, |all, &s| all.or(s));
    RULES
        .iter()
        .find(|rule| sentences.iter().any(|&s| rule.holds(s, reply)))
        .or_else(|| RULES.iter().find(|rule| rule.holds(all, reply)))
        .map(|rule| rule.condition)
}

/// Whether the words only say that the reply refuses or defers. In that case a link in the reply may name the cause.
fn is_bare_refusal(condition: Condition) -> bool {
    matches!(
        condition,
        Condition::PolicyRejected | Condition::DeferredUnspecified | Condition::RejectedUnspecified
    )
}

/// Whether a 2yz or 3yz reply is really a refusal ("221 2.7.0 Error: I can break rules, too").
fn sounds_like_failure(meaning: &ReplyConcepts) -> bool {
    use super::lexicon::{EXCESS, MANY, PIPELINE, SHUT, TIMEOUT};
    meaning.own.iter().any(|s| s.meets(MANY.or(EXCESS).or(PIPELINE).or(TIMEOUT).or(SHUT)))
}

/// "Authentication credentials invalid" (RFC 4954 6). The words of such a reply are about users, their names and their
/// rights, so rules for other conditions could match them.
const LOGIN_REFUSED: u16 = 535;

/// Whether a condition found in the words fits this code. A 535 fits conditions of AUTH and TLS, and limits. A 538 fits
/// conditions of AUTH and TLS. A code for a command that is not understood (500 to 502, 504) says nothing about the
/// recipient or the content, and a 501 does not mean that AUTH is not available.
fn fits_the_code(condition: Condition, code: u16) -> bool {
    match code {
        LOGIN_REFUSED => {
            matches!(condition.group(), Group::Auth | Group::Tls) || condition.is_verifiable_limit()
        }
        538 => matches!(condition.group(), Group::Auth | Group::Tls),
        500..=502 | 504 => {
            let of_mail = matches!(
                condition,
                Condition::UnknownUser | Condition::ContentRejected | Condition::NoValidRecipients
            );
            !of_mail && (code != 501 || condition != Condition::AuthNotAvailable)
        }
        _ => true,
    }
}

/// Whether a condition found in the words fits this step: before the first MAIL there is no message and no recipient.
fn fits_the_step(condition: Condition, step: Option<Step>) -> bool {
    let of_transaction = match condition.group() {
        Group::Recipient => condition != Condition::HostNotAcceptingMail,
        Group::MessageLimit => condition != Condition::LineTooLong,
        _ => matches!(condition, Condition::ContentRejected | Condition::NoValidRecipients),
    };
    !of_transaction || !matches!(step, Some(Step::Greeting | Step::Hello | Step::Starttls | Step::Auth))
}

/// Refines a condition by the enhanced code: an address with wrong syntax (RFC 3463 3.2: x.1.3) is not an unknown user.
fn refined(condition: Condition, reply: &Reply) -> Condition {
    let written = reply.enhanced.is_some_and(|e| (e.subject, e.detail) == (Some(1), Some(3)));
    if condition == Condition::UnknownUser && written { Condition::SyntaxError } else { condition }
}

/// Returns the condition by the codes alone.
fn by_code(step: Option<Step>, reply: &Reply, closed: bool) -> Condition {
    if reply.class() < 4 {
        return Condition::UnexpectedReply;
    }
    if reply.code == LOGIN_REFUSED {
        return Condition::AuthFailed;
    }
    by_enhanced(reply, step).or_else(|| by_reply_code(reply.code, step)).unwrap_or(match reply.class() {
        4 if closed && step == Some(Step::Greeting) => Condition::ServiceUnavailable,
        4 => Condition::DeferredUnspecified,
        5 => Condition::RejectedUnspecified,
        _ => Condition::UnexpectedReply,
    })
}

/// Returns the condition by RFC 3463 and its registry, if the enhanced code has one meaning.
fn by_enhanced(reply: &Reply, step: Option<Step>) -> Option<Condition> {
    let enhanced = reply.enhanced?;
    let permanent = reply.class() == 5;
    Some(match (enhanced.subject?, enhanced.detail?) {
        (1, 1 | 2 | 6) => Condition::UnknownUser,
        (1, 3 | 7) => Condition::SyntaxError,
        (1, 8) => Condition::DnsPolicyRejected,
        (1, 10) => Condition::HostNotAcceptingMail,
        (2, 1) => Condition::MailboxUnavailable,
        (2, 2) => Condition::MailboxFull,
        (2, 3) | (3, 4) => Condition::MessageSizeExceeded,
        (3, 1) => Condition::InsufficientStorage,
        (3, 2) => Condition::ServiceUnavailable,
        (3, 0 | 5) if permanent => Condition::ServerError,
        (3, 0 | 5) => Condition::TemporarySystemError,
        (4, 0 | 3) if !permanent => Condition::TemporarySystemError,
        (4, 4) if permanent => Condition::UnknownUser,
        (4, 2) => Condition::IdleTimeout,
        (4, 5) => Condition::ResourceLow,
        (4, 6) => Condition::TooManyHops,
        (5, 1) if reply.code == 503 => Condition::BadSequence,
        (5, 1) if permanent => Condition::UnrecognizedCommand,
        (5, 2) if permanent => Condition::SyntaxError,
        (5, 3) => Condition::TooManyRecipients,
        (5, 4) if permanent => Condition::UnsupportedParameter,
        (6, _) if permanent => Condition::ContentRejected,
        (7, 8) => Condition::AuthFailed,
        (7, 10 | 11) => Condition::EncryptionRequired,
        (7, 20..=24 | 26) => Condition::SenderAuthFailed,
        (7, 25) => Condition::DnsPolicyRejected,
        (7, 28) => Condition::RateLimited,
        (7, 1) if permanent && step != Some(Step::Auth) => Condition::PolicyRejected,
        _ => return None,
    })
}

/// Returns the condition by RFC 5321 and 4954, if the code has one meaning at its step.
fn by_reply_code(code: u16, step: Option<Step>) -> Option<Condition> {
    Some(match (code, step) {
        (421, _) => Condition::ServiceUnavailable,
        (452, Some(Step::Rcpt)) => Condition::TooManyRecipients,
        (452, _) => Condition::InsufficientStorage,
        (454, Some(Step::Starttls)) => Condition::TlsUnavailable,
        (454, Some(Step::Auth)) => Condition::AuthTemporaryFailure,
        (500 | 502, _) => Condition::UnrecognizedCommand,
        (501, _) => Condition::SyntaxError,
        (503, _) => Condition::BadSequence,
        (455 | 504 | 555, _) => Condition::UnsupportedParameter,
        (530, _) => Condition::AuthRequired,
        (534, _) => Condition::AuthNotAvailable,
        (523 | 524 | 538, _) => Condition::EncryptionRequired,
        (521 | 556, Some(Step::Rcpt)) | (556, _) => Condition::HostNotAcceptingMail,
        (551, _) | (550 | 553, Some(Step::Rcpt)) => Condition::UnknownUser,
        (550, Some(_)) => Condition::PolicyRejected,
        (552, Some(Step::Rcpt)) => Condition::MailboxFull,
        (552, _) => Condition::MessageSizeExceeded,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use regex::RegexBuilder;

    use super::*;

    fn said(step: Option<Step>, text: &str) -> Condition {
        classify(step, &Reply::parse(text).unwrap(), false)
    }

    #[test]
    fn the_users_rules_are_asked_first_and_all_that_is_given_must_hold() {
        let rule = |pattern: Option<&str>, code, step, condition| UserRule {
            pattern: pattern.map(|p| RegexBuilder::new(p).case_insensitive(true).build().unwrap()),
            code,
            step,
            condition,
        };
        let classifier = Classifier::new(vec![
            rule(Some("MOON\\n450 .*cheese"), None, None, Condition::Greylisted),
            rule(None, Some(450), Some(Step::Rcpt), Condition::RateLimited),
            rule(Some("too many"), Some(421), None, Condition::LicenseExpired),
        ]);
        let said = |step, text| classifier.classify(step, &Reply::parse(text).unwrap(), false);
        assert_eq!(said(None, "450-moon\n450 of Cheese"), Condition::Greylisted);
        assert_eq!(said(Some(Step::Rcpt), "450 later"), Condition::RateLimited);
        assert_eq!(said(Some(Step::Mail), "450 later"), Condition::DeferredUnspecified);
        assert_eq!(said(None, "421 Too many connections"), Condition::LicenseExpired);
        assert_eq!(said(None, "451 Too many connections"), Condition::TooManyConnections);
    }

    #[test]
    fn a_quoted_refusal_counts_if_the_link_says_nothing() {
        let ruled = |text: &str| {
            let reply = Reply::parse(text).unwrap();
            let meaning = ReplyConcepts::of(&reply);
            assert!(meaning.own.is_empty() && meaning.links != ConceptSet::NONE, "{text}");
            by_rules(Some(Step::Rcpt), &reply, false, &meaning).0
        };
        let with = |path: &str| {
            format!("550 mx.example.net said: 550 denied by policy, see https://example.net/{path}")
        };
        assert_eq!(ruled(&with("message")), Condition::PolicyRejected);
        assert_eq!(ruled(&with("greylisting")), Condition::Greylisted, "the link names the cause");
    }

    #[test]
    fn a_login_that_is_refused_is_that_whatever_it_is_called() {
        for text in [
            "535 5.7.8 user load0017 unknown",
            "535 5.7.8 load: wrong password",
            "535 5.7.1 load is not allowed here",
            "535 5.2.1 mailbox load@queue.example is full of spam",
            "535 xyzzy",
        ] {
            for step in [None, Some(Step::Auth)] {
                assert_eq!(said(step, text), Condition::AuthFailed, "{text}");
            }
        }
        assert_eq!(said(None, "535 5.7.0 Too many authentication failures"), Condition::TooManyAuthFailures);
        assert_eq!(said(None, "535 5.7.8 TLS certificate invalid"), Condition::TlsFailure);
        assert_eq!(said(None, "454 4.3.0 load too high"), Condition::ResourceLow);
    }

    #[test]
    fn codes_and_step_decide_when_the_text_says_nothing() {
        let cases = [
            (None, "550 5.1.1 xyzzy", Condition::UnknownUser),
            (None, "452 4.2.2 xyzzy", Condition::MailboxFull),
            (None, "552 5.3.4 xyzzy", Condition::MessageSizeExceeded),
            (Some(Step::Body), "552 xyzzy", Condition::MessageSizeExceeded),
            (Some(Step::Rcpt), "552 xyzzy", Condition::MailboxFull),
            (Some(Step::Rcpt), "452 xyzzy", Condition::TooManyRecipients),
            (Some(Step::Rcpt), "550 xyzzy", Condition::UnknownUser),
            (None, "503 5.5.1 xyzzy", Condition::BadSequence),
            (None, "535 xyzzy", Condition::AuthFailed),
            (None, "450 xyzzy", Condition::DeferredUnspecified),
            (None, "599", Condition::RejectedUnspecified),
            (None, "250 fine", Condition::UnexpectedReply),
            (None, "354 go ahead", Condition::UnexpectedReply),
            (None, "001 what", Condition::UnexpectedReply),
        ];
        for (step, text, condition) in cases {
            assert_eq!(said(step, text), condition, "{text} at {step:?}");
        }
        let closed = Reply::parse("450 xyzzy").unwrap();
        assert_eq!(classify(Some(Step::Greeting), &closed, true), Condition::ServiceUnavailable);
    }

    #[test]
    fn a_positive_code_can_be_a_refusal_and_a_number_no_code() {
        assert_eq!(
            said(None, "221 2.7.0 Error: I can break rules, too. Goodbye."),
            Condition::ProtocolViolation
        );
        assert_eq!(said(None, "221 2.0.0 mail.example.com closing connection"), Condition::UnexpectedReply);
        assert_eq!(said(None, "550 host mx said: 452 4.2.2 Mailbox full"), Condition::MailboxFull);
    }

    #[test]
    fn other_wordings_of_the_same_limit_mean_the_same() {
        use Condition::{
            ConnectionRateLimited, MessageSizeExceeded, RateLimited, TooManyConnections,
            TooManyConnectionsFromHost, TooManyRecipients,
        };
        let cases = [
            ("421 Connections from your IP exceed the limit", TooManyConnectionsFromHost),
            ("421 Your host has too many open sessions", TooManyConnectionsFromHost),
            ("421 no more than 10 simultaneous connections per client, please", TooManyConnectionsFromHost),
            ("421 Maximum concurrent sessions reached", TooManyConnections),
            ("421 You connect too frequently", ConnectionRateLimited),
            ("450 New-connection rate limit hit, retry in 2 minutes", ConnectionRateLimited),
            ("452 Recipient limit reached (max. 50)", TooManyRecipients),
            ("452 Only 100 recipients per message are allowed", TooManyRecipients),
            ("451 You are sending mails too quickly", RateLimited),
            ("452 More than 200 messages per hour", RateLimited),
            ("552 The e-mail is larger than 10 MB", MessageSizeExceeded),
        ];
        for (text, condition) in cases {
            assert_eq!(said(None, text), condition, "{text}");
        }
    }

    /// A submission quota is not a full mailbox, and a mismatch of names concerns DNS.
    #[test]
    fn quotas_and_names_in_dns_are_distinguished_from_their_neighbours() {
        for text in [
            "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent exception with message Cannot submit message.",
            "554 5.2.0 STOREDRV.Submission.Exception:SendQuotaExceededException; message could not be submitted",
            "432 4.2.0 STOREDRV.Deliver.Exception:OutboundQuotaExceededException; the sender's submission quota is used up",
            "554 5.2.2 mailbox of the sender exceeded its submission quota for this message",
            "550 5.2.2 submission quota exceeded",
            "552 Submission quota exceeded for load@sender.example",
            "550 You have exceeded the quota of messages that you may submit",
            "452 4.2.2 Your account is over its outgoing mail quota",
            "554 Cannot submit: the sender has reached the outbound quota",
            "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients",
        ] {
            assert_eq!(said(None, text), Condition::QuotaExceeded, "{text}");
        }
        for text in [
            "554 5.2.2 STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded; mailbox full",
            "552 5.2.2 quota exceeded",
            "552 recipient storage quota exceeded",
        ] {
            assert_eq!(said(None, text), Condition::MailboxFull, "{text}");
        }
        for text in [
            "550 Your HELO name does not match your DNS configuration",
            "550 5.7.1 client.example.net does not match your DNS configuration",
            "550 HELO does not match rDNS",
            "554 reverse DNS does not match SMTP banner",
            "550 your hostname and your reverse DNS disagree",
            "450 EHLO name differs from the PTR record of 192.0.2.10",
            "554 5.7.1 forward and reverse DNS of your server are not the same",
            "550 The name in HELO and the DNS do not agree",
            "550 5.7.0 mismatch between your HELO and your PTR",
        ] {
            assert_eq!(said(None, text), Condition::DnsPolicyRejected, "{text}");
        }
        assert_eq!(
            said(None, "550 5.7.1 From address does not match the account"),
            Condition::PolicyRejected
        );
    }

    #[test]
    fn replies_of_real_servers_and_their_neighbours_in_other_words() {
        for text in [
            "451 4.4.1 timeout waiting for input during message collect",
            "451 timeout waiting for input from client.example.net during message collect",
            "451 4.4.1 collect: read timeout on connection from client.example.net, from=<load@sender.example>",
            "451 4.4.1 collect: I/O error on connection from client.example.net, from=<load@sender.example>: Connection timed out",
            "451 read time-out while collecting the message from client.example.net",
            "421 4.4.2 timeout while reading message from relay.example.net",
            "451 4.4.1 collect: premature timeout reading mail from <load@sender.example> relay=client.example.net",
            "554 5.0.0 relay read timeout",
            "451 4.4.1 timeout waiting for input from relay.example.net during message collect",
            "554 5.3.0 collect: timeout reading message body, relay=client.example.net [192.0.2.10]",
            "421 relay client.example.net timed out while we were reading its message",
        ] {
            assert_eq!(said(None, text), Condition::IdleTimeout, "{text}");
        }
        assert_eq!(
            said(
                None,
                "451 4.4.1 collect: unexpected close on connection from client.example.net, from=<load@sender.example>"
            ),
            Condition::ConnectionDropped
        );
        for text in [
            "521 Closing connection, 6 unrecognized commands",
            "521 closing channel: 10 unknown commands",
            "421 Bye, 4 commands not recognized",
            "421 Disconnecting after 5 unimplemented commands",
            "421 too many unrecognized commands",
        ] {
            assert_eq!(said(None, text), Condition::BadCommandLimitExceeded, "{text}");
        }
        for text in
            ["502 ESMTP command error", "502 command error", "500 SMTP command error", "500 Error in command"]
        {
            assert_eq!(said(None, text), Condition::UnrecognizedCommand, "{text}");
        }
        for text in ["554 command processing error", "554 5.3.0 error processing your command"] {
            assert_eq!(said(None, text), Condition::ServerError, "{text}");
        }
        for text in [
            "453 Command received prior to completion",
            "550 Protocol error: MAIL not allowed in a group of commands",
            "550 Protocol error: DATA not allowed in a group of commands",
            "453 Command received prior to completion of previous command",
            "503 Next command arrived before the reply to the last one was sent",
            "554 commands must not be grouped: wait for each reply",
            "554 Data received before the previous command completed",
            "503 you must wait for my reply before sending the next command",
        ] {
            assert_eq!(said(None, text), Condition::ProtocolViolation, "{text}");
        }
        for text in [
            "451 mail.example.com Queue size too big",
            "451 4.3.0 the size of the mail queue is too large",
            "452 outgoing queue has grown too big, come back later",
            "421 the number of queued messages is over the limit",
        ] {
            assert_eq!(said(None, text), Condition::QueueFull, "{text}");
        }
        assert_eq!(said(None, "552 message size too big"), Condition::MessageSizeExceeded);
        for text in [
            "501 Invalid address",
            "501 Bad address",
            "501 5.1.7 illegal sender address",
            "501 address is invalid",
            "501 5.1.3 Invalid recipient address",
            "501 not a valid mail address",
        ] {
            assert_eq!(said(None, text), Condition::SyntaxError, "{text}");
        }
        assert_eq!(said(None, "550 invalid address"), Condition::UnknownUser);
        for text in [
            "421 See http://smtpd.develooper.com/barelf.html",
            "554 see https://cr.yp.to/docs/smtplf.html",
            "451 See https://www.example.org/help/bare-newlines.html",
            "550 rejected, please read http://mail.example.org/errors/bare_lf",
            "554 more at https://docs.example.net/smtp-smuggling",
        ] {
            assert_eq!(said(None, text), Condition::BareCrLf, "{text}");
        }
    }
}
