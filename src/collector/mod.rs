//! The measurements: what happened, how long it took, and what each reply means. It judges nothing and prints nothing.

pub mod histogram;
pub mod metric;
pub mod outcome;
pub mod recorder;
pub mod snapshot;
pub mod summary;
pub mod tally;
pub mod work;

pub use metric::Metric;
pub use outcome::Outcome;
