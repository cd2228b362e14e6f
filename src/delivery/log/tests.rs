//! Tests of complete, cut-off and full logs, and of runs that join them.

use std::fs::{self, OpenOptions};
use std::io::Write;

use super::*;
use crate::collector::delivery::{Answers, ClockRelation, FinalAnswer, Transaction};
use crate::collector::tally::Tally;
use crate::delivery::clock::{ClockOffset, ClockReading, clock_name};
use crate::delivery::fixtures;
use crate::delivery::integrity::Fingerprint;
use crate::mail::Mailer;
use crate::plan::Plan;
use crate::smtp::Content;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DATE: &str = "Sat, 28 Nov 2026 12:00:00 +0000";

fn header(clock: &str, pid: u32) -> LogHeader {
    LogHeader {
        smtpress_delivery_log: VERSION,
        tool: "0".to_owned(),
        host: "h".to_owned(),
        pid,
        clock: Some(clock.to_owned()),
        at: at(0),
        addresses: vec!["127.0.0.1:2600".to_owned()],
        protocol: "smtp".to_owned(),
    }
}

/// Returns a reading of the clocks this many milliseconds after the start of the test.
fn at(ms: u64) -> ClockReading {
    let mono = Duration::from_secs(1_000) + Duration::from_millis(ms);
    ClockReading { wall: Duration::from_secs(1_700_000_000) + Duration::from_millis(ms), mono }
}

fn plan() -> Plan {
    fixtures::plan("[message]\ntext = \"body {n}\"\n")
}

/// Returns a copy of this message of the run, changed by `change`.
fn copy(plan: &Plan, seq: u64, ms: u64, change: impl Fn(String) -> String) -> LogEntry {
    let message = Arc::new(Mailer::new(&plan.mail, plan.seed, &plan.run_id, DATE)).message(seq);
    let (mut content, mut to) = (Vec::new(), Vec::new());
    message.raw(0, message.size(), &mut content).unwrap();
    message.recipient(0, &mut to);
    let content = change(String::from_utf8(content).unwrap());
    LogEntry::Delivered(LogCopy {
        run: plan.run_id.clone(),
        seq,
        to: vec![String::from_utf8(to).unwrap()],
        at: at(ms),
        content: Fingerprint::of(format!("Received: from a by b; today\r\n{content}").as_bytes()),
    })
}

fn mark(ms: u64) -> LogMark {
    LogMark { at: at(ms), ..LogMark::default() }
}

