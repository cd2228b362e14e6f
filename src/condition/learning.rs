//! Learns the weights of `weights.txt` from the labelled replies: a softmax regression with AdaGrad, the same every time.
//!
//! `SMTPRESS_LEARN=1 cargo test --lib weights_are_learned -- --ignored` writes the weights again. Run it after a change
//! of the labelled replies, the vocabulary or the tokenizer. A test measures how well the weights work for servers that
//! were not learned.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use super::accuracy::{self, LabelledReply};
use super::classify::by_rules;
use super::lexicon::ReplyConcepts;
use super::weights::{FIRST, Feature, LEARNED, WordWeights, features};
use super::{Condition, classify};
use crate::smtp::Reply;

/// The unit of the weights: this number is one unit of log-likelihood.
const SCALE: f32 = 32.0;
/// The inverse of the strength of the regularization: the larger the value, the larger the weights may become.
const FREEDOM: f32 = 3.0;
/// The share of a reply's features that a training step ignores (dropout), so that the weights do not rely on one word
/// where other words could replace it.
const HIDDEN: f32 = 0.3;
/// The part of the target probability that goes to the alternative labels of a reply, all together.
const SHARED: f32 = 0.15;
const EPOCHS: usize = 40;
const RATE: f32 = 0.3;

/// One labelled reply: the numbers of its features and of its condition.
struct Example {
    features: Vec<usize>,
    label: usize,
    /// Other labels that a careful person could give.
    others: Vec<usize>,
}

/// Chooses the hidden features by a linear congruential generator with a fixed seed.
struct Chance(u64);

impl Chance {
    fn hides(&mut self) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32 <= HIDDEN
    }
}

/// Returns the weights by feature and label, in the unit of the file.
fn learn(examples: &[Example], features: usize, labels: usize) -> Vec<Vec<i32>> {
    let mut weights = vec![vec![0f32; labels]; features];
    let mut slopes = vec![vec![1e-2f32; labels]; features];
    let mut often = vec![0f32; features];
    for example in examples {
        for &feature in &example.features {
            often[feature] += 1.0;
        }
    }
    let mut sums = vec![0f32; labels];
    let mut present: Vec<usize> = Vec::new();
    let mut chance = Chance(1);
    for epoch in 0..EPOCHS {
        // A stride that is coprime to the number of examples visits every example once. Four strides take turns, so
        // that the order changes from epoch to epoch.
        let stride = [7919, 104_729, 1_299_709, 15_485_863][epoch % 4];
        for turn in 0..examples.len() {
            let example = &examples[(turn * stride + epoch) % examples.len()];
            present.clear();
            present.extend(example.features.iter().copied().filter(|_| !chance.hides()));
            sums.fill(0.0);
            for &f in &present {
                weights[f].iter().zip(&mut sums).for_each(|(w, s)| *s += w);
            }
            let top = sums.iter().copied().fold(f32::MIN, f32::max);
            sums.iter_mut().for_each(|s| *s = (*s - top).exp());
            let total: f32 = sums.iter().sum();
            sums.iter_mut().for_each(|s| *s /= total);
            let shared = if example.others.is_empty() { 0.0 } else { SHARED };
            sums[example.label] -= 1.0 - shared;
            for &other in &example.others {
                sums[other] -= shared / example.others.len() as f32;
            }
            for &f in &present {
                let hold = 1.0 / (FREEDOM * often[f]);
                for ((w, g), error) in weights[f].iter_mut().zip(&mut slopes[f]).zip(&sums) {
                    let slope = error + hold * *w;
                    *g += slope * slope;
                    *w -= RATE * slope / g.sqrt();
                }
            }
        }
    }
    weights.iter().map(|of_labels| rounded(of_labels)).collect()
}

/// Returns the rounded weights. The part that all labels share is removed, so most weights of a feature become 0.
fn rounded(weights: &[f32]) -> Vec<i32> {
    let mut sorted = weights.to_vec();
    sorted.sort_by(f32::total_cmp);
    let middle = sorted[sorted.len() / 2];
    #[expect(clippy::cast_possible_truncation, reason = "weights are small")]
    weights.iter().map(|w| ((w - middle) * SCALE).round() as i32).collect()
}

/// Returns the names of a row's features twice: with the step of the row, and without a step.
fn lessons(row: &LabelledReply) -> [BTreeSet<String>; 2] {
    let reply = Reply::parse(&row.reply).unwrap();
    let meaning = ReplyConcepts::of(&reply);
    [accuracy::step(row.phase.as_deref()), None].map(|step| {
        let mut names = BTreeSet::new();
        features(step, &reply, &meaning, |feature| {
            let (Feature::Frame(name) | Feature::Word(name)) = feature;
            names.insert(name.to_owned());
        });
        names
    })
}

/// Whether the feature is a pair of words. The name of a step with a code class holds a blank, too, but begins with
/// `@`.
fn is_pair(feature: &str) -> bool {
    feature.contains(' ') && !feature.starts_with(['#', '@'])
}

