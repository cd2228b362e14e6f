//! The search for the highest load that meets the goals, by the method of RFC 9971 (MLRsearch).
//!
//! `goal` judges arrivals and trials, `sustained` the growth of the backlog, `relayed` the deliveries of the relay;
//! `classify` classifies loads, and `controller` chooses the next trial. None of these modules reads a clock.
//! `search_plan` makes plans from loads, `search` runs the plans on a [`SearchHost`], `record` holds the records of
//! trials, and `describe` describes the results.

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
