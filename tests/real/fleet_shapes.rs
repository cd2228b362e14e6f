//! Loads that depend on time or on speed: the parts of the result that must be equal for agents and for one process.
//!
//! Which session of a storm is refused, when a retry comes and how much work a closed load does also differ between
//! runs on one machine. The arrivals, the bytes of each message by its number, the messages accepted in the end and the
//! number of sessions at once do not differ.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::fleet::{Ended, Fleet, number};
use crate::fleet_access::nats_server;
use crate::fleet_union::{flags, measured};
use crate::smtpress::OUTCOMES;

/// Runs a profile with one process, and with three agents that share the load.
pub fn both(name: &str, sets: &str) -> Option<[Ended; 2]> {
    nats_server()?;
    let flags = flags(name, sets);
    let one = measured(|| Fleet::start(&format!("run {flags}"), |_| {}).wait());
    let three = measured(|| Fleet::local(3, &flags).unwrap().wait());
    for ended in [&one, &three] {
        assert!([0, 98, 99].contains(&ended.code), "{name}: {}: {}", ended.code, ended.said);
    }
    assert_eq!(three.agents().len(), 3, "{name}");
    assert!(three.lost().is_empty(), "{name}: {}", three.said);
    three.assert_adds_up();
    Some([one, three])
}

/// Checks that the ledgers of the embedded listeners have the same accepted messages, by a digest without their order.
#[track_caller]
fn assert_accepted_the_same(name: &str, [one, three]: &[Ended; 2]) {
    for field in ["messages", "recipients", "content_bytes", "digest"] {
        assert_eq!(three.result()["ledger"][field], one.result()["ledger"][field], "{name}: {field}");
    }
    assert!(number(&one.result()["ledger"], "messages") > 0, "{name}");
}

#[track_caller]
fn assert_counts_the_same(name: &str, [one, three]: &[Ended; 2], fields: &[&str]) {
    for field in fields {
        assert_eq!(three.count(field), one.count(field), "{name}: {field}");
        assert!(one.count(field) > 0, "{name}: {field}");
    }
}

/// Microseconds decide which sessions of a storm are refused. The arrivals and the listener's limit are the same, and
/// each arrival has an outcome. If there are slots for all sessions, the messages are the same too.
#[test]
pub fn a_storm_of_agents_has_the_arrivals_of_one_process_and_where_there_is_room_its_messages() {
    let short = "phase.warm-up.for=1s phase.storm.size=60 phase.storm.every=1s phase.storm.for=3s";
    let Some(full) = both("connection-storm", &format!("{short} listener.max_connections=30")) else {
        return;
    };
    assert_counts_the_same("full", &full, &["scheduled", "started"]);
    for ended in &full {
        let ended_in_all: u64 = OUTCOMES.iter().map(|outcome| ended.count(outcome)).sum();
        assert_eq!(ended_in_all, ended.count("started"), "{}", ended.said);
        assert_eq!(number(&ended.result()["ledger"], "sessions_peak"), 30, "{}", ended.said);
        assert!(ended.count("expected") > 0, "{}", ended.said);
    }
    let roomy = both("connection-storm", &format!("{short} listener.max_connections=200")).unwrap();
    assert_counts_the_same("roomy", &roomy, &["scheduled", "started", "accepted"]);
    assert_accepted_the_same("roomy", &roomy);
}

/// The number of attempts of a message depends on their times, but the messages accepted in the end do not.
#[test]
pub fn a_greylist_accepts_in_the_end_what_it_accepts_of_one_process() {
    let short = "phase.mail.for=3s session.retry.time_scale=0.004 listener.greylist=1800ms";
    let Some(ran) = both("greylisting", short) else { return };
    assert_counts_the_same("greylisting", &ran, &["scheduled", "started", "accepted"]);
    assert_accepted_the_same("greylisting", &ran);
    for ended in &ran {
        assert_eq!(ended.count("accepted"), ended.count("scheduled"), "{}", ended.said);
        let deferred = ended.result()["ledger"]["refused"].as_object().unwrap();
        assert!(deferred.values().filter_map(Value::as_u64).sum::<u64>() > 0, "{deferred:?}");
    }
}

/// Which arrivals fail in the outage depends on its time. In the end all are accepted, each once.
#[test]
pub fn after_an_outage_the_listener_has_the_messages_of_one_process() {
    let short = "phase.load.for=8s listener.unavailable_after=2s listener.unavailable_for=2s event.outage.at=2s \
                 session.retry.first=1s session.retry.max=2s";
    let Some(ran) = both("outage-recovery", short) else { return };
    assert_counts_the_same("outage-recovery", &ran, &["scheduled", "started", "accepted"]);
    assert_accepted_the_same("outage-recovery", &ran);
    for ended in &ran {
        // The outage counts from the start of the load. In a fleet the listener starts some seconds before it.
        let effect = &ended.result()["events"][0]["effect"];
        assert_eq!(effect["before"]["accepted"], effect["before"]["offered"], "{effect:#}");
        let from = effect["outage"]["from_s"].as_f64().unwrap();
        assert!((2.0..2.2).contains(&from), "{effect:#}");
        assert_eq!(ended.count("accepted"), ended.count("scheduled"), "{}", ended.said);
    }
}

