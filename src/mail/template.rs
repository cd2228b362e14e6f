//! Texts with placeholders. Rendering a template copies its text, inserts the values, and allocates nothing itself.
//! `placeholder` defines the syntax.
//!
//! `message` decides where each template stands in a message.
//!
//! # Decisions
//! - Values that are the same in the whole run (`{run}`, `{date}`) become text before the run begins.
//! - `{random:N}` gives letters and digits of base 32: five random bits each, so that all characters are equally
//!   likely.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::list::List;
use super::placeholder::{RUN_ID, TemplatePiece};
use super::random::{self, MailDraw};
use super::stuffed::{ContentForm, Stuffed};

/// The characters of `{random:N}`.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// How many of these characters 64 random bits give.
const LETTERS_OF_A_DRAW: u64 = 12;

/// The number that a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Message,
    Sender,
    Recipient,
    Session,
}

/// The numbers of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub message: u64,
    pub sender: u64,
    pub recipient: u64,
    pub session: u64,
}

impl Numbers {
    fn number(&self, of: Of) -> u64 {
        match of {
            Of::Message => self.message,
            Of::Sender => self.sender,
            Of::Recipient => self.recipient,
            Of::Session => self.session,
        }
    }
}

/// A part that differs from message to message.
#[derive(Clone)]
enum Patch {
    Number(Of),
    /// A number of a range, which repeats: the number from which it is derived, the lowest number, and how many numbers
    /// the range has.
    Ranged(Of, u64, u64),
    Letters(Of, u8, Arc<ChaCha8Rng>),
    /// A mailbox of the list, or the substitute for an empty one.
    Listed(Of, Arc<List>, &'static str),
}

/// Returns the mailbox with this number, or the substitute for an empty one.
fn listed<'a>(list: &'a List, number: u64, null: &'static str) -> &'a [u8] {
    match list.mailbox(number) {
        [] => null.as_bytes(),
        mailbox => mailbox,
    }
}

impl Patch {
    fn render(&self, numbers: &Numbers, out: &mut Vec<u8>) {
        match self {
            Patch::Number(of) => out.extend_from_slice(Decimal::new(numbers.number(*of)).as_bytes()),
            Patch::Ranged(of, low, count) => {
                out.extend_from_slice(Decimal::new(low + numbers.number(*of) % count).as_bytes());
            }
            Patch::Letters(of, letters, stream) => push_letters(numbers.number(*of), *letters, stream, out),
            Patch::Listed(of, list, null) => out.extend_from_slice(listed(list, numbers.number(*of), null)),
        }
    }

    fn length(&self, numbers: &Numbers) -> u64 {
        match self {
            Patch::Number(of) => digits(numbers.number(*of)),
            Patch::Ranged(of, low, count) => digits(low + numbers.number(*of) % count),
            Patch::Letters(_, letters, _) => u64::from(*letters),
            Patch::Listed(of, list, null) => listed(list, numbers.number(*of), null).len() as u64,
        }
    }

    fn longest(&self) -> u64 {
        match self {
            Patch::Number(_) => 20,
            Patch::Ranged(_, low, count) => digits(low + (count - 1)),
            Patch::Letters(_, letters, _) => u64::from(*letters),
            Patch::Listed(_, list, null) => list.longest().max(null.len() as u64),
        }
    }
}

/// A template that is not complete yet.
#[derive(Clone, Default)]
pub(super) struct Draft {
    parts: Vec<Result<Vec<u8>, Patch>>,
}

impl Draft {
    pub(super) fn text(&mut self, text: impl AsRef<[u8]>) {
        match self.parts.last_mut() {
            Some(Ok(before)) => before.extend_from_slice(text.as_ref()),
            _ => self.parts.push(Ok(text.as_ref().to_vec())),
        }
    }

    pub(super) fn number(&mut self, of: Of) {
        self.parts.push(Err(Patch::Number(of)));
    }

    pub(super) fn listed(&mut self, of: Of, list: &Arc<List>) {
        self.parts.push(Err(Patch::Listed(of, Arc::clone(list), "")));
    }

    /// Returns the draft with `stand_in` for every null path.
    pub(super) fn with_null(mut self, stand_in: &'static str) -> Draft {
        for part in &mut self.parts {
            if let Err(Patch::Listed(.., null)) = part {
                *null = stand_in;
            }
        }
        self
    }

    pub(super) fn draft(&mut self, other: &Draft) {
        for part in &other.parts {
            match part {
                Ok(text) => self.text(text),
                patch => self.parts.push(patch.clone()),
            }
        }
    }
}

/// Turns parsed templates into drafts for one run.
pub(super) struct Binding<'a> {
    seed: u64,
    run: &'a str,
    date: &'a str,
    /// The number of `{random:N}` so far. Each placeholder has its own stream of letters.
    letters: u32,
}

