//! Draws the size of message n. `message` raises it to the smallest possible size.

use rand_chacha::ChaCha8Rng;

use super::MessageSize;
use super::random::{self, MailDraw};

/// Why sizes are invalid.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidSize {
    /// The smallest size is larger than the largest.
    #[error("has a smallest value of {min} above its largest of {max}: exchange them")]
    Reversed {
        /// The smallest size, as given.
        min: u64,
        /// The largest size, as given.
        max: u64,
    },
    /// A weight is negative or not a number.
    #[error("has the weight {weight} for {size} bytes: a weight is a number from 0")]
    Weight {
        /// The size that has this weight.
        size: u64,
        /// The weight.
        weight: f64,
    },
    /// An invalid standard deviation.
    #[error("has the spread {0}: sigma is a number above 0 and at most {MOST_SIGMA}")]
    Sigma(f64),
    /// A median that does not fit between the bounds.
    #[error("has a median of {median} that is not between {min} and {max}")]
    Median {
        /// The median.
        median: u64,
        /// The smallest size.
        min: u64,
        /// The largest size.
        max: u64,
    },
    /// There are no sizes to choose from.
    #[error("has no value with a weight above 0: give at least one")]
    Empty,
}

/// Draws sizes. The size of message n depends only on the seed and n.
#[derive(Clone, Debug)]
pub(super) enum Sampler {
    Fixed(u64),
    Uniform {
        min: u64,
        max: u64,
    },
    /// Each size, with the sum of the weights up to it.
    Weighted(Vec<(u64, f64)>),
    LogNormal(LogNormal),
}

/// The widest spread of sizes. With it, one size in six exceeds 20,000 times the median.
const MOST_SIGMA: f64 = 10.0;

/// 2^-53. The upper 53 bits of a draw, times this, give a number in [0, 1).
const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;

/// Sizes whose logarithm is normally distributed: many small ones and a long tail, as in real mail. Each side of the
/// median is truncated at its bound separately. So the median is kept whatever the bounds are: half of the sizes are at
/// most the median, and half are at least the median.
#[derive(Clone, Debug)]
pub(super) struct LogNormal {
    median: f64,
    sigma: f64,
    min: u64,
    max: u64,
    /// The probabilities, without truncation, of sizes below the smallest size (`from`) and up to the largest (`to`).
    from: f64,
    to: f64,
}

impl LogNormal {
    fn new(median: u64, sigma: f64, min: u64, max: u64) -> Result<LogNormal, InvalidSize> {
        if !(sigma > 0.0 && sigma <= MOST_SIGMA) {
            return Err(InvalidSize::Sigma(sigma));
        }
        if !(min..=max).contains(&median) || median == 0 {
            return Err(InvalidSize::Median { median, min, max });
        }
        let median = median as f64;
        let share = |size: u64| normal_share((size as f64 / median).ln() / sigma);
        let from = if min == 0 { 0.0 } else { share(min) };
        Ok(LogNormal { median, sigma, min, max, from, to: share(max) })
    }

    fn draw(&self, bits: u64) -> u64 {
        // The middle of one of 2^53 equal parts, so that the share is never 0.
        let share = ((bits >> 11) as f64 + 0.5) * UNIT;
        let share = match share < 0.5 {
            true => self.from + (0.5 - self.from) * (2.0 * share),
            false => self.to - (self.to - 0.5) * (2.0 * (1.0 - share)),
        };
        // In f64 the last middle rounds to 1, where the quantile is infinite.
        let size = self.median * (self.sigma * normal_quantile(share.min(1.0 - UNIT))).exp();
        (size.round() as u64).clamp(self.min, self.max)
    }
}

