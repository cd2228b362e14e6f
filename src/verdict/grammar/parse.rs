//! Parses the text of an expression into its parts, or finds the place of the error.

use std::ops::Range;

use super::{Aggregate, DeliveryCount, EventMeasure, Expr, GrammarError, Operator, QueueMeasure, Subject};
use crate::collector::{Metric, Outcome};
use crate::condition::Condition;

pub(super) fn expr(text: &str) -> Result<Expr, GrammarError> {
    let words = words(text);
    let end = text.trim_end().len();
    if words.is_empty() {
        return fault(end..end, "the expression is empty, it reads like `response p99 < 800ms`");
    }
    let Some(at) = words.iter().position(ExprWord::is_operator) else {
        return match words.get(2) {
            Some(word) => fault(word.span(), format!("expected an operator before `{}`", word.text)),
            None => fault(end..end, "an operator is missing: <, <=, >, >=, == or !="),
        };
    };
    let operator = operator(words[at])?;
    let value = value(&words[at + 1..], end)?;
    let (subject, aggregate) = match words[..at] {
        [] => {
            let start = words[0].start;
            return fault(
                start..start,
                "the subject is missing before the operator, as in `response p99 < 800ms`",
            );
        }
        [only] if latency_aggregate(only.text).is_some() => {
            let response = Subject::Latency(Metric::Response, Some(Outcome::Accepted));
            (response, aggregate_of_latency(only, only, &value)?)
        }
        [what] => (subject(what)?, None),
        [what, measure] if what.text == "queued" => match measure.text {
            "max" => (Subject::Queued(QueueMeasure::Max), Some(Aggregate::Count)),
            "growth" => (Subject::Queued(QueueMeasure::Growth), Some(Aggregate::PerSecond)),
            other => {
                return unknown_aggregate(
                    measure,
                    nearest(other, ["max", "growth"].map(str::to_owned)).as_deref(),
                );
            }
        },
        [what, aggregate] => {
            let subject = subject(what)?;
            let aggregate = match subject {
                Subject::Latency(..) => aggregate_of_latency(what, aggregate, &value)?,
                Subject::Event(..) | Subject::Drain => {
                    let message = format!("`{}` is one time and has no aggregate", what.text);
                    return fault(aggregate.span(), message);
                }
                _ => aggregate_of_count(what, aggregate, &value)?,
            };
            (subject, aggregate)
        }
        [_, _, third, ..] => {
            return fault(third.span(), format!("expected an operator before `{}`", third.text));
        }
    };
    let aggregate = match (aggregate, &subject) {
        (Some(aggregate), _) => aggregate,
        (None, Subject::Latency(..)) => {
            let message = format!("`{}` needs an aggregate such as p99, max or count", words[0].text);
            return fault(words[0].span(), message);
        }
        (None, Subject::Event(..) | Subject::Drain) => Aggregate::Only,
        (None, Subject::Queued(_)) => {
            return fault(words[0].span(), "`queued` needs max or growth, as in `queued max < 10k`");
        }
        (None, _) => match value.unit {
            "%" => Aggregate::Share,
            unit if unit.contains('/') => Aggregate::PerSecond,
            _ => Aggregate::Count,
        },
    };
    if subject == Subject::Done && aggregate != Aggregate::Share {
        return fault(words[0].span(), "`done` is a share, as in `done rate == 100%`");
    }
    let is_plain = at == 1 && value.unit.is_empty();
    if subject == Subject::Amplification && !is_plain {
        return fault(words[0].span(), "`amplification` is a plain number, as in `amplification < 1.5`");
    }
    let value = value.read(aggregate)?;
    Ok(Expr { text: text.trim().to_owned(), subject, aggregate, operator, value })
}

/// A piece without blanks and its position. It consists of operator signs only, or has none.
#[derive(Clone, Copy)]
struct ExprWord<'a> {
    text: &'a str,
    start: usize,
}

impl ExprWord<'_> {
    fn span(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    fn is_operator(&self) -> bool {
        self.text.starts_with(is_sign)
    }
}

fn is_sign(c: char) -> bool {
    matches!(c, '<' | '>' | '=' | '!')
}

