//! The random numbers of a schedule: a stream for each phase and purpose, and samplers whose values never change.
//!
//! # Decisions
//! - ChaCha8 has the seed in its key. Its streams are independent, any position can be reached directly, and its
//!   specification fixes the values. The library's `seed_from_u64` and distributions may change from release to
//!   release.
//! - The logarithm is computed here, because the system's logarithm differs in the last bit from one C library to
//!   another.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Think;

/// The purpose of a random number.
#[derive(Clone, Copy, Debug)]
pub(super) enum LoadDraw {
    /// The areas between the arrivals of a Poisson process.
    Spacing = 0,
    /// Think times.
    Think = 1,
}

/// Returns the stream of a seed for a phase and a purpose.
pub(super) fn stream(seed: u64, phase: u32, purpose: LoadDraw) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..21].copy_from_slice(b"smtpress load");
    let mut stream = ChaCha8Rng::from_seed(key);
    stream.set_stream(u64::from(phase) << 8 | purpose as u64);
    stream
}

/// Returns the next exponential number with mean 1, by inversion. It is between 0 and 36.8.
pub(super) fn exponential(stream: &mut ChaCha8Rng) -> f64 {
    /// 2^-53. The upper 53 bits of a draw, times this, give a number in (0, 1].
    const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;
    -ln(((stream.next_u64() >> 11) + 1) as f64 * UNIT)
}

/// Returns the think time of arrival `n`: uniform between the bounds, independent of earlier draws.
pub(super) fn think(stream: &mut ChaCha8Rng, think: Think, n: u64) -> Duration {
    let (min, max) = (super::nanos(think.min), super::nanos(think.max));
    if max <= min {
        return think.min;
    }
    stream.set_word_pos(2 * u128::from(n));
    let span = u128::from(max - min) + 1;
    let above = (u128::from(stream.next_u64()) * span) >> 64;
    Duration::from_nanos(min + above as u64)
}

/// Returns the natural logarithm of a positive normal number, within 2 units in the last place, the same on every
/// machine.
///
/// x = m 2^e with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh(s), s = (m - 1)/(m + 1), |s| < 0.1716, by its series.
fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i32 - 1023;
    let mut mantissa = f64::from_bits((bits & MANTISSA) | 1.0_f64.to_bits());
    if mantissa >= std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = (0..13).rev().fold(0.0, |sum, i| sum * square + 1.0 / f64::from(2 * i + 1));
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_never_change() {
        let mut stream = stream(42, 0, LoadDraw::Spacing);
        let drawn: Vec<u64> = (0..6).map(|_| exponential(&mut stream).to_bits()).collect();
        let golden = [
            4602778365426103532,
            4603227058099078275,
            4592463315584586807,
            4601748112268709696,
            4614405189774066562,
            4604848735992840928,
        ];
        assert_eq!(drawn, golden, "a change here changes every seeded schedule ever published");
    }

    #[test]
    fn think_times_never_change_and_need_no_order() {
        let range = Think { min: Duration::from_millis(100), max: Duration::from_millis(900) };
        let mut stream = stream(42, 3, LoadDraw::Think);
        let mut draw = |n| think(&mut stream, range, n).as_nanos();
        let forward = [draw(0), draw(1), draw(2), draw(1 << 40)];
        let golden = [783517533, 420288065, 290494676, 311552205];
        assert_eq!(forward, golden, "a change here changes every seeded schedule ever published");
        assert_eq!(
            [draw(1 << 40), draw(2), draw(1), draw(0)],
            [forward[3], forward[2], forward[1], forward[0]]
        );
    }

    #[test]
    fn think_times_fill_their_range() {
        let range = Think { min: Duration::from_nanos(5), max: Duration::from_nanos(8) };
        let mut stream = stream(1, 0, LoadDraw::Think);
        let mut seen = [0_u32; 9];
        (0..4000).for_each(|n| seen[think(&mut stream, range, n).as_nanos() as usize] += 1);
        assert_eq!(seen[..5], [0; 5]);
        assert!(seen[5..].iter().all(|&count| (850..1150).contains(&count)), "{seen:?}");
        let always = Think { min: Duration::from_secs(1), max: Duration::from_secs(1) };
        assert_eq!(think(&mut stream, always, 7), Duration::from_secs(1));
    }

    #[test]
    fn streams_differ_by_seed_phase_and_purpose() {
        let first = |seed, phase, purpose| stream(seed, phase, purpose).next_u64();
        let drawn = [
            first(1, 0, LoadDraw::Spacing),
            first(1, 0, LoadDraw::Think),
            first(1, 1, LoadDraw::Spacing),
            first(2, 0, LoadDraw::Spacing),
        ];
        assert!((1..4).all(|i| !drawn[..i].contains(&drawn[i])), "{drawn:?}");
    }

    #[test]
    fn the_logarithm_is_right_everywhere() {
        let mut x = 1.0_f64;
        while x > 1e-17 {
            let (own, system) = (ln(x), x.ln());
            assert!((own - system).abs() <= 4e-16 * system.abs(), "ln {x} is {system}, not {own}");
            x *= 0.9993;
        }
        assert_eq!(ln(1.0), 0.0);
    }
}
