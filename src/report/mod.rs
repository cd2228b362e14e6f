//! Reports: the result of a run, as text and as files. The module measures nothing and judges nothing.
//!
//! [`RunResult`] is the only input of every renderer, so a stored `result.json` is reported again with the same code. Only
//! the files that grow with the run, `timeseries.csv`, `metrics.hlog` and `conditions.csv`, are written from the intervals of
//! the run.

pub mod blocks;
pub mod compared;
pub mod conditions;
pub mod csv;
pub mod delivered_seconds;
pub mod environment;
pub mod failures;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod format;
pub mod hdr_log;
pub mod hgrm;
pub mod html;
pub mod joined;
pub mod junit;
mod lookup;
pub mod markdown;
pub mod merge;
pub mod run_dir;
pub mod seconds;
pub mod stored;
pub mod terminal;
pub mod view;

pub use environment::Environment;
pub use junit::junit;
pub use run_dir::{Contents, Recording, RunDir, RunDirError};
pub use stored::RunResult;
pub use stored::convert::{BuildInput, RunDescription};
