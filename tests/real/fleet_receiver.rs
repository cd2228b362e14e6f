//! A fleet whose load comes out of a relay at the coordinator's receiver.

use crate::faulty_relay::{FaultyRelay, expected};
use crate::fleet::{Fleet, number};
use crate::listener;

#[test]
fn what_a_relay_makes_of_the_messages_of_three_agents_is_counted_as_in_its_ledger() {
    let next = listener::free_port();
    let faults = "--fault drop=30 --fault duplicate=40 --fault rewrite=50 --hold fixed:0.1";
    let Some(relay) = FaultyRelay::start(next, faults) else { return };
    let target = format!("--target smtp://127.0.0.1:{}", relay.port);
    let load =
        format!("-n 1500 -c 9 --receive 127.0.0.1:{next} --drain 10s --set message.text=message-{{n}}");
    let Some(fleet) = Fleet::local(3, &format!("{target} {load}")) else { return };
    let ended = fleet.wait();
    let ledgers = relay.ledgers();
    // What is missing fails the run; a busy machine makes it invalid.
    assert!(matches!(ended.code, 98 | 99), "{}: {}", ended.code, ended.said);
    assert_eq!(ended.agents().len(), 3);
    let delivery = &ended.phases()[0]["delivery"];
    assert_eq!(number(delivery, "accepted_recipients"), 1500, "{delivery:#}");
    for count in ["delivered", "missing", "duplicated", "altered", "unexpected"] {
        assert_eq!(number(delivery, count), expected(&ledgers, count), "{count}: {delivery:#}");
    }
    assert!(number(delivery, "missing") > 10 && number(delivery, "duplicated") > 10, "{delivery:#}");
    // The times of all agents and of the receiver count from one moment: no message came out before it was held so long.
    let metrics = ended.result()["metrics"].as_array().unwrap();
    let transit =
        metrics.iter().find(|row| row["name"] == "transit" && row["outcome"] == "accepted").unwrap();
    let p50 = transit["percentiles"].as_array().unwrap().iter().find(|row| row["q"] == 0.5).unwrap();
    assert!(p50["value_ns"].as_f64() >= Some(0.095e9), "{transit:#}");
}
