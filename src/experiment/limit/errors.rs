//! Limits on what a client may get wrong in a session: unknown commands, wrong syntax, commands that do nothing, recipients
//! that do not exist, logins that fail. Each is made again and again until the listener has enough.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::field::{Field, Found, Halt, Letter, PATIENT};
use super::finding::Finding;
use super::kind::{LimitKind, Mistake};
use super::looks::{Look, MOST, bound, look};
use crate::generator::probe::{Probe, ProbeEvent, ProbeOutcome};
use crate::smtp::Step;
use crate::smtp::script::Protocol;

/// A reply that is held back longer than this, and than twice the first, is held back on purpose.
const TARPIT: Duration = Duration::from_millis(300);
/// How long a listener may take to close the connection after the reply to an error.
const CLOSING: Duration = Duration::from_secs(2);
/// No repeat makes errors for longer: replies that are slow are no refusal.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

/// A mistake, and how it is made.
#[derive(Clone, Copy)]
struct Attempt {
    mistake: Mistake,
    /// Logins by AUTH CRAM-MD5, because AUTH PLAIN is not offered.
    cram_md5: bool,
}

fn step(mistake: Mistake) -> Step {
    match mistake {
        Mistake::Command | Mistake::Junk => Step::Command,
        Mistake::Syntax => Step::Mail,
        Mistake::Recipient => Step::Rcpt,
        Mistake::Login => Step::Auth,
    }
}

/// Errors of a session.
pub(super) fn find(
    field: &mut Field<'_>,
    kind: LimitKind,
    mistake: Mistake,
    finding: &mut Finding,
) -> Found<()> {
    let cram_md5 = mistake == Mistake::Login && login(field)?;
    let attempt = Attempt { mistake, cram_md5 };
    let most = bound(finding.expected, field.setting.bounds.messages, MOST);
    look(field, kind, finding, |field, finding, first| {
        let (session, letter) = prepare(field, mistake)?;
        let mut delays = Delays::default();
        let mut last = None;
        let begun = field.probes.now();
        for served in 0..most {
            field.afford()?;
            let asked = field.probes.now();
            let met = make(field, session, attempt, served, &letter);
            if matches!(met.event, ProbeEvent::Silence) {
                return Err(silent(field, &delays, served));
            }
            let took = met.at.saturating_sub(asked);
            if is_answer(mistake, &met) {
                delays.took(served, took);
                last = Some(met);
                if field.probes.now().saturating_sub(begun) > LONG_ENOUGH {
                    // Growing delays are no limit, and are not waited out.
                    if first {
                        delays.report(finding);
                        finding.remark(format!(
                            "given up after {} answered errors in {} s: their replies are slow, none was refused",
                            served + 1,
                            LONG_ENOUGH.as_secs()
                        ));
                    }
                    field.leave(session);
                    return Ok(Look { served: served + 1, bit: false });
                }
                continue;
            }
            if served == 0 {
                return Err(not_an_error(mistake, met));
            }
            if first {
                field.shown(finding, step(mistake), &met.event, session);
                delays.report(finding);
            }
            field.leave(session);
            // A close that came without a reply may have been the end of the error before.
            let alone = matches!(met.event, ProbeEvent::Closed(_));
            if alone && closes_after(field, attempt, served)? {
                if let Some(last) = last.filter(|_| first) {
                    field.shown_with(finding, step(mistake), &last.event, Some(true));
                }
                return Ok(Look { served: served - 1, bit: true });
            }
            return Ok(Look { served, bit: true });
        }
        if first {
            delays.report(finding);
        }
        field.leave(session);
        Ok(Look { served: most, bit: false })
    })
}

/// Makes the mistake for the `n`-th time.
fn make(field: &mut Field<'_>, session: Probe, attempt: Attempt, n: u64, letter: &Letter) -> ProbeOutcome {
    // A listener that delays its replies is not one that gives none.
    let patience = field.setting.patience * PATIENT;
    let line = match attempt.mistake {
        Mistake::Command => format!("XYZZY{n}\r\n").into_bytes(),
        Mistake::Syntax => b"MAIL FROM:<<>\r\n".to_vec(),
        Mistake::Junk => b"NOOP\r\n".to_vec(),
        Mistake::Recipient => letter.rcpt(&field.terms(session, letter), &letter.recipients[0]),
        Mistake::Login if attempt.cram_md5 => b"AUTH CRAM-MD5\r\n".to_vec(),
        Mistake::Login => {
            let response = STANDARD.encode(format!("\0nobody{n}@load.example\0wrong"));
            format!("AUTH PLAIN {response}\r\n").into_bytes()
        }
    };
    let met = field.probes.exchange(session, &line, patience);
    if !attempt.cram_md5 || met.code() != 334 {
        return met;
    }
    // A response to no challenge of this listener's.
    let response = STANDARD.encode(format!("nobody{n}@load.example {}", "0".repeat(32)));
    field.probes.exchange(session, format!("{response}\r\n").as_bytes(), patience)
}

