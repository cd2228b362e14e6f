//! Assertions that watch the run while it lasts: over sliding windows, and those that end it.

use super::grammar::Assertion;
use crate::collector::expect::Expect;
use crate::collector::snapshot::Interval;
use crate::collector::summary::PhaseInfo;

/// Watches a run, a second at a time.
#[derive(Clone, Debug)]
pub struct Windows {}

impl Windows {
    /// For these assertions; those without window and `abort` are passed over.
    pub fn new(assertions: &[Assertion], phases: &[PhaseInfo], expects: &[Expect]) -> Windows {
        todo!()
    }

    /// Takes one second of the run. Returns the index of the assertion that ends it, if one does.
    pub fn feed(&mut self, interval: &Interval) -> Option<usize> {
        todo!()
    }
}
