//! Whole runs against the embedded listener: the books, the ledger and the rules of measurement.

mod books;
mod stage;
