//! The highest load that meets the goals, found as RFC 9971 (MLRsearch) says.
//!
//! `goal` says which arrivals are bad and whether a trial is, `sustained` whether its backlog grows, `relayed` what came out of the
//! relay, `classify` what trials mean for a load, `controller` which trial is next; none of them knows a clock. `search_plan` makes plans of loads, `search` runs them where a [`SearchHost`] lets it,
//! `record` is what is kept, and `describe` what can be said of it all.

pub mod classify;
pub mod controller;
pub mod describe;
pub mod goal;
pub mod record;
pub mod relayed;
pub mod search;
pub mod search_plan;
pub mod sustained;

pub use controller::{Controller, GoalBounds, GoalEnd, SearchRules};
pub use goal::Goal;
pub use record::{SearchState, TrialRecord};
pub use search::{SearchEnd, SearchEvent, SearchHost, search};
pub use search_plan::{CapacityPlan, Knob};