fn text(header: &LogHeader, entries: &[LogEntry]) -> String {
    let mut text = serde_json::to_string(header).unwrap() + "\n";
    entries.iter().for_each(|entry| text += &(serde_json::to_string(entry).unwrap() + "\n"));
    text
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn answered(seq: u64) -> Transaction {
    Transaction {
        seq,
        phase: 0,
        intended: Duration::from_millis(10 * seq),
        answered: Duration::from_millis(10 * seq + 5),
        answers: Answers::All(FinalAnswer::Accepted),
    }
}

/// Joins a run of this many accepted messages. The run took a second and began 100 ms after the start of the test.
fn join(
    paths: &[PathBuf],
    offset: Option<ClockOffset>,
    messages: u64,
) -> (crate::collector::delivery::Delivered, Tally) {
    let logs = DeliveryLogs::open(paths, offset, Duration::from_secs(1)).unwrap();
    logs.begin_stored(&plan(), DATE, at(100), Some("ours"), Duration::from_secs(1));
    logs.answered(&(0..messages).map(answered).collect::<Vec<_>>());
    let mut tally = Tally::new(1);
    let windows = [(Duration::ZERO, Duration::from_secs(1))];
    let delivered = logs.finish(&windows, Duration::from_secs(1), false, &mut tally);
    (delivered, tally)
}

#[test]
fn what_is_written_is_read_and_joined() {
    let folder = tempfile::tempdir().unwrap();
    let (path, plan) = (folder.path().join("log"), plan());
    let writer = LogWriter::create(&path, &header("ours", 1)).unwrap();
    let inlet = writer.inlet();
    let entries = [
        LogEntry::Mark(mark(50)),
        copy(&plan, 0, 110, |content| content),
        copy(&plan, 0, 120, |content| content),
        copy(&plan, 1, 215, |content| content.replace("body 1", "body 2")),
        LogEntry::Foreign { at: at(300) },
        LogEntry::Foreign { at: at(60) },
        LogEntry::Foreign { at: at(9_000) },
        LogEntry::End(mark(10_000)),
    ];
    entries.iter().for_each(|entry| inlet.add(entry));
    writer.finish().unwrap();
    let mut reader = LogReader::open(&path).unwrap();
    assert_eq!(reader.header(), &header("ours", 1));
    let read: Vec<LogEntry> = std::iter::from_fn(|| reader.entry().unwrap()).collect();
    assert_eq!(read, entries);

    let (delivered, tally) = join(&[path], None, 3);
    let counts = delivered.counts();
    assert_eq!((counts.delivered, counts.missing, counts.duplicated, counts.altered), (2, 1, 1, 1));
    assert_eq!(delivered.altered[0].what, "the body is changed");
    assert_eq!((delivered.foreign, delivered.clock), (1, ClockRelation::Same));
    assert_eq!(delivered.silent_for, Some(Duration::from_millis(10_000 - 215)));
    assert_eq!((delivered.incomplete.len(), delivered.remarks.len()), (0, 0), "{delivered:?}");
    let transit =
        &tally.phases[0].hists[&(crate::collector::Metric::Transit, crate::collector::Outcome::Accepted)];
    assert_eq!((transit.min_ns(), transit.max_ns()), (5_000_000, 100_000_000));
}

#[test]
fn a_line_that_is_cut_off_is_said_and_never_counted() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan();
    let whole = text(
        &header("ours", 1),
        &[copy(&plan, 0, 110, |content| content), LogEntry::Mark(mark(1_200)), copy(&plan, 1, 1_210, |c| c)],
    );
    for cut in [1, 10, 300] {
        let path = write(folder.path(), "log", &whole[..whole.len() - cut]);
        let (delivered, _) = join(&[path], None, 2);
        assert_eq!((delivered.counts().delivered, delivered.counts().missing), (1, 1));
        assert!(
            delivered.remarks[0].contains("the last line of") && delivered.remarks[0].contains("cut off")
        );
        assert!(delivered.incomplete[0].contains("has no end"), "{delivered:?}");
    }
}

#[test]
fn a_log_that_ends_too_early_or_cannot_be_read_is_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan();
    let all = [copy(&plan, 0, 110, |content| content), copy(&plan, 1, 120, |content| content)];
    let why = |entries: &[LogEntry], rest: &str, messages| {
        let path = write(folder.path(), "log", &(text(&header("ours", 1), entries) + rest));
        join(&[path], None, messages).0.incomplete.join("; ")
    };
    let with = |last: LogEntry| [all[0].clone(), all[1].clone(), last];
    assert_eq!(why(&with(LogEntry::End(mark(5_000))), "", 3), "", "what is missing is missing");
    assert_eq!(why(&with(LogEntry::Mark(mark(5_000))), "", 2), "", "all is there");
    assert!(why(&with(LogEntry::Mark(mark(5_000))), "", 3).contains("has no end"));
    assert!(
        why(&with(LogEntry::Mark(mark(900))), "", 2).contains("has no end"),
        "a copy too many may be unknown"
    );
    assert!(why(&with(LogEntry::End(mark(900))), "", 3).contains("was stopped 0.2 s before the end"));
    let broken = why(&with(LogEntry::Mark(mark(5_000))), "{\"delivered\":{}}\n", 2);
    assert!(broken.contains("line 5 of the delivery log"), "{broken}");
    // A time in 285 years would be a queue of as many tenths of a second.
    let late = copy(&plan, 1, 9_000_000_000_000, |content| content);
    let why = why(&[all[0].clone(), late, LogEntry::End(mark(5_000))], "", 2);
    assert!(why.contains("line 3 of the delivery log") && why.contains("cannot be right"), "{why}");
}

