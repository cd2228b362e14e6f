//! Stores the transactions of a run, so that a delivery log can be joined when the run is over.
//!
//! The first line holds the run id, the Date of its messages, and the reading of its clocks when its load began. Each
//! further line is a transaction: `[seq, phase, intended_ns, answered_ns, "a"]`. Times count from the start of the
//! load, and phases are given by index. The last field has one letter for each recipient, or one for all: `a` accepted,
//! `d` in doubt, `r` refused.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::form;
use super::clock::{ClockReading, clock_name};
use super::matching::PAGE;
use crate::collector::delivery::{Answers, FinalAnswer, Transaction};
use crate::plan::Plan;

/// The version of the format.
const VERSION: u32 = 1;
/// The longest time from the start of a load to a reply. The counts over time take 20 bytes for each tenth of a second.
const LONGEST: Duration = Duration::from_secs(100 * 86_400);
/// The largest memory in bytes that matching may take because of gaps between the numbers of messages.
const MOST_FOR_GAPS: u64 = 4 << 30;

/// The first line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionHeader {
    smtpress_transactions: u32,
    /// The run id.
    pub run: String,
    /// The Date of the run's messages.
    pub date: String,
    /// The name of the run's monotonic clock; `null` if unknown.
    pub clock: Option<String>,
    /// The reading of the clocks when the load began.
    pub at: ClockReading,
}

type TransactionLine = (u64, u32, u64, u64, String);

/// The file of a run in progress.
#[derive(Debug)]
pub struct TransactionFile(BufWriter<File>);

impl TransactionFile {
    /// Starts the file of a run whose load began when the clocks showed `at`.
    ///
    /// # Errors
    /// The file cannot be written, or exists already.
    pub fn create(path: &Path, run: &str, date: &str, at: ClockReading) -> io::Result<TransactionFile> {
        let header = TransactionHeader {
            smtpress_transactions: VERSION,
            run: run.to_owned(),
            date: date.to_owned(),
            clock: clock_name(),
            at,
        };
        let mut file = TransactionFile(BufWriter::new(File::create_new(path)?));
        file.line(&header)?;
        file.0.flush()?;
        Ok(file)
    }

    /// Writes transactions. The kernel has their bytes when the call returns.
    ///
    /// # Errors
    /// The transactions cannot be written.
    pub fn add(&mut self, transactions: &[Transaction]) -> io::Result<()> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        for Transaction { seq, phase, intended, answered, answers } in transactions {
            let line: TransactionLine = (*seq, *phase, nanos(*intended), nanos(*answered), letters(answers));
            self.line(&line)?;
        }
        self.0.flush()
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, line)?;
        self.0.write_all(b"\n")
    }
}

/// Reads the transactions file of a run that is over.
///
/// # Errors
/// The file cannot be read, or is not a transactions file. The error names the place and the reason.
pub fn read(path: &Path) -> Result<(TransactionHeader, Vec<Transaction>), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut lines = text.lines().zip(1_u64..);
    let (first, _) = lines.next().ok_or("it is empty")?;
    let header: TransactionHeader =
        serde_json::from_str(first).map_err(|error| format!("line 1: {error}"))?;
    if header.smtpress_transactions != VERSION {
        return Err(format!("it is of version {}", header.smtpress_transactions));
    }
    let transactions =
        lines.map(|(line, number)| transaction(line).map_err(|why| format!("line {number}: {why}")));
    Ok((header, transactions.collect::<Result<_, _>>()?))
}

/// Checks that transactions of a file can be matched: those of another run may have other phases, and a damaged file any
/// number.
///
/// # Errors
/// A phase that the plan does not have, a time after more than 100 days, or numbers of messages that are too far apart to
/// be matched in memory. The error names the line of the file and the reason.
pub fn check(transactions: &[Transaction], plan: &Plan) -> Result<(), String> {
    let form = form(plan);
    let of_page = form.page_size();
    let most = MOST_FOR_GAPS.saturating_add(of_page / PAGE * transactions.len() as u64);
    let mut pages = BTreeSet::new();
    // The first line is the header.
    for (transaction, line) in transactions.iter().zip(2_u64..) {
        if transaction.phase >= form.phases {
            return Err(format!(
                "line {line}: the profile has no phase {}, counted from 0",
                transaction.phase
            ));
        }
        if transaction.answered > LONGEST {
            return Err(format!(
                "line {line}: the reply came more than 100 days after the start of the load"
            ));
        }
        pages.insert(transaction.seq / PAGE);
        if of_page.saturating_mul(pages.len() as u64) > most {
            return Err(format!(
                "line {line}: the numbers of the messages up to {} are too far apart: they cannot be matched in memory",
                transaction.seq
            ));
        }
    }
    Ok(())
}