impl<'a> Binding<'a> {
    /// Creates a binding. `run` and `date` must be valid in a header.
    pub(super) fn new(seed: u64, run: &'a str, date: &'a str) -> Binding<'a> {
        Binding { seed, run: run.get(..RUN_ID).unwrap_or(run), date, letters: 0 }
    }

    /// Binds the pieces of an address, with a run id that is valid anywhere in an address.
    pub(super) fn in_address(&mut self, pieces: &[TemplatePiece], of: Of) -> Draft {
        let run = self.run.replace(['.', '_'], "-");
        let run = match run.trim_matches('-') {
            "" => "run",
            run => run,
        };
        let mut within = Binding { run, ..*self };
        let draft = within.bound(pieces, of, <[u8]>::to_vec);
        self.letters = within.letters;
        draft
    }

    /// Binds pieces. `write` encodes each piece of text as it is sent. `{n}` is the number `of`.
    pub(super) fn bound(
        &mut self,
        pieces: &[TemplatePiece],
        of: Of,
        write: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Draft {
        let mut draft = Draft::default();
        for piece in pieces {
            match piece {
                TemplatePiece::Text(text) => draft.text(write(text.as_bytes())),
                TemplatePiece::Run => draft.text(self.run),
                TemplatePiece::Date => draft.text(self.date),
                TemplatePiece::Session => draft.number(Of::Session),
                TemplatePiece::Number(None) => draft.number(of),
                &TemplatePiece::Number(Some((low, high))) => {
                    draft.parts.push(Err(Patch::Ranged(of, low, high - low + 1)));
                }
                TemplatePiece::Letters(letters) => {
                    let stream = random::stream(self.seed, MailDraw::Letters(self.letters));
                    self.letters += 1;
                    draft.parts.push(Err(Patch::Letters(of, *letters, Arc::new(stream))));
                }
            }
        }
        draft
    }
}

enum TemplatePart {
    Text(Stuffed),
    Patch(Patch),
}

/// A template that is ready to be rendered. No patch holds a CR or LF, or a dot at the start of a line.
pub(super) struct Template {
    parts: Vec<TemplatePart>,
    longest: u64,
    doubled: u64,
}

impl Template {
    pub(super) fn new(draft: Draft) -> Template {
        let (mut longest, mut doubled) = (0, 0);
        let mut parts = Vec::with_capacity(draft.parts.len());
        for part in draft.parts {
            parts.push(match part {
                Ok(text) => {
                    let text = Stuffed::new(&text, parts.is_empty());
                    longest += text.length();
                    doubled += text.doubled();
                    TemplatePart::Text(text)
                }
                Err(patch) => {
                    longest += patch.longest();
                    TemplatePart::Patch(patch)
                }
            });
        }
        Template { parts, longest, doubled }
    }

    /// Returns the length of the text with the longest possible values.
    pub(super) fn longest(&self) -> u64 {
        self.longest
    }

    pub(super) fn length(&self, numbers: &Numbers) -> u64 {
        let length = |part: &TemplatePart| match part {
            TemplatePart::Text(text) => text.length(),
            TemplatePart::Patch(patch) => patch.length(numbers),
        };
        self.parts.iter().map(length).sum()
    }

    /// Appends the whole text, and returns its length (before stuffing).
    pub(super) fn render(&self, form: ContentForm, numbers: &Numbers, out: &mut Vec<u8>) -> u64 {
        let before = out.len();
        // Most numbers in a template are the message's number, so its digits are computed once.
        let mut message = None;
        for part in &self.parts {
            match part {
                TemplatePart::Text(text) => text.append_all(form, out),
                TemplatePart::Patch(Patch::Number(Of::Message)) => {
                    let digits = message.get_or_insert_with(|| Decimal::new(numbers.message));
                    out.extend_from_slice(digits.as_bytes());
                }
                TemplatePart::Patch(patch) => patch.render(numbers, out),
            }
        }
        let doubled = if form == ContentForm::Stuffed { self.doubled } else { 0 };
        (out.len() - before) as u64 - doubled
    }

    /// Appends about `most` bytes from the offset `from` on. Returns the new offset.
    pub(super) fn append(
        &self,
        form: ContentForm,
        numbers: &Numbers,
        from: u64,
        most: u64,
        out: &mut Vec<u8>,
    ) -> u64 {
        let (mut start, mut at, end) = (0, from, from + most);
        for part in &self.parts {
            if at >= end {
                break;
            }
            let length = match part {
                TemplatePart::Text(text) => {
                    let length = text.length();
                    if at < start + length {
                        let to = length.min(end - start);
                        text.append(form, at - start, to, out);
                        at = start + to;
                    }
                    length
                }
                TemplatePart::Patch(patch) => {
                    let length = patch.length(numbers);
                    if at < start + length {
                        let before = out.len();
                        patch.render(numbers, out);
                        out.drain(before..before + (at - start) as usize);
                        at = start + length;
                    }
                    length
                }
            };
            start += length;
        }
        at
    }
}

/// Returns the number of decimal digits of a number.
pub(super) fn digits(number: u64) -> u64 {
    number.checked_ilog10().map_or(1, |log| u64::from(log) + 1)
}

/// A number in decimal digits, which can be written several times.
pub(super) struct Decimal {
    digits: [u8; 20],
    first: usize,
}

