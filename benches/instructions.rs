//! How many instructions the parts take: `cargo bench -p smtpress-engine`. The same on every run and on any load of the
//! machine, so that two versions can be compared.
//!
//! Each part has a bound, 3 % above what it takes in the `release` profile, whose code is less optimized than that of `bench`:
//! `cargo bench --profile release -p smtpress-engine` fails above it, and `.ci/run` does that. A change that makes a part
//! quicker lowers its bound; one that has to make it slower says in its commit why.
//!
//! It needs `valgrind` and the runner of the same version as the library in `engine/Cargo.toml`:
//! `cargo install gungraun-runner --version 0.20.0`.

#![expect(
    missing_docs,
    unused_qualifications,
    reason = "the macros make functions, public and oddly qualified"
)]

// The other benchmarks that share `workload` are those of the whole program.
extern crate smtpress_engine as smtpress;

mod workload;

use std::hint::black_box;

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use smtpress::load::Spacing;
use smtpress::smtp::script::Pipelining;
use workload::{Arrivals, Classify, Pair, Recording, Render, Scan};

/// How often a part is run, so that the first time, when caches and buffers fill, does not count for much.
const TIMES: u64 = 1000;

/// A bound of instructions for all of a part's runs.
fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, instructions)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

#[library_benchmark]
#[bench::whole(args = (), setup = Scan::new, config = at_most(1_295_347))]
fn scan_whole(mut scan: Scan) -> u32 {
    (0..TIMES).fold(0, |sum, _| sum ^ black_box(scan.whole()))
}

#[library_benchmark]
#[bench::cut(args = (), setup = Scan::new, config = at_most(4_169_351))]
fn scan_cut(mut scan: Scan) -> u32 {
    (0..TIMES).fold(0, |sum, _| sum ^ black_box(scan.cut()))
}

#[library_benchmark]
#[bench::corpus(args = (), setup = Classify::new, config = at_most(100_049_214))]
fn classify(classify: Classify) -> u64 {
    black_box(classify.run())
}

#[library_benchmark]
#[bench::uniform(args = (Spacing::Uniform), setup = Arrivals::new, config = at_most(201_228))]
#[bench::poisson(args = (Spacing::Poisson), setup = Arrivals::new, config = at_most(406_035))]
fn schedule(mut arrivals: Arrivals) -> u64 {
    black_box(arrivals.run(TIMES))
}

#[library_benchmark]
#[bench::of(args = (), setup = Recording::new, config = at_most(3_018_890))]
fn book_message(mut recording: Recording) -> u64 {
    (0..TIMES).for_each(|_| recording.message());
    black_box(recording.accepted())
}

#[library_benchmark]
#[bench::of(args = (), setup = Recording::new, config = at_most(162_496))]
fn book_second(mut recording: Recording) -> u64 {
    recording.second();
    black_box(recording.accepted())
}

#[library_benchmark]
#[bench::mail(args = (), setup = Render::new, config = at_most(2_082_822))]
fn render(mut render: Render) -> usize {
    (0..TIMES).fold(0, |sum, _| sum + black_box(render.run()))
}

#[library_benchmark]
#[bench::single(args = (Pipelining::Off), setup = Pair::new, config = at_most(36_651_070))]
#[bench::grouped(args = (Pipelining::Auto), setup = Pair::new, config = at_most(32_410_535))]
#[bench::full(args = (Pipelining::Full), setup = Pair::new, config = at_most(29_785_068))]
fn transaction(mut pair: Pair) -> u64 {
    black_box(pair.run(TIMES))
}

library_benchmark_group!(
    name = parts,
    benchmarks = [scan_whole, scan_cut, classify, schedule, book_message, book_second, render, transaction]
);

main!(library_benchmark_groups = parts);
