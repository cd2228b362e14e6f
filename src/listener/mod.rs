//! The embedded listener: a target with programmable limits, delays and refusals that keeps its own books.

pub mod limits;

pub use limits::{Limits, Style};
