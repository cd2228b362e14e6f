//! Limits on what a client may get wrong in a session: unknown commands, wrong syntax, commands that do nothing, recipients
//! that do not exist, logins that fail. Each is made again and again until the listener has enough.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Kind;
use super::field::{Field, Found, Halt};
use super::finding::Finding;
use super::looks::{Look, bound, look};
use crate::generator::hands::{Met, Session};
use crate::smtp::Step;
use crate::smtp::script::Protocol;

/// A reply that is held back longer than this, and than twice the first, is held back on purpose.
const TARPIT: Duration = Duration::from_millis(300);

/// What is done wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Command,
    Syntax,
    Junk,
    Recipient,
    Login,
}

impl Wrong {
    fn of(kind: &Kind) -> Wrong {
        match kind.name {
            "bad-command-limit-exceeded.syntax" => Wrong::Syntax,
            "bad-command-limit-exceeded.junk" => Wrong::Junk,
            "too-many-invalid-recipients" => Wrong::Recipient,
            "too-many-auth-failures" => Wrong::Login,
            _ => Wrong::Command,
        }
    }

    fn step(self) -> Step {
        match self {
            Wrong::Command | Wrong::Junk => Step::Command,
            Wrong::Syntax => Step::Mail,
            Wrong::Recipient => Step::Rcpt,
            Wrong::Login => Step::Auth,
        }
    }

    fn line(self, n: u64, recipient: &str) -> String {
        match self {
            Wrong::Command => format!("XYZZY{n}"),
            Wrong::Syntax => "MAIL FROM:<<>".to_owned(),
            Wrong::Junk => "NOOP".to_owned(),
            Wrong::Recipient => format!("RCPT TO:<{recipient}>"),
            Wrong::Login => {
                format!("AUTH PLAIN {}", STANDARD.encode(format!("\0nobody{n}@load.example\0wrong")))
            }
        }
    }
}

/// Errors of a session.
pub(super) fn find(field: &mut Field<'_>, kind: &Kind, finding: &mut Finding) -> Found<()> {
    let wrong = Wrong::of(kind);
    let most = bound(finding.expected, field.setting.bounds.messages);
    look(field, kind, finding, |field, finding, first| {
        let (session, recipient) = prepare(field, wrong)?;
        let mut pace = Tarpit::default();
        for served in 0..most {
            field.afford()?;
            let begun = field.hands.now();
            let met = field.ask(session, &wrong.line(served, &recipient));
            if answered(field, kind, wrong, &met) {
                pace.took(served, met.at.saturating_sub(begun));
                continue;
            }
            if served == 0 {
                field.leave(session);
                return Err(Halt::Failed(wrong.step(), Box::new(met)));
            }
            if first {
                field.shown(finding, wrong.step(), &met.what, session);
                pace.tell(finding);
            }
            field.leave(session);
            return Ok(Look { served, bit: true });
        }
        if first {
            pace.tell(finding);
        }
        field.leave(session);
        Ok(Look { served: most, bit: false })
    })
}

/// Whether the error was answered as one that a client may still make.
fn answered(field: &Field<'_>, kind: &Kind, wrong: Wrong, met: &Met) -> bool {
    // Some say that it is enough with the code of the error itself.
    let enough = field.condition(wrong.step(), &met.what) == kind.condition();
    match wrong {
        _ if enough => false,
        Wrong::Junk => met.code() / 100 == 2,
        _ => met.code() / 100 == 5 || met.code() / 100 == 4 && met.code() != 421,
    }
}

/// A session in which the first error can be made, and the recipient that does not exist.
fn prepare(field: &mut Field<'_>, wrong: Wrong) -> Found<(Session, String)> {
    let session = field.enter()?;
    let mail = |field: &mut Field<'_>, session| {
        let mailer = field.mailer(None, 1);
        let letter = field.letter(&mailer);
        let met = field.ask(session, &format!("MAIL FROM:<{}>", letter.sender));
        if met.code() / 100 == 2 { Ok(letter) } else { Err(Halt::Failed(Step::Mail, Box::new(met))) }
    };
    match wrong {
        Wrong::Command | Wrong::Syntax | Wrong::Junk => Ok((session, String::new())),
        Wrong::Recipient => {
            let letter = mail(field, session)?;
            let domain = letter.recipients.first().and_then(|to| to.rsplit_once('@'));
            let domain = domain.map_or("recipient.example", |(_, domain)| domain);
            let named = field.setting.bad_recipient.clone();
            let recipient = named.unwrap_or_else(|| format!("nobody-at-all@{domain}"));
            let met = field.ask(session, &format!("RCPT TO:<{recipient}>"));
            // That one counts already: the errors are made in a session of their own.
            field.leave(session);
            if met.code() / 100 == 2 {
                return Err(Halt::Foreign(format!(
                    "{recipient} is accepted as a recipient: name one that is not with --bad-recipient"
                )));
            }
            let session = field.enter()?;
            mail(field, session)?;
            Ok((session, recipient))
        }
        Wrong::Login => {
            let offer = field.hands.offer(session);
            if field.setting.protocol == Protocol::Lmtp || !offer.auth.iter().any(|name| name == "PLAIN") {
                field.leave(session);
                return Err(Halt::Foreign("AUTH PLAIN is not offered to this client".to_owned()));
            }
            Ok((session, String::new()))
        }
    }
}

/// How long the replies to errors took.
#[derive(Default)]
struct Tarpit {
    first: Option<Duration>,
    last: Duration,
    /// From which error on they were held back.
    from: Option<u64>,
}

impl Tarpit {
    fn took(&mut self, n: u64, took: Duration) {
        let first = *self.first.get_or_insert(took);
        self.last = took;
        if self.from.is_none() && took > TARPIT.max(first * 2) || n == 0 && took > TARPIT {
            self.from = Some(n + 1);
        }
    }

    fn tell(&self, finding: &mut Finding) {
        finding.delay_ms = Some(self.last.as_secs_f64() * 1e3);
        if let Some(from) = self.from {
            finding.remark(format!(
                "from error {from} on replies are held back, the last by {:.1} s",
                self.last.as_secs_f64()
            ));
        }
    }
}
