//! The selftest can fail: with response times that count from the wrong moment, the scenes that are there to catch it do.

use smtpress::collector::Metric;
use smtpress::collector::histogram::Hist;
use smtpress::collector::snapshot::Measured;
use smtpress::experiment::selftest::{Check, Part, Stage, Told, scenes};
use smtpress::generator::{Local, RunError, Runner, Stop};
use smtpress::listener::limits::{Delay, Limits, ReplyDelays, Stall};
use smtpress::plan::Plan;
use tokio::sync::watch;

struct Here;

impl Stage for Here {
    fn play(&mut self, plan: &Plan, part: &Part) -> Result<Told, RunError> {
        let limits = Limits {
            delays: ReplyDelays { body: Delay { min: part.body, max: part.body }, ..ReplyDelays::default() },
            stall: part.stall.map(|(from, length)| Stall { from, length }),
            temporary_error_rate: part.errors,
            server_error_rate: part.errors,
            max_connections_per_host: part.per_host,
            ..Limits::default()
        };
        let listener = smtpress::listener::start("127.0.0.1:0".parse().unwrap(), limits, 7, 1).unwrap();
        let (_ask, stop) = watch::channel(Stop::Run);
        let mut local = Local::new(stop, "Mon, 23 Nov 2026 12:00:00 +0000".into())
            .with_listener(listener.addr())
            .with_stall(part.block);
        let measured = local.run(plan, &mut ())?;
        Ok(Told { measured, delivered: listener.stop().messages })
    }

    fn resident_bytes(&self) -> u64 {
        smtpress::generator::resident_bytes()
    }
}

fn play(name: &str) -> [Check; 2] {
    let scene = scenes().into_iter().find(|scene| scene.name == name).unwrap();
    let mut told = Here.play(&scene.plan, &scene.part).unwrap();
    let right = scene.judge(&told);
    anchor_at_start(&mut told.measured);
    [right, scene.judge(&told)]
}

/// What a generator would have measured whose clock starts when an arrival starts, and not when it was scheduled: no lag, no
/// wait, and a response that is the service alone, after the opening of the session if one was opened for the arrival.
fn anchor_at_start(measured: &mut Measured) {
    for tally in &mut measured.tally.phases {
        for outcome in smtpress::collector::Outcome::ALL {
            let Some(service) = tally.hists.get(&(Metric::Service, outcome)) else { continue };
            // Which opening belonged to which service is not known. The slowest together: no response was longer.
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

/// The values of a histogram, rising.
fn values(hist: &Hist) -> Vec<u64> {
    hist.buckets().flat_map(|(value, count)| std::iter::repeat_n(value, count as usize)).collect()
}

/// The lower bounds hold on any machine; the upper ones only on one that has the time.
fn lower_bounds_hold(check: &Check) -> bool {
    check.figures.iter().all(|figure| figure.at_least.is_none_or(|bound| figure.value >= bound))
}

#[test]
fn the_capped_stall_catches_an_anchor_at_the_start() {
    let [right, wrong] = play("capped stall");
    assert!(lower_bounds_hold(&right) && !lower_bounds_hold(&wrong), "{right:?} {wrong:?}");
}

#[test]
fn the_exact_queue_catches_an_anchor_at_the_start() {
    let [right, wrong] = play("exact queue");
    assert!(lower_bounds_hold(&right) && !lower_bounds_hold(&wrong), "{right:?} {wrong:?}");
}

#[test]
fn the_blocked_generator_catches_an_anchor_at_the_start() {
    let [right, wrong] = play("blocked generator");
    assert!(lower_bounds_hold(&right) && !lower_bounds_hold(&wrong), "{right:?} {wrong:?}");
}

#[test]
fn the_uncapped_stall_alone_would_not() {
    let [right, wrong] = play("stall");
    assert!(lower_bounds_hold(&right) && lower_bounds_hold(&wrong), "{right:?} {wrong:?}");
}

#[test]
fn failing_and_refused_messages_are_counted_once() {
    let [check, _] = play("books");
    assert!(check.holds(), "{check:?}");
}
