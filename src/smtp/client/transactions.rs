//! The transactions in progress: the current transaction, and a next transaction that is sent before the current one
//! has ended. This module decides which commands are sent together, and when the next transaction may start.

use std::collections::VecDeque;
use std::time::Instant;

use super::client_transaction::ClientTransaction;
use super::event::{Event, Failure};
use super::proof::ReplyOrder;
use super::reply_check::{is_cut, is_strange};
use crate::smtp::extensions::Terms;
use crate::smtp::script::{Pipelining, Script};
use crate::smtp::step::Step;
use crate::smtp::transaction::{Content, Lost};

/// The commands that are sent together, once the listener's offer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grouping {
    Single,
    /// MAIL, RCPT and DATA, or MAIL, RCPT and the chunks.
    Envelope,
    /// The content and the next envelope too, or all of the next transaction behind the last chunk.
    Full,
}

/// At most two transactions of a session.
#[derive(Debug)]
pub(super) struct Transactions<C> {
    pub(super) current: Option<ClientTransaction<C>>,
    /// The transaction that started before `current` ended.
    next: Option<ClientTransaction<C>>,
    grouping: Grouping,
    /// Whether the next transaction may be sent before the current one has ended.
    looks_ahead: bool,
    terms: Terms,
}

impl<C: Content> Transactions<C> {
    pub(super) fn new() -> Transactions<C> {
        Transactions {
            current: None,
            next: None,
            grouping: Grouping::Single,
            looks_ahead: false,
            terms: Terms::default(),
        }
    }

    /// Whether only a part of the current content is rendered.
    pub(super) fn is_partly_rendered(&self) -> bool {
        self.current.as_ref().is_some_and(ClientTransaction::is_partly_rendered)
    }

    /// Chooses the grouping, once the listener's offer is known.
    pub(super) fn established(&mut self, script: &Script, pipelining: bool, terms: Terms) {
        self.terms = terms;
        self.grouping = match script.pipelining {
            Pipelining::Auto if pipelining => Grouping::Envelope,
            Pipelining::Full | Pipelining::Require if pipelining => Grouping::Full,
            _ => Grouping::Single,
        };
        // Commands between two transactions keep them apart.
        self.looks_ahead = self.grouping == Grouping::Full && script.between.is_empty();
    }

    /// Begins a transaction. Returns true if it is the only one.
    pub(super) fn begin(&mut self, content: C, script: &Script, now: Instant) -> bool {
        debug_assert!(self.next.is_none(), "begin twice for one Ready");
        let exchange = ClientTransaction::new(content, &self.terms, script.protocol, now);
        let alone = self.current.is_none();
        *if alone { &mut self.current } else { &mut self.next } = Some(exchange);
        alone
    }

    /// Returns the outstanding step.
    pub(super) fn step(&self) -> Step {
        self.current.as_ref().map_or(Step::Idle, ClientTransaction::step)
    }

    /// Whether a reply of the listener is outstanding.
    pub(super) fn is_waiting(&self) -> bool {
        self.current.as_ref().is_some_and(ClientTransaction::is_waiting)
    }

    /// Whether another transaction could be sent now, with the content of the current one or behind its last chunk.
    /// `distinguished` says that the replies to chunked transactions can be told apart.
    pub(super) fn has_room(&self, distinguished: bool) -> bool {
        self.looks_ahead
            && self.next.is_none()
            && self.current.as_ref().is_some_and(|exchange| {
                // With DATA, the next transaction can only be sent together with content that has not started yet.
                !exchange.is_chunked() && exchange.wants_body() && !exchange.is_consequence()
                    || distinguished && exchange.is_last_awaited()
            })
    }

    /// Whether the next reply answers a chunk that is not the last.
    pub(super) fn is_midway(&self) -> bool {
        self.current.as_ref().is_some_and(ClientTransaction::is_midway)
    }

    /// Whether the next reply answers the last chunk of the current transaction, and that chunk is written.
    pub(super) fn is_last_chunk(&self) -> bool {
        self.current.as_ref().is_some_and(ClientTransaction::is_last_chunk)
    }

    /// Returns what the order of the replies to the current transaction proves.
    pub(super) fn order(&self) -> ReplyOrder {
        match &self.current {
            Some(exchange) if exchange.is_chunked() => ReplyOrder::Chunks,
            Some(exchange) if exchange.is_of_several() => ReplyOrder::Several,
            _ => ReplyOrder::Proves,
        }
    }

    /// Whether the content of the current transaction was answered, not only the commands before it.
    pub(super) fn is_answered(&self) -> bool {
        self.current.as_ref().is_some_and(ClientTransaction::is_answered)
    }

