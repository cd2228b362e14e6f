//! `conditions.csv`: the count of each condition in each second, written during the run.
//!
//! Only conditions that occurred have rows. The counts of all rows add up to those of `result.json`.
//!
//! # Decisions
//! - A listener that sends ever new codes must not fill the disk. So in each phase only the first `MOST_CODES` kinds of
//!   replies are counted with their codes; further kinds are counted by step, condition and outcome only. The counts of
//!   `result.json` have the same rule with a higher limit.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::csv::plain;
use crate::collector::snapshot::Interval;
use crate::collector::tally::ConditionKey;

const COLUMNS: [&str; 9] =
    ["t_s", "length_s", "phase", "step", "condition", "code", "enhanced", "outcome", "count"];

/// The largest number of kinds of replies in a phase that are distinguished by their codes.
const MOST_CODES: usize = 200;

/// Writes the conditions of a run over time.
#[derive(Debug)]
pub struct ConditionSeries<W: Write> {
    rows: ::csv::Writer<W>,
    phases: Vec<String>,
    /// The kinds that are counted with their codes, by phase.
    known: Vec<BTreeSet<ConditionKey>>,
}

impl<W: Write> ConditionSeries<W> {
    /// Creates the writer and writes the titles of the columns. `phases` are the names of the plan's phases, in order.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, phases: Vec<String>) -> io::Result<ConditionSeries<W>> {
        let mut rows = ::csv::Writer::from_writer(out);
        rows.write_record(COLUMNS).map_err(plain)?;
        let known = phases.iter().map(|_| BTreeSet::new()).collect();
        Ok(ConditionSeries { rows, phases, known })
    }

    /// Writes the rows of an interval.
    ///
    /// # Errors
    /// The output's errors.
    pub fn add(&mut self, interval: &Interval) -> io::Result<()> {
        let time = |time: std::time::Duration| format!("{:.3}", time.as_secs_f64());
        for ((tally, phase), known) in interval.tally.phases.iter().zip(&self.phases).zip(&mut self.known) {
            let mut met: BTreeMap<ConditionKey, u64> = BTreeMap::new();
            for (key, row) in &tally.conditions {
                *met.entry(told(known, key)).or_default() += row.count;
            }
            for (key, count) in met {
                let code = key.code.map(|code| format!("{code:03}")).unwrap_or_default();
                let enhanced = key.enhanced.map(|own| own.to_string()).unwrap_or_default();
                let row = [
                    &time(interval.start),
                    &time(interval.length),
                    phase,
                    key.step.as_str(),
                    key.condition.as_str(),
                    &code,
                    &enhanced,
                    key.outcome.as_str(),
                    &count.to_string(),
                ];
                self.rows.write_record(row).map_err(plain)?;
            }
        }
        Ok(())
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// The output's errors.
    pub fn flush(&mut self) -> io::Result<()> {
        self.rows.flush()
    }

    /// Returns the output after everything is written.
    ///
    /// # Errors
    /// The output's errors.
    pub fn into_inner(self) -> io::Result<W> {
        self.rows.into_inner().map_err(::csv::IntoInnerError::into_error)
    }
}

/// Returns the kind under which a reply is counted: with its codes, unless the phase has [`MOST_CODES`] other kinds.
fn told(known: &mut BTreeSet<ConditionKey>, key: &ConditionKey) -> ConditionKey {
    if known.contains(key) || known.len() < MOST_CODES {
        known.insert(key.clone());
        return key.clone();
    }
    ConditionKey { code: None, enhanced: None, ..key.clone() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::collector::Outcome;
    use crate::collector::snapshot::Gauges;
    use crate::collector::tally::Tally;
    use crate::condition::Condition;
    use crate::smtp::{Enhanced, Step};

    /// Returns the second `t` of the phase "b, c", with this many replies of these codes.
    fn second(t: u64, met: &[(u16, u64)]) -> Interval {
        let (start, length) = (Duration::from_secs(t), Duration::from_secs(1));
        let mut tally = Tally::new(2);
        for (code, count) in met {
            let enhanced = Enhanced { class: 4, subject: Some(7), detail: None };
            let key = ConditionKey {
                step: Step::Mail,
                condition: Condition::ResourceLow,
                code: Some(*code),
                enhanced: Some(enhanced),
                outcome: Outcome::Deferred,
            };
            (0..*count).for_each(|_| tally.phases[1].condition(key.clone(), start, false, String::new));
        }
        Interval { transactions: Vec::new(), start, length, tally, gauges: Gauges::default() }
    }

    fn written(seconds: &[Interval]) -> String {
        let mut series = ConditionSeries::new(Vec::new(), vec!["a".into(), "b, c".into()]).unwrap();
        seconds.iter().for_each(|second| series.add(second).unwrap());
        String::from_utf8(series.into_inner().unwrap()).unwrap()
    }

    #[test]
    fn only_what_was_met_has_a_row() {
        let text = written(&[second(0, &[]), second(7, &[(452, 3), (421, 1)]), second(8, &[])]);
        assert_eq!(
            text,
            "t_s,length_s,phase,step,condition,code,enhanced,outcome,count\n\
             7.000,1.000,\"b, c\",mail,resource-low,421,4.7.x,deferred,1\n\
             7.000,1.000,\"b, c\",mail,resource-low,452,4.7.x,deferred,3\n"
        );
        assert_eq!(written(&[second(0, &[])]).lines().count(), 1);
    }

    #[test]
    fn a_listener_that_never_says_the_same_twice_fills_no_disk_and_none_is_lost() {
        let seconds: Vec<Interval> = (0..50)
            .map(|t| {
                let met: Vec<(u16, u64)> = (0..100).map(|n| (400 + (t * 20 + n) as u16 % 150, 1)).collect();
                second(t, &met)
            })
            .chain((50..100).map(|t| {
                let met: Vec<(u16, u64)> = (0..100).map(|n| (400 + (t * 100 + n) as u16 % 1000, 1)).collect();
                second(t, &met)
            }))
            .collect();
        let text = written(&seconds);
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
        let counted: u64 = rows.iter().map(|row| row[row.len() - 1].parse::<u64>().unwrap()).sum();
        assert_eq!(counted, 100 * 100);
        let codes: BTreeSet<&str> = rows.iter().map(|row| row[6]).filter(|code| !code.is_empty()).collect();
        assert_eq!(codes.len(), MOST_CODES);
        assert!(rows.iter().any(|row| row[6].is_empty()));
    }
}
