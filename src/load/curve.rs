//! Curves over time: their value, their integer value, and the inverse of the area below them.

use std::time::Duration;

use super::nanos;

const NANOS: f64 = 1e9;

/// A quantity over time: straight lines between points, constant before the first point and after the last. Two points
/// at the same time make a step. Times are offsets from the phase's start.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The points as (offset, value), at least one. Offsets do not decrease, and values are finite and not negative.
    pub points: Vec<(Duration, f64)>,
}

impl Curve {
    /// Returns a curve with the same value at all times.
    pub fn constant(value: f64) -> Curve {
        Curve { points: vec![(Duration::ZERO, value)] }
    }

    /// Returns the largest value.
    pub fn peak(&self) -> f64 {
        self.points.iter().map(|point| point.1).fold(0.0, f64::max)
    }

    /// Whether the value is the same at all times.
    pub fn is_constant(&self) -> bool {
        self.points.windows(2).all(|pair| pair[0].1 == pair[1].1)
    }

    /// Returns the value at an offset; at a step, the value after it.
    pub fn at(&self, offset: Duration) -> f64 {
        let after = self.points.partition_point(|point| point.0 <= offset);
        let value = |i: usize| self.points.get(i).map_or(0.0, |point| point.1.max(0.0));
        if after == 0 {
            return value(0);
        }
        let Some(&(end, _)) = self.points.get(after) else {
            return value(after - 1);
        };
        let (start, _) = self.points[after - 1];
        let part = (offset - start).as_nanos() as f64 / (end - start).as_nanos() as f64;
        value(after - 1) + (value(after) - value(after - 1)) * part
    }

    /// Returns the integer part of the value at an offset. A value that is below a whole number only by rounding counts
    /// as that number.
    pub(super) fn count_at(&self, offset: Duration) -> u64 {
        let value = self.at(offset);
        (value + 1e-9 + value * 1e-14) as u64
    }

    /// Returns the first nanosecond after `offset` and before `end` at which `share` of the integer value changes.
    /// `share` must not fall when its argument grows.
    pub(super) fn next_change(
        &self,
        offset: Duration,
        end: Duration,
        share: impl Fn(u64) -> u64,
    ) -> Option<Duration> {
        const NANO: Duration = Duration::from_nanos(1);
        let count = |at: Duration| share(self.count_at(at));
        let now = count(offset);
        let differs = |at: &Duration| *at < end && count(*at) != now;
        let mut unchanged = offset;
        for &(point, _) in self.points.iter().filter(|point| point.0 > offset) {
            // Up to the nanosecond before the next point the value is monotone, so that bisection finds the first
            // change.
            let last = (point - NANO).min(end.saturating_sub(NANO));
            if last > unchanged && count(last) != now {
                return Some(first_in(unchanged, last, |at| count(at) != now));
            }
            if let Some(step) = Some(point).filter(differs) {
                return Some(step);
            }
            unchanged = point;
        }
        None
    }
}

/// Returns the first nanosecond in (`before`, `until`] at which `is` holds. From that nanosecond on, `is` must hold up
/// to `until`.
fn first_in(before: Duration, until: Duration, is: impl Fn(Duration) -> bool) -> Duration {
    let (mut before, mut until) = (nanos(before), nanos(until));
    while until - before > 1 {
        let middle = before + (until - before) / 2;
        if is(Duration::from_nanos(middle)) { until = middle } else { before = middle }
    }
    Duration::from_nanos(until)
}

/// A straight piece of a rate curve under which there is an area.
#[derive(Clone, Copy, Debug)]
struct CurvePiece {
    /// The start, in nanoseconds from the phase's start.
    start: u64,
    /// The end, in nanoseconds from the phase's start. The piece does not include its end.
    end: u64,
    /// The area under the curve up to the start.
    area: f64,
    /// The area under the curve up to the end.
    area_end: f64,
    /// The rate at the start, in 1/s.
    rate: f64,
    /// The growth of the rate, in 1/s^2.
    slope: f64,
}

/// The inverse of the area under a rate curve, for areas that do not decrease from call to call.
#[derive(Clone, Debug)]
pub(super) struct Inverse {
    pieces: Vec<CurvePiece>,
    cursor: usize,
}

impl Inverse {
    /// Creates the inverse for the area under `curve` (in 1/s) up to `length` nanoseconds.
    pub(super) fn new(curve: &Curve, length: u64) -> Inverse {
        let mut inverse = Inverse { pieces: Vec::with_capacity(curve.points.len() + 1), cursor: 0 };
        let (mut start, mut from) = (0, curve.points.first().map_or(0.0, |point| point.1.max(0.0)));
        for point in &curve.points {
            let (end, to) = (nanos(point.0), point.1.max(0.0));
            inverse.push(start, end, from, to, length);
            (start, from) = (end, to);
        }
        inverse.push(start, u64::MAX, from, from, length);
        inverse
    }

    /// Returns the area under the whole curve: the number of events.
    pub(super) fn area(&self) -> f64 {
        self.pieces.last().map_or(0.0, |piece| piece.area_end)
    }

    /// Returns when the area under the curve becomes larger than `area`, in nanoseconds; `None` if it never does.
    ///
    /// # Algorithm
    /// In a piece with rate r0 at its start and slope a, the area x is reached after t = (-r0 + sqrt(r0^2 + 2 a x))/a.
    /// It is computed as 2 x/(r0 + sqrt(r0^2 + 2 a x)): the same number without cancellation, also if a is 0 or nearly
    /// 0.
    pub(super) fn at(&mut self, area: f64) -> Option<u64> {
        while self.pieces.get(self.cursor)?.area_end <= area {
            self.cursor += 1;
        }
        let piece = &self.pieces[self.cursor];
        let x = (area - piece.area).max(0.0);
        if x == 0.0 {
            return Some(piece.start);
        }
        let root = (piece.rate * piece.rate + 2.0 * piece.slope * x).max(0.0).sqrt();
        let after = 2.0 * x / (piece.rate + root) * NANOS + 0.5;
        Some(piece.start.saturating_add(after as u64).min(piece.end - 1))
    }

    /// Appends the piece from `start` to `end` with these rates at its ends, up to `length`.
    fn push(&mut self, start: u64, end: u64, from: f64, to: f64, length: u64) {
        let cut = end.min(length);
        if cut <= start {
            return;
        }
        let seconds = (cut - start) as f64 / NANOS;
        let slope = (to - from) / ((end - start) as f64 / NANOS);
        let to = if cut == end { to } else { (from + slope * seconds).max(0.0) };
        let area = self.area();
        let area_end = snap(area + seconds * (0.5 * from + 0.5 * to));
        if area_end > area {
            self.pieces.push(CurvePiece { start, end: cut, area, area_end, rate: from, slope });
        }
    }
}

/// Rounds an area that is a whole number except for rounding errors. Otherwise a rounding error would decide whether an
/// event at the end of a piece belongs to this piece or to the next one.
fn snap(area: f64) -> f64 {
    let whole = area.round();
    if (area - whole).abs() <= 1e-9 + area * 1e-14 { whole } else { area }
}

#[cfg(test)]
mod tests;
