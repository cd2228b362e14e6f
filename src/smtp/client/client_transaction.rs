//! One transaction in progress: which of its commands are written and answered, and the state that results.
//!
//! This module renders the commands and counts the replies. The client handles the time-outs, the events and the
//! session.
//!
//! # Decisions
//! - With BDAT the content is sent in chunks, and each chunk has a reply (RFC 3030 section 2). All chunks together are
//!   one `body` step: the step begins with the first chunk and ends with the reply to the last chunk, or with the first
//!   reply that refuses a chunk.
//! - After a chunk is refused no further chunk is written. A chunk that has started is completed, because its length
//!   was announced. RSET follows, unless the refused chunk was marked LAST: the reply to that chunk always ends the
//!   transaction.
//! - LMTP answers the end of the content once for each accepted recipient (RFC 2033 4.2). The transaction is accepted
//!   only if all these replies accept it.

use std::num::NonZeroU64;
use std::time::Instant;

use crate::smtp::command;
use crate::smtp::extensions::Terms;
use crate::smtp::script::Protocol;
use crate::smtp::step::Step;
use crate::smtp::transaction::{Content, Lost};

/// About how many bytes of the content are rendered at once.
const PIECE: usize = 64 * 1024;

/// How much of the content is rendered and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContentProgress {
    /// Nothing is rendered.
    Ahead,
    /// Rendered up to this offset.
    Partly(u64),
    /// Rendered with its end (the final dot, or the chunk marked LAST). The kernel may not have taken all of it yet.
    Rendered,
    /// The kernel has taken the end of the content.
    Out,
}

/// A transaction in progress. Its commands are numbered: 0 is MAIL and 1..=n are RCPT. Then n+1 is DATA, followed by
/// the content; with BDAT the numbers from n+1 are the chunks.
#[derive(Debug)]
pub(super) struct ClientTransaction<C> {
    content: C,
    recipients: u32,
    sent: u32,
    answered: u32,
    accepted_recipients: u32,
    /// How many replies to the content came (several with LMTP), and whether one of them refused.
    settled: u32,
    refused: bool,
    protocol: Protocol,
    /// The transaction has failed. The outstanding replies of its group are read and not reported.
    failed: bool,
    /// The listener holds a transaction: it accepted MAIL, and no reply has ended the transaction.
    open: bool,
    body: ContentProgress,
    /// The size of a chunk in bytes; `None` for DATA.
    chunk: Option<NonZeroU64>,
    /// The number of the chunk marked LAST, with BDAT.
    last: u32,
    /// When MAIL was written.
    began: Option<Instant>,
    /// When the outstanding command was written.
    since: Instant,
}

impl<C: Content> ClientTransaction<C> {
    pub(super) fn new(content: C, terms: &Terms, protocol: Protocol, now: Instant) -> Self {
        let recipients = content.recipients();
        debug_assert!(recipients > 0, "a transaction has a recipient");
        let chunks = terms.chunk.map_or(0, |chunk| content.size().div_ceil(chunk.get()).max(1));
        ClientTransaction {
            content,
            recipients,
            sent: 0,
            answered: 0,
            accepted_recipients: 0,
            settled: 0,
            refused: false,
            protocol,
            failed: false,
            open: false,
            body: ContentProgress::Ahead,
            chunk: terms.chunk,
            last: u32::try_from(chunks).unwrap_or(u32::MAX).saturating_add(recipients),
            began: None,
            since: now,
        }
    }

