//! The protocol without I/O and without a clock: replies, commands and the two machines (client and server).
//!
//! Nothing here opens a socket, reads the time or knows about load. `net::drive` moves the bytes.

pub mod auth;
pub mod client;
pub mod command;
pub mod content;
pub mod dialogue;
pub mod extensions;
pub mod hello;
pub mod machine;
pub mod raw_client;
pub mod reply;
pub mod request;
pub mod script;
pub mod server;
pub mod step;
pub mod transaction;

pub use client::Client;
pub use machine::{Closed, Machine, Need};
pub use reply::{Enhanced, Malformed, Reply};
pub use script::Script;
pub use step::Step;
pub use transaction::Content;
