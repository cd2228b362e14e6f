//! Tests of `size`.

use super::*;

fn draws(size: &MessageSize, numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let (sampler, stream) = (Sampler::new(size).unwrap(), Sampler::stream(42));
    numbers.into_iter().map(|n| sampler.draw(&stream, n)).collect()
}

#[test]
fn sizes_never_change_and_need_no_order() {
    let uniform = MessageSize::Uniform { min: 1000, max: 1_000_000 };
    let mut golden = [8336, 609_867, 207_153, 459_858, 973_720];
    assert_eq!(draws(&uniform, [0, 1, 2, 3, 1 << 50]), golden, "a change here changes every seeded run");
    golden.reverse();
    assert_eq!(draws(&uniform, [1 << 50, 3, 2, 1, 0]), golden);
    let weighted = MessageSize::Weighted(vec![(1, 5.0), (2, 3.0), (3, 2.0)]);
    let golden = [1, 2, 1, 1, 1, 1, 2, 1, 1, 3, 2, 3, 1, 3, 1, 1];
    assert_eq!(draws(&weighted, 0..16), golden, "a change here changes every seeded run");
}

#[test]
fn quantiles_are_those_of_the_normal_distribution() {
    // From mpmath with 30 digits.
    for (share, value) in [
        (0.5, 0.0),
        (0.75, 0.674_489_750_196_081_7),
        (0.925, 1.439_531_470_938_456),
        (0.95, 1.644_853_626_951_472_6),
        (0.99, 2.326_347_874_040_841),
        (0.999, 3.090_232_306_167_813),
        (1e-9, -5.997_807_015_007_687),
        (1e-15, -7.941_345_326_170_998),
    ] {
        assert!((normal_quantile(share) - value).abs() < 1e-14 * value.abs().max(1.0), "{share}");
        assert!((normal_share(value) - share).abs() < 1e-15, "{value}");
    }
}

#[test]
fn log_normal_sizes_have_their_median_their_spread_and_their_bounds() {
    let whole = MessageSize::LogNormal { median: 20_000, sigma: 1.0, min: 0, max: 1 << 31 };
    let mut sizes = draws(&whole, 0..20_000);
    // Computed from the uniform draws of the same numbers (0.00734, 0.60948, ...) and a table of the normal
    // distribution.
    let golden = [1743, 26_409, 8816, 18_058];
    assert_eq!(sizes[..4], golden, "a change here changes every seeded run");
    sizes.sort_unstable();
    // Standard errors: 1.25 sigma / sqrt(n) for the logarithm of the median, 2.1 sigma / sqrt(n) for that of p95.
    for (rank, expected, error) in [(10_000, 20_000.0, 0.027), (19_000, 20_000.0 * 5.180_251, 0.045)] {
        let off = (sizes[rank] as f64 / expected).ln().abs();
        assert!(off < error, "rank {rank} is {}", sizes[rank]);
    }
    let bounded = MessageSize::LogNormal { median: 20_000, sigma: 1.0, min: 10_000, max: 40_000 };
    let sizes = draws(&bounded, 0..20_000);
    assert!(sizes.iter().all(|size| (10_000..=40_000).contains(size)));
    // Sizes beyond the bounds are not moved to the bounds.
    let at_bounds = sizes.iter().filter(|size| [10_000, 40_000].contains(*size)).count();
    assert!(at_bounds < 10, "{at_bounds}");
}

