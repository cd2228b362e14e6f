//! What only a build with DKIM can do: `cargo test --features dkim --test signed`. These tests are a program of their own, so that
//! no other test is built again with DKIM.

#![expect(
    clippy::unwrap_used,
    reason = "in a test what fails must end it, also in the functions that tests share"
)]

mod fields;
#[path = "../it/runs/resolvers.rs"]
#[expect(dead_code, reason = "other runs need more of it")]
mod resolvers;
mod runs;
#[path = "../it/runs/scribe.rs"]
mod scribe;
#[path = "../it/runs/testbed.rs"]
#[expect(dead_code, reason = "other runs need more of it")]
mod testbed;

/// A private key in PEM, and the DNS record of its public key.
type Key = (&'static str, &'static str);

const RSA: Key = (include_str!("../data/dkim/rsa.pem"), include_str!("../data/dkim/rsa.txt"));
const ED25519: Key = (include_str!("../data/dkim/ed25519.pem"), include_str!("../data/dkim/ed25519.txt"));
