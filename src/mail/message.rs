//! The messages of a run: what they share, and each as the content of a transaction. Which number a message has, the
//! generator decides.

use std::fmt;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::address::{Pattern, digits, push_number};
use super::encode::END_OF_DATA;
use super::filler::Filler;
use super::size::Sampler;
use super::{Parts, Spec};
use crate::smtp::Content;
use crate::smtp::transaction::Lost;

/// How many unstuffed octets of filler a piece has at most.
const PIECE: u64 = 64 * 1024;

/// Makes the messages of a run: all that they share, rendered once.
///
/// # The message
/// US-ASCII, CRLF. The header: From, To (the recipient, or `undisclosed-recipients:;` when there are many), Subject, Date,
/// Message-ID, X-Smtpress-Run, X-Smtpress-Seq, MIME-Version, Content-Type, Content-Transfer-Encoding. Then filler, of which
/// some lines begin with a dot. Lines have at most 78 characters, but for header lines with a longer address or run id.
pub struct Mailer {
    from: Option<Pattern>,
    to: Pattern,
    recipients: u32,
    sampler: Sampler,
    sizes: ChaCha8Rng,
    header: Header,
    filler: Filler,
}

impl Mailer {
    /// Everything about message n follows from `spec`, `seed` and n, but for the run id and the date (RFC 5322 3.3).
    /// Characters of `run_id` other than letters, digits, `-`, `_` and `.`, and those of `date` that are not printable
    /// ASCII, are written as `-`.
    ///
    /// # Panics
    /// If [`Spec::check`] fails: a plan holds only specs that passed it.
    pub fn new(spec: &Spec, seed: u64, run_id: &str, date: &str) -> Mailer {
        let Parts { from, to, sampler } = spec.parts().expect("the spec of a plan has passed its check");
        let run_id = replaced(run_id, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        let date = replaced(date, |c| c.is_ascii_graphic() || c == ' ');
        let header = Header::new(from.as_ref(), Some(&to).filter(|_| spec.recipients == 1), &run_id, &date);
        let largest = sampler.largest().max(header.minimum());
        let (sizes, filler) = (Sampler::stream(seed), Filler::new(seed, largest));
        Mailer { from, to, recipients: spec.recipients, sampler, sizes, header, filler }
    }

    /// The least size of a message in octets: its header with 20-digit numbers and one CRLF, about 400. Smaller sizes that
    /// are asked for become this one.
    pub fn minimum(&self) -> u64 {
        self.header.minimum()
    }

    /// Message `n`.
    pub fn message(self: &Arc<Mailer>, n: u64) -> Message {
        let size = self.sampler.draw(&self.sizes, n).max(self.minimum());
        Message { mailer: Arc::clone(self), n, size }
    }

    /// The number of a recipient, from the message's number and the recipient's place in it.
    fn recipient_number(&self, n: u64, index: u32) -> u64 {
        n.wrapping_mul(u64::from(self.recipients)).wrapping_add(u64::from(index))
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").field("minimum", &self.minimum()).finish_non_exhaustive()
    }
}

/// One message: a handle of three words, whose octets are rendered when they are asked for.
#[derive(Clone, Debug)]
pub struct Message {
    mailer: Arc<Mailer>,
    n: u64,
    size: u64,
}

impl Message {
    /// Its number.
    pub fn number(&self) -> u64 {
        self.n
    }

    /// Octets of its header, with the empty line.
    fn header(&self) -> u64 {
        self.mailer.header.length(self.n, self.mailer.recipient_number(self.n, 0))
    }

    /// How many octets of filler it has, and what stands after them: CRLF, and a `-` before it if the filler would be cut
    /// between CR and LF.
    fn end(&self, header: u64) -> (u64, &'static [u8]) {
        let filler = self.size - header - 2;
        match filler.checked_sub(1) {
            Some(last) if self.mailer.filler.octet(last) == b'\r' => (last, b"-\r\n"),
            _ => (filler, b"\r\n"),
        }
    }
}

impl Content for Message {
    fn sender(&self, out: &mut Vec<u8>) {
        if let Some(from) = &self.mailer.from {
            from.render(self.n, out);
        }
    }

