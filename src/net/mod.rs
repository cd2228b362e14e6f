//! The network: names, connections and the one loop that moves bytes for a machine.

pub mod address;
mod closed;
pub mod dial;
pub mod drive;
pub mod listen;
pub mod proxy;
pub mod source;
pub mod stream;
pub mod timer;
pub mod tls;