impl Sampler {
    pub(super) fn new(size: &MessageSize) -> Result<Sampler, InvalidSize> {
        match size {
            MessageSize::Fixed(size) => Ok(Sampler::Fixed(*size)),
            &MessageSize::Uniform { min, max } if min > max => Err(InvalidSize::Reversed { min, max }),
            &MessageSize::Uniform { min, max } => Ok(Sampler::Uniform { min, max }),
            MessageSize::Weighted(weights) => {
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
            &MessageSize::LogNormal { min, max, .. } if min > max => Err(InvalidSize::Reversed { min, max }),
            &MessageSize::LogNormal { median, sigma, min, max } => {
                LogNormal::new(median, sigma, min, max).map(Sampler::LogNormal)
            }
        }
    }

    /// Returns the stream of random numbers for sizes.
    pub(super) fn stream(seed: u64) -> ChaCha8Rng {
        random::stream(seed, MailDraw::Size)
    }

    /// Returns the largest possible size.
    pub(super) fn largest(&self) -> u64 {
        match self {
            Sampler::Fixed(size) => *size,
            Sampler::Uniform { max, .. } => *max,
            Sampler::Weighted(sums) => sums.iter().map(|&(size, _)| size).max().unwrap_or(0),
            Sampler::LogNormal(sizes) => sizes.max,
        }
    }

    /// Returns the size of message `n`.
    pub(super) fn draw(&self, stream: &ChaCha8Rng, n: u64) -> u64 {
        match self {
            Sampler::Fixed(size) => *size,
            &Sampler::Uniform { min, max } => {
                let span = u128::from(max - min) + 1;
                min + ((u128::from(random::draw(stream, n)) * span) >> 64) as u64
            }
            Sampler::Weighted(sums) => {
                let (last, total) = *sums.last().expect("a weighted sampler has at least one size");
                let at = (random::draw(stream, n) >> 11) as f64 * UNIT * total;
                sums.iter().find(|&&(_, sum)| at < sum).map_or(last, |&(size, _)| size)
            }
            Sampler::LogNormal(sizes) => sizes.draw(random::draw(stream, n)),
        }
    }
}

/// Returns the value below which this share of a standard normal distribution lies, to 16 digits: Wichura, "Algorithm
/// AS 241", Applied Statistics 37 (1988), PPND16. Implemented here, because a new version of a library may draw other
/// values.
fn normal_quantile(share: f64) -> f64 {
    #[rustfmt::skip]
    const MIDDLE: [[f64; 8]; 2] = [
        [3.387_132_872_796_366_5, 133.141_667_891_784_38, 1_971.590_950_306_551_3, 13_731.693_765_509_46,
         45_921.953_931_549_87, 67_265.770_927_008_7, 33_430.575_583_588_13, 2_509.080_928_730_122_7],
        [1.0, 42.313_330_701_600_91, 687.187_007_492_057_9, 5_394.196_021_424_751,
         21_213.794_301_586_597, 39_307.895_800_092_71, 28_729.085_735_721_943, 5_226.495_278_852_854],
    ];
    #[rustfmt::skip]
    const OUTER: [[f64; 8]; 2] = [
        [1.423_437_110_749_683_5, 4.630_337_846_156_546, 5.769_497_221_460_691, 3.647_848_324_763_204_5,
         1.270_458_252_452_368_4, 0.241_780_725_177_450_6, 0.022_723_844_989_269_184, 7.745_450_142_783_414e-4],
        [1.0, 2.053_191_626_637_759, 1.676_384_830_183_803_8, 0.689_767_334_985_1,
         0.148_103_976_427_480_08, 0.015_198_666_563_616_457, 5.475_938_084_995_345e-4, 1.050_750_071_644_416_9e-9],
    ];
    #[rustfmt::skip]
    const TAIL: [[f64; 8]; 2] = [
        [6.657_904_643_501_103, 5.463_784_911_164_114, 1.784_826_539_917_291_3, 0.296_560_571_828_504_87,
         0.026_532_189_526_576_124, 1.242_660_947_388_078_4e-3, 2.711_555_568_743_487_6e-5, 2.010_334_399_292_288_1e-7],
        [1.0, 0.599_832_206_555_887_9, 0.136_929_880_922_735_8, 0.014_875_361_290_850_615,
         7.868_691_311_456_133e-4, 1.846_318_317_510_054_7e-5, 1.421_511_758_316_446e-7, 2.044_263_103_389_939_8e-15],
    ];
    let ratio = |[above, below]: [[f64; 8]; 2], x: f64| {
        let sum = |factors: [f64; 8]| factors.iter().rev().fold(0.0, |sum, factor| sum * x + factor);
        sum(above) / sum(below)
    };
    let from_middle = share - 0.5;
    if from_middle.abs() <= 0.425 {
        return from_middle * ratio(MIDDLE, 0.180_625 - from_middle * from_middle);
    }
    let depth = (-share.min(1.0 - share).ln()).sqrt();
    let distance = if depth <= 5.0 { ratio(OUTER, depth - 1.6) } else { ratio(TAIL, depth - 5.0) };
    distance.copysign(from_middle)
}

/// Returns the share of a standard normal distribution below a value: the inverse of the quantile, by bisection.
fn normal_share(value: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if normal_quantile(middle) < value { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests;
