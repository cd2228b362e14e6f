//! Measures how often the classifier is right, on labelled replies. The tests print the figures.
//!
//! "Primary" means the first label, "alternative" another label that a careful person could give, and "group" the
//! family of either. A miss is listed with the concepts of its sentences, which show where to mend the vocabulary or a
//! rule.

use std::io::Write as _;

use serde::Deserialize;

use super::classify::classify_by;
use super::lexicon::ReplyConcepts;
use super::weights::{LEARNED, WordWeights};
use super::{Condition, classify};
use crate::smtp::{Reply, Step};

#[derive(Deserialize)]
pub(super) struct LabelledReply {
    #[serde(default)]
    pub(super) server: String,
    #[serde(default)]
    pub(super) set: String,
    pub(super) reply: String,
    pub(super) phase: Option<String>,
    pub(super) category: String,
    #[serde(default)]
    pub(super) alt: Vec<String>,
}

#[derive(Default)]
pub(super) struct Score {
    rows: usize,
    primary: usize,
    lenient: usize,
    group: usize,
    misses: String,
}

impl Score {
    /// Checks that the score reaches these lower bounds in per cent: primary or alternative, and group.
    pub(super) fn must_reach(&self, lenient: usize, group: usize) {
        assert!(self.lenient * 100 >= self.rows * lenient, "below {lenient} %\n{}", self.misses);
        assert!(self.group * 100 >= self.rows * group, "group below {group} %\n{}", self.misses);
    }
}

pub(super) fn rows(file: &str) -> Vec<LabelledReply> {
    file.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(super) fn step(phase: Option<&str>) -> Option<Step> {
    Some(match phase? {
        "connect" | "greeting" => Step::Greeting,
        "helo" => Step::Hello,
        "starttls" => Step::Starttls,
        "auth" => Step::Auth,
        "mail" => Step::Mail,
        "rcpt" => Step::Rcpt,
        "data" => Step::Data,
        "eod" => Step::Body,
        _ => return None,
    })
}

fn score<'r>(rows: impl IntoIterator<Item = &'r LabelledReply>, with_step: bool) -> Score {
    score_by(rows, with_step, &LEARNED)
}

/// Does the same as [`score`] with these learned weights.
pub(super) fn score_by<'r>(
    rows: impl IntoIterator<Item = &'r LabelledReply>,
    with_step: bool,
    learned: &WordWeights,
) -> Score {
    let mut score = Score::default();
    for row in rows {
        let reply = Reply::parse(&row.reply).unwrap();
        let step = with_step.then(|| step(row.phase.as_deref())).flatten();
        let said = classify_by(learned, step, &reply, false);
        let named = |name: &String| name.parse::<Condition>().unwrap();
        let primary = named(&row.category);
        let wanted: Vec<Condition> = std::iter::once(primary).chain(row.alt.iter().map(named)).collect();
        score.rows += 1;
        score.primary += usize::from(said == primary);
        let lenient = wanted.contains(&said);
        score.lenient += usize::from(lenient);
        let group = wanted.iter().any(|w| w.group() == said.group());
        score.group += usize::from(group);
        if !lenient {
            score.misses += &format!(
                "{} {} | {} | {said} not {} {:?}\n",
                if group { "  " } else { "G!" },
                row.server,
                row.reply.replace('\n', "\\n"),
                row.category,
                row.alt
            );
            let meaning = ReplyConcepts::of(&reply);
            for sentence in meaning.own.iter().chain(&meaning.quoted) {
                score.misses += &format!("       {}\n", sentence.names());
            }
        }
    }
    score
}

pub(super) fn tell(name: &str, score: &Score, misses: bool) {
    let percent = |n: usize| 100.0 * n as f64 / score.rows.max(1) as f64;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{name}: {} replies, primary {:.1} %, primary or alternative {:.1} %, group {:.1} %",
        score.rows,
        percent(score.primary),
        percent(score.lenient),
        percent(score.group)
    )
    .unwrap();
    if misses {
        write!(out, "{}", score.misses).unwrap();
    }
}

pub(super) const CISCO: &str = include_str!("../../tests/data/cisco_replies.jsonl");
pub(super) const SHARED: &str = include_str!("../../tests/data/replies.jsonl");
pub(super) const MORE: &str = include_str!("../../tests/data/more_replies.jsonl");
const BLIND: &str = include_str!("../../tests/data/blind_replies.jsonl");

#[test]
fn every_row_of_ciscos_list_is_named_exactly() {
    let rows = rows(CISCO);
    let score = score(&rows, false);
    tell("Cisco's list", &score, true);
    assert_eq!((score.rows, score.primary), (52, 52), "{}", score.misses);
}

