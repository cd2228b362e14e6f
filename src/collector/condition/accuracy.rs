//! How often the classifier is right, on labelled replies of real servers.

use std::io::Write as _;

use serde::Deserialize;

use super::{Condition, classify};
use crate::smtp::{Reply, Step};

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    server: String,
    reply: String,
    #[serde(default)]
    set: String,
    phase: Option<String>,
    category: String,
    #[serde(default)]
    alt: Vec<String>,
}

#[derive(Default)]
struct Score {
    rows: usize,
    primary: usize,
    lenient: usize,
    group: usize,
    misses: String,
}

fn rows(file: &str) -> Vec<Row> {
    file.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn step(phase: Option<&str>) -> Option<Step> {
    Some(match phase? {
        "connect" => Step::Greeting,
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

fn score<'r>(rows: impl IntoIterator<Item = &'r Row>, with_step: bool) -> Score {
    let mut score = Score::default();
    for row in rows {
        let reply = Reply::parse(&row.reply).unwrap();
        let step = with_step.then(|| step(row.phase.as_deref())).flatten();
        let said = classify(step, &reply, false);
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
            if std::env::var_os("SMTPRESS_EXPLAIN").is_some() {
                let meaning = super::words::Meaning::of(&reply);
                for sentence in meaning.own.iter().chain(&meaning.quoted) {
                    score.misses += &format!("          {}\n", sentence.names());
                }
            }
        }
    }
    score
}

fn tell(name: &str, score: &Score, misses: bool) {
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

const CISCO: &str = include_str!("../../../tests/data/cisco_replies.jsonl");
const SHARED: &str = include_str!("../../../tests/data/replies.jsonl");
const MORE: &str = include_str!("../../../tests/data/more_replies.jsonl");

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
        assert!(score.lenient * 100 >= score.rows * 97, "{}", score.misses);
        assert!(score.group * 100 >= score.rows * 99, "{}", score.misses);
    }
}

#[test]
fn replies_of_other_servers_are_named() {
    let rows = rows(MORE);
    let develop = score(rows.iter().filter(|r| r.set == "develop"), false);
    tell("other servers, seen in development", &develop, true);
    let holdout = score(rows.iter().filter(|r| r.set == "holdout"), false);
    tell("other servers, held out", &holdout, std::env::var_os("SMTPRESS_SHOW_HOLDOUT").is_some());
    let corpus = score(rows.iter().filter(|r| r.set == "corpus"), false);
    tell("bounce corpus", &corpus, true);
    let fresh = score(rows.iter().filter(|r| r.set == "fresh"), false);
    tell("fresh servers", &fresh, true);
    assert!(holdout.lenient * 100 >= holdout.rows * 90, "held out");
    assert!(holdout.group * 100 >= holdout.rows * 95, "held out");
}
