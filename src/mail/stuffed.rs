//! A text that is dot-stuffed once. Any part of it can then be copied, stuffed or plain.

use memchr::memmem;

use super::encode::Stuffer;

/// The form in which content is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentForm {
    /// Unchanged, for BDAT (RFC 3030).
    Plain,
    /// With a second dot before each dot at the start of a line, for DATA (RFC 5321 4.5.2).
    Stuffed,
}

/// The text. Offsets in it count bytes before stuffing.
#[derive(Clone)]
pub(super) struct Stuffed {
    bytes: Vec<u8>,
    /// The offsets of the doubled dots.
    dots: Vec<u64>,
}

impl Stuffed {
    /// Creates a text that begins at the start of a line, or within one.
    pub(super) fn new(text: &[u8], starts_line: bool) -> Stuffed {
        let first = (starts_line && text.first() == Some(&b'.')).then_some(0);
        let others = memmem::find_iter(text, b"\r\n.").map(|line_end| line_end as u64 + 2);
        let dots: Vec<u64> = first.into_iter().chain(others).collect();
        let mut bytes = Vec::with_capacity(text.len() + dots.len());
        let mut stuffer = if starts_line { Stuffer::new() } else { Stuffer::within() };
        stuffer.stuff(text, &mut bytes);
        Stuffed { bytes, dots }
    }

    /// Returns the number of bytes before stuffing.
    pub(super) fn length(&self) -> u64 {
        (self.bytes.len() - self.dots.len()) as u64
    }

    /// Returns the number of doubled dots.
    pub(super) fn doubled(&self) -> u64 {
        self.dots.len() as u64
    }

    /// Appends the whole text.
    pub(super) fn append_all(&self, form: ContentForm, out: &mut Vec<u8>) {
        if form == ContentForm::Stuffed || self.dots.is_empty() {
            out.extend_from_slice(&self.bytes);
        } else {
            self.append(form, 0, self.length(), out);
        }
    }

    /// Appends the bytes `from..to`.
    pub(super) fn append(&self, form: ContentForm, from: u64, to: u64, out: &mut Vec<u8>) {
        let (mut place, end) = (self.at(from), self.at(to));
        if form == ContentForm::Plain {
            let before = self.dots.partition_point(|&dot| dot < from);
            for (index, &dot) in self.dots.iter().enumerate().skip(before).take_while(|&(_, &dot)| dot < to) {
                let doubled = dot as usize + index;
                out.extend_from_slice(&self.bytes[place..doubled]);
                place = doubled + 1;
            }
        }
        out.extend_from_slice(&self.bytes[place..end]);
    }

    /// Returns the byte at an offset.
    pub(super) fn byte(&self, place: u64) -> u8 {
        self.bytes[self.at(place)]
    }

    /// Returns the position of a byte in the stuffed text; for a doubled dot, that of the first of the two.
    fn at(&self, place: u64) -> usize {
        place as usize + self.dots.partition_point(|&dot| dot < place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn appended(text: &Stuffed, form: ContentForm, from: usize, to: usize) -> Vec<u8> {
        let mut out = Vec::new();
        text.append(form, from as u64, to as u64, &mut out);
        out
    }

    #[test]
    fn the_first_dot_is_doubled_only_at_the_start_of_a_line() {
        let all = |starts| appended(&Stuffed::new(b".a\r\n.b\r\n", starts), ContentForm::Stuffed, 0, 8);
        assert_eq!(all(true), b"..a\r\n..b\r\n");
        assert_eq!(all(false), b".a\r\n..b\r\n");
    }

    proptest! {
        #[test]
        fn any_cuts_give_the_text_in_both_forms(
            text in prop::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a')], 0..60),
            cuts in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let stuffed = Stuffed::new(&text, true);
            prop_assert_eq!(stuffed.length(), text.len() as u64);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces = |form| -> Vec<u8> {
                cuts.windows(2).flat_map(|pair| appended(&stuffed, form, pair[0], pair[1])).collect()
            };
            prop_assert_eq!(pieces(ContentForm::Plain), &text[..]);
            let mut whole = Vec::new();
            Stuffer::new().stuff(&text, &mut whole);
            prop_assert_eq!(pieces(ContentForm::Stuffed), &whole[..]);
            let mut all = Vec::new();
            stuffed.append_all(ContentForm::Stuffed, &mut all);
            prop_assert_eq!(all, whole);
            for (place, byte) in text.iter().enumerate() {
                prop_assert_eq!(stuffed.byte(place as u64), *byte);
            }
        }
    }
}