    fn recipients(&self) -> u32 {
        self.mailer.recipients
    }

    fn recipient(&self, index: u32, out: &mut Vec<u8>) {
        self.mailer.to.render(self.mailer.recipient_number(self.n, index), out);
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn body(&self, offset: u64, out: &mut Vec<u8>) -> Result<u64, Lost> {
        if offset >= self.size {
            return Ok(self.size);
        }
        let start = out.len();
        let header = if offset == 0 {
            // What is rendered need not be reckoned: most messages are one piece.
            self.mailer.header.render(self.n, self.mailer.recipient_number(self.n, 0), out);
            (out.len() - start) as u64
        } else {
            self.header()
        };
        if offset > 0 && offset < header {
            self.mailer.header.render(self.n, self.mailer.recipient_number(self.n, 0), out);
            out.drain(start..start + offset as usize);
        }
        let (filler, end) = self.end(header);
        let from = offset.saturating_sub(header);
        let to = filler.min(from + PIECE);
        self.mailer.filler.append(from, to, out);
        if to < filler {
            return Ok(header + to);
        }
        out.extend_from_slice(&end[from.saturating_sub(filler) as usize..]);
        out.extend_from_slice(END_OF_DATA);
        Ok(self.size)
    }
}

/// The header of every message, but for its numbers. None of its lines begins with a dot.
struct Header {
    parts: Vec<Part>,
}

enum Part {
    Text(Box<[u8]>),
    /// The message's number.
    Number,
    /// A mailbox with the message's number.
    From(Pattern),
    /// A mailbox with the first recipient's number.
    To(Pattern),
}

impl Header {
    /// Without `from`, the mail is from the mail system; without `to`, to many.
    fn new(from: Option<&Pattern>, to: Option<&Pattern>, run_id: &str, date: &str) -> Header {
        let text = |text: String| Part::Text(text.into_bytes().into());
        let sender = from
            .map_or_else(|| text("mailer-daemon@smtpress.invalid".into()), |from| Part::From(from.clone()));
        let mut parts = vec![text("From: <".into()), sender, text(">\r\nTo: ".into())];
        match to {
            Some(to) => parts.extend([text("<".into()), Part::To(to.clone()), text(">".into())]),
            None => parts.push(text("undisclosed-recipients:;".into())),
        }
        parts.extend([
            text("\r\nSubject: smtpress message ".into()),
            Part::Number,
            text(format!("\r\nDate: {date}\r\nMessage-ID: <{run_id}.")),
            Part::Number,
            text(format!("@smtpress.invalid>\r\nX-Smtpress-Run: {run_id}\r\nX-Smtpress-Seq: ")),
            Part::Number,
            text("\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n".into()),
            text("Content-Transfer-Encoding: 7bit\r\n\r\n".into()),
        ]);
        Header { parts }
    }

    fn render(&self, n: u64, recipient: u64, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Number => push_number(n, out),
                Part::From(pattern) => pattern.render(n, out),
                Part::To(pattern) => pattern.render(recipient, out),
            }
        }
    }

    fn length(&self, n: u64, recipient: u64) -> u64 {
        let length = |part: &Part| match part {
            Part::Text(text) => text.len(),
            Part::Number => digits(n),
            Part::From(pattern) => pattern.length(n),
            Part::To(pattern) => pattern.length(recipient),
        };
        self.parts.iter().map(length).sum::<usize>() as u64
    }

    /// With the longest numbers, and a CRLF after it.
    fn minimum(&self) -> u64 {
        self.length(u64::MAX, u64::MAX) + 2
    }
}

