//! The division of a load into shards by the numbers of its arrivals. All shards together are the whole load. A shard
//! may be carried by a thread or by a machine.
//!
//! # Decisions
//! - The arrivals of a machine are dealt in turn to its sessions, and session k belongs to thread k mod `threads`. So a
//!   thread has arrivals in proportion to its sessions. If they were dealt to the threads in turn, the third of three
//!   sessions would be of no use on two threads: each would get half of the arrivals.

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

/// The arrivals of one thread: those that belong to the shard of its machine and are dealt to a session of the thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deal {
    machine: Shard,
    thread: Shard,
    /// The number of sessions of the machine; `u64::MAX` if it is not limited.
    sessions: u64,
    /// The difference between two arrivals that are dealt to consecutive sessions of the thread.
    stride: u64,
}

impl Deal {
    /// Returns the arrivals of a shard with any number of sessions.
    pub(super) fn whole(shard: Shard) -> Deal {
        Deal::among(shard, 1, u64::MAX)
    }

    /// Returns the arrivals of a shard that is one of the `threads` threads of a machine. `sessions`: the most sessions of
    /// the phase at once, over all machines.
    pub(super) fn among(shard: Shard, threads: u32, sessions: u64) -> Deal {
        let threads = threads.max(1);
        let of = (shard.of / threads).max(1);
        let machine = Shard { index: shard.index % of, of };
        let thread = Shard { index: shard.index / of, of: threads };
        let stride = u64::from(of) * u64::from(threads);
        Deal { machine, thread, sessions: machine.share(sessions).max(1), stride }
    }

    /// Returns how many of the arrivals `0..total` of the load are in this deal.
    pub(super) fn count(&self, total: u64) -> u64 {
        let own = self.machine.share(total);
        (own / self.sessions) * self.thread.share(self.sessions) + self.thread.share(own % self.sessions)
    }

    /// Returns the first arrival of this deal. Without a session there is none: its number is `u64::MAX`.
    pub(super) fn first(&self) -> DealtArrival {
        let thread = u64::from(self.thread.index);
        let n = if thread < self.sessions { self.number(thread) } else { u64::MAX };
        DealtArrival { n, round_end: self.round() }
    }

    /// Returns the arrival of this deal after another one.
    #[inline]
    pub(super) fn after(&self, DealtArrival { n, round_end }: DealtArrival) -> DealtArrival {
        let next = n + self.stride;
        if next < round_end {
            return DealtArrival { n: next, round_end };
        }
        let n = round_end + self.number(self.thread.index.into());
        DealtArrival { n, round_end: round_end.saturating_add(self.round()) }
    }

    /// Returns the number of arrivals of the load in which each session of the machine gets one.
    fn round(&self) -> u64 {
        self.sessions.saturating_mul(self.machine.of.into())
    }

    /// Returns the number in the load of an arrival of the machine, which are counted from 0.
    fn number(&self, own: u64) -> u64 {
        own * u64::from(self.machine.of) + u64::from(self.machine.index)
    }
}

/// An arrival of a [`Deal`].
#[derive(Clone, Copy, Debug)]
pub(super) struct DealtArrival {
    /// The number in the load.
    pub n: u64,
    /// The number of the first arrival of the load in the next round.
    round_end: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_thread_has_arrivals_in_proportion_to_its_sessions() {
        let count = |index, threads, sessions, total| {
            Deal::among(Shard { index, of: threads }, threads, sessions).count(total)
        };
        assert_eq!([0, 1, 2, 7].map(|index| count(index, 8, 10, 10_000)), [2000, 2000, 1000, 1000]);
        assert_eq!([0, 1].map(|index| count(index, 2, 3, 9)), [6, 3]);
        assert_eq!(count(3, 4, 3, 9), 0, "it has no session");
    }

    proptest! {
        #[test]
        fn a_deal_has_the_arrivals_of_its_machine_and_its_sessions(
            total in 0_u64..500,
            sessions in prop_oneof![1_u64..40, Just(u64::MAX)],
            (of, machine) in (1_u32..6).prop_flat_map(|of| (Just(of), 0..of)),
            (threads, thread) in (1_u32..9).prop_flat_map(|threads| (Just(threads), 0..threads)),
        ) {
            let deal = Deal::among(Shard { index: machine + of * thread, of: of * threads }, threads, sessions);
            let of_machine = Shard { index: machine, of }.share(sessions).max(1);
            let own: Vec<u64> = (0..total)
                .filter(|n| n % u64::from(of) == u64::from(machine))
                .zip(0_u64..)
                .filter(|(_, own)| (own % of_machine) % u64::from(threads) == u64::from(thread))
                .map(|(n, _)| n)
                .collect();
            prop_assert_eq!(deal.count(total), own.len() as u64);
            let (mut walked, mut next) = (Vec::new(), deal.first());
            while next.n < total {
                walked.push(next.n);
                next = deal.after(next);
            }
            prop_assert_eq!(walked, own);
        }

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
