//! The limit on recipients of a message: RCPT after RCPT, until one is refused, and what becomes of the others.

use super::Kind;
use super::field::{Field, Found, Halt};
use super::finding::Finding;
use super::looks::{Look, bound, look};
use crate::smtp::Step;

/// Recipients of a message.
pub(super) fn find(field: &mut Field<'_>, kind: &Kind, finding: &mut Finding) -> Found<()> {
    let most = bound(finding.expected, field.setting.bounds.messages);
    let mailer = field.mailer(None, u32::try_from(most + 1).unwrap_or(u32::MAX));
    look(field, kind, finding, |field, finding, first| {
        let session = field.enter()?;
        let letter = field.letter(&mailer);
        let met = field.ask(session, &format!("MAIL FROM:<{}>", letter.sender));
        if met.code() / 100 != 2 {
            return Err(Halt::Failed(Step::Mail, Box::new(met)));
        }
        for (served, recipient) in (0..most).zip(&letter.recipients) {
            field.afford()?;
            let met = field.ask(session, &format!("RCPT TO:<{recipient}>"));
            if met.code() / 100 == 2 {
                continue;
            }
            if served == 0 {
                return Err(Halt::Failed(Step::Rcpt, Box::new(met)));
            }
            if first {
                field.shown(finding, Step::Rcpt, &met.what, session);
                if finding.closed == Some(false) {
                    let sent = field.data(session, &letter.content).map(|met| met.code() / 100 == 2);
                    finding.remark(match sent {
                        Ok(true) => "the message went to those that were accepted",
                        _ => "the message went to nobody, although some were accepted",
                    });
                    finding.inside_alive = Some(sent == Ok(true) && field.is_alive(session));
                }
            }
            field.leave(session);
            return Ok(Look { served, bit: true });
        }
        field.leave(session);
        Ok(Look { served: most, bit: false })
    })
}
