//! Indexes of a result, to find related parts fast: a run may have hundreds of phases.

use std::collections::{BTreeMap, BTreeSet};

use super::stored::{RunResult, StoredMetric};

impl RunResult {
    /// Returns the metrics of each phase by its name, with their places in [`RunResult::metrics`].
    pub(super) fn metrics_by_phase(&self) -> BTreeMap<&str, Vec<(usize, &StoredMetric)>> {
        let mut by_phase: BTreeMap<&str, Vec<(usize, &StoredMetric)>> = BTreeMap::new();
        for (at, metric) in self.metrics.iter().enumerate() {
            by_phase.entry(&metric.phase).or_default().push((at, metric));
        }
        by_phase
    }

    /// Returns the names of the measured phases.
    pub(super) fn measured_phases(&self) -> BTreeSet<&str> {
        self.phases.iter().filter(|phase| !phase.warmup).map(|phase| phase.name.as_str()).collect()
    }
}