impl Decimal {
    pub(super) fn new(mut number: u64) -> Decimal {
        let mut decimal = Decimal { digits: [b'0'; 20], first: 20 };
        loop {
            decimal.first -= 1;
            // A remainder of ten is one digit.
            decimal.digits[decimal.first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.first..]
    }
}

/// Appends the random letters of a number.
fn push_letters(number: u64, letters: u8, stream: &ChaCha8Rng, out: &mut Vec<u8>) {
    let draws = u64::from(letters).div_ceil(LETTERS_OF_A_DRAW);
    let mut left = u64::from(letters);
    for draw in 0..draws {
        let mut bits = random::draw(stream, number.wrapping_mul(draws).wrapping_add(draw));
        for _ in 0..left.min(LETTERS_OF_A_DRAW) {
            out.push(LETTERS[(bits % 32) as usize]);
            bits /= 32;
        }
        left = left.saturating_sub(LETTERS_OF_A_DRAW);
    }
}

#[cfg(test)]
mod tests {
    use super::super::placeholder::{InvalidTemplate, parse};
    use super::*;
    use proptest::prelude::*;

    fn bound(text: &str) -> Template {
        let mut binding = Binding::new(42, "run-1", "a date");
        Template::new(binding.bound(&parse(text).unwrap(), Of::Message, <[u8]>::to_vec))
    }

    fn numbers(message: u64) -> Numbers {
        Numbers { message, sender: 70, recipient: 80, session: 9 }
    }

    fn rendered(text: &str, message: u64) -> String {
        let template = bound(text);
        let mut out = Vec::new();
        let length = template.render(ContentForm::Plain, &numbers(message), &mut out);
        assert_eq!(out.len() as u64, length);
        assert_eq!(template.length(&numbers(message)), length);
        assert!(template.longest() >= length);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn placeholders_are_put_in() {
        assert_eq!(rendered("a{n}b{session}c{run}d{date}", 17), "a17b9crun-1da date");
        assert_eq!(rendered("{n:1..3}", 0) + &rendered("{n:1..3}", 2) + &rendered("{n:1..3}", 3), "131");
        assert_eq!(rendered("{n:7..7}{n}", u64::MAX), format!("7{}", u64::MAX));
        assert_eq!(rendered("{{n}} {{{n}}} } {{", 5), "{n} {5} } {");
        assert_eq!(rendered("", 5), "");
    }

    #[test]
    fn letters_never_change_and_each_placeholder_has_its_own() {
        let two = rendered("{random:13} {random:13}", 3);
        assert_eq!(two, "fkllvgr5r6vx7 cu6hau2g72k3l", "a change here changes every seeded run");
        assert_ne!(rendered("{random:13}", 4), two[..13]);
        assert_eq!(rendered("{random:5}", 3), rendered("{random:12}", 3)[..5]);
    }

    #[test]
    fn what_is_no_template_is_refused_in_clear_words() {
        let error = |text: &str| parse(text).unwrap_err();
        assert_eq!(error("a{n"), InvalidTemplate::Unclosed);
        assert_eq!(error("{}"), InvalidTemplate::Unknown(String::new()));
        assert_eq!(error("{x:1}"), InvalidTemplate::Unknown("x:1".into()));
        for range in ["n:", "n:1", "n:2..1", "n:-1..2", "n:0..18446744073709551615", "n:1..2..3"] {
            assert_eq!(error(&format!("{{{range}}}")), InvalidTemplate::Range(range.into()));
        }
        for letters in ["random", "random:", "random:0", "random:65", "random:999"] {
            assert_eq!(error(&format!("{{{letters}}}")), InvalidTemplate::Letters(letters.into()));
        }
        assert_eq!(
            error("{seq}").to_string(),
            "has the unknown placeholder `{seq}`: known are `{n}`, `{n:1..500}`, `{session}`, `{run}`, `{date}` and \
             `{random:8}`; write `{{` for the brace itself"
        );
        assert_eq!(
            error("{").to_string(),
            "has a `{` that is not closed: write `{n}` for the number, and `{{` for the brace itself"
        );
    }

    #[test]
    fn digits_are_counted_as_they_are_written() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX - 1, u64::MAX] {
            assert_eq!(Decimal::new(number).as_bytes(), number.to_string().as_bytes());
            assert_eq!(digits(number), number.to_string().len() as u64);
        }
    }

    proptest! {
        #[test]
        fn any_cuts_give_the_same_bytes(
            text in prop::collection::vec(
                prop::sample::select(vec!["{n}", "{random:15}", "{session}", ".", "\r\n", "a", "{n:5..500}"]), 0..12,
            ),
            message: u64,
            most in 1_u64..9,
        ) {
            let (template, numbers) = (bound(&text.concat()), numbers(message));
            for form in [ContentForm::Plain, ContentForm::Stuffed] {
                let (mut whole, mut pieces) = (Vec::new(), Vec::new());
                let length = template.render(form, &numbers, &mut whole);
                let mut at = 0;
                while at < length {
                    let next = template.append(form, &numbers, at, most, &mut pieces);
                    prop_assert!(next > at);
                    at = next;
                }
                prop_assert_eq!(at, length);
                prop_assert_eq!(pieces, whole);
            }
        }
    }
}
