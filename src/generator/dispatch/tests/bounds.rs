//! Tests of the memory and time that a load takes on this machine, however fast the load is and however long the
//! listener stands still.

use super::*;
use crate::plan::MOST_WAITING;

#[test]
fn what_waits_for_a_listener_that_stands_still_is_bounded_and_noticed_bit_by_bit() {
    let one = phase(rate(1e6), Some(10_000), Unit::Message, 1);
    let mut dispatch = Dispatch::new(Arc::new(plan(vec![one])), Shard::WHOLE);
    let mut recorder = Recorder::new(1, 0);
    let mut batches = 0;
    loop {
        let before = recorder.counts(0).scheduled;
        dispatch.advance(ms(5_000), &mut recorder);
        let noticed = recorder.counts(0).scheduled - before;
        assert!(noticed <= MOST_ADMITTED as u64);
        batches += 1;
        match dispatch.next_wake() {
            // The next arrival is scheduled at once, and is not skipped.
            Some(at) if at > ms(5_000) && at < ms(5_000) + Duration::from_nanos(500) => {}
            at => break assert_eq!(at, Some(ms(5_000) + Duration::from_micros(1))),
        }
    }
    let counts = recorder.counts(0);
    let (scheduled, shed) = (counts.scheduled, counts.arrivals.of(Outcome::Shed));
    assert_eq!((scheduled, batches), (5_000_001, 5_000_001_u64.div_ceil(MOST_ADMITTED as u64)));
    assert_eq!(dispatch.gauges()[2], MOST_WAITING);
    // A session is being opened for one of the scheduled arrivals.
    assert_eq!(scheduled, shed + MOST_WAITING + 1, "none is lost");
    // After the stop the waiting arrivals are not started, and all of them are counted.
    dispatch.stop(ms(5_000), &mut recorder);
    assert_eq!(recorder.counts(0).arrivals.of(Outcome::Shed), scheduled - 1);
    assert_eq!(dispatch.gauges()[2], 0);
}
