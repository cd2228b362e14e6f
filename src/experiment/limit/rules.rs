//! The order of commands and their form: what a listener answers to what it should not take, against RFC 5321 and against
//! the codes of Cisco's list.

use super::field::{Field, Found, Halt, Letter};
use super::finding::{Finding, Verdict};
use super::kind::Rule;
use crate::condition::Condition;
use crate::condition::cisco;
use crate::generator::probe::{Probe, ProbeEvent, ProbeOutcome};
use crate::smtp::Step;
use crate::smtp::command;

/// What is right.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Right {
    /// A permanent refusal: 5yz.
    Refused,
    /// Either.
    Any,
    /// Not refused.
    Taken,
}

/// One rule.
pub(super) fn find(field: &mut Field<'_>, rule: Rule, finding: &mut Finding) -> Found<()> {
    finding.trials = 1;
    (finding.looked, finding.repeats) = (1, 1);
    if rule == Rule::Pipelining {
        return pipelining(field, finding);
    }
    let (session, step, met) = broken(field, rule)?;
    let (right, meant, source) = match rule {
        Rule::HelloWithoutName => (Right::Refused, Condition::SyntaxError, "RFC 5321 4.1.1.1"),
        Rule::HelloTooLong => (Right::Any, Condition::SyntaxError, "RFC 5321 4.5.3.1.2"),
        Rule::UnknownCommand => (Right::Refused, Condition::UnrecognizedCommand, "RFC 5321 4.2.4"),
        Rule::AuthTwice => (Right::Refused, Condition::BadSequence, "RFC 4954 4"),
        Rule::StarttlsTwice => (Right::Refused, Condition::BadSequence, "RFC 3207 4.2"),
        // RFC 5321 4.1.1.1 lets a server take mail without a hello.
        Rule::MailBeforeHello => (Right::Any, Condition::BadSequence, "RFC 5321 4.1.1.1"),
        Rule::DataBeforeRcpt | Rule::RcptBeforeMail | Rule::MailTwice | Rule::Pipelining => {
            (Right::Refused, Condition::BadSequence, "RFC 5321 4.1.4")
        }
    };
    conclude(field, finding, session, step, &met, right);
    let codes = cisco_codes(meant);
    if !codes.is_empty() && met.code() / 100 == 5 {
        let same = codes.contains(&met.code());
        let list = codes.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        finding.remark(format!("{}Cisco's list has {list} for it", if same { "" } else { "differs: " }));
    }
    finding.remark(source);
    field.leave(session);
    Ok(())
}

/// Breaks a rule; what was met.
fn broken(field: &mut Field<'_>, rule: Rule) -> Found<(Probe, Step, ProbeOutcome)> {
    let mailer = field.mailer(None, 1);
    let letter = field.letter(&mailer).with_data();
    let script = &field.setting.script;
    let hello = command::hello_verb(script.protocol, script.hello);
    let bare = matches!(rule, Rule::MailBeforeHello | Rule::HelloWithoutName | Rule::HelloTooLong);
    let session = if bare { field.enter_bare()? } else { field.enter()? };
    let (step, line) = match rule {
        Rule::DataBeforeRcpt => {
            begin(field, session, &letter)?;
            (Step::Data, "DATA".to_owned())
        }
        Rule::RcptBeforeMail => {
            let recipient = letter.recipients.first().map_or("", |to| to);
            let met = field.rcpt(session, &letter, recipient);
            return Ok((session, Step::Rcpt, met));
        }
        Rule::MailBeforeHello => {
            let met = field.mail(session, &letter);
            return Ok((session, Step::Mail, met));
        }
        Rule::MailTwice => {
            begin(field, session, &letter)?;
            let met = field.mail(session, &letter);
            return Ok((session, Step::Mail, met));
        }
        Rule::HelloWithoutName => (Step::Hello, hello.to_owned()),
        Rule::HelloTooLong => {
            // Labels of at most 63 octets, so that only the whole is too long (255).
            (Step::Hello, format!("{hello} {}example", "long-name-of-a-client.".repeat(14)))
        }
        Rule::AuthTwice => {
            if !field.setting.logged_in {
                return Err(Halt::Foreign("nobody logs in: give --auth and its flags".to_owned()));
            }
            (Step::Auth, "AUTH PLAIN AGEAYg==".to_owned())
        }
        Rule::StarttlsTwice => {
            if !field.is_encrypted() {
                return Err(Halt::Foreign("the sessions are not encrypted: give --tls starttls".to_owned()));
            }
            (Step::Starttls, "STARTTLS".to_owned())
        }
        Rule::UnknownCommand | Rule::Pipelining => (Step::Command, "XYZZY plugh".to_owned()),
    };
    let met = field.ask(session, &line);
    Ok((session, step, met))
}

