//! The integration tests: the crate from outside, and the shape of its source.

mod architecture;
