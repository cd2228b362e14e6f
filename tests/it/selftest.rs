//! The proof can fail: with response times that count from the wrong moment, the scenes that are there to catch it do.

use smtpress::experiment::selftest::{Check, Part, Stage, Told, scenes};
use smtpress::generator::{Faults, Local, RunError, Runner, Stop};
use smtpress::listener::limits::{Delay, Delays, Limits, Stall};
use smtpress::plan::Plan;
use tokio::sync::watch;

struct Here {
    anchors_at_start: bool,
}

impl Stage for Here {
    fn play(&mut self, plan: &Plan, part: &Part) -> Result<Told, RunError> {
        let limits = Limits {
            delays: Delays { body: Delay { min: part.body, max: part.body }, ..Delays::default() },
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
            .with_faults(Faults { block: part.block, anchors_at_start: self.anchors_at_start });
        let measured = local.run(plan, &mut ())?;
        Ok(Told { measured, delivered: listener.stop().messages })
    }

    fn resident_bytes(&self) -> u64 {
        smtpress::generator::resident_bytes()
    }
}

fn play(name: &str, anchors_at_start: bool) -> Check {
    let scene = scenes().into_iter().find(|scene| scene.name == name).unwrap();
    let told = Here { anchors_at_start }.play(&scene.plan, &scene.part).unwrap();
    scene.judge(&told)
}

/// The lower bounds hold on any machine; the upper ones only on one that has the time.
fn lower_bounds_hold(check: &Check) -> bool {
    check.figures.iter().all(|figure| figure.at_least.is_none_or(|bound| figure.value >= bound))
}

#[test]
fn the_capped_stall_catches_an_anchor_at_the_start() {
    assert!(lower_bounds_hold(&play("capped stall", false)));
    assert!(!lower_bounds_hold(&play("capped stall", true)));
}

#[test]
fn the_exact_queue_catches_an_anchor_at_the_start() {
    assert!(lower_bounds_hold(&play("exact queue", false)));
    assert!(!lower_bounds_hold(&play("exact queue", true)));
}

#[test]
fn the_blocked_generator_catches_an_anchor_at_the_start() {
    assert!(lower_bounds_hold(&play("blocked generator", false)));
    assert!(!lower_bounds_hold(&play("blocked generator", true)));
}

#[test]
fn the_uncapped_stall_alone_would_not() {
    assert!(lower_bounds_hold(&play("stall", false)));
}

#[test]
fn failing_and_refused_messages_are_in_the_books_once() {
    let check = play("books", false);
    assert!(check.holds(), "{check:?}");
}
