//! How often the path of a message allocates: `cargo bench --bench allocations`. A count, not a timing: it is the same on
//! every run, and the exit code is 1 when the client's side allocates at all in its steady state.
//!
//! The client's side is the client machine, the rendering of messages and the books; the server's side, counted apart, is
//! the embedded listener's machine, which gives its buffer back after each reply on purpose.

#![expect(clippy::print_stdout, reason = "a bench tells its figures")]

mod workload;

use std::alloc::System;
use std::process::ExitCode;

use smtpress::smtp::script::Pipelining;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use workload::Pair;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Messages before the count begins.
const WARM_UP: u64 = 1_000;
/// Messages of the count.
const MESSAGES: u64 = 100_000;
/// Messages between two snapshots: a second at a fair rate.
const SECOND: u64 = 20_000;

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

fn main() -> ExitCode {
    let mut clean = true;
    println!("allocations in the steady state, over {MESSAGES} messages after {WARM_UP} of warm-up");
    println!(
        "{:<10} {:>22} {:>22} {:>24}",
        "pipelining", "client, a message", "server, a message", "books, once a second"
    );
    for (name, pipelining) in
        [("off", Pipelining::Off), ("auto", Pipelining::Auto), ("full", Pipelining::Full)]
    {
        let Counts { client, server, seconds } = count(pipelining);
        clean &= client.calls == 0;
        let each = |count: Count, of: u64| {
            let a = |n: usize| n as f64 / of as f64;
            format!("{:.5} ({:.1} B)", a(count.calls), a(count.bytes))
        };
        println!(
            "{name:<10} {:>22} {:>22} {:>24}",
            each(client, MESSAGES),
            each(server, MESSAGES),
            each(seconds, MESSAGES / SECOND)
        );
    }
    if clean {
        println!("the client's side allocates nothing");
        ExitCode::SUCCESS
    } else {
        println!("the client's side allocates: it must not");
        ExitCode::FAILURE
    }
}
