//! The text that fills messages up to their size. The text is rendered and dot-stuffed once, and then copied.

use rand_chacha::rand_core::Rng;

use super::random::{self, MailDraw};
use super::stuffed::{ContentForm, Stuffed};

/// The filler repeats after about this many bytes, so that it takes no more memory for large messages.
pub(super) const PERIOD: u64 = 1 << 20;

/// The longest line in characters, without its CRLF. RFC 5322 2.1.1 asks for 78. One is left for the `-` where a line
/// is cut.
const LINE: usize = 77;

/// 64 words, so that six random bits choose one.
const WORDS: &str = "queue relay mailbox envelope sender reply greeting session domain server client transfer message header \
    delay retry bounce route gateway socket window packet timer buffer thread worker store forward accept defer reject \
    deliver limit burst ramp steady load stress trial sample median tail noise signal clock offset anchor \
    ledger account verdict margin bound upper lower search width value quota spool letter stamp post office courier";

/// Endless lines of seeded words. To exercise dot stuffing, every eighth line begins with a dot, and every 32nd line is
/// a lone dot. The first dot is in the second line.
#[derive(Clone)]
pub(super) struct Filler {
    /// One period, in whole lines.
    lines: Stuffed,
    /// The bytes of one period, before stuffing.
    period: u64,
}

impl Filler {
    /// Creates the filler for messages of up to `largest` bytes.
    pub(super) fn new(seed: u64, largest: u64) -> Filler {
        let words: Vec<&str> = WORDS.split_ascii_whitespace().collect();
        let mut stream = random::stream(seed, MailDraw::Filler);
        let mut text = Vec::new();
        let mut number = 0_u32;
        while (text.len() as u64) < largest.clamp(1, PERIOD) {
            let line = text.len();
            if number % 8 == 1 {
                text.push(b'.');
            }
            if number % 32 != 17 {
                loop {
                    let word = words[(stream.next_u32() >> 26) as usize % words.len()].as_bytes();
                    if text.len() - line + 1 + word.len() > LINE {
                        break;
                    }
                    if text.len() > line {
                        text.push(b' ');
                    }
                    text.extend_from_slice(word);
                }
            }
            text.extend_from_slice(b"\r\n");
            number += 1;
        }
        Filler { lines: Stuffed::new(&text, true), period: text.len() as u64 }
    }

    /// Appends the bytes `from..to`. Offsets count bytes before stuffing.
    pub(super) fn append(&self, form: ContentForm, mut from: u64, to: u64, out: &mut Vec<u8>) {
        while from < to {
            let start = from % self.period;
            let end = self.period.min(start + (to - from));
            self.lines.append(form, start, end, out);
            from += end - start;
        }
    }

    /// Returns the byte at an offset, before stuffing.
    pub(super) fn byte(&self, place: u64) -> u8 {
        self.lines.byte(place % self.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::encode::tests::unstuff;
    use proptest::prelude::*;

    fn text(filler: &Filler, from: u64, to: u64) -> Vec<u8> {
        let mut out = Vec::new();
        filler.append(ContentForm::Stuffed, from, to, &mut out);
        out
    }

    #[test]
    fn lines_are_short_readable_and_some_begin_with_a_dot() {
        let filler = Filler::new(7, 100_000);
        let (content, _) = unstuff(&[text(&filler, 0, filler.period), b".\r\n".to_vec()].concat()).unwrap();
        assert_eq!(content.len() as u64, filler.period);
        let content = String::from_utf8(content).unwrap();
        let lines: Vec<&str> = content.split_terminator("\r\n").collect();
        assert!(lines.iter().all(|line| (1..=LINE).contains(&line.len())));
        assert!(content.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b' ' | b'.' | b'\r' | b'\n')));
        assert!(lines[1].starts_with('.') && lines[17] == ".");
        assert_eq!(lines.iter().filter(|line| line.starts_with('.')).count(), (lines.len() + 6) / 8);
    }

    #[test]
    fn it_is_seeded_and_bounded() {
        assert_eq!(text(&Filler::new(7, 5000), 0, 5000), text(&Filler::new(7, 9000), 0, 5000));
        assert_ne!(text(&Filler::new(7, 5000), 0, 5000), text(&Filler::new(8, 5000), 0, 5000));
        assert!(Filler::new(7, u64::MAX).period < PERIOD + 80);
        assert_eq!(WORDS.split_ascii_whitespace().count(), 64);
    }

    proptest! {
        #[test]
        fn any_cuts_give_the_same_bytes(cuts in prop::collection::vec(0_u64..2500, 0..6)) {
            let filler = Filler::new(1, 700);
            let mut cuts: Vec<u64> = cuts.into_iter().chain([0, 2500]).collect();
            cuts.sort_unstable();
            let pieces: Vec<u8> = cuts.windows(2).flat_map(|pair| text(&filler, pair[0], pair[1])).collect();
            prop_assert_eq!(pieces, text(&filler, 0, 2500));
        }
    }
}
