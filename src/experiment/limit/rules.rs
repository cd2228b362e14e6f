//! Rules on the order and form of commands: how a listener answers commands that it should refuse. The answers are compared
//! with RFC 5321 and with the codes of Cisco's list.

use super::kind::ProtocolRule;
use super::prober::{GLANCE, Halt, Probed, Prober, surplus, unreadable};
use super::result::{LimitResult, LimitVerdict};
use crate::condition::Condition;
use crate::condition::cisco;
use crate::generator::probe::{Probe, ProbeEvent, ProbeOutcome};
use crate::smtp::Step;
use crate::smtp::command;

/// The answer that a rule requires.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Requirement {
    /// A permanent refusal: 5yz.
    Refused,
    /// Any answer.
    Any,
    /// 354, to DATA.
    Taken,
}

/// Measures one rule.
pub(super) fn find(prober: &mut Prober<'_>, rule: ProtocolRule, result: &mut LimitResult) -> Probed<()> {
    result.trials = 1;
    (result.looked, result.repeats) = (1, 1);
    if rule == ProtocolRule::Pipelining {
        return pipelining(prober, result);
    }
    let (session, step, outcome) = broken(prober, rule)?;
    answered(step, &outcome, result.expected)?;
    let (right, meant, source) = match rule {
        ProtocolRule::HelloWithoutName => (Requirement::Refused, Condition::SyntaxError, "RFC 5321 4.1.1.1"),
        ProtocolRule::HelloTooLong => (Requirement::Any, Condition::SyntaxError, "RFC 5321 4.5.3.1.2"),
        ProtocolRule::UnknownCommand => {
            (Requirement::Refused, Condition::UnrecognizedCommand, "RFC 5321 4.2.4")
        }
        ProtocolRule::AuthTwice => (Requirement::Refused, Condition::BadSequence, "RFC 4954 4"),
        ProtocolRule::StarttlsTwice => (Requirement::Refused, Condition::BadSequence, "RFC 3207 4.2"),
        // RFC 5321 4.1.1.1 lets a server take mail without a hello.
        ProtocolRule::MailBeforeHello => (Requirement::Any, Condition::BadSequence, "RFC 5321 4.1.1.1"),
        ProtocolRule::DataBeforeRcpt
        | ProtocolRule::RcptBeforeMail
        | ProtocolRule::MailTwice
        | ProtocolRule::Pipelining => (Requirement::Refused, Condition::BadSequence, "RFC 5321 4.1.4"),
    };
    conclude(prober, result, session, step, &outcome, right);
    let codes = cisco_codes(meant);
    if !codes.is_empty() && outcome.code() / 100 == 5 {
        let same = codes.contains(&outcome.code());
        let list = codes.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        result.remark(format!("{}Cisco's list has {list} for it", if same { "" } else { "differs: " }));
    }
    result.remark(source);
    prober.leave(session);
    Ok(())
}

/// Breaks a rule in a new session. Returns the session, the step and the reply.
fn broken(prober: &mut Prober<'_>, rule: ProtocolRule) -> Probed<(Probe, Step, ProbeOutcome)> {
    let mailer = prober.mailer(None, 1);
    let letter = prober.letter(&mailer).with_data();
    let script = &prober.setting.script;
    let hello = command::hello_verb(script.protocol, script.hello);
    let bare = matches!(
        rule,
        ProtocolRule::MailBeforeHello | ProtocolRule::HelloWithoutName | ProtocolRule::HelloTooLong
    );
    let session = if bare { prober.enter_bare()? } else { prober.enter()? };
    let (step, line) = match rule {
        ProtocolRule::DataBeforeRcpt => {
            prober.begin(session, &letter)?;
            (Step::Data, "DATA".to_owned())
        }
        ProtocolRule::RcptBeforeMail => {
            let recipient = letter.recipients.first().map_or("", |to| to);
            let outcome = prober.rcpt(session, &letter, recipient);
            return Ok((session, Step::Rcpt, outcome));
        }
        ProtocolRule::MailBeforeHello => {
            let outcome = prober.mail(session, &letter);
            return Ok((session, Step::Mail, outcome));
        }
        ProtocolRule::MailTwice => {
            prober.begin(session, &letter)?;
            let outcome = prober.mail(session, &letter);
            return Ok((session, Step::Mail, outcome));
        }
        ProtocolRule::HelloWithoutName => (Step::Hello, hello.to_owned()),
        ProtocolRule::HelloTooLong => {
            // Each label has at most 63 bytes, so that only the whole name is too long (more than 255 bytes).
            (Step::Hello, format!("{hello} {}example", "long-name-of-a-client.".repeat(14)))
        }
        ProtocolRule::AuthTwice => {
            if !prober.setting.logged_in {
                return Err(Halt::NotMeasurable(
                    "the sessions do not log in: give --auth and its flags".to_owned(),
                ));
            }
            (Step::Auth, "AUTH PLAIN AGEAYg==".to_owned())
        }
        ProtocolRule::StarttlsTwice => {
            if !prober.is_encrypted() {
                return Err(Halt::NotMeasurable(
                    "the sessions are not encrypted: give --tls starttls".to_owned(),
                ));
            }
            (Step::Starttls, "STARTTLS".to_owned())
        }
        ProtocolRule::UnknownCommand | ProtocolRule::Pipelining => (Step::Command, "XYZZY plugh".to_owned()),
    };
    let outcome = prober.ask(session, &line);
    Ok((session, step, outcome))
}