    /// Returns when MAIL was written; `None`: it is not.
    pub(super) fn began(&self) -> Option<Instant> {
        self.began
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    fn data(&self) -> u32 {
        self.recipients + 1
    }

    /// Returns the step that the next reply answers.
    pub(super) fn step(&self) -> Step {
        match self.answered {
            _ if self.sent == 0 => Step::Idle,
            0 => Step::Mail,
            n if n <= self.recipients => Step::Rcpt,
            n if n == self.data() && self.chunk.is_none() => Step::Data,
            _ => Step::Body,
        }
    }

    /// Whether a reply of the listener is outstanding.
    pub(super) fn is_waiting(&self) -> bool {
        self.answered < self.sent || self.chunk.is_none() && self.body != ContentProgress::Ahead
    }

    /// Whether no command of the transaction is written.
    pub(super) fn is_unsent(&self) -> bool {
        self.sent == 0
    }

    /// Whether the content is sent with BDAT.
    pub(super) fn is_chunked(&self) -> bool {
        self.chunk.is_some()
    }

    /// Whether a reply that is read now would answer content whose end the listener cannot have read.
    pub(super) fn is_early(&self) -> bool {
        match self.body {
            ContentProgress::Ahead | ContentProgress::Out => false,
            ContentProgress::Partly(_) | ContentProgress::Rendered if self.chunk.is_none() => true,
            // Only the chunk that was written last may be incomplete.
            ContentProgress::Partly(offset) => self.answered + 1 == self.sent && self.is_within_chunk(offset),
            ContentProgress::Rendered => self.answered == self.last,
        }
    }

    /// Whether only a part of the content is rendered.
    pub(super) fn is_partly_rendered(&self) -> bool {
        matches!(self.body, ContentProgress::Partly(_))
    }

    /// Whether the next reply answers a chunk that is not the last.
    pub(super) fn is_midway(&self) -> bool {
        self.chunk.is_some() && self.answered > self.recipients && self.answered < self.last
    }

    /// Whether the next reply answers a chunk.
    pub(super) fn is_chunk_awaited(&self) -> bool {
        self.chunk.is_some() && self.answered > self.recipients && self.sent > self.answered
    }

    /// Whether the next reply answers the chunk marked LAST.
    pub(super) fn is_last_chunk(&self) -> bool {
        self.chunk.is_some() && self.answered == self.last && self.sent > self.last
    }

    /// Whether the content has several replies (LMTP).
    pub(super) fn is_of_several(&self) -> bool {
        self.protocol == Protocol::Lmtp && self.accepted_recipients > 1
    }

    /// Whether the content was answered: a reply to the whole content came, or with BDAT the reply to the last chunk,
    /// for at least one accepted recipient.
    pub(super) fn is_answered(&self) -> bool {
        let chunks = self.chunk.is_some() && self.accepted_recipients > 0 && self.answered > self.last;
        self.settled > 0 || chunks
    }

    /// Whether the next reply is only a consequence of a failure that was reported before. Every later reply of the
    /// group is such a consequence, also a 354 that asks for the lone dot.
    pub(super) fn is_consequence(&self) -> bool {
        self.failed
    }

    /// Whether only the chunk marked LAST is unanswered, and everything before it succeeded. Then no failure of this
    /// transaction can affect the commands that follow in the group.
    pub(super) fn is_last_awaited(&self) -> bool {
        self.chunk.is_some()
            && !self.failed
            && self.answered == self.last
            && matches!(self.body, ContentProgress::Rendered | ContentProgress::Out)
    }

    /// Whether the listener may have the message, or may still receive it, if no reply says otherwise (RFC 5321 4.2.5).
    /// With `cut_short` the listener receives only what the kernel has taken, and nothing was rendered after the end of
    /// the content.
    pub(super) fn in_doubt(&self, cut_short: bool) -> bool {
        !self.failed && !self.refused && self.is_out(cut_short)
    }

    /// Whether the listener may have the content, or may still receive it, in chunks. The replies to chunks do not
    /// prove which command each answers. `cut_short` is as in [`in_doubt`](Self::in_doubt).
    pub(super) fn is_out_in_chunks(&self, cut_short: bool) -> bool {
        self.chunk.is_some() && self.is_out(cut_short)
    }

    fn is_out(&self, cut_short: bool) -> bool {
        self.body == ContentProgress::Out || self.body == ContentProgress::Rendered && !cut_short
    }

    /// With LMTP, returns how many replies to the content came and how many are due, if some came but not all.
    pub(super) fn replies_due(&self) -> Option<(u32, u32)> {
        let missing =
            self.protocol == Protocol::Lmtp && (1..self.accepted_recipients).contains(&self.settled);
        missing.then_some((self.settled, self.accepted_recipients))
    }

    /// Whether the listener still holds the transaction, which only RSET can end.
    pub(super) fn needs_reset(&self) -> bool {
        self.open
    }

    pub(super) fn wants_command(&self) -> bool {
        // With BDAT there is no DATA: RCPT is the last command that is written here.
        !self.failed
            && self.sent == self.answered
            && self.sent < self.data() + u32::from(self.chunk.is_none())
    }

    /// Whether the listener waits for content (or a lone dot) of which nothing is rendered.
    pub(super) fn wants_body(&self) -> bool {
        self.body == ContentProgress::Ahead
            && match self.chunk {
                None => self.answered > self.data(),
                Some(_) => self.answered == self.data() && !self.failed,
            }
    }

    /// Whether content that has started continues as soon as the kernel has taken what was rendered. With `grouped`,
    /// chunks do not wait for each other's replies.
    pub(super) fn wants_more_body(&self, grouped: bool) -> bool {
        match (self.body, self.chunk) {
            (ContentProgress::Partly(_), None) => true,
            (ContentProgress::Partly(offset), Some(_)) => {
                self.is_within_chunk(offset) || !self.failed && (grouped || self.sent == self.answered)
            }
            (ContentProgress::Ahead | ContentProgress::Rendered | ContentProgress::Out, _) => false,
        }
    }

    fn is_within_chunk(&self, offset: u64) -> bool {
        self.chunk.is_some_and(|chunk| offset % chunk != 0)
    }

    /// Whether the transaction has failed, no reply is outstanding and no announced chunk is incomplete.
    pub(super) fn is_spent(&self) -> bool {
        let promised = matches!(self.body, ContentProgress::Partly(offset) if self.is_within_chunk(offset));
        self.failed && self.answered == self.sent && !promised
    }

    /// Renders the next command: MAIL, RCPT or DATA.
    pub(super) fn write_command(&mut self, terms: &Terms, now: Instant, out: &mut Vec<u8>) {
        let content = &self.content;
        match self.sent {
            0 => command::mail(
                out,
                terms,
                || content.size(),
                |out| content.envelope_id(out),
                |out| content.sender(out),
            ),
            n if n <= self.recipients => command::rcpt(out, terms, |out| content.recipient(n - 1, out)),
            _ => out.extend_from_slice(command::DATA),
        }
        self.sent += 1;
        self.since = now;
        self.began.get_or_insert(now);
    }

    /// Renders MAIL, all RCPT and DATA, or as many chunks as are rendered at once.
    ///
    /// # Errors
    /// The content is lost. The session cannot go on, and the end of the content must not be written.
    pub(super) fn write_group(&mut self, terms: &Terms, now: Instant, out: &mut Vec<u8>) -> Result<(), Lost> {
        while self.sent <= self.recipients {
            self.write_command(terms, now, out);
        }
        match self.chunk {
            None => {
                self.write_command(terms, now, out);
                Ok(())
            }
            Some(chunk) => self.write_chunks(chunk, true, out),
        }
    }

    /// Renders the next piece of the content, or the lone dot of a failed transaction. Returns true once the end is
    /// rendered.
    ///
    /// # Errors
    /// The same as for [`write_group`](Self::write_group).
    pub(super) fn write_body(
        &mut self,
        grouped: bool,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<bool, Lost> {
        if self.body == ContentProgress::Ahead {
            self.since = now;
        }
        if let Some(chunk) = self.chunk {
            self.write_chunks(chunk, grouped, out)?;
            return Ok(self.body == ContentProgress::Rendered);
        }
        let offset = match self.body {
            ContentProgress::Ahead => 0,
            ContentProgress::Partly(offset) => offset,
            ContentProgress::Rendered | ContentProgress::Out => return Ok(true),
        };
        if self.failed {
            // RFC 2920 3.1: the listener asked for content although it accepted no recipient.
            out.extend_from_slice(command::EMPTY_CONTENT);
            self.body = ContentProgress::Rendered;
            return Ok(true);
        }
        let offset = self.content.body(offset, out)?;
        let ends = offset >= self.content.size();
        self.body = if ends { ContentProgress::Rendered } else { ContentProgress::Partly(offset) };
        Ok(ends)
    }

    /// Renders a chunk or its rest; with `grouped`, chunks up to about one piece.
    fn write_chunks(&mut self, chunk: NonZeroU64, grouped: bool, out: &mut Vec<u8>) -> Result<(), Lost> {
        let (start, size) = (out.len(), self.content.size());
        loop {
            let offset = match self.body {
                ContentProgress::Ahead => 0,
                ContentProgress::Partly(offset) => offset,
                ContentProgress::Rendered | ContentProgress::Out => return Ok(()),
            };
            let within = offset % chunk;
            if within == 0 {
                let bytes = chunk.get().min(size - offset);
                command::bdat(out, bytes, offset + bytes == size);
                self.sent += 1;
            }
            let offset = self.content.raw(offset, chunk.get() - within, out)?;
            if offset >= size {
                self.body = ContentProgress::Rendered;
                return Ok(());
            }
            self.body = ContentProgress::Partly(offset);
            let ends_chunk = offset % chunk == 0;
            if out.len() - start >= PIECE || ends_chunk && (!grouped || self.failed) {
                return Ok(());
            }
        }
    }

    /// Notes that the kernel has taken all that was rendered.
    pub(super) fn written(&mut self) {
        if self.body == ContentProgress::Rendered {
            self.body = ContentProgress::Out;
        }
    }

    /// Processes the reply to the oldest outstanding command. Returns `Some` when the transaction is over: whether it
    /// was accepted.
    pub(super) fn answer(&mut self, good: bool) -> Option<bool> {
        let step = self.step();
        let midway = self.is_midway();
        self.answered += 1;
        match step {
            Step::Mail => {
                self.open = good;
                self.failed = !good;
            }
            Step::Rcpt => {
                self.accepted_recipients += u32::from(good);
                self.failed |= self.answered == self.data() && self.accepted_recipients == 0;
            }
            // Even after a failure a 354 asks for content: the lone dot.
            Step::Data if good => return None,
            Step::Data => self.failed = true,
            _ if midway => self.failed |= !good,
            _ if self.failed => {
                // The lone dot ends the transaction. After refused chunks the listener may still hold it.
                self.open &= self.chunk.is_some();
                return Some(false);
            }
            _ => return self.settle(good),
        }
        self.is_spent().then_some(false)
    }

    /// Processes a reply to the content: the only reply, or with LMTP one of several.
    fn settle(&mut self, good: bool) -> Option<bool> {
        self.settled += 1;
        self.refused |= !good;
        if self.protocol == Protocol::Lmtp && self.settled < self.accepted_recipients {
            self.answered -= 1;
            return None;
        }
        self.open = false;
        Some(!self.refused)
    }
}