/// Learns from these rows. Returns the learned weights as text.
fn learned(rows: &[&LabelledReply]) -> String {
    let taught: Vec<[BTreeSet<String>; 2]> = rows.iter().map(|row| lessons(row)).collect();
    let mut servers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (row, lesson) in rows.iter().zip(&taught) {
        for name in lesson.iter().flatten() {
            servers.entry(name).or_default().insert(&row.server);
        }
    }
    servers.retain(|name, servers| !is_pair(name) || servers.len() > 1);
    let numbers: HashMap<&str, usize> =
        servers.keys().enumerate().map(|(number, &name)| (name, number)).collect();
    let labels: BTreeSet<&str> = rows.iter().map(|row| row.category.as_str()).collect();
    let labels: Vec<&str> = labels.into_iter().collect();
    let place = |name: &str| labels.iter().position(|&label| label == name);
    let examples: Vec<Example> = (0..2)
        .flat_map(|way| rows.iter().zip(&taught).map(move |(row, lesson)| (row, &lesson[way])))
        .map(|(row, names)| Example {
            features: names.iter().filter_map(|name| numbers.get(name.as_str()).copied()).collect(),
            label: place(&row.category).expect("a label of the rows"),
            others: row.alt.iter().filter_map(|name| place(name)).collect(),
        })
        .collect();
    let weights = learn(&examples, numbers.len(), labels.len());
    assert!(labels.len() < usize::from(b'\x7f' - FIRST), "each condition has a letter of its own");
    let mut text = format!(
        "// Written by `SMTPRESS_LEARN=1 cargo test --lib weights_are_learned -- --ignored` from tests/data: see learning.rs.\n{}\n",
        labels.join(" ")
    );
    for (name, weights) in servers.keys().zip(&weights) {
        let weighty = weights.iter().enumerate().filter(|(_, weight)| **weight != 0);
        let letter = |place: usize| char::from(FIRST + u8::try_from(place).expect("conditions are few"));
        let pairs: String = weighty.map(|(place, weight)| format!("{}{weight}", letter(place))).collect();
        if !pairs.is_empty() {
            writeln!(text, "{name}\t{pairs}").unwrap();
        }
    }
    text
}

/// Returns every labelled reply except the blind ones.
fn all_rows() -> Vec<LabelledReply> {
    use accuracy::{CISCO, MORE, SHARED};
    [CISCO, SHARED, MORE].into_iter().flat_map(accuracy::rows).collect()
}

#[test]
fn every_weight_stands_for_something_in_a_labelled_reply() {
    let rows = all_rows();
    let there: BTreeSet<String> = rows.iter().flat_map(lessons).flatten().collect();
    let mut known = 0;
    for feature in LEARNED.known() {
        assert!(
            there.contains(feature),
            "{feature:?} is in no labelled reply: the weights must be learned anew"
        );
        known += 1;
    }
    assert!(known > 3000, "{known} features have a weight");
}

#[test]
fn what_the_rules_name_rightly_keeps_its_name() {
    let mut right = 0;
    for row in all_rows() {
        let wanted = |said: Condition| {
            let said = said.as_str();
            row.category == said || row.alt.iter().any(|other| other == said)
        };
        let reply = Reply::parse(&row.reply).unwrap();
        for step in [accuracy::step(row.phase.as_deref()), None] {
            let (ruled, _) = by_rules(step, &reply, false, &ReplyConcepts::of(&reply));
            let said = classify(step, &reply, false);
            assert!(!wanted(ruled) || wanted(said), "{step:?} {}: {ruled} became {said}", row.reply);
            right += usize::from(wanted(said));
        }
    }
    assert!(right > 10_000, "{right} replies are named rightly");
}

#[test]
#[ignore = "writes weights.txt, and takes a minute in a debug build"]
fn weights_are_learned() {
    let rows = all_rows();
    let text = learned(&rows.iter().collect::<Vec<_>>());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/condition/weights.txt");
    if std::env::var_os("SMTPRESS_LEARN").is_some_and(|value| value == "1") {
        std::fs::write(path, &text).unwrap();
    }
    let is = std::fs::read_to_string(path).unwrap();
    assert!(
        is == text,
        "weights.txt is not what the labelled replies teach; SMTPRESS_LEARN=1 writes it anew"
    );
}

/// Measures the accuracy for servers that are not in the training set: each fifth of the servers is classified with
/// weights that are learned from the other four. The rules were written with all of these replies in view; `accuracy`
/// has the figures for new servers.
#[test]
#[ignore = "takes minutes in a debug build"]
fn servers_that_were_not_learned_from_are_read_by_what_the_others_taught() {
    let rows = all_rows();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.server.as_str()).collect();
    let fold: HashMap<&str, usize> = names.into_iter().enumerate().map(|(n, name)| (name, n % 5)).collect();
    for left_out in 0..5 {
        let (out, others): (Vec<&LabelledReply>, Vec<&LabelledReply>) =
            rows.iter().partition(|row| fold[row.server.as_str()] == left_out);
        let score = accuracy::score_by(out, true, &WordWeights::new(&learned(&others)));
        accuracy::tell(&format!("servers left out, part {left_out}"), &score, false);
        score.must_reach(90, 94);
    }
}
