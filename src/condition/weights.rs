//! The learned weights of words: how strongly each word, pair of words, concept, code and step points to a condition.
//!
//! The rules decide the meaning of replies whose words they know. No list of words is complete, so the result of the
//! rules is weighed with weights learned from the labelled replies of `tests/data`. A test, `learning`, writes these
//! weights to `weights.txt`.
//!
//! # Decisions
//! - A weight belongs to a feature: a word, a pair of words, a concept, a code or a step. It never belongs to a reply
//!   or a server. A pair of words counts only if two servers use it.
//! - The result of the rules stays if no word has a large weight, or if only one word has and the reply has an enhanced
//!   code with a meaning.

use std::cmp::Ordering;
use std::sync::{LazyLock, OnceLock};

use super::Condition;
use super::lexicon::ReplyConcepts;
use super::tokenizer::{self, ReplyToken};
use crate::smtp::{Reply, Step};

const WEIGHTS: &str = include_str!("weights.txt");

/// The largest number of words that are read, ends of sentences included. Later words add nothing.
const MAX_WORDS: usize = 60;
/// The number of first letters of a word that are a feature of their own, so that the forms of a word share a feature.
const STEM: usize = 5;

/// The least absolute weight at which a word counts as evidence for or against a condition.
const TELLING: i16 = 20;

