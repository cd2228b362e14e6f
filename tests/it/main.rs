//! The integration tests, one binary.

mod listener;
