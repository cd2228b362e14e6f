//! Each shipped profile is compared between a fleet and one process: whole, or the part of it that can be equal.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::faulty_relay::{FaultyRelay, expected};
use crate::fleet::{Ended, Fleet, number};
use crate::fleet_access::nats_server;
use crate::fleet_shapes::{self, both};
use crate::fleet_union::{self, PROFILES, flags, measured};
use crate::listener;

/// A profile of which only a part can be equal, or whose target is not the embedded listener.
struct PartlyEqual {
    name: &'static str,
    /// The part that is not equal, and why.
    why: &'static str,
    /// The tests that compare the rest.
    tests: &'static [fn()],
}

const PARTLY: [PartlyEqual; 9] = [
    PartlyEqual {
        name: "connection-storm",
        why: "which sessions of a burst find a place is decided by microseconds; the arrivals are equal, and so are the \
              messages where there is room for all",
        tests: &[
            fleet_shapes::a_storm_of_agents_has_the_arrivals_of_one_process_and_where_there_is_room_its_messages,
        ],
    },
    PartlyEqual {
        name: "greylisting",
        why: "the number of attempts depends on their times; what is accepted in the end is equal",
        tests: &[fleet_shapes::a_greylist_accepts_in_the_end_what_it_accepts_of_one_process],
    },
    PartlyEqual {
        name: "outage-recovery",
        why: "the number of attempts depends on their times; what is accepted in the end is equal",
        tests: &[fleet_shapes::after_an_outage_the_listener_has_the_messages_of_one_process],
    },
    PartlyEqual {
        name: "messages-per-session",
        why: "a closed load has as many arrivals as both sides are fast; its sessions at once, the messages of each session \
              and the bytes of each message by its number are equal",
        tests: &[
            fleet_shapes::a_closed_load_of_agents_has_its_sessions_at_once_and_the_bytes_of_one_process,
            sessions_of_agents_meet_the_limit_at_the_message_at_which_those_of_one_process_do,
        ],
    },
    PartlyEqual {
        name: "session-capacity",
        why: "a closed load has as many arrivals as both sides are fast, and a search ends where its trials lead it; the \
              sessions at once and the bytes of each message by its number are equal",
        tests: &[
            fleet_shapes::a_closed_load_of_agents_has_its_sessions_at_once_and_the_bytes_of_one_process,
            sessions_of_agents_meet_the_limit_at_the_message_at_which_those_of_one_process_do,
        ],
    },
    PartlyEqual {
        name: "postfix-relay",
        why: "nothing: all of it is equal, at a listener of its own",
        tests: &[
            fleet_union::a_listener_elsewhere_takes_the_same_messages_of_three_agents_and_of_one_process,
        ],
    },
    PartlyEqual {
        name: "relay-delivery",
        why: "times in the relay; the messages, and what the relay hands on, are equal",
        tests: &[
            a_relay_gets_the_same_messages_of_three_agents_and_of_one_process,
            a_relay_hands_on_as_many_messages_of_three_agents_as_of_one_process,
        ],
    },
    PartlyEqual {
        name: "relay-capacity",
        why: "a search ends where its trials lead it; the messages of a trial, and what the relay hands on, are equal",
        tests: &[
            a_relay_gets_the_same_messages_of_three_agents_and_of_one_process,
            a_relay_hands_on_as_many_messages_of_three_agents_as_of_one_process,
        ],
    },
    PartlyEqual {
        name: "relay-crash",
        why: "which messages a crash meets is decided by its moment; without the crash all is equal",
        tests: &[
            a_relay_gets_the_same_messages_of_three_agents_and_of_one_process,
            a_relay_hands_on_as_many_messages_of_three_agents_as_of_one_process,
        ],
    },
];

#[test]
fn each_shipped_profile_is_compared_and_where_only_a_part_can_be_equal_it_says_why() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let profiles = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let shipped: BTreeSet<String> =
        profiles.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let classified: Vec<&str> =
        PROFILES.iter().map(|(name, _)| *name).chain(PARTLY.iter().map(|own| own.name)).collect();
    let compared: BTreeSet<String> = classified.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(compared, shipped, "add a profile to PROFILES, or to PARTLY with a test and the reason");
    assert_eq!(compared.len(), classified.len(), "a profile stands in both tables: {classified:?}");
    for own in PARTLY {
        assert!(!own.why.is_empty() && !own.tests.is_empty(), "{}", own.name);
    }
}

