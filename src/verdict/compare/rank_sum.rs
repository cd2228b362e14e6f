//! The exact two-sided Mann-Whitney test, ties included: all assignments of the values to the two sides are counted.

/// Returns the share of all assignments that separate the two sides at least as far as the given one (mid-ranks; H. B.
/// Mann, D. R. Whitney 1947).
pub(super) fn p_value(a: &[f64], b: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> =
        a.iter().map(|value| (*value, true)).chain(b.iter().map(|value| (*value, false))).collect();
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    // Ranks are doubled, because mid-ranks of ties are halves.
    let mut ranks = Vec::with_capacity(all.len());
    let mut found = 0;
    while ranks.len() < all.len() {
        let first = ranks.len();
        let end = first + all[first..].iter().take_while(|other| other.0 == all[first].0).count();
        for one in &all[first..end] {
            ranks.push(first + end + 1);
            found += if one.1 { first + end + 1 } else { 0 };
        }
    }
    let middle = a.len() * (all.len() + 1);
    let ways = ways(&ranks, a.len());
    let (mut as_far, mut total) = (0.0, 0.0);
    for (sum, count) in ways.iter().enumerate() {
        total += count;
        if sum.abs_diff(middle) >= found.abs_diff(middle) {
            as_far += count;
        }
    }
    as_far / total
}

/// Returns the smallest p that this many runs can give.
pub(super) fn least(a: usize, b: usize) -> f64 {
    let deals = (1..=a.min(b)).fold(1.0, |deals, i| deals * (a.max(b) + i) as f64 / i as f64);
    2.0 / deals
}

/// Returns in how many ways `n` of the ranks add up to each sum.
fn ways(ranks: &[usize], n: usize) -> Vec<f64> {
    let most: usize = ranks.iter().rev().take(n).sum();
    let mut ways = vec![vec![0.0; most + 1]; n + 1];
    ways[0][0] = 1.0;
    for (seen, rank) in ranks.iter().enumerate() {
        for taken in (1..=n.min(seen + 1)).rev() {
            let (fewer, more) = ways.split_at_mut(taken);
            for (from, to) in fewer[taken - 1].iter().zip(&mut more[0][*rank..]) {
                *to += from;
            }
        }
    }
    ways.swap_remove(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_exact() {
        // Complete separation: 2 of C(8, 4) = 70 and of C(10, 5) = 252 assignments.
        assert_eq!(p_value(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]), 2.0 / 70.0);
        assert_eq!(p_value(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0]), 2.0 / 252.0);
        // U = 3 of 4 and 4, as in R's wilcox.test(c(1,2,3,7), c(4,5,6,8), exact = TRUE).
        assert_eq!(p_value(&[1.0, 2.0, 3.0, 7.0], &[4.0, 5.0, 6.0, 8.0]), 14.0 / 70.0);
        assert_eq!(p_value(&[1.0; 4], &[1.0; 4]), 1.0);
        // 3 and 3 values with a tie across the sides: the sums 1 + 2 + 3.5 = 6.5 and the other end, each in 2 of 20
        // assignments.
        assert_eq!(p_value(&[1.0, 2.0, 3.0], &[3.0, 4.0, 5.0]), 4.0 / 20.0);
        assert_eq!((least(4, 4), least(5, 4)), (2.0 / 70.0, 2.0 / 126.0));
    }

    #[test]
    fn sides_swapped_give_the_same() {
        let (a, b) = ([3.0, 1.0, 4.0, 1.0, 5.0], [9.0, 2.0, 6.0, 5.0]);
        assert_eq!(p_value(&a, &b), p_value(&b, &a));
    }
}