#[test]
fn the_smallest_and_the_largest_draw_are_the_ends_of_the_tails() {
    for (sigma, min, max) in [(1.0, 0, 1 << 40), (1.0, 1, u64::MAX), (0.05, 1, 1 << 31), (1.0, 900, 1100)] {
        let sizes = LogNormal::new(1000, sigma, min, max).unwrap();
        // 8.2 standard deviations hold all but 2^-53 of a normal distribution.
        let furthest = (8.3 * sigma).exp();
        let (smallest, largest) = (sizes.draw(0) as f64, sizes.draw(u64::MAX) as f64);
        assert!(
            smallest <= sizes.draw(1 << 63) as f64 && smallest >= (1000.0 / furthest).max(min as f64).floor()
        );
        assert!(largest >= sizes.draw(u64::MAX - (1 << 12)) as f64, "{largest} of {sizes:?}");
        assert!((1000.0..=(1000.0 * furthest).min(max as f64)).contains(&largest), "{largest} of {sizes:?}");
        let expected = (1000.0 * (8.2 * sigma).exp()).min(max as f64);
        assert!(largest >= 0.9 * expected, "{largest} of {sizes:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 60, ..Default::default() })]

    /// Whatever the bounds are, half of the draws are at most the median and half are at least the median, within four
    /// standard errors of a fair coin.
    #[test]
    fn the_median_of_what_is_drawn_is_the_one_that_is_stated(
        median in 1_000_u64..1_000_000, sigma in 0.05_f64..4.0, below in 0.0_f64..1.0, above in 1.0_f64..50.0, seed: u64,
    ) {
        let (min, max) = ((median as f64 * below) as u64, (median as f64 * above) as u64);
        let size = MessageSize::LogNormal { median, sigma, min, max };
        let (sampler, stream) = (Sampler::new(&size).unwrap(), Sampler::stream(seed));
        let sizes: Vec<u64> = (0..4000).map(|n| sampler.draw(&stream, n)).collect();
        proptest::prop_assert!(sizes.iter().all(|size| (min..=max).contains(size)));
        let count = |is: fn(&u64, u64) -> bool| sizes.iter().filter(|size| is(size, median)).count() as f64;
        let error = 4.0 * (4000.0_f64 / 4.0).sqrt();
        proptest::prop_assert!(count(|size, median| *size <= median) >= 2000.0 - error);
        proptest::prop_assert!(count(|size, median| *size >= median) >= 2000.0 - error);
    }
}

#[test]
fn uniform_sizes_include_both_bounds() {
    let mut seen = [0_u32; 5];
    draws(&MessageSize::Uniform { min: 2, max: 4 }, 0..3000)
        .iter()
        .for_each(|&size| seen[size as usize] += 1);
    assert!(seen[..2] == [0, 0] && seen[2..].iter().all(|count| (880..1120).contains(count)), "{seen:?}");
    assert_eq!(draws(&MessageSize::Uniform { min: 7, max: 7 }, 0..3), [7, 7, 7]);
    assert_eq!(draws(&MessageSize::Uniform { min: 0, max: u64::MAX }, 0..3).len(), 3);
    assert_eq!(draws(&MessageSize::Fixed(9), 0..2), [9, 9]);
}

#[test]
fn weights_are_kept_and_no_weight_is_never_drawn() {
    let mut seen = [0_u32; 4];
    let size = MessageSize::Weighted(vec![(0, 0.0), (1, 10.0), (2, 0.0), (3, 30.0)]);
    draws(&size, 0..4000).iter().for_each(|&size| seen[size as usize] += 1);
    assert!(seen[0] == 0 && seen[2] == 0 && (880..1120).contains(&seen[1]), "{seen:?}");
    assert_eq!(Sampler::new(&size).unwrap().largest(), 3);
}

#[test]
fn impossible_sizes_are_refused() {
    let error = |size: MessageSize| Sampler::new(&size).unwrap_err().to_string();
    assert_eq!(
        error(MessageSize::Uniform { min: 2, max: 1 }),
        "has a smallest value of 2 above its largest of 1: exchange them"
    );
    assert_eq!(
        error(MessageSize::Weighted(vec![(5, -1.0)])),
        "has the weight -1 for 5 bytes: a weight is a number from 0"
    );
    assert!(matches!(
        Sampler::new(&MessageSize::Weighted(vec![(5, f64::NAN)])),
        Err(InvalidSize::Weight { .. })
    ));
    let log_normal = |median, sigma, min, max| error(MessageSize::LogNormal { median, sigma, min, max });
    assert_eq!(log_normal(5, 0.0, 1, 9), "has the spread 0: sigma is a number above 0 and at most 10");
    assert!(log_normal(5, f64::NAN, 1, 9).contains("the spread NaN"));
    assert_eq!(log_normal(5, 1.0, 6, 9), "has a median of 5 that is not between 6 and 9");
    assert_eq!(log_normal(5, 1.0, 9, 6), "has a smallest value of 9 above its largest of 6: exchange them");
    assert_eq!(Sampler::new(&MessageSize::Weighted(vec![(5, 0.0)])).unwrap_err(), InvalidSize::Empty);
}