/// The number of sessions depends on speed. Each session ends at the same message, and no more sessions than asked are
/// open at once.
#[test]
fn sessions_of_agents_meet_the_limit_at_the_message_at_which_those_of_one_process_do() {
    let Some(limited) = both("messages-per-session", "phase.sessions.for=3s") else { return };
    for ended in &limited {
        let (ledger, started) = (&ended.result()["ledger"], ended.count("started"));
        let refused = number(&ledger["refused"], "too-many-messages-per-session");
        assert!(started > 20, "{}", ended.said);
        assert_eq!((ended.count("expected"), refused), (started, started), "{}", ended.said);
        assert_eq!(number(ledger, "messages"), 10 * started, "{}", ended.said);
        assert_eq!(number(ledger, "sessions_peak"), 4, "{}", ended.said);
    }
    for ended in both("session-capacity", "phase.load.for=3s").unwrap() {
        let (ledger, started) = (&ended.result()["ledger"], ended.count("started"));
        assert!(started > 20, "{}", ended.said);
        assert_eq!(ended.count("accepted"), started, "{}", ended.said);
        assert_eq!(number(ledger, "messages"), 5 * started, "{}", ended.said);
        assert_eq!(number(ledger, "sessions_peak"), 10, "{}", ended.said);
    }
}

/// The profiles whose target is a relay with a receiver behind it, shortened. `relay-crash` has no crash here.
const RELAYED: [(&str, &str); 3] = [
    ("relay-delivery", "phase.warm-up.for=2s phase.warm-up.to=20/s phase.relay.for=3s"),
    ("relay-capacity", "phase.load.for=3s"),
    ("relay-crash", "phase.load.for=3s event.crash.at=1s event.crash.run=\"true\""),
];

/// The settings of such a profile, with the receiver on this port.
fn relayed(sets: &str, next: u16, drain: &str) -> String {
    format!("{sets} receive.address=[\"127.0.0.1:{next}\"] receive.drain={drain}")
}

/// The relay is a listener that hands nothing on, so that its ledger can be compared.
#[test]
fn a_relay_gets_the_same_messages_of_three_agents_and_of_one_process() {
    for (name, sets) in RELAYED {
        fleet_union::a_listener_takes_the_same_messages(name, &relayed(sets, listener::free_port(), "1s"));
    }
}

#[test]
fn a_relay_hands_on_as_many_messages_of_three_agents_as_of_one_process() {
    if nats_server().is_none() || FaultyRelay::start(listener::free_port(), "").is_none() {
        return;
    }
    for (name, sets) in RELAYED {
        let ran = [0, 3].map(|agents| measured(|| run_through_a_relay(name, sets, agents)));
        let delivered = ran.each_ref().map(|ended| {
            let counts =
                ["accepted_recipients", "delivered", "missing", "duplicated", "altered", "unexpected"];
            let of = |phase: &Value| counts.map(|count| number(&phase["delivery"], count));
            ended.phases().iter().map(of).collect::<Vec<_>>()
        });
        let [one, three] = &ran;
        fleet_union::assert_same(one, three, 3, name);
        assert_eq!(delivered[1], delivered[0], "{name}: {}", three.said);
        let sum: u64 = delivered[0].iter().map(|counts| counts[1]).sum();
        assert!(sum > 40 && sum == one.count("accepted"), "{name}: {sum}: {}", one.said);
    }
}

/// Runs a profile by one process (0 agents) or by agents, and checks what came out against the ledger of the relay.
fn run_through_a_relay(name: &str, sets: &str, agents: usize) -> Ended {
    let next = listener::free_port();
    let relay = FaultyRelay::start(next, "--hold fixed:0.1").unwrap();
    let target = format!("--target smtp://127.0.0.1:{}", relay.port);
    let flags = format!("{} {target}", flags(name, &relayed(sets, next, "20s")));
    let ended = match agents {
        0 => Fleet::start(&format!("run {flags}"), |_| {}),
        agents => Fleet::local(agents, &flags).unwrap(),
    }
    .wait();
    let ledgers = relay.ledgers();
    let delivered: u64 = ended.phases().iter().map(|phase| number(&phase["delivery"], "delivered")).sum();
    assert_eq!(delivered, expected(&ledgers, "delivered"), "{name} of {agents} agents: {}", ended.said);
    ended
}