/// A feature that a reply has or does not have.
pub(super) enum Feature<'a> {
    /// A code, a step or a concept: it is always known whether the reply has it.
    Frame(&'a str),
    /// A word, its beginning, or two words in a row.
    Word(&'a str),
}

/// Passes every feature of the reply to `take`. A feature that occurs twice is passed twice.
pub(super) fn features(
    step: Option<Step>,
    reply: &Reply,
    meaning: &ReplyConcepts,
    mut take: impl FnMut(Feature<'_>),
) {
    let mut frame = |name: &str| take(Feature::Frame(name));
    frame("*");
    frame(&format!("#{}", reply.code));
    frame(&format!("#{}", reply.class()));
    match reply.enhanced.map(|e| (e.subject, e.detail)) {
        Some((Some(subject), detail)) => {
            frame(&format!("#x.{subject}"));
            frame(&format!("#x.{subject}.{}", detail.map_or("x".into(), |d| d.to_string())));
        }
        _ => frame("#x"),
    }
    if let Some(step) = step {
        frame(&format!("@{step}"));
        frame(&format!("@{step} {}", reply.class()));
    }
    meaning.each_name(frame);

    let mut before = String::new();
    let mut pair = String::new();
    let mut words = 0;
    tokenizer::read(reply, |item| {
        let word = match item {
            ReplyToken::Word(word) => word,
            ReplyToken::Stop => ".",
            ReplyToken::Quote => ":",
            ReplyToken::Link(word) => return take(Feature::Word(word)),
        };
        words += 1;
        if words > MAX_WORDS {
            return;
        }
        if !before.is_empty() {
            pair.clear();
            pair.extend([before.as_str(), " ", word]);
            take(Feature::Word(&pair));
        }
        if matches!(item, ReplyToken::Word(_)) {
            take(Feature::Word(word));
            if let Some(start) = word.get(..STEM) {
                pair.clear();
                pair.extend([start, "-"]);
                take(Feature::Word(&pair));
            }
        }
        before.clear();
        before.push_str(word);
    });
}

/// The index of a condition in [`WordWeights::conditions`], and the weight for it.
type Weight = (u16, i16);

/// The learned weights. A line is parsed when its feature first occurs: to parse all of them takes longer than a short
/// run.
pub(super) struct WordWeights<'t> {
    conditions: Vec<Condition>,
    /// The lines as they are written: a feature, a tab and its weights, in the order of the features.
    lines: Vec<&'t str>,
    /// The parsed weights of each line that was needed.
    read: Vec<OnceLock<Box<[Weight]>>>,
}

/// The weights that are built into the program.
pub(super) static LEARNED: LazyLock<WordWeights<'static>> = LazyLock::new(|| WordWeights::new(WEIGHTS));

const WRITTEN: &str = "written by `learning`, and read by its tests";

impl<'t> WordWeights<'t> {
    /// Reads the text that `learning` wrote: the conditions, then a line for each feature, in order.
    pub(super) fn new(text: &'t str) -> WordWeights<'t> {
        let mut lines = text.lines().filter(|line| !line.starts_with("//"));
        let names = lines.next().expect(WRITTEN).split(' ');
        let conditions = names.map(|name| name.parse().expect(WRITTEN)).collect();
        let lines: Vec<&str> = lines.collect();
        WordWeights { conditions, read: lines.iter().map(|_| OnceLock::new()).collect(), lines }
    }

    /// Returns the weights of a feature.
    fn of(&self, feature: &str) -> Option<&[Weight]> {
        let place = self.lines.binary_search_by(|line| order(line, feature)).ok()?;
        Some(self.read[place].get_or_init(|| parsed(&self.lines[place][feature.len() + 1..])))
    }

    /// Returns the possible condition with the largest sum of weights. `trust` is added to the sum of `ruled`, the
    /// result of the rules.
    pub(super) fn weigh(
        &self,
        step: Option<Step>,
        reply: &Reply,
        meaning: &ReplyConcepts,
        (ruled, trust): (Condition, i32),
        possible: impl Fn(Condition) -> bool,
    ) -> Condition {
        let mut seen: Vec<&[Weight]> = Vec::with_capacity(128);
        let mut words = 0;
        features(step, reply, meaning, |feature| {
            let (Feature::Frame(name) | Feature::Word(name)) = feature;
            if let Some(weights) = self.of(name)
                && !seen.iter().any(|s| std::ptr::eq(*s, weights))
            {
                let telling = weights.iter().any(|(_, weight)| weight.abs() >= TELLING);
                words += usize::from(telling && matches!(feature, Feature::Word(word) if word.len() > 1));
                seen.push(weights);
            }
        });
        // A single word is not weighed against an enhanced code with a meaning (RFC 3463 3.1: x.0.0 has none).
        let is_coded = reply.enhanced.and_then(|code| code.subject).is_some_and(|subject| subject != 0);
        if words == 0 || words == 1 && is_coded {
            return ruled;
        }
        let mut sums = vec![0; self.conditions.len()];
        for &(place, weight) in seen.into_iter().flatten() {
            sums[usize::from(place)] += i32::from(weight);
        }
        let speaks = |condition: Condition, sum: i32| sum + if condition == ruled { trust } else { 0 };
        let conditions = self.conditions.iter().copied().zip(sums);
        conditions
            .filter(|&(condition, _)| possible(condition))
            .max_by_key(|&(condition, sum)| speaks(condition, sum))
            .map_or(ruled, |(condition, _)| condition)
    }

    /// Returns every feature that has a weight.
    #[cfg(test)]
    pub(super) fn known(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.split('\t').next().expect(WRITTEN))
    }
}

/// The letter of the first condition in a line of weights; the others follow it in ASCII.
pub(super) const FIRST: u8 = b'A';

/// Reads the weights of a line such as `A-21C5`: the letter of a condition and the weight for it, and so on.
fn parsed(text: &str) -> Box<[Weight]> {
    let letters = text.bytes().filter(|byte| *byte >= FIRST);
    let numbers = text.split(|c| c >= char::from(FIRST)).skip(1);
    letters
        .zip(numbers)
        .map(|(letter, number)| (u16::from(letter - FIRST), number.parse().expect(WRITTEN)))
        .collect()
}

/// Compares the feature of a line with another feature. A tab is less than every byte of a feature.
fn order(line: &str, feature: &str) -> Ordering {
    let (line, feature) = (line.as_bytes(), feature.as_bytes());
    let head = &line[..line.len().min(feature.len())];
    head.cmp(feature).then_with(|| match line.get(feature.len()) {
        Some(b'\t') => Ordering::Equal,
        _ => Ordering::Greater,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_feature_is_found_and_no_other() {
        let all: HashSet<&str> = LEARNED.known().collect();
        let mut last = "";
        for (line, feature) in LEARNED.lines.iter().zip(LEARNED.known()) {
            assert!(last < feature, "{last:?} stands before {feature:?}");
            assert!(!feature.is_empty() && feature.bytes().all(|byte| byte > b'\t'), "{feature:?}");
            let found = LEARNED.of(feature).unwrap();
            let letter = |place: u16| char::from(FIRST + u8::try_from(place).unwrap());
            let written: String =
                found.iter().map(|(place, weight)| format!("{}{weight}", letter(*place))).collect();
            assert_eq!(*line, format!("{feature}\t{written}"));
            let without = &feature[..feature.char_indices().last().unwrap().0];
            assert_eq!(LEARNED.of(without).is_some(), all.contains(without), "{without:?}");
            last = feature;
        }
        assert!(LEARNED.of("").is_none() && LEARNED.of("no such feature").is_none());
    }
}
