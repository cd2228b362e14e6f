//! The wire: names, connections and the one loop that moves bytes for a machine.

pub mod drive;
pub mod stream;
pub mod target;
