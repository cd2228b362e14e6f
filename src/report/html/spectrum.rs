//! The percentile spectrum: the response times at ever higher percentiles, up to the maximum.

use serde::Serialize;

use crate::collector::Outcome;
use crate::collector::histogram::{Hist, Quantile, Status, needed};
use crate::report::merge::histogram;
use crate::report::stored::{RunResult, StoredMetric};

/// The number of points for each power of ten of the distance to 100 %.
const A_DECADE: u32 = 12;
/// The axis ends at 10^9: one value in 10^9 is slower.
const DECADES: u32 = 9;

/// The spectra of one phase.
#[derive(Debug, Serialize)]
pub struct Spectrum {
    phase: String,
    outcome: String,
    /// 1 / (1 - q), rising.
    x: Vec<f64>,
    /// In milliseconds; `null`: only a lower bound is known (M12).
    response: Vec<Option<f64>>,
    service: Vec<Option<f64>>,
}

/// Returns for each measured phase the times of accepted arrivals, or of the most frequent outcome if none was
/// accepted.
pub fn spectra(result: &RunResult) -> Vec<Spectrum> {
    let metrics = result.metrics_by_phase();
    result
        .phases
        .iter()
        .filter(|phase| !phase.warmup)
        .filter_map(|phase| spectrum(result, metrics.get(phase.name.as_str())?, &phase.name))
        .collect()
}

/// Returns the spectrum of a phase. `metrics` are those of the phase.
fn spectrum(result: &RunResult, metrics: &[(usize, &StoredMetric)], phase: &str) -> Option<Spectrum> {
    let metrics = || metrics.iter().map(|(_, metric)| *metric);
    let of = |name: &str, outcome: &str| metrics().find(|m| m.name == name && m.outcome == outcome);
    let responses = || metrics().filter(|m| m.name == "response");
    let shown = of("response", "accepted").or_else(|| responses().max_by_key(|metric| metric.count))?;
    let outcome = shown.outcome.clone();
    let both = |name: &str| {
        let own = histogram(result, of(name, &outcome)?).ok()?;
        let mut censored = Hist::default();
        if outcome == "accepted" {
            for without_end in Outcome::ALL.into_iter().filter(|outcome| outcome.lacks_end()) {
                let hist = of(name, without_end.as_str()).and_then(|metric| histogram(result, metric).ok());
                hist.iter().for_each(|hist| censored.merge(hist));
            }
        }
        Some((own, censored))
    };
    let (own, censored) = both("response")?;
    let x = ticks(own.count() + censored.count());
    let response = values(&own, &censored, &x);
    let service = both("service").map(|(own, censored)| values(&own, &censored, &x));
    Some(Spectrum { phase: phase.to_owned(), outcome, response, service: service.unwrap_or_default(), x })
}

/// Returns the points of a spectrum of this many values.
fn ticks(count: u64) -> Vec<f64> {
    let all = (0..=A_DECADE * DECADES).map(|i| 10_f64.powf(f64::from(i) / f64::from(A_DECADE)));
    // The curve starts at x = 1 with the smallest value.
    all.filter(|x| *x <= 1.0 || needed(1.0 - 1.0 / x) <= count).collect()
}

fn values(own: &Hist, censored: &Hist, x: &[f64]) -> Vec<Option<f64>> {
    let qs: Vec<f64> = x.iter().map(|x| 1.0 - 1.0 / x).collect();
    let ms = |ns: u64| ns as f64 / 1e6;
    let found = own.quantiles_censored(censored, &qs[1..]);
    let known = |one: &Quantile| (one.status == Status::Exact).then(|| ms(one.value_ns));
    [Some(ms(own.min_ns()))].into_iter().chain(found.iter().map(known)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn what_never_ended_leaves_the_spectrum_open_from_there_on() {
        let mut own = Hist::default();
        (1..=900).for_each(|us| own.record(us * 1000));
        let mut lost = Hist::default();
        (0..100).for_each(|_| lost.record(900_500));
        let x = ticks(1000);
        let found = values(&own, &lost, &x);
        for (x, value) in x.iter().zip(found) {
            assert_eq!(value.is_some(), 1.0 - 1.0 / x <= 0.9 + 1e-9, "{x}");
        }
        // A result without distributions has no spectrum.
        assert!(spectra(&fixtures::accepted()).is_empty());
    }

    #[test]
    fn a_spectrum_ends_where_the_values_can_say_no_more() {
        let mut hist = Hist::default();
        (1..=1000).for_each(|us| hist.record(us * 1000));
        let x = ticks(1000);
        let last = x.last().unwrap();
        assert!(needed(1.0 - 1.0 / last) <= 1000 && *last > 100.0, "{last}");
        let values = values(&hist, &Hist::default(), &x);
        assert_eq!(values[0], Some(0.001));
        for (x, value) in x.iter().zip(&values) {
            assert!((value.unwrap() - (1.0 - 1.0 / x)).abs() < 0.0021, "{x}: {value:?}");
        }
        assert!(values.windows(2).all(|pair| pair[0] <= pair[1]));
    }
}