#[test]
fn a_receiver_that_was_started_again_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan();
    let end = |ms| LogEntry::End(mark(ms));
    let first = text(&header("ours", 1), &[copy(&plan, 0, 110, |c| c), end(500)]);
    let first = write(folder.path(), "first", &first);
    let second = |header: LogHeader, until| {
        let entries = [copy(&plan, 1, 800, |c| c), end(until)];
        let second = write(folder.path(), "second", &text(&header, &entries));
        join(&[first.clone(), second], None, 3).0
    };
    let again = |ms| LogHeader { at: at(ms), ..header("ours", 2) };
    let whole = second(again(600), 5_000);
    assert_eq!((whole.incomplete.len(), whole.counts().missing), (0, 1), "{whole:?}");
    // Three logs do not continue the first log: a log that ended too early, a log of another address, and a log that
    // overlaps.
    let elsewhere = LogHeader { addresses: vec!["127.0.0.1:2601".to_owned()], ..again(600) };
    for (header, until) in [(again(600), 1_000), (elsewhere, 5_000), (again(400), 5_000)] {
        let incomplete = second(header, until).incomplete;
        assert!(incomplete[0].contains("was stopped 0.6 s before the end"), "{incomplete:?}");
    }
}

/// A line that is cut off at the present end of the log does not count yet, wherever it is cut. Two logs count like one
/// log.
#[test]
fn a_log_that_grows_in_the_middle_of_a_line_is_counted_once_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan();
    let name = clock_name().unwrap();
    let lines = |pid, seqs: [u64; 2]| {
        let copies = seqs.map(|seq| copy(&plan, seq, 110 + seq, |c| c));
        text(&header(&name, pid), &copies)
    };
    let (one, two) = (lines(1, [0, 1]), lines(2, [2, 3]));
    let head = one.find('\n').unwrap() + 1;
    for cut in (head..one.len()).step_by(97) {
        let paths = [write(folder.path(), "one", &one[..cut]), write(folder.path(), "two", &two[..head])];
        let logs = DeliveryLogs::open(&paths, None, Duration::ZERO).unwrap();
        logs.begin(&plan, DATE, crate::delivery::clock::now());
        logs.answered(&(0..4).map(answered).collect::<Vec<_>>());
        let whole = one[head..cut].matches('\n').count() as u64;
        let told = || logs.second().0.phases[0].counts.delivered;
        // The lines that were in a log at the start of the run are read and dropped then.
        assert_eq!(told(), 0, "{cut}");
        let add = |path: &Path, text: &str| {
            OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
        };
        add(&paths[0], &one[cut..]);
        assert_eq!(told(), 2 - whole, "{cut}");
        add(&paths[1], &two[head..head + 200]);
        assert_eq!(logs.second().1, Some(2 + whole), "{cut}");
        add(&paths[1], &two[head + 200..]);
        assert_eq!((told(), logs.second().1), (2, Some(whole)), "{cut}");
    }
}

#[test]
fn the_log_of_another_run_is_foreign_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let other = Plan { run_id: "run-2".to_owned(), ..plan() };
    let entries = [copy(&other, 0, 110, |c| c), copy(&other, 1, 120, |c| c), LogEntry::End(mark(5_000))];
    let path = write(folder.path(), "log", &text(&header("ours", 1), &entries));
    let (delivered, _) = join(&[path], None, 2);
    assert_eq!((delivered.foreign, delivered.counts().missing, delivered.counts().delivered), (2, 2, 0));
    assert!(
        delivered.remarks[0]
            .contains("2 messages of others (the first of run run-2), and none of this run, run-1")
    );
}

#[test]
fn several_logs_are_one_far_end_and_one_log_is_not_two() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan();
    let end = LogEntry::End(mark(5_000));
    let one = text(&header("ours", 1), &[copy(&plan, 0, 110, |c| c), end.clone()]);
    let two = text(&header("ours", 2), &[copy(&plan, 1, 120, |c| c), copy(&plan, 0, 130, |c| c), end]);
    let (one, two) = (write(folder.path(), "one", &one), write(folder.path(), "two", &two));
    let (delivered, _) = join(&[one.clone(), two], None, 2);
    let counts = delivered.counts();
    assert_eq!((counts.delivered, counts.missing, counts.duplicated), (2, 0, 1));
    let twin = folder.path().join("twin");
    fs::copy(&one, &twin).unwrap();
    assert!(matches!(DeliveryLogs::open(&[one, twin], None, Duration::ZERO), Err(LogError::Twice(..))));
}

