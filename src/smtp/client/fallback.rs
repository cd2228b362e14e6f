//! The end of the opening, and the fallback to an older form on the same connection: HELO instead of EHLO, and AUTH
//! without an initial response.

use super::event::{Event, Failure};
use super::extra_commands::ExtraCommand;
use super::{Client, ClientState};
use crate::smtp::extensions::Terms;
use crate::smtp::machine::Closed;
use crate::smtp::reply::{RawReply, Scanner};
use crate::smtp::step::Step;
use crate::smtp::transaction::Content;

impl<C: Content> Client<C> {
    /// Repeats a refused command in an older form. Returns whether an older form exists.
    pub(super) fn steps_down(&mut self, raw: RawReply<'_>) -> bool {
        let step = self.step();
        let goes_on = self.opening.as_mut().is_some_and(|opening| opening.steps_down(&self.script, raw));
        if goes_on {
            self.events.push_back(Event::SteppedDown { step, reply: Box::new(raw.to_reply()) });
            self.written = false;
        }
        goes_on
    }

    pub(super) fn established(&mut self, pipelining: bool, terms: Terms) {
        self.transactions.established(&self.script, pipelining, terms);
        let offer = self.opening.take().map(|opening| opening.into_offer()).unwrap_or_default();
        self.is_established = true;
        self.hello_is_unmistakable = self.is_unmistakable(&offer);
        self.events.push_back(Event::Established(Box::new(offer)));
        if self.script.manners.deaf {
            self.state = ClientState::Deaf;
        } else {
            self.extra(ExtraCommand::first(&self.script));
        }
    }

    /// Returns the failure for a connection that is gone. Listeners that refuse a session at once may close it within
    /// the line that says so: such a line is a refusal. If the connection closed after the second form of a command,
    /// the failure is the refusal of the first form.
    pub(super) fn closed_by(&mut self, how: Closed) -> Failure {
        let is_answered =
            self.is_waiting() && !self.early && matches!(self.step(), Step::Greeting | Step::Hello);
        let cut_short = Some(&self.scanner).filter(|_| is_answered && how == Closed::Eof);
        let refused = cut_short.and_then(Scanner::refusal_without_end);
        let refused = refused.or_else(|| self.opening.as_mut().and_then(|opening| opening.refused_before()));
        refused.map_or_else(|| Failure::Closed(how, self.scanner.evidence()), Failure::Reply)
    }
}