    /// Whether content is sent in chunks.
    pub(super) fn goes_in_chunks(&self) -> bool {
        self.terms.chunk.is_some()
    }

    /// Whether the listener may have the message of the current transaction after this failure.
    pub(super) fn in_doubt(&self, failure: &Failure) -> bool {
        // If a group was written behind the dot, it is unknown whether the kernel took the dot.
        let alone = !self.next.as_ref().is_some_and(ClientTransaction::is_waiting);
        let cut = is_cut(failure) && alone;
        // In a session out of step the refusals no longer count.
        let takes_back = is_strange(failure);
        self.current
            .as_ref()
            .is_some_and(|exchange| exchange.in_doubt(cut) || takes_back && exchange.is_out_in_chunks(cut))
    }

    /// Returns how many replies to the current content came and how many are due, if LMTP's replies are incomplete.
    pub(super) fn replies_due(&self) -> Option<(u32, u32)> {
        self.current.as_ref().and_then(ClientTransaction::replies_due)
    }

    /// Whether a reply that is read now would answer content whose end the listener cannot have read.
    pub(super) fn is_early(&self) -> bool {
        self.current.as_ref().is_some_and(ClientTransaction::is_early)
    }

    /// Returns when the current transaction began: its MAIL was written.
    pub(super) fn began(&self) -> Option<Instant> {
        self.current.as_ref().and_then(ClientTransaction::began)
    }

    /// Whether no second transaction has started.
    pub(super) fn is_single(&self) -> bool {
        self.next.is_none()
    }

    /// Ends both transactions. `failure` is the failure that ended the session.
    pub(super) fn lose(&mut self, now: Instant, failure: &Failure, events: &mut VecDeque<Event>) {
        let lost = Event::Transaction { accepted: false, ended: now };
        events.extend(self.current.take().map(|_| lost.clone()));
        let Some(next) = self.next.take() else { return };
        // The listener may also have the content of a second transaction behind a last chunk. If the listener answered
        // 421, it accepts nothing more.
        if !matches!(failure, Failure::Reply(_)) && next.in_doubt(is_cut(failure)) {
            events.push_back(Event::Step {
                step: next.step(),
                started: next.since(),
                ended: now,
                code: 0,
                failure: Some(Box::new(failure.clone())),
                in_doubt: true,
            });
        }
        events.push_back(lost);
    }

    /// Ends the current transaction. The next one, if there is one, takes its place. Returns true if the listener still
    /// holds the ended transaction, which only RSET can end.
    pub(super) fn over(&mut self) -> bool {
        let needs_reset = self.current.as_ref().is_some_and(ClientTransaction::needs_reset);
        self.current = if self.next.is_some() { self.next.take() } else { None };
        needs_reset
    }

    /// Notes that the kernel has taken all that was rendered.
    pub(super) fn written(&mut self) {
        for exchange in [&mut self.current, &mut self.next].into_iter().flatten() {
            exchange.written();
        }
    }

    /// Appends the bytes that are due. `backlog` says that the kernel has not yet taken all rendered bytes.
    ///
    /// # Errors
    /// The content of a transaction is lost. The session cannot go on, and the caller must drop what was appended.
    pub(super) fn write(
        &mut self,
        now: Instant,
        backlog: bool,
        events: &mut VecDeque<Event>,
        out: &mut Vec<u8>,
    ) -> Result<(), Lost> {
        let Some(exchange) = &mut self.current else { return Ok(()) };
        let (terms, grouped) = (&self.terms, self.grouping != Grouping::Single);
        if exchange.wants_command() {
            if exchange.is_unsent() {
                events.push_back(Event::Started(now));
            }
            if grouped {
                exchange.write_group(terms, now, out)?;
            } else {
                exchange.write_command(terms, now, out);
            }
        } else if exchange.wants_body() || !backlog && exchange.wants_more_body(grouped) {
            let ends = exchange.write_body(grouped, now, out)?;
            if let Some(next) = self.next.as_mut().filter(|next| ends && !next.is_chunked()) {
                events.push_back(Event::Started(now));
                next.write_group(terms, now, out)?;
            }
        } else if let Some(next) = self.next.as_mut().filter(|next| next.is_chunked() && !backlog) {
            if next.is_unsent() {
                events.push_back(Event::Started(now));
                next.write_group(terms, now, out)?;
            } else if next.wants_more_body(grouped) {
                next.write_body(grouped, now, out)?;
            }
        }
        Ok(())
    }

    /// Whether the current transaction, sent in chunks, has failed and has nothing outstanding: the rest of its refused
    /// chunk is written.
    pub(super) fn is_spent(&self) -> bool {
        self.current.as_ref().is_some_and(|exchange| exchange.is_chunked() && exchange.is_spent())
    }
}
