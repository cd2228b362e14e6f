//! What several shards of a load cannot judge as one process would.

use super::Plan;
use crate::condition::expect::{Expect, When};
use crate::load::LoadModel;

impl Plan {
    /// Returns why shards of this plan cannot judge its `[[expect]]`s as one process would; `None` if they can.
    ///
    /// A shard knows only its own sessions. They are its part of all sessions while sessions are opened in turn, by
    /// arrival, and none ends: then its part of n decides `sessions > n`. In other phases, which sessions the listener
    /// refuses decides how many each shard has.
    pub fn uncounted_sessions(&self) -> Option<String> {
        let counts = |expect: &Expect| !matches!(expect.when, When::Always | When::SessionsFrom(0));
        let unknown = |(index, expect): (usize, &Expect)| {
            let phase = self.phases_of(expect).find(|phase| !self.opens_in_turn(*phase))?;
            Some(format!(
                "`when` of expect {} counts the sessions of all parts of the load, and in phase {} no part knows those of the \
                 others: only held sessions that are opened at a rate are opened in turn; name such a `phase`, or remove `when`",
                expect.name_at(index),
                self.phases[phase as usize].name
            ))
        };
        self.expects.iter().enumerate().filter(|(_, expect)| counts(expect)).find_map(unknown)
    }

    /// Returns the measured phases in which an `[[expect]]` applies.
    fn phases_of(&self, expect: &Expect) -> impl Iterator<Item = u32> {
        let only = expect.phase;
        let measured = (0_u32..).zip(&self.phases).filter(|(_, phase)| !phase.warmup);
        measured.map(|(index, _)| index).filter(move |index| only.is_none_or(|only| only == *index))
    }

    /// Whether the sessions of a phase are opened one after the other, by arrival, and stay open to its end.
    fn opens_in_turn(&self, phase: u32) -> bool {
        self.holds(phase)
            && match self.phases[phase as usize].load.model {
                LoadModel::Held { rate, .. } => rate.is_finite(),
                LoadModel::Rate { .. } => true,
                LoadModel::Burst { .. } | LoadModel::Sessions { .. } | LoadModel::Shared { .. } => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Shard;
    use crate::profile::{Context, Document, Purpose, compile};

    fn why(load: &str, expect: &str) -> Option<String> {
        plan(load, expect, Shard::WHOLE).uncounted_sessions()
    }

    fn plan(load: &str, expect: &str, shard: Shard) -> Plan {
        let profile = format!(
            "seed = 1\n[target]\naddress = \"127.0.0.1:9\"\n[session]\nmessages = 1\n[[phase]]\nname = \"before\"\nwarmup = true\n\
             load = \"constant-rate\"\nrate = \"9/s\"\nfor = \"1s\"\n[[phase]]\nname = \"main\"\nfor = \"9s\"\n{load}\n\
             [[expect]]\ncondition = \"too-many-connections\"\n{expect}\n"
        );
        let context = Context { purpose: Purpose::Run, seed: 7, run_id: "run".into(), threads: 1, shard };
        let document = Document::parse("profile", &profile).unwrap();
        compile(&document, &context).unwrap_or_else(|error| panic!("{error}")).plan
    }

    /// A shard whose sessions are all open is saturated, although it has fewer of them than the profile.
    #[test]
    fn a_shard_is_judged_by_its_share_of_the_sessions() {
        let load = "load = \"constant-rate\"\nrate = \"90/s\"\nmax_sessions = 10";
        let most = |plan: &Plan, index, of| plan.phase_infos_of(index, of)[1].max_sessions;
        let whole = plan(load, "", Shard::WHOLE);
        assert_eq!(whole.phase_infos()[1].max_sessions, 10);
        assert_eq!([0, 1, 2].map(|index| most(&whole, index, 3)), [4, 3, 3]);
        let shard = plan(load, "", Shard { index: 1, of: 3 });
        assert_eq!(shard.phase_infos()[1].max_sessions, 3);
        let shared = "load = \"shared-messages\"\nmessages = 100\nsessions = 10";
        let totals = [0, 1, 2].map(|index| plan(shared, "", Shard { index, of: 3 }).phase_infos()[1].total);
        assert_eq!(totals, [Some(34), Some(33), Some(33)], "its arrivals end its phase");
    }

    #[test]
    fn sessions_are_counted_where_they_are_opened_in_turn_and_held() {
        let held = "load = \"held-sessions\"\nsessions = 80\n";
        let loads = [
            (format!("{held}rate = \"40/s\""), true),
            (held.to_owned(), false),
            ("load = \"burst\"\nsize = 9\nunit = \"session\"".to_owned(), false),
            ("load = \"constant-sessions\"\nsessions = 9".to_owned(), false),
            ("load = \"constant-rate\"\nrate = \"9/s\"".to_owned(), false),
            ("load = \"constant-rate\"\nrate = \"9/s\"\nunit = \"session\"".to_owned(), false),
        ];
        for (load, can) in loads {
            assert_eq!(why(&load, ""), None, "{load}");
            assert_eq!(why(&load, "when = \"sessions >= 0\""), None, "{load}");
            for when in ["sessions > 50", "sessions >= 51"] {
                let said = why(&load, &format!("name = \"full\"\nwhen = \"{when}\""));
                assert_eq!(said.is_none(), can, "{load}: {said:?}");
                for part in ["expect full", "phase main", "remove `when`"] {
                    assert!(can || said.as_ref().is_some_and(|said| said.contains(part)), "{load}: {said:?}");
                }
            }
            let unnamed = why(&load, "when = \"sessions > 50\"");
            assert!(
                can || unnamed.as_ref().is_some_and(|said| said.contains("expect 1 ")),
                "{load}: {unnamed:?}"
            );
            assert_eq!(why(&load, "when = \"sessions > 50\"\nphase = \"before\""), None, "a warm-up: {load}");
        }
    }
}
