//! The highest load that meets the goals, found as RFC 9971 (MLRsearch) says.
//!
//! `goal` says which arrivals are bad and whether a trial is, `classify` what trials mean for a load, `controller` which
//! trial is next; none of them knows a clock. `asked` makes plans of loads, `search` runs them where a [`Site`] lets it,
//! `record` is what is kept, and `describe` what can be said of it all.

pub mod asked;
pub mod classify;
pub mod controller;
pub mod describe;
pub mod goal;
pub mod record;
pub mod search;

pub use asked::{Asked, Knob};
pub use controller::{Bounds, Controller, Ending, Rules};
pub use goal::Goal;
pub use record::{Record, State};
pub use search::{End, News, Site, search};