#[test]
fn times_of_another_machine_are_unknown_or_have_a_bound_and_counts_are_exact() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan();
    let entries = [copy(&plan, 0, 155, |c| c), copy(&plan, 1, 260, |c| c), LogEntry::End(mark(5_000))];
    let path = write(folder.path(), "log", &text(&header("theirs", 1), &entries));
    let (unknown, tally) = join(std::slice::from_ref(&path), None, 3);
    assert_eq!((unknown.counts().delivered, unknown.counts().missing), (2, 1));
    assert_eq!(
        (unknown.clock, unknown.phases[0].queued_max, unknown.phases[0].drain),
        (ClockRelation::Unknown, None, None)
    );
    assert!(tally.phases[0].hists.is_empty());
    assert_eq!(unknown.silent_for, Some(Duration::from_millis(5_000 - 260)), "by the receiver's clock alone");

    let offset = ClockOffset { ahead_ns: 40_000_000, bound: Duration::from_millis(1) };
    let (related, tally) = join(&[path], Some(offset), 3);
    assert_eq!(
        (related.clock, related.phases[0].queued_max),
        (ClockRelation::Offset { ahead_ns: 40_000_000, bound: offset.bound }, Some(2))
    );
    let transit =
        &tally.phases[0].hists[&(crate::collector::Metric::Transit, crate::collector::Outcome::Accepted)];
    assert_eq!((transit.min_ns(), transit.max_ns()), (10_000_000, 105_000_000));
}

#[test]
fn what_is_no_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |text: &str| LogReader::open(&write(folder.path(), "log", text)).unwrap_err().to_string();
    for text in ["", "{}", "{}\n", "hello\n", "{\"smtpress_delivery_log\":1}\n"] {
        assert!(open(text).contains("is no delivery log"), "{text:?}");
    }
    assert!(open("{\"smtpress_delivery_log\":3}\n").contains("it is of version 3"));
    assert!(LogReader::open(Path::new("/dev/null")).unwrap_err().to_string().contains("it is no file"));
    assert!(matches!(LogReader::open(&folder.path().join("none")), Err(LogError::Read { .. })));
}

#[test]
fn a_log_is_never_overwritten_and_a_full_disk_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "log", "mine");
    assert!(matches!(LogWriter::create(&path, &header("ours", 1)), Err(LogError::Taken(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    let full = LogWriter::create(Path::new("/dev/full"), &header("ours", 1)).unwrap_err();
    assert!(full.to_string().contains("/dev/full") && full.to_string().contains("free some space"), "{full}");
    let nowhere = LogWriter::create(&folder.path().join("no/log"), &header("ours", 1)).unwrap_err();
    assert!(nowhere.to_string().contains("make its folder"), "{nowhere}");
}

#[test]
fn a_log_is_read_while_it_grows() {
    let folder = tempfile::tempdir().unwrap();
    let (started, next) =
        (text(&header("ours", 1), &[]), text(&header("ours", 1), &[LogEntry::Mark(mark(1))]));
    let path = write(folder.path(), "log", &started);
    let mut reader = LogReader::open(&path).unwrap();
    assert_eq!(reader.entry().unwrap(), None);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    let (head, tail) = next[started.len()..].split_at(20);
    file.write_all(head.as_bytes()).unwrap();
    assert_eq!((reader.entry().unwrap(), reader.has_rest()), (None, true));
    file.write_all(tail.as_bytes()).unwrap();
    assert_eq!((reader.entry().unwrap(), reader.has_rest()), (Some(LogEntry::Mark(mark(1))), false));
    file.set_len(10).unwrap();
    assert!(reader.entry().unwrap_err().to_string().contains("became shorter"));
}

#[test]
fn a_run_begins_only_where_a_receiver_writes() {
    let folder = tempfile::tempdir().unwrap();
    let ours = header(&clock_name().unwrap(), 1);
    let path = write(folder.path(), "log", &text(&ours, &[LogEntry::End(mark(1))]));
    let logs = DeliveryLogs::open(&[path], None, Duration::ZERO).unwrap();
    assert!(logs.check_alive().unwrap_err().to_string().contains("has ended"));
}
