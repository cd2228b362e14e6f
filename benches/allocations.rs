//! How often the path of a message allocates: `cargo bench --bench allocations`. A count, not a timing: it is the same on
//! every run, and the exit code is 1 when a message allocates in the client's steady state.
//!
//! In memory, the client's side is the client machine, the rendering of messages and the recording; the server's side, counted
//! apart, is the embedded listener's machine, which gives its buffers back on purpose. Over loopback it is the whole
//! generator with its runtime: what so many more messages allocate, the work of each second included.

#![expect(clippy::print_stdout, reason = "a bench tells its figures")]

mod whole;
mod workload;

use std::alloc::System;
use std::process::ExitCode;

use smtpress::smtp::script::Pipelining;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use whole::Whole;
use workload::{Pair, Render};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Messages before the count begins.
const WARM_UP: u64 = 1_000;
/// Messages of the count.
const MESSAGES: u64 = 100_000;
/// Messages of each kind that are rendered.
const RENDERED: u64 = 1_000;
/// Messages between two snapshots: a second at a fair rate.
const SECOND: u64 = 20_000;

/// Messages of the whole generator before its count begins: its tapes are full by then.
const WHOLE_WARM_UP: u64 = 10_000;
/// The whole generator does something each second, and seconds are not counted here: what is below this a message does not do.
const NOT_BY_MESSAGE: f64 = 0.02;

/// Allocations and reallocations.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    calls: usize,
    bytes: usize,
}

impl Count {
    /// Adds what `work` allocates.
    fn during(&mut self, work: impl FnOnce()) {
        let region = Region::new(COUNTED);
        work();
        let change = region.change();
        self.calls += change.allocations + change.reallocations;
        self.bytes += change.bytes_allocated;
    }

    fn of(self, many: u64) -> f64 {
        self.calls as f64 / many as f64
    }

    fn each(self, of: u64) -> String {
        format!("{:.4} ({:.1})", self.of(of), self.bytes as f64 / of as f64)
    }
}

/// What one way of pipelining costs.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    client: Count,
    server: Count,
    /// The snapshots that are taken once a second.
    seconds: Count,
}

fn count(pipelining: Pipelining) -> Counts {
    let mut pair = Pair::new(pipelining);
    pair.run(WARM_UP);
    pair.second();
    pair.run(WARM_UP);
    let mut counts = Counts::default();
    let (mut second, end) = (pair.accepted() + SECOND, pair.accepted() + MESSAGES);
    while pair.accepted() < end {
        counts.server.during(|| pair.server_turn());
        counts.client.during(|| pair.client_turn());
        if pair.accepted() >= second {
            second += SECOND;
            counts.seconds.during(|| pair.second());
        }
    }
    counts
}

/// What `messages` more cost the whole generator.
fn count_whole(whole: &Whole, pipelining: Pipelining, messages: u64) -> Count {
    let total = |messages| {
        let mut count = Count::default();
        count.during(|| whole.run(pipelining, messages));
        count
    };
    let (few, many) = (total(WHOLE_WARM_UP), total(WHOLE_WARM_UP + messages));
    Count { calls: many.calls.saturating_sub(few.calls), bytes: many.bytes.saturating_sub(few.bytes) }
}

fn main() -> ExitCode {
    let whole = Whole::new();
    let mut clean = true;
    println!("allocations (and bytes) in the steady state, over {MESSAGES} messages\n");
    println!(
        "| pipelining | client, a message | whole generator, a message | server, a message | recording, a second |"
    );
    println!("|---|---:|---:|---:|---:|");
    for (name, pipelining) in
        [("off", Pipelining::Off), ("auto", Pipelining::Auto), ("full", Pipelining::Full)]
    {
        let Counts { client, server, seconds } = count(pipelining);
        let generator = count_whole(&whole, pipelining, MESSAGES);
        clean &= client.calls == 0 && generator.of(MESSAGES) < NOT_BY_MESSAGE;
        println!(
            "| {name} | {} | {} | {} | {} |",
            client.each(MESSAGES),
            generator.each(MESSAGES),
            server.each(MESSAGES),
            seconds.each(MESSAGES / SECOND)
        );
    }
    println!("\n| message | allocations |\n|---|---:|");
    for (name, mut render) in Render::kinds() {
        let mut count = Count::default();
        (0..10).for_each(|_| assert!(render.run() > 0));
        count.during(|| (0..RENDERED).for_each(|_| assert!(render.run() > 0)));
        clean &= count.calls == 0;
        println!("| {name} | {} |", count.each(RENDERED));
    }
    if clean {
        println!("\na message allocates nothing");
        ExitCode::SUCCESS
    } else {
        println!("\na message allocates: it must not");
        ExitCode::FAILURE
    }
}
