//! How long the parts take, in wall-clock time: `cargo bench --bench parts`. Good for a first impression; what is to be compared over
//! time is counted by `instructions`.

mod workload;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use smtpress::load::Spacing;
use smtpress::smtp::script::Pipelining;
use workload::{Arrivals, Classify, Pair, Recording, Render, Scan};

/// Messages or arrivals of one turn of a part whose single one would be too short to time.
const MANY: u64 = 100;

fn replies(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("replies");
    let mut scan = Scan::new();
    group.throughput(Throughput::Elements(4));
    group.bench_function("scan_whole", |b| b.iter(|| scan.whole()));
    group.bench_function("scan_cut", |b| b.iter(|| scan.cut()));
    let classify = Classify::new();
    group.throughput(Throughput::Elements(classify.len()));
    group.bench_function("classify", |b| b.iter(|| classify.run()));
    group.finish();
}

fn schedule(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("schedule");
    group.throughput(Throughput::Elements(MANY));
    for (name, spacing) in [("uniform", Spacing::Uniform), ("poisson", Spacing::Poisson)] {
        let mut arrivals = Arrivals::new(spacing);
        group.bench_function(name, |b| b.iter(|| arrivals.run(MANY)));
    }
    group.finish();
}

fn recording(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("recording");
    let mut recording = Recording::new();
    group.throughput(Throughput::Elements(1));
    group.bench_function("message", |b| b.iter(|| recording.message()));
    group.bench_function("second", |b| {
        b.iter(|| {
            recording.message();
            recording.second();
        });
    });
    group.finish();
}

fn mail(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("mail");
    let mut render = Render::new();
    group.throughput(Throughput::Elements(1));
    group.bench_function("render", |b| b.iter(|| render.run()));
    group.finish();
}

fn transaction(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("transaction");
    group.throughput(Throughput::Elements(1));
    for (name, pipelining) in
        [("single", Pipelining::Off), ("grouped", Pipelining::Auto), ("full", Pipelining::Full)]
    {
        let mut pair = Pair::new(pipelining);
        group.bench_function(name, |b| b.iter(|| pair.run(1)));
    }
    group.finish();
}

criterion_group!(parts, replies, schedule, recording, mail, transaction);
criterion_main!(parts);
