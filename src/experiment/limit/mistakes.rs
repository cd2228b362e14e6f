//! Limits on the mistakes of a session: unknown commands, wrong syntax, commands without use, unknown recipients, and
//! failed logins. Each mistake is repeated until the listener refuses more.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::kind::{LimitKind, Mistake};
use super::prober::{Halt, Letter, PATIENT, Probed, Prober, unreadable};
use super::repeats::{MOST, Repeat, bound, repeat};
use super::result::LimitResult;
use crate::generator::probe::{Probe, ProbeEvent, ProbeOutcome};
use crate::smtp::Step;
use crate::smtp::script::Protocol;

/// A reply counts as delayed on purpose if it takes longer than this and more than twice as long as the first reply. The
/// first reply counts if it takes longer than this.
const TARPIT: Duration = Duration::from_millis(300);
/// How long a listener may take to close the connection after the reply to an error.
const CLOSING: Duration = Duration::from_secs(2);
/// The longest time of one repeat, because slow replies are no refusal.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

/// A mistake, and the way in which it is made.
#[derive(Clone, Copy)]
struct MistakeAttempt {
    mistake: Mistake,
    /// Whether logins use AUTH CRAM-MD5, because AUTH PLAIN is not offered.
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

/// Measures how many mistakes of a session are answered.
pub(super) fn find(
    prober: &mut Prober<'_>,
    kind: LimitKind,
    mistake: Mistake,
    result: &mut LimitResult,
) -> Probed<()> {
    let cram_md5 = mistake == Mistake::Login && login(prober)?;
    let attempt = MistakeAttempt { mistake, cram_md5 };
    let most = bound(result.expected, prober.setting.bounds.messages, MOST);
    repeat(prober, kind, result, |prober, result, first| {
        let (session, letter) = prepare(prober, mistake)?;
        let mut delays = ObservedDelays::default();
        let mut last = None;
        let start = prober.probes.now();
        for served in 0..most {
            prober.afford()?;
            let asked = prober.probes.now();
            let outcome = make(prober, session, attempt, served, &letter);
            if matches!(outcome.event, ProbeEvent::Silence) {
                return Err(silent(prober, &delays, served));
            }
            let took = outcome.at.saturating_sub(asked);
            if is_answer(mistake, &outcome) {
                delays.took(served, took);
                last = Some(outcome);
                if prober.probes.now().saturating_sub(start) > LONG_ENOUGH {
                    // Slow replies do not show a limit.
                    if first {
                        delays.report(result);
                        result.remark(format!(
                            "ended after {} answered errors in {} s: the replies are slow, and none was a refusal",
                            served + 1,
                            LONG_ENOUGH.as_secs()
                        ));
                    }
                    prober.leave(session);
                    return Ok(Repeat { served: served + 1, refused: false });
                }
                continue;
            }
            if served == 0 {
                return Err(not_an_error(mistake, outcome));
            }
            unreadable(&outcome)?;
            if first {
                prober.shown(result, step(mistake), &outcome.event, session);
                delays.report(result);
            }
            prober.leave(session);
            // A close without a reply may be the answer to the previous error.
            let alone = matches!(outcome.event, ProbeEvent::Closed(_));
            if alone && closes_after(prober, attempt, served)? {
                if let Some(last) = last.filter(|_| first) {
                    prober.shown_with(result, step(mistake), &last.event, Some(true));
                }
                return Ok(Repeat { served: served - 1, refused: true });
            }
            return Ok(Repeat { served, refused: true });
        }
        if first {
            delays.report(result);
        }
        prober.leave(session);
        Ok(Repeat { served: most, refused: false })
    })
}

/// Makes the mistake number `n`, from 0. Returns the reply.
fn make(
    prober: &mut Prober<'_>,
    session: Probe,
    attempt: MistakeAttempt,
    n: u64,
    letter: &Letter,
) -> ProbeOutcome {
    // The wait is longer than usual, so that a listener with delayed replies does not count as silent.
    let patience = prober.setting.patience * PATIENT;
    let line = match attempt.mistake {
        Mistake::Command => format!("XYZZY{n}\r\n").into_bytes(),
        Mistake::Syntax => b"MAIL FROM:<<>\r\n".to_vec(),
        Mistake::Junk => b"NOOP\r\n".to_vec(),
        Mistake::Recipient => letter.rcpt(&prober.terms(session, letter), &letter.recipients[0]),
        Mistake::Login if attempt.cram_md5 => b"AUTH CRAM-MD5\r\n".to_vec(),
        Mistake::Login => {
            let response = STANDARD.encode(format!("\0nobody{n}@load.example\0wrong"));
            format!("AUTH PLAIN {response}\r\n").into_bytes()
        }
    };
    let outcome = prober.probes.exchange(session, &line, patience);
    if !attempt.cram_md5 || outcome.code() != 334 {
        return outcome;
    }
    // The response does not fit the challenge, so the login fails.
    let response = STANDARD.encode(format!("nobody{n}@load.example {}", "0".repeat(32)));
    prober.probes.exchange(session, format!("{response}\r\n").as_bytes(), patience)
}

/// Whether the listener closes the connection by itself after this many errors, before the client makes another one.
fn closes_after(prober: &mut Prober<'_>, attempt: MistakeAttempt, count: u64) -> Probed<bool> {
    let mistake = attempt.mistake;
    let (session, letter) = prepare(prober, mistake)?;
    for n in 0..count {
        let outcome = make(prober, session, attempt, n, &letter);
        if !is_answer(mistake, &outcome) {
            unreadable(&outcome)?;
            prober.leave(session);
            return Ok(false);
        }
    }
    let outcome = prober.probes.receive(session, CLOSING);
    prober.leave(session);
    Ok(matches!(outcome.event, ProbeEvent::Closed(_)) || outcome.code() == 421)
}

/// Returns the halt for an error that got no reply within [`PATIENT`] times the usual wait.
fn silent(prober: &Prober<'_>, delays: &ObservedDelays, served: u64) -> Halt {
    let waited = prober.setting.patience * PATIENT;
    let slow = delays.from.map_or(String::new(), |from| {
        format!("; from error {from} on replies were delayed, the last by {:.1} s", delays.last.as_secs_f64())
    });
    Halt::NotMeasurable(format!(
        "no reply came to error {} within {} s, and the connection was not closed: that is no limit{slow}",
        served + 1,
        waited.as_secs()
    ))
}

/// Returns the halt for a first error that the listener did not answer as an error.
fn not_an_error(mistake: Mistake, outcome: ProbeOutcome) -> Halt {
    match (mistake, outcome.code()) {
        (Mistake::Login, 523 | 530 | 538) => Halt::NotMeasurable(
            "encryption-required: the listener takes no login in clear text; give --tls starttls or implicit"
                .to_owned(),
        ),
        _ => Halt::Failed(step(mistake), Box::new(outcome)),
    }
}

/// Whether the listener answered the error and continues the session. Only the code decides, not the text of the reply.
fn is_answer(mistake: Mistake, outcome: &ProbeOutcome) -> bool {
    match mistake {
        Mistake::Junk => outcome.accepts(Step::Command) || matches!(outcome.code(), 500..=504),
        Mistake::Login if matches!(outcome.code(), 523 | 530 | 538) => false,
        _ => outcome.code() / 100 == 5 || outcome.code() / 100 == 4 && outcome.code() != 421,
    }
}

/// Returns a session in which the first error can be made, and a letter to a recipient that does not exist.
fn prepare(prober: &mut Prober<'_>, mistake: Mistake) -> Probed<(Probe, Letter)> {
    let session = prober.enter()?;
    let mail = |prober: &mut Prober<'_>, session| {
        let mailer = prober.mailer(None, 1);
        let letter = prober.letter(&mailer);
        prober.begin(session, &letter).map(|()| letter)
    };
    match mistake {
        Mistake::Command | Mistake::Syntax | Mistake::Junk | Mistake::Login => {
            Ok((session, Letter::default()))
        }
        Mistake::Recipient => {
            let letter = mail(prober, session)?;
            let domain = letter.recipients.first().and_then(|to| to.rsplit_once('@'));
            let domain = domain.map_or("recipient.example", |(_, domain)| domain);
            let named = prober.setting.bad_recipient.clone();
            let recipient = named.unwrap_or_else(|| format!("nobody-at-all@{domain}"));
            let outcome = prober.rcpt(session, &letter, &recipient);
            // The refused recipient already counts as an error, so the errors are counted in a new session.
            prober.leave(session);
            if outcome.accepts(Step::Rcpt) {
                return Err(Halt::NotMeasurable(format!(
                    "{recipient} is accepted as a recipient: name one that is not with --bad-recipient"
                )));
            }
            let session = prober.enter()?;
            let letter = mail(prober, session)?;
            Ok((session, Letter { recipients: vec![recipient], ..letter }))
        }
    }
}