/// Whether the listener closes the connection after so many errors by itself, before another is made.
fn closes_after(field: &mut Field<'_>, attempt: Attempt, count: u64) -> Found<bool> {
    let mistake = attempt.mistake;
    let (session, letter) = prepare(field, mistake)?;
    for n in 0..count {
        let met = make(field, session, attempt, n, &letter);
        if !is_answer(mistake, &met) {
            field.leave(session);
            return Ok(false);
        }
    }
    let met = field.probes.receive(session, CLOSING);
    field.leave(session);
    Ok(matches!(met.event, ProbeEvent::Closed(_)) || met.code() == 421)
}

/// Nothing came to an error, although each reply was waited for longer than any before: what can be said of it.
fn silent(field: &Field<'_>, delays: &Delays, served: u64) -> Halt {
    let waited = field.setting.patience * PATIENT;
    let slow = delays.from.map_or(String::new(), |from| {
        format!("; from error {from} on replies were delayed, the last by {:.1} s", delays.last.as_secs_f64())
    });
    Halt::Foreign(format!(
        "no reply came to error {} within {} s, and the connection was not closed: that is no limit{slow}",
        served + 1,
        waited.as_secs()
    ))
}

/// The first error was not answered as one.
fn not_an_error(mistake: Mistake, met: ProbeOutcome) -> Halt {
    match (mistake, met.code()) {
        (Mistake::Login, 523 | 530 | 538) => Halt::Foreign(
            "encryption-required: the listener takes no login in clear text; give --tls starttls or implicit"
                .to_owned(),
        ),
        _ => Halt::Failed(step(mistake), Box::new(met)),
    }
}

/// Whether the error was answered, and the session goes on: what the reply says of limits decides nothing.
fn is_answer(mistake: Mistake, met: &ProbeOutcome) -> bool {
    match mistake {
        Mistake::Junk => matches!(met.code() / 100, 2) || matches!(met.code(), 500..=504),
        Mistake::Login if matches!(met.code(), 523 | 530 | 538) => false,
        _ => met.code() / 100 == 5 || met.code() / 100 == 4 && met.code() != 421,
    }
}

/// A session in which the first error can be made, and a letter to the recipient that does not exist.
fn prepare(field: &mut Field<'_>, mistake: Mistake) -> Found<(Probe, Letter)> {
    let session = field.enter()?;
    let mail = |field: &mut Field<'_>, session| {
        let mailer = field.mailer(None, 1);
        let letter = field.letter(&mailer);
        let met = field.mail(session, &letter);
        if met.code() / 100 == 2 { Ok(letter) } else { Err(Halt::Failed(Step::Mail, Box::new(met))) }
    };
    match mistake {
        Mistake::Command | Mistake::Syntax | Mistake::Junk | Mistake::Login => {
            Ok((session, Letter::default()))
        }
        Mistake::Recipient => {
            let letter = mail(field, session)?;
            let domain = letter.recipients.first().and_then(|to| to.rsplit_once('@'));
            let domain = domain.map_or("recipient.example", |(_, domain)| domain);
            let named = field.setting.bad_recipient.clone();
            let recipient = named.unwrap_or_else(|| format!("nobody-at-all@{domain}"));
            let met = field.rcpt(session, &letter, &recipient);
            // That one counts already: the errors are made in a session of their own.
            field.leave(session);
            if met.code() / 100 == 2 {
                return Err(Halt::Foreign(format!(
                    "{recipient} is accepted as a recipient: name one that is not with --bad-recipient"
                )));
            }
            let session = field.enter()?;
            let letter = mail(field, session)?;
            Ok((session, Letter { recipients: vec![recipient], ..letter }))
        }
    }
}

/// Whether logins are tried by CRAM-MD5, because PLAIN is not offered.
fn login(field: &mut Field<'_>) -> Found<bool> {
    let session = field.enter()?;
    let offer = field.probes.offer(session);
    field.leave(session);
    let offers = |mechanism: &str| offer.auth.iter().any(|name| name == mechanism);
    match () {
        () if field.setting.script.protocol == Protocol::Lmtp => {
            Err(Halt::Foreign("LMTP has no logins".to_owned()))
        }
        () if offers("PLAIN") => Ok(false),
        () if offers("CRAM-MD5") => Ok(true),
        () if offer.auth.is_empty() => Err(Halt::Foreign("AUTH is not offered to this client".to_owned())),
        () => Err(Halt::Foreign(format!(
            "neither AUTH PLAIN nor CRAM-MD5 is offered to this client, only {}",
            offer.auth.join(", ")
        ))),
    }
}

/// How long the replies to errors took.
#[derive(Default)]
struct Delays {
    first: Option<Duration>,
    last: Duration,
    /// From which error on they were held back.
    from: Option<u64>,
}

impl Delays {
    fn took(&mut self, n: u64, took: Duration) {
        let first = *self.first.get_or_insert(took);
        self.last = took;
        if self.from.is_none() && took > TARPIT.max(first * 2) || n == 0 && took > TARPIT {
            self.from = Some(n + 1);
        }
    }

    fn report(&self, finding: &mut Finding) {
        finding.delay_ms = Some(self.last.as_secs_f64() * 1e3);
        if let Some(from) = self.from {
            finding.remark(format!(
                "from error {from} on replies are delayed, the last by {:.1} s",
                self.last.as_secs_f64()
            ));
        }
    }
}
