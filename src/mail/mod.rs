//! What: addresses, envelopes and message bytes, all from seed and sequence number.

/// A message size in octets, before dot stuffing.
#[derive(Clone, Debug, PartialEq)]
pub enum Size {
    /// Always the same.
    Fixed(u64),
    /// Uniform between the two, both included.
    Uniform {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// One of these, by weight.
    Weighted(Vec<(u64, f64)>),
}

/// What the messages of a run are.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The reverse path, a pattern: `{n}` is the message's number.
    pub from: String,
    /// The forward path, a pattern: `{n}` is the recipient's number: the message's number times `recipients` plus its place.
    pub to: String,
    /// Recipients of a message.
    pub recipients: u32,
    /// How large messages are.
    pub size: Size,
}