fn transaction(line: &str) -> Result<Transaction, String> {
    let (seq, phase, intended, answered, letters): TransactionLine =
        serde_json::from_str(line).map_err(|error| error.to_string())?;
    let answer = |letter| match letter {
        'a' => Ok(FinalAnswer::Accepted),
        'd' => Ok(FinalAnswer::InDoubt),
        'r' => Ok(FinalAnswer::Refused),
        other => Err(format!("{other:?} is no answer")),
    };
    let answers: Vec<FinalAnswer> = letters.chars().map(answer).collect::<Result<_, _>>()?;
    let answers = match answers.as_slice() {
        [answer] => Answers::All(*answer),
        _ => Answers::Each(answers.into()),
    };
    let [intended, answered] = [intended, answered].map(Duration::from_nanos);
    Ok(Transaction { seq, phase, intended, answered, answers })
}

fn letters(answers: &Answers) -> String {
    let letter = |answer: &FinalAnswer| match answer {
        FinalAnswer::Accepted => 'a',
        FinalAnswer::InDoubt => 'd',
        FinalAnswer::Refused => 'r',
    };
    match answers {
        Answers::All(answer) => letter(answer).to_string(),
        // A single letter would mean all recipients, so a second one is added.
        Answers::Each(answers) if answers.len() == 1 => [letter(&answers[0]), 'r'].iter().collect(),
        Answers::Each(answers) => answers.iter().map(letter).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::fixtures;

    #[test]
    fn what_is_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("transactions.jsonl");
        let transaction = |seq, answers| Transaction {
            seq,
            phase: 1,
            intended: Duration::from_nanos(7),
            answered: Duration::from_secs(3),
            answers,
        };
        let all = [
            transaction(1, Answers::All(FinalAnswer::Accepted)),
            transaction(2, Answers::Each([FinalAnswer::Accepted, FinalAnswer::Refused].into())),
            transaction(3, Answers::All(FinalAnswer::InDoubt)),
        ];
        let epoch = ClockReading::now();
        let mut file = TransactionFile::create(&path, "run-1", "today", epoch).unwrap();
        file.add(&all[..1]).unwrap();
        file.add(&all[1..]).unwrap();
        let (header, read_again) = read(&path).unwrap();
        assert_eq!((header.run.as_str(), header.date.as_str()), ("run-1", "today"));
        assert_eq!(read_again, all);
        fs::write(&path, fs::read_to_string(&path).unwrap().trim_end_matches("\"]\n")).unwrap();
        assert!(read(&path).unwrap_err().starts_with("line 4: "));
        assert!(TransactionFile::create(&path, "run-1", "today", epoch).is_err(), "it is never overwritten");
    }

    #[test]
    fn transactions_that_cannot_be_matched_are_refused_with_their_line() {
        let plan = fixtures::plan("");
        let at = |seq, phase, seconds| Transaction {
            seq,
            phase,
            intended: Duration::ZERO,
            answered: Duration::from_secs(seconds),
            answers: Answers::All(FinalAnswer::Accepted),
        };
        let dense: Vec<Transaction> = (0..100_000).map(|seq| at(seq, 0, 60)).collect();
        assert_eq!(check(&dense, &plan), Ok(()));
        let said = |transactions: &[Transaction]| check(transactions, &plan).unwrap_err();
        let of_another = said(&[at(0, 0, 1), at(1, 3, 1)]);
        assert_eq!(of_another, "line 3: the profile has no phase 3, counted from 0");
        assert!(said(&[at(0, 0, u64::MAX / 1_000_000_000)]).starts_with("line 2: the reply came more than"));
        let apart: Vec<Transaction> = (0..100_000).map(|n| at(n * PAGE, 0, 60)).collect();
        assert!(said(&apart).contains("are too far apart"));
        assert_eq!(check(&apart[..10_000], &plan), Ok(()), "a gap is no fault");
    }

    #[test]
    fn one_letter_is_of_all_recipients() {
        let one = Answers::Each([FinalAnswer::Accepted].into());
        let line = format!("[1,0,1,2,\"{}\"]", letters(&one));
        let read = transaction(&line).unwrap();
        assert_eq!((read.answers.of(0), read.answers.of(1)), (one.of(0), one.of(1)));
    }
}
