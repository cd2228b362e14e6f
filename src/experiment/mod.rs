//! Measurements that need more than one run or session: the searches for limits and for the capacity, and the
//! self-test.

pub mod bracket;
pub mod capacity;
pub mod limit;
pub mod selftest;
