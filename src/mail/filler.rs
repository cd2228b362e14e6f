//! The text that messages are filled up with: rendered once, dot-stuffed once, copied from then on.

use rand_chacha::rand_core::Rng;

use super::encode::Stuffer;
use super::random::{self, Purpose};

/// The filler repeats itself after about this many octets, so that it takes no more memory however large messages are.
const PERIOD: u64 = 1 << 20;

/// The most characters of a line, without its CRLF: one less than 78, so that a line can be ended where it would be cut.
const LINE: usize = 77;

/// 64 words, so that six random bits choose one.
const WORDS: &str = "queue relay mailbox envelope sender reply greeting session domain server client transfer message header \
    delay retry bounce route gateway socket window packet timer buffer thread worker store forward accept defer reject \
    deliver limit burst ramp steady load stress trial sample median tail noise signal clock offset anchor \
    ledger account verdict margin bound upper lower search width value quota spool letter stamp post office courier";

/// Lines of seeded words, endlessly. Every eighth line begins with a dot, every 32nd is a lone dot: what dot stuffing is for.
/// The first dot is in the second line.
#[derive(Clone)]
pub(super) struct Filler {
    /// One period, dot-stuffed; whole lines.
    stuffed: Vec<u8>,
    /// Where in the unstuffed period the dots stand that were doubled.
    dots: Vec<u64>,
    /// Octets of the unstuffed period.
    period: u64,
}

impl Filler {
    /// Filler for messages of up to `largest` octets.
    pub(super) fn new(seed: u64, largest: u64) -> Filler {
        let words: Vec<&str> = WORDS.split_ascii_whitespace().collect();
        let mut stream = random::stream(seed, Purpose::Filler);
        let (mut text, mut dots) = (Vec::new(), Vec::new());
        let mut number = 0_u32;
        while (text.len() as u64) < largest.clamp(1, PERIOD) {
            let line = text.len();
            if number % 8 == 1 {
                dots.push(line as u64);
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
        let mut stuffed = Vec::with_capacity(text.len() + dots.len());
        Stuffer::new().stuff(&text, &mut stuffed);
        Filler { stuffed, dots, period: text.len() as u64 }
    }

    /// Appends the unstuffed octets `from..to`, dot-stuffed.
    pub(super) fn append(&self, mut from: u64, to: u64, out: &mut Vec<u8>) {
        while from < to {
            let start = from % self.period;
            let end = self.period.min(start + (to - from));
            out.extend_from_slice(&self.stuffed[self.at(start)..self.at(end)]);
            from += end - start;
        }
    }

    /// Appends the octets `from..to` as they are.
    pub(super) fn append_raw(&self, mut from: u64, to: u64, out: &mut Vec<u8>) {
        while from < to {
            let start = from % self.period;
            let end = self.period.min(start + (to - from));
            let first = self.dots.partition_point(|&dot| dot <= start);
            let within = self.dots[first..].iter().copied().take_while(|&dot| dot < end);
            let mut at = start;
            for (doubled, next) in (first..).zip(within.chain([end])) {
                // So many dots were doubled up to here, and the second of a pair is the one that counts.
                let begin = at as usize + doubled;
                out.extend_from_slice(&self.stuffed[begin..begin + (next - at) as usize]);
                at = next;
            }
            from += end - start;
        }
    }

    /// The unstuffed octet at a place.
    pub(super) fn octet(&self, place: u64) -> u8 {
        self.stuffed[self.at(place % self.period)]
    }

    /// Where the octet at a place of the unstuffed period stands in the stuffed one; for a doubled dot, the first of the two.
    fn at(&self, place: u64) -> usize {
        place as usize + self.dots.partition_point(|&dot| dot < place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::encode::tests::unstuff;
    use proptest::prelude::*;

    fn text(filler: &Filler, from: u64, to: u64) -> Vec<u8> {
        let mut out = Vec::new();
        filler.append(from, to, &mut out);
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
        fn raw_octets_are_those_that_unstuffing_gives(from in 0_u64..2500, length in 0_u64..2500) {
            let filler = Filler::new(1, 700);
            let stuffed = [text(&filler, 0, 5000), b"\r\n.\r\n".to_vec()].concat();
            let (content, _) = unstuff(&stuffed).unwrap();
            let mut raw = Vec::new();
            filler.append_raw(from, from + length, &mut raw);
            prop_assert_eq!(&raw[..], &content[from as usize..(from + length) as usize]);
        }

        #[test]
        fn any_cuts_give_the_same_octets(cuts in prop::collection::vec(0_u64..2500, 0..6)) {
            let filler = Filler::new(1, 700);
            let mut cuts: Vec<u64> = cuts.into_iter().chain([0, 2500]).collect();
            cuts.sort_unstable();
            let pieces: Vec<u8> = cuts.windows(2).flat_map(|pair| text(&filler, pair[0], pair[1])).collect();
            prop_assert_eq!(pieces, text(&filler, 0, 2500));
        }
    }
}