fn words(text: &str) -> Vec<ExprWord<'_>> {
    let mut words = Vec::new();
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        let kind = |c: char| (c.is_whitespace(), is_sign(c));
        let rest = &text[start..];
        let length = rest.find(|c| kind(c) != kind(first)).unwrap_or(rest.len());
        if !first.is_whitespace() {
            words.push(ExprWord { text: &rest[..length], start });
        }
        start += length;
    }
    words
}

fn operator(word: ExprWord<'_>) -> Result<Operator, GrammarError> {
    let known = Operator::ALL.iter().find(|(sign, _)| *sign == word.text);
    known.map(|(_, operator)| *operator).ok_or_else(|| GrammarError {
        span: word.span(),
        message: format!("unknown operator `{}`", word.text),
        nearest: match word.text {
            "=" => Some("==".to_owned()),
            "=<" => Some("<=".to_owned()),
            "=>" => Some(">=".to_owned()),
            "<>" => Some("!=".to_owned()),
            _ => None,
        },
    })
}

fn subject(word: ExprWord<'_>) -> Result<Subject, GrammarError> {
    let (name, selector) = match word.text.split_once('[') {
        Some((name, selector)) => (name, Some(selector)),
        None => (word.text, None),
    };
    let name_span = word.start..word.start + name.len();
    let subject = known_subject(name).ok_or_else(|| GrammarError {
        span: name_span.clone(),
        message: format!("unknown name `{name}`"),
        nearest: nearest(name, subjects(name)),
    })?;
    let Some(selector) = selector else { return Ok(subject) };
    let brackets = name_span.end..word.span().end;
    let Subject::Latency(metric, _) = subject else {
        return fault(brackets, format!("`{name}` is a count and takes no outcome in brackets"));
    };
    let Some(outcome) = selector.strip_suffix(']') else {
        return fault(brackets, "the bracket is not closed by `]`");
    };
    match outcome.parse() {
        Ok(outcome) => Ok(Subject::Latency(metric, Some(outcome))),
        Err(()) => Err(GrammarError {
            span: brackets.start + 1..brackets.end - 1,
            message: format!("unknown outcome `{outcome}`"),
            nearest: nearest(outcome, Outcome::ALL.map(|o| o.as_str().to_owned())),
        }),
    }
}

fn known_subject(name: &str) -> Option<Subject> {
    if let Ok(metric) = name.parse() {
        let outcome = match metric {
            Metric::Lag | Metric::Wait | Metric::Setup => None,
            _ => Some(Outcome::Accepted),
        };
        return Some(Subject::Latency(metric, outcome));
    }
    match name.split_once('.') {
        Some(("transactions", "attempted")) => Some(Subject::Attempted),
        Some(("transactions", outcome)) => outcome.parse().ok().map(Subject::Transactions),
        Some(("condition", condition)) => condition.parse().ok().map(Subject::Condition),
        Some(("event", event)) => {
            let (name, measure) = event.rsplit_once('.').filter(|(name, _)| !name.is_empty())?;
            let known = EventMeasure::ALL.into_iter().find(|(word, _)| *word == measure);
            known.map(|(_, measure)| Subject::Event(name.to_owned(), measure))
        }
        Some(("delivery", _)) => delivery(name),
        Some(("expect", expect)) if !expect.is_empty() => Some(Subject::Expect(expect.to_owned())),
        _ => match name {
            "unexpected" => Some(Subject::Unexpected),
            "scheduled" => Some(Subject::Scheduled),
            "started" => Some(Subject::Started),
            "done" => Some(Subject::Done),
            "attempts" => Some(Subject::Attempts),
            "retries" => Some(Subject::Retries),
            "gave_up" => Some(Subject::GaveUp),
            "pending" => Some(Subject::Pending),
            "possibly_doubled" => Some(Subject::PossiblyDoubled),
            "amplification" => Some(Subject::Amplification),
            "queued" => Some(Subject::Queued(QueueMeasure::Max)),
            "drain" => Some(Subject::Drain),
            _ => delivery(name).or_else(|| name.parse().ok().map(Subject::Arrivals)),
        },
    }
}

fn delivery(name: &str) -> Option<Subject> {
    DeliveryCount::ALL.into_iter().find(|(word, _)| *word == name).map(|(_, count)| Subject::Delivery(count))
}

