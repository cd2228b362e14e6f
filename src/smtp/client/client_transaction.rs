//! One transaction in progress: which of its commands are written and answered, and what that means for it.
//!
//! It renders and counts; the client has the time-outs, the events and the session.
//!
//! # Decisions
//! - With BDAT the content is commands too, each with a reply (RFC 3030 section 2). They are one `body` step: it begins with
//!   the first chunk and ends with the reply to the last, or with the first that is refused.
//! - A refused chunk is the last one written, but for the rest of one that has started: its length was announced. RSET follows
//!   unless it was the chunk marked LAST, whose reply ends the transaction whatever it is.
//! - LMTP answers the end of the content once for each accepted recipient (RFC 2033 4.2). The transaction is accepted only
//!   if all of them say so.

use std::num::NonZeroU64;
use std::time::Instant;

use crate::smtp::command;
use crate::smtp::extensions::Terms;
use crate::smtp::script::Protocol;
use crate::smtp::step::Step;
use crate::smtp::transaction::{Content, Lost};

/// How much of the content is rendered at once, about.
const PIECE: usize = 64 * 1024;

/// How far the content has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContentProgress {
    /// Nothing of it is rendered.
    Ahead,
    /// Rendered up to this offset.
    Partly(u64),
    /// Rendered with its end (the final dot, or the chunk marked LAST), which the kernel may not have taken yet.
    Rendered,
    /// The kernel has its end.
    Out,
}

