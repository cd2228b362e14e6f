//! Encodes a distribution for other processes: the filled buckets, and the exact minimum, maximum and sum.
//!
//! # Decisions
//! - Input is checked: counts that do not fit the minimum and the maximum are refused, and so is an impossible sum. A
//!   histogram whose fields contradict each other would index beyond its buckets.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Hist, bucket};

/// The encoded form.
#[derive(Serialize, Deserialize)]
struct FilledBuckets {
    /// The filled buckets in rising order, as (distance from the previous filled bucket, count).
    buckets: Vec<(u32, u64)>,
    min: u64,
    max: u64,
    /// The sum in two halves, the higher one first.
    sum: (u64, u64),
}

impl Serialize for Hist {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let filled = self.filled();
        let mut buckets = Vec::new();
        let mut last = 0;
        for (at, count) in filled.clone().zip(self.held(filled)).filter(|(_, count)| **count > 0) {
            buckets.push(((at - last) as u32, *count));
            last = at;
        }
        let sum = ((self.sum >> 64) as u64, self.sum as u64);
        FilledBuckets { buckets, min: self.min, max: self.max, sum }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Hist {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hist, D::Error> {
        let FilledBuckets { buckets, min, max, sum } = FilledBuckets::deserialize(deserializer)?;
        let wrong = || D::Error::custom("a distribution that contradicts itself");
        if buckets.is_empty() {
            return Ok(Hist::default());
        }
        let (first, last) = (bucket(min), bucket(max));
        if first > last {
            return Err(wrong());
        }
        let mut hist = Hist { min, max, sum: u128::from(sum.0) << 64 | u128::from(sum.1), ..Hist::default() };
        // Makes room for all buckets at once, because the first and the last are known.
        hist.reach(first..last + 1);
        let mut at = 0_usize;
        for (step, count) in buckets {
            if count == 0 || (hist.total > 0 && step == 0) {
                return Err(wrong());
            }
            at = at.checked_add(step as usize).filter(|at| (first..=last).contains(at)).ok_or_else(wrong)?;
            if hist.total == 0 && at != first {
                return Err(wrong());
            }
            *hist.at(at) += count;
            hist.total = hist.total.checked_add(count).ok_or_else(wrong)?;
        }
        let (least, greatest) = (u128::from(min), u128::from(max));
        let total = u128::from(hist.total);
        let fits = (least * total..=greatest.saturating_mul(total)).contains(&hist.sum);
        if at != last || !fits { Err(wrong()) } else { Ok(hist) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn copied(hist: &Hist) -> Hist {
        let mut bytes = Vec::new();
        ciborium::into_writer(hist, &mut bytes).unwrap();
        ciborium::from_reader(&bytes[..]).unwrap()
    }

    proptest! {
        #[test]
        fn what_goes_over_the_wire_comes_out_the_same(values in prop::collection::vec(any::<u64>(), 0..200), bits in 0..64_u32) {
            let mut hist = Hist::default();
            values.iter().for_each(|value| hist.record(value >> bits));
            prop_assert_eq!(&copied(&hist), &hist);
        }

        /// Any input is either refused or consistent, so that no access is beyond the buckets.
        #[test]
        fn what_contradicts_itself_is_refused(
            buckets in prop::collection::vec((0..3000_u32, 0..4_u64), 0..8),
            (min, max) in (any::<u64>(), any::<u64>()),
            bits in 0..64_u32,
        ) {
            let sum = (0, max >> bits);
            let mut bytes = Vec::new();
            ciborium::into_writer(&FilledBuckets { buckets, min: min >> bits, max: max >> bits, sum }, &mut bytes).unwrap();
            if let Ok(hist) = ciborium::from_reader::<Hist, _>(&bytes[..]) {
                prop_assert_eq!(hist.buckets().map(|(_, count)| count).sum::<u64>(), hist.count());
                prop_assert_eq!(&copied(&hist), &hist);
            }
        }
    }

    #[test]
    fn an_empty_one_stays_empty() {
        assert_eq!(copied(&Hist::default()), Hist::default());
    }
}
