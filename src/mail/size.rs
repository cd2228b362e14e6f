//! How large message n is. The least that a message can be, `message` knows.

use rand_chacha::ChaCha8Rng;

use super::Size;
use super::random::{self, Purpose};

/// Why no sizes can be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidSize {
    /// The bounds are the wrong way round.
    #[error("has a smallest value of {min} above its largest of {max}: exchange them")]
    Reversed {
        /// The smallest, as it was given.
        min: u64,
        /// The largest, as it was given.
        max: u64,
    },
    /// A weight is negative or not a number.
    #[error("has the weight {weight} for {size} octets: a weight is a number from 0")]
    Weight {
        /// The size it is for.
        size: u64,
        /// The weight.
        weight: f64,
    },
    /// There is nothing to choose from.
    #[error("has no value with a weight above 0: give at least one")]
    Empty,
}

/// Draws sizes: the size of message n depends on the seed and n alone.
#[derive(Clone, Debug)]
pub(super) enum Sampler {
    Fixed(u64),
    Uniform {
        min: u64,
        max: u64,
    },
    /// Each size with the sum of the weights up to it.
    Weighted(Vec<(u64, f64)>),
}

impl Sampler {
    pub(super) fn new(size: &Size) -> Result<Sampler, InvalidSize> {
        match size {
            Size::Fixed(size) => Ok(Sampler::Fixed(*size)),
            &Size::Uniform { min, max } if min > max => Err(InvalidSize::Reversed { min, max }),
            &Size::Uniform { min, max } => Ok(Sampler::Uniform { min, max }),
            Size::Weighted(weights) => {
                let mut sum = 0.0;
                let mut sums = Vec::with_capacity(weights.len());
                for &(size, weight) in weights {
                    if !(weight >= 0.0 && weight.is_finite()) {
                        return Err(InvalidSize::Weight { size, weight });
                    }
                    if weight > 0.0 {
                        sum += weight;
                        sums.push((size, sum));
                    }
                }
                if sums.is_empty() { Err(InvalidSize::Empty) } else { Ok(Sampler::Weighted(sums)) }
            }
        }
    }

    /// The stream that sizes are drawn from.
    pub(super) fn stream(seed: u64) -> ChaCha8Rng {
        random::stream(seed, Purpose::Size)
    }

    /// The largest size there is.
    pub(super) fn largest(&self) -> u64 {
        match self {
            Sampler::Fixed(size) => *size,
            Sampler::Uniform { max, .. } => *max,
            Sampler::Weighted(sums) => sums.iter().map(|&(size, _)| size).max().unwrap_or(0),
        }
    }

    /// The size of message `n`.
    pub(super) fn draw(&self, stream: &ChaCha8Rng, n: u64) -> u64 {
        match self {
            Sampler::Fixed(size) => *size,
            &Sampler::Uniform { min, max } => {
                let span = u128::from(max - min) + 1;
                min + ((u128::from(random::draw(stream, n)) * span) >> 64) as u64
            }
            Sampler::Weighted(sums) => {
                /// 2^-53: the upper 53 bits of a draw become a multiple of it in [0, 1).
                const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;
                let (last, total) = *sums.last().expect("a weighted sampler has at least one size");
                let at = (random::draw(stream, n) >> 11) as f64 * UNIT * total;
                sums.iter().find(|&&(_, sum)| at < sum).map_or(last, |&(size, _)| size)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(size: &Size, numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let (sampler, stream) = (Sampler::new(size).unwrap(), Sampler::stream(42));
        numbers.into_iter().map(|n| sampler.draw(&stream, n)).collect()
    }

    #[test]
    fn sizes_never_change_and_need_no_order() {
        let uniform = Size::Uniform { min: 1000, max: 1_000_000 };
        let mut golden = [8336, 609_867, 207_153, 459_858, 973_720];
        assert_eq!(draws(&uniform, [0, 1, 2, 3, 1 << 50]), golden, "a change here changes every seeded run");
        golden.reverse();
        assert_eq!(draws(&uniform, [1 << 50, 3, 2, 1, 0]), golden);
        let weighted = Size::Weighted(vec![(1, 5.0), (2, 3.0), (3, 2.0)]);
        let golden = [1, 2, 1, 1, 1, 1, 2, 1, 1, 3, 2, 3, 1, 3, 1, 1];
        assert_eq!(draws(&weighted, 0..16), golden, "a change here changes every seeded run");
    }

    #[test]
    fn uniform_sizes_include_both_bounds() {
        let mut seen = [0_u32; 5];
        draws(&Size::Uniform { min: 2, max: 4 }, 0..3000).iter().for_each(|&size| seen[size as usize] += 1);
        assert!(seen[..2] == [0, 0] && seen[2..].iter().all(|count| (880..1120).contains(count)), "{seen:?}");
        assert_eq!(draws(&Size::Uniform { min: 7, max: 7 }, 0..3), [7, 7, 7]);
        assert_eq!(draws(&Size::Uniform { min: 0, max: u64::MAX }, 0..3).len(), 3);
        assert_eq!(draws(&Size::Fixed(9), 0..2), [9, 9]);
    }

    #[test]
    fn weights_are_kept_and_no_weight_is_never_drawn() {
        let mut seen = [0_u32; 4];
        let size = Size::Weighted(vec![(0, 0.0), (1, 10.0), (2, 0.0), (3, 30.0)]);
        draws(&size, 0..4000).iter().for_each(|&size| seen[size as usize] += 1);
        assert!(seen[0] == 0 && seen[2] == 0 && (880..1120).contains(&seen[1]), "{seen:?}");
        assert_eq!(Sampler::new(&size).unwrap().largest(), 3);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let error = |size: Size| Sampler::new(&size).unwrap_err().to_string();
        assert_eq!(
            error(Size::Uniform { min: 2, max: 1 }),
            "has a smallest value of 2 above its largest of 1: exchange them"
        );
        assert_eq!(
            error(Size::Weighted(vec![(5, -1.0)])),
            "has the weight -1 for 5 octets: a weight is a number from 0"
        );
        assert!(matches!(
            Sampler::new(&Size::Weighted(vec![(5, f64::NAN)])),
            Err(InvalidSize::Weight { .. })
        ));
        assert_eq!(Sampler::new(&Size::Weighted(vec![(5, 0.0)])).unwrap_err(), InvalidSize::Empty);
    }
}