/// A transaction under way. Its commands are numbered: 0 MAIL, 1..=n RCPT, then n+1 DATA, with the content after it, or the
/// chunks of the content.
#[derive(Debug)]
pub(super) struct ClientTransaction<C> {
    content: C,
    recipients: u32,
    sent: u32,
    answered: u32,
    accepted_recipients: u32,
    /// Of LMTP's replies to the content: how many came, and whether one of them refused.
    settled: u32,
    refused: bool,
    protocol: Protocol,
    /// Its fate is known to be bad; what is still outstanding of its group is read without more ado.
    failed: bool,
    /// The listener holds a transaction: MAIL was accepted, and no reply ended it.
    open: bool,
    body: ContentProgress,
    /// Bytes of a chunk; `None`: DATA.
    chunk: Option<NonZeroU64>,
    /// With BDAT: the number of the chunk marked LAST.
    last: u32,
    /// When what is waited for was written.
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
            since: now,
        }
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    fn data(&self) -> u32 {
        self.recipients + 1
    }

    /// The step that the next reply answers.
    pub(super) fn step(&self) -> Step {
        match self.answered {
            _ if self.sent == 0 => Step::Idle,
            0 => Step::Mail,
            n if n <= self.recipients => Step::Rcpt,
            n if n == self.data() && self.chunk.is_none() => Step::Data,
            _ => Step::Body,
        }
    }

    /// Whether the listener owes a reply.
    pub(super) fn is_waiting(&self) -> bool {
        self.answered < self.sent || self.chunk.is_none() && self.body != ContentProgress::Ahead
    }

    /// Nothing of it is written.
    pub(super) fn is_unsent(&self) -> bool {
        self.sent == 0
    }

    /// The content goes with BDAT.
    pub(super) fn is_chunked(&self) -> bool {
        self.chunk.is_some()
    }

    /// Whether a reply now answers content whose end the listener cannot have seen.
    pub(super) fn is_early(&self) -> bool {
        match self.body {
            ContentProgress::Ahead | ContentProgress::Out => false,
            ContentProgress::Partly(_) | ContentProgress::Rendered if self.chunk.is_none() => true,
            // Only the chunk written last may be on its way still.
            ContentProgress::Partly(offset) => self.answered + 1 == self.sent && self.is_within_chunk(offset),
            ContentProgress::Rendered => self.answered == self.last,
        }
    }

    /// Whether there is more of the content than was rendered.
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

    /// LMTP: whether the content has several replies.
    pub(super) fn is_of_several(&self) -> bool {
        self.protocol == Protocol::Lmtp && self.accepted_recipients > 1
    }

    /// Whether all of the content is out, and its fate is known from the reply to it or to a chunk of it.
    pub(super) fn is_answered(&self) -> bool {
        let chunks = self.chunk.is_some() && self.accepted_recipients > 0 && self.answered > self.last;
        self.settled > 0 || chunks
    }

    /// Whether what the next reply says is a consequence of a failure that was reported before: all that follows a failure
    /// in a group, be it a 354 that only asks for the lone dot.
    pub(super) fn is_consequence(&self) -> bool {
        self.failed
    }

    /// Whether all is answered well but the chunk marked LAST, which is rendered: nothing that follows it in a group can
    /// suffer from this transaction.
    pub(super) fn is_last_awaited(&self) -> bool {
        self.chunk.is_some()
            && !self.failed
            && self.answered == self.last
            && matches!(self.body, ContentProgress::Rendered | ContentProgress::Out)
    }

    /// Whether the listener may have the message, or get it yet, if no reply says otherwise (RFC 5321 4.2.5).
    /// `cut_short`: no more of what was rendered reaches it than what the kernel took, and the end of the content was
    /// rendered last.
    pub(super) fn in_doubt(&self, cut_short: bool) -> bool {
        !self.failed && !self.refused && self.is_out(cut_short)
    }

    /// Whether the listener may have it by now, or get it yet, in chunks that prove nothing of which reply is whose.
    /// `cut_short`: as of [`in_doubt`](Self::in_doubt).
    pub(super) fn is_out_in_chunks(&self, cut_short: bool) -> bool {
        self.chunk.is_some() && self.is_out(cut_short)
    }

    fn is_out(&self, cut_short: bool) -> bool {
        self.body == ContentProgress::Out || self.body == ContentProgress::Rendered && !cut_short
    }

    /// LMTP: how many replies to the content came and how many are due, while some came and not all.
    pub(super) fn replies_due(&self) -> Option<(u32, u32)> {
        let missing =
            self.protocol == Protocol::Lmtp && (1..self.accepted_recipients).contains(&self.settled);
        missing.then_some((self.settled, self.accepted_recipients))
    }

    /// Whether only RSET ends what the listener holds of it.
    pub(super) fn needs_reset(&self) -> bool {
        self.open
    }

    pub(super) fn wants_command(&self) -> bool {
        // With BDAT the envelope ends before what would be DATA.
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

    /// Whether content that has started goes on as soon as the kernel has what was rendered. `grouped`: chunks do not wait for
    /// each other's replies.
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

    /// Whether it has failed and nothing of it is outstanding, on either side.
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
    }

    /// Renders MAIL, all RCPT and DATA, or as many chunks as are rendered at once.
    ///
    /// # Errors
    /// The content is lost: the session cannot go on, and no end may follow what was rendered of it.
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

    /// Renders the next piece of the content, or the lone dot of a failed transaction. True: its end is rendered.
    ///
    /// # Errors
    /// As of [`write_group`](Self::write_group).
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
            // RFC 2920 3.1: the listener asked for content although nobody is to get it.
            out.extend_from_slice(command::EMPTY_CONTENT);
            self.body = ContentProgress::Rendered;
            return Ok(true);
        }
        let offset = self.content.body(offset, out)?;
        let ends = offset >= self.content.size();
        self.body = if ends { ContentProgress::Rendered } else { ContentProgress::Partly(offset) };
        Ok(ends)
    }

    /// Renders chunks, or the rest of one: one, or (`grouped`) about as many as make a piece.
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

    /// All that was rendered is with the kernel.
    pub(super) fn written(&mut self) {
        if self.body == ContentProgress::Rendered {
            self.body = ContentProgress::Out;
        }
    }

    /// Takes the reply to what is outstanding longest. `Some`: the transaction is over, and whether it was accepted.
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
            // Whatever failed before, a 354 asks for a dot.
            Step::Data if good => return None,
            Step::Data => self.failed = true,
            _ if midway => self.failed |= !good,
            _ if self.failed => {
                // The lone dot ends the transaction; what a listener makes of the rest of refused chunks is its own.
                self.open &= self.chunk.is_some();
                return Some(false);
            }
            _ => return self.settle(good),
        }
        self.is_spent().then_some(false)
    }

    /// Takes a reply to the content: the only one, or one of LMTP's.
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
