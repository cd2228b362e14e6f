//! The division of a load into shards by the numbers of its arrivals. All shards together are the whole load. A shard
//! may be carried by a thread or by a machine.

/// One of `of` equal parts of a load. Arrival n belongs to shard n mod `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The number of this part, from 0.
    pub index: u32,
    /// The number of all parts, at least 1.
    pub of: u32,
}

impl Shard {
    /// The whole load.
    pub const WHOLE: Shard = Shard { index: 0, of: 1 };

    /// Returns how many of the numbers `0..total` belong to this shard.
    pub fn share(self, total: u64) -> u64 {
        let (index, of) = (u64::from(self.index), u64::from(self.of.max(1)));
        total / of + u64::from(total % of > index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_add_up_and_differ_by_one_at_most(total in 0_u64..1_000_000, of in 1_u32..70) {
            let shares: Vec<u64> = (0..of).map(|index| Shard { index, of }.share(total)).collect();
            prop_assert_eq!(shares.iter().sum::<u64>(), total);
            prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }

        #[test]
        fn a_share_counts_the_numbers_of_the_shard(total in 0_u64..500, of in 1_u32..20, index in 0_u32..20) {
            prop_assume!(index < of);
            let counted = (0..total).filter(|n| n % u64::from(of) == u64::from(index)).count() as u64;
            prop_assert_eq!(Shard { index, of }.share(total), counted);
        }
    }
}
