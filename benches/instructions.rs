//! How many instructions the parts take: `cargo bench --bench instructions`. The same on every run and on any load of the
//! machine, so that two versions can be compared.
//!
//! It needs `valgrind` and the runner of the same version as the library in `Cargo.toml`:
//! `cargo install gungraun-runner --version 0.20.0`.

#![expect(
    missing_docs,
    unused_qualifications,
    reason = "the macros make functions, public and oddly qualified"
)]

mod workload;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use smtpress::load::Spacing;
use smtpress::smtp::script::Pipelining;
use workload::{Arrivals, Classify, Pair, Recording, Render, Scan};

/// How often a part is run, so that the first time, when caches and buffers fill, does not count for much.
const TIMES: u64 = 1000;

#[library_benchmark]
#[bench::whole(args = (), setup = Scan::new)]
fn scan_whole(mut scan: Scan) -> u32 {
    (0..TIMES).fold(0, |sum, _| sum ^ black_box(scan.whole()))
}

#[library_benchmark]
#[bench::cut(args = (), setup = Scan::new)]
fn scan_cut(mut scan: Scan) -> u32 {
    (0..TIMES).fold(0, |sum, _| sum ^ black_box(scan.cut()))
}

#[library_benchmark]
#[bench::corpus(args = (), setup = Classify::new)]
fn classify(classify: Classify) -> u64 {
    black_box(classify.run())
}

#[library_benchmark]
#[bench::uniform(args = (Spacing::Uniform), setup = Arrivals::new)]
#[bench::poisson(args = (Spacing::Poisson), setup = Arrivals::new)]
fn schedule(mut arrivals: Arrivals) -> u64 {
    black_box(arrivals.run(TIMES))
}

#[library_benchmark]
#[bench::of(args = (), setup = Recording::new)]
fn book_message(mut recording: Recording) -> u64 {
    (0..TIMES).for_each(|_| recording.message());
    black_box(recording.accepted())
}

#[library_benchmark]
#[bench::of(args = (), setup = Recording::new)]
fn book_second(mut recording: Recording) -> u64 {
    recording.second();
    black_box(recording.accepted())
}

#[library_benchmark]
#[bench::mail(args = (), setup = Render::new)]
fn render(mut render: Render) -> usize {
    (0..TIMES).fold(0, |sum, _| sum + black_box(render.run()))
}

#[library_benchmark]
#[bench::single(args = (Pipelining::Off), setup = Pair::new)]
#[bench::grouped(args = (Pipelining::Auto), setup = Pair::new)]
#[bench::full(args = (Pipelining::Full), setup = Pair::new)]
fn transaction(mut pair: Pair) -> u64 {
    black_box(pair.run(TIMES))
}

library_benchmark_group!(
    name = parts,
    benchmarks = [scan_whole, scan_cut, classify, schedule, book_message, book_second, render, transaction]
);

main!(library_benchmark_groups = parts);
