//! Whole runs against the embedded listener: the books, the ledger and the rules of measurement.

mod anchor;
mod books;
mod ends;
mod extensions;
mod faults;
mod gate;
mod limits;
mod loads;
mod logins;
mod own;
mod rude;
mod same;
pub mod stage;