/// Which session sends a shared message depends on which one is free, but the number and the bytes of messages do not.
#[test]
fn messages_shared_by_the_sessions_of_agents_are_those_of_one_process() {
    if nats_server().is_none() {
        return;
    }
    let flags = "--target embedded -n 700 -c 7 --seed 7 --size 3KiB";
    let alone = || Fleet::start(&format!("run {flags}"), |_| {}).wait();
    for agents in [2, 7] {
        let pair = [measured(alone), measured(|| Fleet::local(agents, flags).unwrap().wait())];
        let name = format!("{agents} agents");
        assert_counts_the_same(&name, &pair, &["scheduled", "started", "accepted"]);
        assert_accepted_the_same(&name, &pair);
        pair.iter().for_each(|ended| assert_eq!(number(&ended.result()["ledger"], "sessions_peak"), 7));
    }
}

/// The messages that a listener of the test received, by their numbers.
#[derive(Default)]
struct TakenMessages {
    sessions: usize,
    /// The most sessions at once.
    most: usize,
    /// The envelope and the content of each message, without the lines that differ between runs.
    by_number: BTreeMap<u64, String>,
    /// The numbers of messages that came twice.
    twice: Vec<u64>,
}

/// Starts a listener that accepts messages, with small delays, so that sessions are open at the same time.
fn take_messages() -> (u16, Arc<Mutex<TakenMessages>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, taken) = (listener.local_addr().unwrap().port(), Arc::<Mutex<TakenMessages>>::default());
    let shared = taken.clone();
    thread::spawn(move || {
        for session in listener.incoming() {
            let taken = shared.clone();
            thread::spawn(move || serve(&session.unwrap(), &taken).ok());
        }
    });
    (port, taken)
}

fn serve(session: &TcpStream, taken: &Mutex<TakenMessages>) -> io::Result<()> {
    let lock = || taken.lock().unwrap_or_else(PoisonError::into_inner);
    let mut replies = session.try_clone()?;
    replies.write_all(b"220 ready\r\n")?;
    let (mut text, mut seq, mut is_content, mut is_open) = (String::new(), None, false, false);
    for line in BufReader::new(session).lines() {
        let line = line?;
        if is_content && line != "." {
            if let Some(number) = line.strip_prefix("X-Smtpress-Seq: ") {
                seq = number.parse().ok();
            }
            if !["Date:", "Message-ID:", "X-Smtpress-Run:"].iter().any(|field| line.starts_with(field)) {
                text += &line;
                text.push('\n');
            }
            continue;
        }
        // The session of the reachability check sends nothing.
        if line.starts_with("MAIL") {
            text = String::new();
            if !std::mem::replace(&mut is_open, true) {
                let mut taken = lock();
                taken.sessions += 1;
                taken.most = taken.most.max(taken.sessions);
            }
        }
        if !is_content {
            text += &line;
            text.push('\n');
        }
        if is_content {
            thread::sleep(Duration::from_millis(5));
            let number = seq.take().unwrap_or(u64::MAX);
            if lock().by_number.insert(number, std::mem::take(&mut text)).is_some() {
                lock().twice.push(number);
            }
        }
        is_content = line == "DATA";
        let is_over = line == "QUIT";
        if is_over && is_open {
            lock().sessions -= 1;
        }
        let reply: &[u8] = if is_over { b"221 bye\r\n" } else { b"250 ok\r\n" };
        replies.write_all(if is_content { b"354 go on\r\n" } else { reply })?;
        if is_over {
            break;
        }
    }
    Ok(())
}

/// The number of messages of a closed load depends on the speed of both sides. The number of sessions at once and the
/// bytes of each message by its number do not.
#[test]
pub fn a_closed_load_of_agents_has_its_sessions_at_once_and_the_bytes_of_one_process() {
    if nats_server().is_none() {
        return;
    }
    // This listener has no limit that `messages-per-session` could find: that assertion fails (99).
    for (load, sessions, code) in [
        ("-c 5 -z 3s --seed 9 --size 2KiB".to_owned(), 5, 0),
        ("-c 5 -z 3s --seed 9 --size 2KiB --messages-per-session 3".to_owned(), 5, 0),
        (flags("messages-per-session", "phase.sessions.for=3s"), 4, 99),
        (flags("session-capacity", "phase.load.for=3s"), 10, 0),
    ] {
        let run = |agents: usize| {
            let (port, taken) = take_messages();
            let flags = format!("{load} --target smtp://127.0.0.1:{port}");
            let ended = match agents {
                0 => Fleet::start(&format!("run {flags}"), |_| {}).wait(),
                agents => Fleet::local(agents, &flags).unwrap().wait(),
            };
            assert!([code, 98].contains(&ended.code), "{load}: {}: {}", ended.code, ended.said);
            assert!(ended.lost().is_empty(), "{}", ended.said);
            let taken = std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner));
            assert_eq!(taken.twice, Vec::<u64>::new(), "{agents} agents, {load}: a number came twice");
            assert_eq!(taken.most, sessions, "{agents} agents, {load}");
            let messages: u64 =
                ended.phases().iter().map(|phase| number(&phase["transactions"], "accepted")).sum();
            assert!(taken.by_number.len() as u64 >= messages && messages > 50, "{messages}: {}", ended.said);
            taken.by_number
        };
        let alone = run(0);
        for agents in [3, 4] {
            let together = run(agents);
            let common: Vec<u64> = together.keys().filter(|seq| alone.contains_key(seq)).copied().collect();
            assert!(common.len() > 50, "{load}: {} of {}", common.len(), together.len());
            for seq in common {
                assert_eq!(together[&seq], alone[&seq], "{agents} agents, {load}: message {seq}");
            }
        }
    }
}