#[test]
fn the_shared_replies_are_named() {
    let rows = rows(SHARED);
    for with_step in [false, true] {
        let score = score(&rows, with_step);
        tell(if with_step { "shared replies, step known" } else { "shared replies" }, &score, true);
        score.must_reach(97, 99);
    }
}

/// The sets of replies of other servers:
/// - `develop`: the rules were written with these in view.
/// - `holdout`: other servers. The test prints their figure and no misses.
/// - `corpus`: texts of a bounce corpus. They were first measured unseen, at 85 % (group 89 %), and read after that.
/// - `fresh`: three samples of replies of the servers that were added last. They were first measured unseen, at 88, 90
///   and 93 % (group 92, 96, 95 %), and read after that.
/// - `gathered`: replies of further servers, for development.
/// - `paraphrases`: invented wordings of possible replies, to find words that the vocabulary lacks.
/// - `once-blind`: six sets of 331, 330, 363, 427, 396 and 315 replies of servers without replies in other sets,
///   labelled before the classifier saw them. Five were first measured on 2026-11-28, at 87.6, 85.8, 84.8 and, after
///   the weights of words were learned, 94.6 and 93.4 % (group 91.8, 92.1, 90.1, 97.0 and 96.2 %; the program before
///   that day: 85.2, 84.8, 82.9 and 85.2 %). The sixth was first measured on 2026-11-29, at 97.8 % (group 98.4 %).
///   The weights were learned from these sets after that.
/// - `wordings`: many more invented replies and a few of small servers: each condition in many wordings and in several
///   languages.
///
/// The weights are learned from all of these (see `learn`). So their figures show that nothing gets worse, not how well
/// the classifier reads an unknown server.
#[test]
fn replies_of_other_servers_are_named() {
    let rows = rows(MORE);
    for (set, lenient, group) in [
        ("develop", 97, 98),
        ("holdout", 94, 96),
        ("corpus", 95, 97),
        ("fresh", 95, 97),
        ("gathered", 95, 98),
        ("paraphrases", 91, 96),
        ("once-blind", 95, 97),
        ("wordings", 97, 98),
    ] {
        let score = score(rows.iter().filter(|row| row.set == set), false);
        tell(&format!("other servers, {set}"), &score, set != "holdout");
        assert!(score.rows > 100, "{set} is there");
        score.must_reach(lenient, group);
    }
}

/// 316 replies of 125 programs and providers without replies in any other file, labelled and frozen before the
/// classifier saw them, and not used for learning. They were first measured on 2026-11-29. With the step, which a run
/// always knows: 89.6 % primary, 97.2 % primary or alternative, 98.7 % by group (307 and 312 of 316). Without the step:
/// 97.5 and 98.7 %. Servers copy each other's texts: the words of 161 replies are in another file, too (`elsewhere`).
/// The other 155 (`new`) reach 94.8 and 98.1 %.
#[test]
fn replies_of_servers_that_were_never_looked_at_are_named() {
    let rows = rows(BLIND);
    assert_eq!(rows.len(), 316);
    let new: Vec<LabelledReply> = self::rows(BLIND).into_iter().filter(|row| row.set == "new").collect();
    assert_eq!(new.len(), 155);
    for (rows, with_step, told, lenient, group) in [
        (&rows, true, "the step known (first 97.2 and 98.7 %)", 96, 98),
        (&rows, false, "the step not known (first 97.5 and 98.7 %)", 96, 98),
        (&new, true, "in words of no other file (first 94.8 and 98.1 %)", 93, 97),
    ] {
        let score = score(rows, with_step);
        tell(&format!("blind replies, measured first on 2026-11-29, {told}, now"), &score, false);
        score.must_reach(lenient, group);
    }
}

#[test]
fn names_and_addresses_carry_no_signal() {
    let disguises = [
        ("mail.example.com", "queue-full.too-many-connections.example"),
        ("client.example.net", "greylisted.spam.virus.example"),
        ("192.0.2.10", "198.51.100.77"),
        ("user@example.net", "mailbox-full@disk-full.example"),
        ("(dz2k5q)", "(r8t3x1)"),
    ];
    let mut disguised = 0;
    for row in rows(SHARED).iter().chain(&rows(MORE)) {
        let mut other = row.reply.clone();
        for (plain, disguise) in disguises {
            other = other.replace(plain, disguise);
        }
        disguised += usize::from(other != row.reply);
        let [plain, other] =
            [&row.reply, &other].map(|text| classify(None, &Reply::parse(text).unwrap(), false));
        assert_eq!(plain, other, "{}", row.reply);
    }
    assert!(disguised > 150, "{disguised} replies hold a name");
}
