//! Whole runs against the embedded listener: the counts, the ledger and the rules of measurement.

mod addresses;
mod anchor;
mod counts;
mod cut_off;
mod ends;
mod extensions;
mod faults;
mod grey_listener;
mod limits;
mod loads;
mod logins;
mod long;
mod occupancy;
mod own;
mod parts;
mod pauses;
pub mod resolvers;
mod retries;
mod rude;
mod same;
pub mod scribe;
mod start_barrier;
pub mod testbed;