/// Begins a transaction, which has to be accepted.
fn begin(field: &mut Field<'_>, session: Probe, letter: &Letter) -> Found<()> {
    let met = field.mail(session, letter);
    if met.code() / 100 == 2 { Ok(()) } else { Err(Halt::Failed(Step::Mail, Box::new(met))) }
}

fn conclude(
    field: &mut Field<'_>,
    finding: &mut Finding,
    session: Probe,
    step: Step,
    met: &ProbeOutcome,
    right: Right,
) {
    field.shown(finding, step, &met.event, session);
    let code = u64::from(met.code());
    finding.exactly(code);
    finding.verdict = match (&met.event, right) {
        (ProbeEvent::Reply(reply), Right::Refused) if reply.code / 100 == 5 => Verdict::Found,
        (ProbeEvent::Reply(reply), Right::Taken) if matches!(reply.code / 100, 2 | 3) => Verdict::Found,
        (ProbeEvent::Reply(_), Right::Any) => Verdict::Found,
        _ => Verdict::Differs,
    };
    if finding.verdict == Verdict::Differs && right == Right::Refused {
        finding.remark("a 5yz is right here");
    }
    if finding.expected.is_some_and(|expected| expected != code) {
        finding.verdict = Verdict::Differs;
    } else if finding.expected.is_some() {
        finding.verdict = Verdict::AsExpected;
    }
}

/// MAIL, RCPT and DATA in one write: each is answered, in order, whether or not PIPELINING is offered.
fn pipelining(field: &mut Field<'_>, finding: &mut Finding) -> Found<()> {
    let mailer = field.mailer(None, 1);
    let letter = field.letter(&mailer).with_data();
    let session = field.enter()?;
    let offer = field.probes.offer(session);
    field.probes.send(session, &field.group(session, &letter));
    let patience = field.setting.patience;
    let mut last = (Step::Mail, field.probes.receive(session, patience));
    for step in [Step::Rcpt, Step::Data] {
        if last.1.code() / 100 == 2 {
            last = (step, field.probes.receive(session, patience));
        }
    }
    if matches!(last.1.code() / 100, 4 | 5) {
        // One that is refused by itself as well is not refused for the group.
        let control = field.enter()?;
        let one_by_one = field.envelope(control, &letter);
        field.leave(control);
        one_by_one.map_err(|(step, met)| Halt::Failed(step, Box::new(met)))?;
    }
    finding.remark(if offer.pipelining { "PIPELINING is offered" } else { "PIPELINING is not offered" });
    let right = if offer.pipelining { Right::Taken } else { Right::Any };
    conclude(field, finding, session, last.0, &last.1, right);
    if last.1.code() == 354 {
        let met = field.probes.exchange(session, &letter.content, patience);
        if met.code() / 100 != 2 {
            finding.remark("the message behind it was not accepted");
        }
    }
    field.leave(session);
    Ok(())
}

/// The codes of Cisco's list for a condition.
fn cisco_codes(condition: Condition) -> Vec<u16> {
    let rows = cisco::BOUNCES.iter().filter(|row| row.condition == condition);
    let mut codes: Vec<u16> = rows.filter_map(|row| row.reply.get(..3)?.parse().ok()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}
