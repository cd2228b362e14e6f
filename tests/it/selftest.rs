//! The selftest can fail: if response times count from the wrong moment, the scenarios that must show it fail.

use smtpress::collector::Metric;
use smtpress::collector::histogram::Hist;
use smtpress::collector::snapshot::Measured;
use smtpress::command::selftest::LocalTestbed;
use smtpress::experiment::selftest::{Check, Testbed, scenarios};
use smtpress::generator::Stop;
use tokio::sync::watch;

fn measure(name: &str) -> [Check; 2] {
    let scenario = scenarios().into_iter().find(|scenario| scenario.name == name).unwrap();
    let (_ask, stop) = watch::channel(Stop::Run);
    let mut observed = LocalTestbed { stop }.measure(&scenario.plan, &scenario.setting).unwrap();
    let right = scenario.judge(&observed);
    anchor_at_start(&mut observed.measured);
    [right, scenario.judge(&observed)]
}

/// Changes the measurement to that of a generator whose clock starts when an arrival starts, and not at its scheduled
/// time: no lag, no wait, and a response time of session setup and service only.
fn anchor_at_start(measured: &mut Measured) {
    for tally in &mut measured.tally.phases {
        for outcome in smtpress::collector::Outcome::ALL {
            let Some(service) = tally.hists.get(&(Metric::Service, outcome)) else { continue };
            // It is not known which setup belonged to which service. The values are added in order, the slowest to the
            // slowest, so no response time was longer than the longest of these.
            let setup = values(&tally.hists[&(Metric::Setup, outcome)]);
            let (mut response, mut zeros) = (Hist::default(), Hist::default());
            for (service, setup) in values(service).into_iter().zip(setup) {
                response.record(service + setup);
                zeros.record(0);
            }
            tally.hists.insert((Metric::Response, outcome), response);
            tally.hists.insert((Metric::Lag, outcome), zeros.clone());
            tally.hists.insert((Metric::Wait, outcome), zeros);
        }
    }
}

/// The values of a histogram in rising order.
fn values(hist: &Hist) -> Vec<u64> {
    hist.buckets().flat_map(|(value, count)| std::iter::repeat_n(value, count as usize)).collect()
}

/// The lower bounds hold on any machine, but the upper bounds only on one that is not busy.
fn lower_bounds_hold(check: &Check) -> bool {
    check.figures.iter().all(|figure| figure.at_least.is_none_or(|bound| figure.value >= bound))
}

#[test]
fn the_capped_stall_catches_an_anchor_at_the_start() {
    let [right, wrong] = measure("capped stall");
    assert!(lower_bounds_hold(&right) && !lower_bounds_hold(&wrong), "{right:?} {wrong:?}");
}

#[test]
fn the_exact_queue_catches_an_anchor_at_the_start() {
    let [right, wrong] = measure("exact queue");
    assert!(lower_bounds_hold(&right) && !lower_bounds_hold(&wrong), "{right:?} {wrong:?}");
}

#[test]
fn the_blocked_generator_catches_an_anchor_at_the_start() {
    let [right, wrong] = measure("blocked generator");
    assert!(lower_bounds_hold(&right) && !lower_bounds_hold(&wrong), "{right:?} {wrong:?}");
}

#[test]
fn the_uncapped_stall_alone_would_not() {
    let [right, wrong] = measure("stall");
    assert!(lower_bounds_hold(&right) && lower_bounds_hold(&wrong), "{right:?} {wrong:?}");
}

#[test]
fn failing_and_refused_messages_are_counted_once() {
    let [check, _] = measure("books");
    assert!(check.holds(), "{check:?}");
}