/// The text with `-` for each character that is not `right`.
fn replaced(text: &str, right: impl Fn(char) -> bool) -> String {
    text.chars().map(|c| if right(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Size;
    use crate::mail::encode::tests::unstuff;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    const DATE: &str = "Thu, 01 Jan 2026 00:00:00 +0000";

    fn spec(recipients: u32, size: Size) -> Spec {
        let (from, to) = ("load{n}@sender.example".into(), "user{n}@recipient.example".into());
        Spec { from, to, recipients, size }
    }

    fn mailer(spec: &Spec) -> Arc<Mailer> {
        Arc::new(Mailer::new(spec, 42, "run-1", DATE))
    }

    /// The wire form, from pieces, and the offsets between them.
    fn wire(message: &Message) -> (Vec<u8>, Vec<u64>) {
        let (mut out, mut offsets) = (Vec::new(), vec![0]);
        while offsets[offsets.len() - 1] < message.size() {
            let before = out.len();
            offsets.push(message.body(offsets[offsets.len() - 1], &mut out).unwrap());
            assert!(out.len() - before <= 70 * 1024, "a piece of {} octets", out.len() - before);
        }
        (out, offsets)
    }

    fn content(message: &Message) -> Vec<u8> {
        let (wire, _) = wire(message);
        let (content, taken) = unstuff(&wire).unwrap();
        assert_eq!(taken, wire.len(), "the end of data comes once, at the end");
        content
    }

    fn rendered(append: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        append(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_header_says_what_it_is() {
        let message = mailer(&spec(1, Size::Fixed(600))).message(17);
        let content = String::from_utf8(content(&message)).unwrap();
        let (header, _) = content.split_once("\r\n\r\n").unwrap();
        let expected = [
            "From: <load17@sender.example>",
            "To: <user17@recipient.example>",
            "Subject: smtpress message 17",
            "Date: Thu, 01 Jan 2026 00:00:00 +0000",
            "Message-ID: <run-1.17@smtpress.invalid>",
            "X-Smtpress-Run: run-1",
            "X-Smtpress-Seq: 17",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
            "Content-Transfer-Encoding: 7bit",
        ];
        assert_eq!(header.split("\r\n").collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_envelope_numbers_every_recipient_of_the_run() {
        let message = mailer(&spec(3, Size::Fixed(600))).message(5);
        assert_eq!(rendered(|out| message.sender(out)), "load5@sender.example");
        let recipient = |index| rendered(|out| message.recipient(index, out));
        assert_eq!(
            [0, 1, 2].map(recipient),
            ["user15@recipient.example", "user16@recipient.example", "user17@recipient.example"]
        );
        assert_eq!(message.recipients(), 3);
        assert!(
            String::from_utf8(content(&message)).unwrap().contains("\r\nTo: undisclosed-recipients:;\r\n")
        );
    }

    #[test]
    fn a_null_reverse_path_has_a_header_from_the_mail_system() {
        let message = mailer(&Spec { from: String::new(), ..spec(1, Size::Fixed(600)) }).message(1);
        assert_eq!(rendered(|out| message.sender(out)), "");
        assert!(content(&message).starts_with(b"From: <mailer-daemon@smtpress.invalid>\r\n"));
    }

    #[test]
    fn every_size_is_exact_and_ends_in_one_crlf_pair() {
        let minimum = mailer(&spec(1, Size::Fixed(0))).minimum();
        assert!((350..450).contains(&minimum), "{minimum}");
        for size in minimum..minimum + 800 {
            let content = content(&mailer(&spec(1, Size::Fixed(size))).message(3));
            assert_eq!(content.len() as u64, size);
            assert!(content.ends_with(b"\r\n"));
            let text = String::from_utf8(content).unwrap();
            assert!(
                text.split("\r\n").all(|line| line.len() <= 78 && !line.contains(['\r', '\n'])),
                "size {size}"
            );
        }
    }

    #[test]
    fn too_small_a_size_becomes_the_minimum_for_every_number() {
        let mailer = mailer(&spec(1, Size::Fixed(10)));
        for n in [0, 9, 10, 12_345, u64::MAX] {
            let message = mailer.message(n);
            assert_eq!(message.size(), mailer.minimum());
            assert_eq!(content(&message).len() as u64, mailer.minimum());
        }
    }

    #[test]
    fn a_large_message_comes_in_pieces_and_exercises_stuffing() {
        let message = mailer(&spec(1, Size::Fixed(3_000_001))).message(1);
        let (wire, offsets) = wire(&message);
        assert!(offsets.len() > 45 && offsets.is_sorted());
        let (content, _) = unstuff(&wire).unwrap();
        assert_eq!(content.len(), 3_000_001);
        let stuffed = wire.len() - END_OF_DATA.len() - content.len();
        assert!(stuffed > 4000, "{stuffed} dots were doubled");
        let small = mailer(&spec(1, Size::Fixed(600))).message(1);
        assert!(self::wire(&small).0.windows(4).any(|four| four == b"\r\n.."));
    }

    #[test]
    fn content_follows_from_spec_seed_and_number() {
        let uniform = spec(1, Size::Uniform { min: 1000, max: 9000 });
        let message = |seed, n| content(&Arc::new(Mailer::new(&uniform, seed, "r", DATE)).message(n));
        assert_eq!(message(1, 5), message(1, 5));
        assert_ne!(message(1, 5), message(2, 5));
        assert_ne!(message(1, 5).len(), message(1, 6).len());
    }

    #[test]
    fn messages_never_change() {
        let message = mailer(&spec(2, Size::Uniform { min: 1000, max: 200_000 })).message(7);
        let hash: [u8; 32] = Sha256::digest(content(&message)).into();
        assert_eq!(
            hash[..8],
            [59, 3, 243, 38, 130, 215, 146, 167],
            "a change here changes what seeded runs send"
        );
    }

    #[test]
    fn nothing_can_be_injected_by_run_id_or_date() {
        let mailer = Arc::new(Mailer::new(&spec(1, Size::Fixed(600)), 1, "a\r\nX: {n}>", "now\r\n\r\n."));
        let content = String::from_utf8(content(&mailer.message(1))).unwrap();
        assert!(
            content.contains("Message-ID: <a--X---n--.1@smtpress.invalid>\r\nX-Smtpress-Run: a--X---n--\r\n")
        );
        assert!(content.contains("\r\nDate: now----.\r\n"));
    }

    #[test]
    fn a_spec_that_cannot_be_is_refused_in_clear_words() {
        let error = |spec: Spec| spec.check().unwrap_err().to_string();
        let good = spec(1, Size::Fixed(600));
        assert_eq!(good.check(), Ok(()));
        assert_eq!(
            error(Spec { from: "bob".into(), ..good.clone() }),
            "the sender `bob` has no domain: write it as local-part@domain"
        );
        assert_eq!(
            error(Spec { to: "a{i}@b".into(), ..good.clone() }),
            "the recipient `a{i}@b` has the unknown placeholder `{i}`: known is `{n}`, the number"
        );
        assert_eq!(error(spec(0, Size::Fixed(1))), "a message has no recipients: give it at least one");
        assert_eq!(
            error(spec(1, Size::Uniform { min: 2, max: 1 })),
            "the message size has a smallest value of 2 above its largest of 1: exchange them"
        );
    }

    /// Whether the content from `offset` on, put after what is before it in its line, is what it is in the whole.
    fn goes_on(message: &Message, whole: &[u8], offset: u64) {
        let (mut rest, mut at) = (Vec::new(), offset);
        while at < message.size() {
            at = message.body(at, &mut rest).unwrap();
        }
        let start = whole[..offset as usize].iter().rposition(|&byte| byte == b'\n').map_or(0, |lf| lf + 1);
        let line = &whole[start..offset as usize];
        let dot: &[u8] = if line.starts_with(b".") { b"." } else { b"" };
        let stream = [dot, line, &rest].concat();
        let (unstuffed, taken) = unstuff(&stream).unwrap();
        assert_eq!(taken, stream.len(), "the end of data comes once, at the end");
        assert_eq!(&unstuffed[..], &whole[start..], "from {offset}");
    }

    #[test]
    fn every_offset_of_small_messages_goes_on() {
        for size in 440..640 {
            let message = mailer(&spec(1, Size::Fixed(size))).message(3);
            let whole = content(&message);
            (0..message.size()).for_each(|offset| goes_on(&message, &whole, offset));
        }
    }

    proptest! {
        #[test]
        fn any_offset_goes_on_where_the_octets_before_it_end(
            size in 0_u64..200_000,
            n: u64,
            offset in 0_u64..200_000,
        ) {
            let message = mailer(&spec(2, Size::Fixed(size))).message(n);
            goes_on(&message, &content(&message), offset % message.size());
        }
    }
}