/// Returns every subject, with those of the event in `name` if it names one.
fn subjects(name: &str) -> impl Iterator<Item = String> {
    let event = name.strip_prefix("event.").map(|rest| rest.split('.').next().unwrap_or(rest).to_owned());
    let events = event.into_iter().flat_map(|event| {
        EventMeasure::ALL.into_iter().map(move |(measure, _)| format!("event.{event}.{measure}"))
    });
    let plain = [
        "unexpected",
        "scheduled",
        "started",
        "done",
        "attempts",
        "retries",
        "gave_up",
        "pending",
        "possibly_doubled",
        "amplification",
        "transactions.attempted",
    ];
    let outcomes = Outcome::ALL.map(Outcome::as_str);
    Metric::all()
        .map(Metric::as_str)
        .chain(outcomes)
        .chain(plain)
        .chain(DeliveryCount::ALL.map(|(name, _)| name))
        .chain(["queued max", "drain"])
        .map(str::to_owned)
        .chain(outcomes.map(|outcome| format!("transactions.{outcome}")))
        .chain(events)
        .chain(Condition::ALL.iter().map(|condition| format!("condition.{condition}")))
}

fn latency_aggregate(word: &str) -> Option<Aggregate> {
    match word {
        "min" => Some(Aggregate::Min),
        "max" => Some(Aggregate::Max),
        "mean" => Some(Aggregate::Mean),
        _ => percentile(word.strip_prefix('p')?).map(Aggregate::Quantile),
    }
}

/// Returns `99.9` as 0.999, digit by digit. A division by 100 would be wrong in the last place, and miss the percentile
/// of that name.
fn percentile(number: &str) -> Option<f64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let sound = digits(whole) && digits(fraction) && !whole.is_empty() && number.len() <= 9;
    if !sound || number.ends_with('.') {
        return None;
    }
    let numerator: u32 = format!("{whole}{fraction}").parse().ok()?;
    let denominator = 10_u64.pow(2 + fraction.len() as u32);
    let q = f64::from(numerator) / denominator as f64;
    (0.0 < q && q < 1.0).then_some(q)
}

fn aggregate_of_latency(
    what: ExprWord<'_>,
    word: ExprWord<'_>,
    value: &ParsedValue<'_>,
) -> Result<Option<Aggregate>, GrammarError> {
    if let Some(aggregate) = latency_aggregate(word.text) {
        return Ok(Some(aggregate));
    }
    match word.text {
        "count" => Ok(Some(Aggregate::Count)),
        "rate" => {
            let nearest = format!("accepted rate {}{}", value.number.text, value.unit);
            let message = format!("`{}` is timed, only what is counted has a rate", what.text);
            Err(GrammarError { span: word.span(), message, nearest: Some(nearest) })
        }
        "p100" => unknown_aggregate(word, Some("max")),
        "p0" => unknown_aggregate(word, Some("min")),
        "avg" | "average" => unknown_aggregate(word, Some("mean")),
        "median" | "med" => unknown_aggregate(word, Some("p50")),
        other => {
            let known = ["p50", "p90", "p95", "p99", "p99.9", "p99.99", "min", "max", "mean", "count"];
            let nearest = nearest(other, known.map(str::to_owned));
            unknown_aggregate(word, nearest.as_deref())
        }
    }
}

fn aggregate_of_count(
    what: ExprWord<'_>,
    word: ExprWord<'_>,
    value: &ParsedValue<'_>,
) -> Result<Option<Aggregate>, GrammarError> {
    match word.text {
        "count" => Ok(Some(Aggregate::Count)),
        "rate" if value.unit == "%" => Ok(Some(Aggregate::Share)),
        "rate" => Ok(Some(Aggregate::PerSecond)),
        timed if latency_aggregate(timed).is_some() => {
            let message = format!("`{}` is counted, not timed: it has count and rate", what.text);
            fault(word.span(), message)
        }
        other => {
            let nearest = nearest(other, ["count", "rate"].map(str::to_owned));
            unknown_aggregate(word, nearest.as_deref())
        }
    }
}

fn unknown_aggregate<T>(word: ExprWord<'_>, nearest: Option<&str>) -> Result<T, GrammarError> {
    Err(GrammarError {
        span: word.span(),
        message: format!("unknown aggregate `{}`", word.text),
        nearest: nearest.map(str::to_owned),
    })
}

