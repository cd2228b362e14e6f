//! How many trials, and of what: searches and proofs that repeat a run with other knobs and another judge.

pub mod capacity;
pub mod limit;
pub mod search;
pub mod selftest;
