//! The messages of a run: the parts that all messages share, and each message as the content of a transaction. The
//! generator decides the number of each message.

use std::fmt;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::encode::END_OF_DATA;
use super::files::Corpus;
use super::filler::Filler;
use super::random::{self, MailDraw};
use super::sign::Signer;
use super::size::Sampler;
use super::stuffed::ContentForm;
use super::template::{Binding, Decimal, Draft, Numbers, Of, Template};
use super::text::{self, HeaderField};
use super::{Body, CheckedMailboxes, Order, Parts, Spec};
use crate::smtp::Content;
use crate::smtp::transaction::Lost;

/// The author in the header of mail with the null reverse path.
const MAIL_SYSTEM: &str = "mailer-daemon@smtpress.invalid";

/// The most unstuffed bytes of a piece.
const PIECE: u64 = 64 * 1024;

/// Makes the messages of a run. The parts that all messages share are rendered once.
///
/// # The message
/// Lines end in CRLF. The text is US-ASCII, except in messages from files, and except in addresses and header fields if
/// the profile asks for UTF-8 (RFC 6532). The header has From, To (the recipient, or `undisclosed-recipients:;` for
/// several), Subject, Date, Message-ID, X-Smtpress-Run, X-Smtpress-Seq, the user's fields, MIME-Version, Content-Type
/// and Content-Transfer-Encoding. Then come the user's text, and filler up to the size; some of its lines begin with a
/// dot. Lines have at most 78 characters, except those that the user wrote, and header lines with a longer address or
/// run id. A message from a file is preceded by X-Smtpress-Run, X-Smtpress-Seq, the user's fields, and a Message-ID if
/// it has none.
pub struct Mailer {
    /// The senders; `None` for the null reverse path.
    from: Option<RenderedMailboxes>,
    to: RenderedMailboxes,
    recipients: u32,
    /// Everything before the filler or the file.
    head: Template,
    rest: Rest,
    signer: Option<Arc<Signer>>,
    least: u64,
    run_id: Box<str>,
}

/// Mailboxes, ready to be rendered.
struct RenderedMailboxes {
    template: Template,
    /// The stream of random numbers that chooses them; `None` for in turn.
    random: Option<ChaCha8Rng>,
}

impl RenderedMailboxes {
    fn new(draft: &Draft, order: Order, seed: u64, purpose: MailDraw) -> RenderedMailboxes {
        let random = (order == Order::Random).then(|| random::stream(seed, purpose));
        RenderedMailboxes { template: Template::new(draft.clone()), random }
    }

    /// Returns the number of a message's first mailbox, where each message uses `each` mailboxes.
    fn number(&self, message: u64, each: u32) -> u64 {
        match &self.random {
            None => message.wrapping_mul(u64::from(each)),
            Some(stream) => random::draw(stream, message),
        }
    }
}

/// What follows the head.
enum Rest {
    Nothing,
    /// Words up to the size.
    Filler {
        sampler: Sampler,
        sizes: ChaCha8Rng,
        filler: Filler,
    },
    /// A file. `head_with_id` precedes a file without a Message-ID.
    File {
        corpus: Arc<Corpus>,
        random: Option<ChaCha8Rng>,
        head_with_id: Template,
    },
}

