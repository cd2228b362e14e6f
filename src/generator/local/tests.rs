//! Tests of adding up the reports of workers that hang.

use super::*;
use crate::collector::snapshot::Interval;
use crate::generator::dispatch::tests::{phase, plan};
use crate::load::{Curve, LoadModel, Spacing};
use crate::plan::Unit;

/// Tells a test which seconds the observer gets.
struct Seen(Sender<u64>);

impl Observer for Seen {
    fn interval(&mut self, interval: &Interval, _: &Tally) -> Control {
        self.0.send(interval.start.as_secs()).ok();
        Control::Continue
    }
}

#[test]
fn a_worker_that_hangs_holds_up_the_seconds_of_the_others_for_a_while_only() {
    let load = LoadModel::Rate { curve: Curve::constant(10.0), spacing: Spacing::Uniform };
    let shared = RunContext::of_test(plan(vec![phase(load, Some(1000), Unit::Message, 10)]), 2);
    let (sender, events) = mpsc::sync_channel(MOST_EVENTS);
    let mut run = LocalRun {
        clock: shared.clock,
        lead: Duration::ZERO,
        shared,
        started_wall: clock::wall(),
        began_at: Duration::ZERO,
        events,
        emptied: (0..2).map(|_| mpsc::channel().0).collect(),
        threads: Vec::new(),
        waiting: Vec::new(),
        seconds: vec![None; 2],
        reports: vec![None, None],
        transcripts: Vec::new(),
        next_second: 0,
        total: Tally::new(1),
        gauges: Gauges::default(),
        aborted_by: None,
        unreached: None,
        health: ProcessMeter::new(1.0),
        most_silence: Duration::from_millis(300),
    };
    let (tell, seen) = mpsc::channel();
    let other = std::thread::spawn(move || {
        // The other worker goes on until the observer has got a second.
        (0..200).any(|second| {
            let snapshot = Snapshot {
                worker: 0,
                second,
                tally: Tally::new(1),
                transactions: Vec::new(),
                gauges: Gauges::default(),
                last: false,
            };
            sender.send(WorkerEvent::Second(snapshot)).unwrap();
            seen.recv_timeout(Duration::from_millis(50)).is_ok()
        })
    });
    let mut local = Local::new(watch::channel(Stop::Run).1, String::new());
    run.attend(&mut local, &mut Seen(tell));
    assert!(other.join().unwrap(), "no second ends as long as one worker hangs");
    assert!(run.reports.iter().all(Option::is_none));
}