/// A number and its unit, which may be separated.
struct ParsedValue<'a> {
    number: ExprWord<'a>,
    unit: &'a str,
    unit_start: usize,
}

fn value<'a>(words: &[ExprWord<'a>], end: usize) -> Result<ParsedValue<'a>, GrammarError> {
    let Some(first) = words.first() else {
        return fault(end..end, "a value is missing after the operator");
    };
    let digits = first.text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, mut unit) = first.text.split_at(digits.unwrap_or(first.text.len()));
    let mut unit_start = first.start + number.len();
    let mut rest = &words[1..];
    if let (true, [apart, after @ ..]) = (unit.is_empty(), rest)
        && !apart.is_operator()
    {
        (unit, unit_start, rest) = (apart.text, apart.start, after);
    }
    if let Some(more) = rest.first() {
        return fault(more.span(), format!("expected nothing after the value, found `{}`", more.text));
    }
    if number.is_empty() {
        return fault(first.span(), format!("expected a number, found `{}`", first.text));
    }
    Ok(ParsedValue { number: ExprWord { text: number, start: first.start }, unit, unit_start })
}

/// A unit: its name, and its size as a power of ten and a factor. The power is applied to the digits, so that `1.1%` is
/// the number nearest to 0.011, and a share of exactly that value compares equal.
type ValueUnit = (&'static str, i8, f64);

const DURATIONS: [ValueUnit; 8] = [
    ("ns", 0, 1.0),
    ("us", 3, 1.0),
    ("µs", 3, 1.0),
    ("ms", 6, 1.0),
    ("s", 9, 1.0),
    ("m", 9, 60.0),
    ("min", 9, 60.0),
    ("h", 9, 3600.0),
];
const PLAIN: [ValueUnit; 3] = [("", 0, 1.0), ("k", 3, 1.0), ("m", 6, 1.0)];
const SHARES: [ValueUnit; 1] = [("%", -2, 1.0)];
const RATES: [ValueUnit; 5] = [
    ("/s", 0, 1.0),
    ("k/s", 3, 1.0),
    ("/m", 0, 1.0 / 60.0),
    ("/min", 0, 1.0 / 60.0),
    ("/h", 0, 1.0 / 3600.0),
];

impl ParsedValue<'_> {
    /// Returns the value in the unit of [`Expr::value`].
    fn read(&self, aggregate: Aggregate) -> Result<f64, GrammarError> {
        let scaled = |power: i8| format!("{}e{power}", self.number.text).parse::<f64>();
        if !scaled(0).is_ok_and(f64::is_finite) {
            return fault(self.number.span(), format!("`{}` is no number", self.number.text));
        }
        let (units, kind, default): (&[ValueUnit], _, _) = match aggregate {
            Aggregate::Count => (&PLAIN, "a plain number, or one with k or m", ""),
            Aggregate::Share => (&SHARES, "a share in %", "%"),
            Aggregate::PerSecond => (&RATES, "a rate in %, /s, /m or /h", "/s"),
            _ => (&DURATIONS, "a time in ns, us, ms, s, m or h", "ms"),
        };
        if let Some((_, power, factor)) = units.iter().find(|(unit, ..)| *unit == self.unit)
            && let Ok(number) = scaled(*power)
        {
            return Ok(number * factor);
        }
        let nearest = if self.unit.is_empty() {
            Some(default.to_owned())
        } else {
            nearest(self.unit, units.iter().map(|(unit, ..)| (*unit).to_owned()))
        };
        let found = match self.unit {
            "" => "no unit".to_owned(),
            unit => format!("`{unit}`"),
        };
        Err(GrammarError {
            span: self.unit_start..self.unit_start + self.unit.len(),
            message: format!("expected {kind}, found {found}"),
            nearest: nearest
                .filter(|unit| !unit.is_empty())
                .map(|unit| format!("{}{unit}", self.number.text)),
        })
    }
}

fn nearest(word: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    const NEAR: f64 = 0.5;
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(&word, &known), known))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

fn fault<T>(span: Range<usize>, message: impl Into<String>) -> Result<T, GrammarError> {
    Err(GrammarError { span, message: message.into(), nearest: None })
}

#[cfg(test)]
mod tests;