impl Mailer {
    /// Creates the mailer. `spec`, `seed` and the number n determine message n, except for the run id, the date (RFC
    /// 5322 3.3), and the session's number where a template asks for it. Each character of `run_id` that is not a
    /// letter, a digit, `-`, `_` or `.` is written as `-`. So is each character of `date` that is not printable ASCII.
    ///
    /// # Panics
    /// If [`Spec::check`] fails. A plan holds only specs that passed the check.
    pub fn new(spec: &Spec, seed: u64, run_id: &str, date: &str) -> Mailer {
        let parts = spec.parts().expect("the spec of a plan has passed its check");
        let run_id = replaced(run_id, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        let date = replaced(date, |c| c.is_ascii_graphic() || c == ' ');
        let mut binding = Binding::new(seed, &run_id, &date);
        let from = parts.from.as_ref().map(|from| addresses(from, Of::Sender, &mut binding));
        let to = addresses(&parts.to, Of::Recipient, &mut binding);
        let header = Header {
            from: from.clone().map(|from| from.with_null(MAIL_SYSTEM)),
            to: Some(&to).filter(|_| spec.recipients == 1),
            run_id: &run_id,
            date: &date,
        };
        let (head, rest) = content(spec, &parts, seed, &header, &mut binding);
        let signer = spec.dkim.clone();
        let signature = signer.as_ref().map_or(0, |signer| signer.length());
        let mut mailer = Mailer {
            from: from.map(|from| RenderedMailboxes::new(&from, spec.from.order, seed, MailDraw::Sender)),
            to: RenderedMailboxes::new(&to, spec.to.order, seed, MailDraw::Recipient),
            recipients: spec.recipients,
            least: signature + head.longest() + 2,
            head,
            rest,
            signer,
            run_id: run_id.clone().into(),
        };
        if let Rest::Filler { sampler, filler, .. } = &mut mailer.rest {
            *filler = Filler::new(seed, sampler.largest().max(mailer.least));
        }
        mailer
    }

    /// Returns the smallest size of a message with filler, in bytes: the DKIM signature if there is one, the part
    /// before the filler with the longest numbers, and one CRLF; about 400 without a signature. A smaller size in the
    /// spec is raised to this minimum.
    pub fn minimum(&self) -> u64 {
        self.least
    }

    /// Returns this many recipients, from the first recipient of the first message on, as for a session with number 0.
    pub fn first_recipients(&self, count: u32) -> Vec<String> {
        let first = self.to.number(0, self.recipients);
        let of = |place: u32| {
            let recipient = first.wrapping_add(place.into());
            let numbers = Numbers { message: 0, sender: 0, recipient, session: 0 };
            let mut out = Vec::new();
            self.to.template.render(ContentForm::Plain, &numbers, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        (0..count).map(of).collect()
    }

    /// Returns message `n`, sent outside any session.
    pub fn message(self: &Arc<Mailer>, n: u64) -> Message {
        self.message_of_session(n, 0)
    }

    /// Returns message `n`, sent in a session. If messages are signed, this call signs the message.
    pub fn message_of_session(self: &Arc<Mailer>, n: u64, session: u64) -> Message {
        let mut message =
            Message { mailer: Arc::clone(self), n, session, size: 0, signature: None, only: None };
        message.size = match &self.rest {
            Rest::Filler { sampler, sizes, .. } => sampler.draw(sizes, n).max(self.least),
            Rest::Nothing => self.head.length(&message.numbers()),
            Rest::File { corpus, .. } => {
                message.head().length(&message.numbers()) + corpus.size(message.file())
            }
        };
        if let Some(signer) = &self.signer {
            message.sign(signer);
        }
        message
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").field("minimum", &self.minimum()).finish_non_exhaustive()
    }
}

fn addresses(addresses: &CheckedMailboxes, of: Of, binding: &mut Binding<'_>) -> Draft {
    match addresses {
        CheckedMailboxes::Pattern(pieces) => binding.in_address(pieces, of),
        CheckedMailboxes::List(list) => {
            let mut draft = Draft::default();
            draft.listed(of, list);
            draft
        }
    }
}

/// Returns the part before the filler or the file, and what follows it.
fn content(
    spec: &Spec,
    parts: &Parts,
    seed: u64,
    header: &Header<'_>,
    binding: &mut Binding<'_>,
) -> (Template, Rest) {
    let filler = || Rest::Filler {
        sampler: parts.sampler.clone(),
        sizes: Sampler::stream(seed),
        // A placeholder: the size of the filler depends on the head, so `Mailer::new` replaces it.
        filler: Filler::new(seed, 1),
    };
    let mut head = match spec.body {
        Body::Files { .. } => header.of_file(&parts.fields, binding),
        _ => header.draft(parts.subject.as_ref(), &parts.fields, binding),
    };
    match &spec.body {
        Body::Words => {
            head.text("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n");
            head.text("Content-Transfer-Encoding: 7bit\r\n\r\n");
            (Template::new(head), filler())
        }
        Body::Text { filled, .. } => {
            head.draft(&text::simple(&parts.text, binding));
            (Template::new(head), if *filled { filler() } else { Rest::Nothing })
        }
        Body::Attached { attachments, .. } => {
            head.draft(&text::multipart(&parts.text, attachments, seed, binding));
            (Template::new(head), Rest::Nothing)
        }
        Body::Files { corpus, order } => {
            let mut with_id = head.clone();
            header.message_id(&mut with_id);
            let random = (*order == Order::Random).then(|| random::stream(seed, MailDraw::File));
            let corpus = Arc::clone(corpus);
            (Template::new(head), Rest::File { corpus, random, head_with_id: Template::new(with_id) })
        }
    }
}

/// One message: a small handle. Its bytes are rendered on demand.
#[derive(Clone, Debug)]
pub struct Message {
    mailer: Arc<Mailer>,
    n: u64,
    session: u64,
    size: u64,
    /// The DKIM-Signature field, which precedes everything else.
    signature: Option<Arc<[u8]>>,
    /// The indices of the recipients to which the message is sent; `None` for all.
    only: Option<Arc<[u32]>>,
}

impl Message {
    /// Returns the same message with only these recipients in its envelope, by their indices.
    #[must_use]
    pub fn to_some(self, recipients: Arc<[u32]>) -> Message {
        Message { only: Some(recipients), ..self }
    }

    /// Returns its number.
    pub fn number(&self) -> u64 {
        self.n
    }

    fn numbers(&self) -> Numbers {
        Numbers {
            message: self.n,
            sender: self.mailer.from.as_ref().map_or(0, |from| from.number(self.n, 1)),
            recipient: self.mailer.to.number(self.n, self.mailer.recipients),
            session: self.session,
        }
    }

    /// Returns the index of its file; 0 for a message without one.
    fn file(&self) -> usize {
        match &self.mailer.rest {
            Rest::File { corpus, random, .. } => {
                let number = random.as_ref().map_or(self.n, |stream| random::draw(stream, self.n));
                (number % corpus.len() as u64) as usize
            }
            _ => 0,
        }
    }

    fn head(&self) -> &Template {
        match &self.mailer.rest {
            Rest::File { corpus, head_with_id, .. } if !corpus.has_message_id(self.file()) => head_with_id,
            _ => &self.mailer.head,
        }
    }

    fn sign(&mut self, signer: &Signer) {
        if let Rest::Filler { .. } = self.mailer.rest {
            self.size -= signer.length();
        }
        let (mut content, mut at) = (Vec::with_capacity(usize::try_from(self.size).unwrap_or(0)), 0);
        while at < self.size {
            at = self.append(ContentForm::Plain, at, PIECE, &mut content).expect("what is signed is no file");
        }
        let signature = signer.sign(&content);
        self.size += signature.len() as u64;
        self.signature = Some(signature.into());
    }

    /// Returns the number of filler bytes, and the bytes behind them: CRLF, with a `-` before it if the filler would be
    /// cut between CR and LF.
    fn end(&self, head: u64, filler: &Filler) -> (u64, &'static [u8]) {
        let bytes = self.size - head - 2;
        match bytes.checked_sub(1) {
            Some(last) if filler.byte(last) == b'\r' => (last, b"-\r\n"),
            _ => (bytes, b"\r\n"),
        }
    }

    /// Appends about `most` bytes from `offset` on, at least one. Returns the new offset.
    fn append(&self, form: ContentForm, offset: u64, most: u64, out: &mut Vec<u8>) -> Result<u64, Lost> {
        let (numbers, template) = (self.numbers(), self.head());
        let signature = self.signature.as_deref().unwrap_or_default();
        let signed = signature.len() as u64;
        let (head, at) = if offset == 0 && template.longest() <= most {
            // In the common case the message is one piece, and the head is rendered whole.
            out.extend_from_slice(signature);
            let head = signed + template.render(form, &numbers, out);
            (head, head)
        } else {
            let head = signed + template.length(&numbers);
            out.extend_from_slice(signature.get(offset as usize..).unwrap_or_default());
            let at = match offset.max(signed) {
                within if within < head => {
                    signed + template.append(form, &numbers, within - signed, most, out)
                }
                after => after,
            };
            (head, at)
        };
        let done = at - offset;
        if at < head || (done >= most && at < self.size) {
            return Ok(at);
        }
        match &self.mailer.rest {
            Rest::Nothing => Ok(self.size),
            Rest::Filler { filler, .. } => {
                let (bytes, end) = self.end(head, filler);
                let from = at - head;
                let to = bytes.min(from + (most - done));
                filler.append(form, from, to, out);
                if to < bytes {
                    return Ok(head + to);
                }
                out.extend_from_slice(&end[from.saturating_sub(bytes) as usize..]);
                Ok(self.size)
            }
            Rest::File { corpus, .. } => {
                Ok(head + corpus.append(self.file(), form, at - head, most - done, out)?)
            }
        }
    }

    /// Returns the whole content, without dot stuffing.
    ///
    /// # Errors
    /// The content is lost: its file was removed or has changed.
    pub fn content(&self) -> Result<Vec<u8>, Lost> {
        let (mut content, mut at) = (Vec::with_capacity(usize::try_from(self.size).unwrap_or(0)), 0);
        while at < self.size {
            at = self.raw(at, self.size - at, &mut content)?;
        }
        Ok(content)
    }
}

impl Content for Message {
    fn sender(&self, out: &mut Vec<u8>) {
        if let Some(from) = &self.mailer.from {
            from.template.render(ContentForm::Plain, &self.numbers(), out);
        }
    }

    fn recipients(&self) -> u32 {
        self.only.as_ref().map_or(self.mailer.recipients, |only| only.len() as u32)
    }

    fn recipient(&self, index: u32, out: &mut Vec<u8>) {
        let mut numbers = self.numbers();
        let place = self.only.as_ref().map_or(index, |only| only[index as usize]);
        numbers.recipient = numbers.recipient.wrapping_add(u64::from(place));
        self.mailer.to.template.render(ContentForm::Plain, &numbers, out);
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn body(&self, offset: u64, out: &mut Vec<u8>) -> Result<u64, Lost> {
        if offset >= self.size {
            return Ok(self.size);
        }
        let to = self.append(ContentForm::Stuffed, offset, PIECE, out)?;
        if to >= self.size {
            out.extend_from_slice(END_OF_DATA);
        }
        Ok(to)
    }

    fn raw(&self, offset: u64, limit: u64, out: &mut Vec<u8>) -> Result<u64, Lost> {
        if offset >= self.size || limit == 0 {
            return Ok(offset);
        }
        let before = out.len();
        let to = self.append(ContentForm::Plain, offset, limit.min(PIECE), out)?;
        let beyond = to.saturating_sub(offset.saturating_add(limit));
        // The piece is cut at the limit.
        out.truncate(out.len() - usize::try_from(beyond).unwrap_or(out.len() - before));
        Ok(to - beyond)
    }

    fn envelope_id(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.mailer.run_id.as_bytes());
        out.push(b'.');
        out.extend_from_slice(Decimal::new(self.n).as_bytes());
    }
}

/// The parts of the header that all messages of a run share. No line of the header begins with a dot.
struct Header<'a> {
    /// The sender; `None` for the mail system.
    from: Option<Draft>,
    /// The recipient; `None` for several.
    to: Option<&'a Draft>,
    run_id: &'a str,
    date: &'a str,
}

impl Header<'_> {
    /// Returns the header up to the fields about the content. A field of the user replaces the field of smtpress with
    /// the same name.
    fn draft(
        &self,
        subject: Option<&HeaderField>,
        fields: &[HeaderField],
        binding: &mut Binding<'_>,
    ) -> Draft {
        let mut draft = Draft::default();
        let is_ours = |name: &str| !fields.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        if is_ours("From") {
            draft.text("From: <");
            match &self.from {
                Some(from) => draft.draft(from),
                None => draft.text(MAIL_SYSTEM),
            }
            draft.text(">\r\n");
        }
        if is_ours("To") {
            draft.text("To: ");
            match self.to {
                Some(to) => {
                    draft.text("<");
                    draft.draft(to);
                    draft.text(">");
                }
                None => draft.text("undisclosed-recipients:;"),
            }
            draft.text("\r\n");
        }
        match subject {
            Some(subject) => draft.draft(&subject.draft(binding)),
            None => {
                draft.text("Subject: smtpress message ");
                draft.number(Of::Message);
                draft.text("\r\n");
            }
        }
        if is_ours("Date") {
            draft.text(format!("Date: {}\r\n", self.date));
        }
        self.message_id(&mut draft);
        draft.draft(&self.of_file(fields, binding));
        draft
    }

    /// Returns the fields that precede the header of a file.
    fn of_file(&self, fields: &[HeaderField], binding: &mut Binding<'_>) -> Draft {
        let mut draft = Draft::default();
        draft.text(format!("X-Smtpress-Run: {}\r\nX-Smtpress-Seq: ", self.run_id));
        draft.number(Of::Message);
        draft.text("\r\n");
        fields.iter().for_each(|field| draft.draft(&field.draft(binding)));
        draft
    }

    fn message_id(&self, draft: &mut Draft) {
        draft.text(format!("Message-ID: <{}.", self.run_id));
        draft.number(Of::Message);
        draft.text("@smtpress.invalid>\r\n");
    }
}

/// Returns the text with `-` for each character that is not `right`.
fn replaced(text: &str, right: impl Fn(char) -> bool) -> String {
    text.chars().map(|c| if right(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests;