/// Whether logins use CRAM-MD5, because PLAIN is not offered.
///
/// # Errors
/// The listener offers neither mechanism, or the protocol has no logins.
fn login(prober: &mut Prober<'_>) -> Probed<bool> {
    let session = prober.enter()?;
    let offer = prober.probes.offer(session);
    prober.leave(session);
    let offers = |mechanism: &str| offer.auth.iter().any(|name| name == mechanism);
    match () {
        () if prober.setting.script.protocol == Protocol::Lmtp => {
            Err(Halt::NotMeasurable("LMTP has no logins".to_owned()))
        }
        () if offers("PLAIN") => Ok(false),
        () if offers("CRAM-MD5") => Ok(true),
        () if offer.auth.is_empty() => {
            Err(Halt::NotMeasurable("AUTH is not offered to this client".to_owned()))
        }
        () => Err(Halt::NotMeasurable(format!(
            "neither AUTH PLAIN nor CRAM-MD5 is offered to this client, only {}",
            offer.auth.join(", ")
        ))),
    }
}

/// How long the replies to errors took.
#[derive(Default)]
struct ObservedDelays {
    first: Option<Duration>,
    last: Duration,
    /// The number of the first error whose reply was delayed.
    from: Option<u64>,
}

impl ObservedDelays {
    fn took(&mut self, n: u64, took: Duration) {
        let first = *self.first.get_or_insert(took);
        self.last = took;
        if self.from.is_none() && took > TARPIT.max(first * 2) || n == 0 && took > TARPIT {
            self.from = Some(n + 1);
        }
    }

    fn report(&self, result: &mut LimitResult) {
        result.delay_ms = Some(self.last.as_secs_f64() * 1e3);
        if let Some(from) = self.from {
            result.remark(format!(
                "from error {from} on replies are delayed, the last by {:.1} s",
                self.last.as_secs_f64()
            ));
        }
    }
}
