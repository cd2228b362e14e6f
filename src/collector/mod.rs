//! The measurements: counts, outcomes, histograms, and the summary of a run. This module judges no objective and prints
//! nothing.

pub mod agents;
pub mod backlog;
pub mod delivery;
pub mod delivery_times;
pub mod effect;
pub mod flow;
pub mod growth;
pub mod histogram;
pub mod metric;
pub mod outcome;
pub mod recorder;
pub mod slices;
pub mod snapshot;
pub mod summary;
pub mod tally;
pub mod work;

pub use metric::Metric;
pub use outcome::Outcome;
