//! Plans for tests of deliveries.

use crate::load::Shard;
use crate::plan::Plan;
use crate::profile::{self, Context, Document, Purpose};

/// Returns the plan of run `run-1` with seed 7: nine messages of one phase, to a receiver. `more`: further text of the profile.
pub(super) fn plan(more: &str) -> Plan {
    let text = format!(
        "schema = 1\n[target]\naddress = \"smtp://127.0.0.1:2525\"\n[receive]\naddress = [\"127.0.0.1:2600\"]\n\
         [[phase]]\nname = \"p\"\nload = \"shared-messages\"\nsessions = 1\nmessages = 9\n{more}"
    );
    let context = Context {
        purpose: Purpose::Run,
        seed: 7,
        run_id: "run-1".to_owned(),
        threads: 1,
        shard: Shard::WHOLE,
    };
    profile::compile(&Document::parse("p", &text).unwrap(), &context).unwrap().plan
}