/// Rejects an outcome that does not answer the command: what is no reply or answers nothing, silence, which may be a slow
/// reply, and a 421. RFC 5321 3.8 allows a 421 at any time, so it counts only if it is expected.
///
/// # Errors
/// The outcome shows nothing about the rule.
fn answered(step: Step, outcome: &ProbeOutcome, expected: Option<u64>) -> Probed<()> {
    match &outcome.event {
        ProbeEvent::Failed(..) | ProbeEvent::Silence => unreadable(outcome),
        ProbeEvent::Reply(reply) if reply.code == 421 && expected != Some(421) => {
            Err(Halt::Failed(step, Box::new(outcome.clone())))
        }
        _ => Ok(()),
    }
}

fn conclude(
    prober: &mut Prober<'_>,
    result: &mut LimitResult,
    session: Probe,
    step: Step,
    outcome: &ProbeOutcome,
    right: Requirement,
) {
    prober.shown(result, step, &outcome.event, session);
    let code = u64::from(outcome.code());
    result.exactly(code);
    result.verdict = match (&outcome.event, right) {
        (ProbeEvent::Reply(reply), Requirement::Refused) if reply.code / 100 == 5 => LimitVerdict::Found,
        (ProbeEvent::Reply(reply), Requirement::Taken) if step == Step::Data && reply.code == 354 => {
            LimitVerdict::Found
        }
        (ProbeEvent::Reply(_), Requirement::Any) => LimitVerdict::Found,
        _ => LimitVerdict::Differs,
    };
    match right {
        Requirement::Refused if result.verdict == LimitVerdict::Differs => {
            result.remark("a 5yz is right here");
        }
        Requirement::Taken if result.verdict == LimitVerdict::Differs => {
            result.remark("a 354 to DATA is right here");
        }
        _ => {}
    }
    if result.expected.is_some_and(|expected| expected != code) {
        result.verdict = LimitVerdict::Differs;
    } else if result.expected.is_some() {
        result.verdict = LimitVerdict::AsExpected;
    }
}

/// Sends MAIL, RCPT and DATA in one write. A listener that offers PIPELINING must accept them, each in order.
fn pipelining(prober: &mut Prober<'_>, result: &mut LimitResult) -> Probed<()> {
    let mailer = prober.mailer(None, 1);
    let letter = prober.letter(&mailer).with_data();
    let session = prober.enter()?;
    let offer = prober.probes.offer(session);
    prober.probes.send(session, &prober.group(session, &letter));
    let patience = prober.setting.patience;
    let mut last = (Step::Mail, prober.probes.receive(session, patience));
    for step in [Step::Rcpt, Step::Data] {
        if last.1.accepts(last.0) {
            last = (step, prober.probes.receive(session, patience));
        }
    }
    answered(last.0, &last.1, result.expected)?;
    let positive = last.0 == Step::Data && matches!(last.1.code() / 100, 2 | 3);
    if positive {
        alone(prober, session)?;
    }
    if matches!(last.1.code() / 100, 4 | 5) {
        // If a command is refused without pipelining, too, the single write is not the reason.
        let control = prober.enter()?;
        let one_by_one = prober.envelope(control, &letter);
        prober.leave(control);
        one_by_one.map_err(|(step, outcome)| Halt::Failed(step, Box::new(outcome)))?;
    }
    result.remark(if offer.pipelining { "PIPELINING is offered" } else { "PIPELINING is not offered" });
    // A listener that does not offer PIPELINING may refuse, but it may not accept DATA with another reply.
    let right = if offer.pipelining || positive { Requirement::Taken } else { Requirement::Any };
    if last.1.accepts(Step::Data) {
        let outcome = prober.probes.exchange(session, &letter.content, patience);
        alone(prober, session)?;
        if !outcome.accepts(Step::Body) {
            result.remark("the message after it was not accepted");
        }
    }
    conclude(prober, result, session, last.0, &last.1, right);
    prober.leave(session);
    Ok(())
}

/// Checks that no reply follows the last one that was due. Otherwise it is unknown which command each reply answers.
fn alone(prober: &mut Prober<'_>, session: Probe) -> Probed<()> {
    let outcome = prober.probes.receive(session, GLANCE);
    match &outcome.event {
        ProbeEvent::Reply(reply) if reply.code != 421 => Err(surplus(reply)),
        ProbeEvent::Failed(..) => unreadable(&outcome),
        _ => Ok(()),
    }
}

/// Returns the codes of Cisco's list for a condition.
fn cisco_codes(condition: Condition) -> Vec<u16> {
    let rows = cisco::BOUNCES.iter().filter(|row| row.condition == condition);
    let mut codes: Vec<u16> = rows.filter_map(|row| row.reply.get(..3)?.parse().ok()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}
