//! What: addresses, envelopes and message bytes, all from seed and sequence number.
//!
//! A [`Spec`] says what is asked ([`Spec::check`] whether it can be). A [`Mailer`] renders once what all messages share;
//! a [`Message`] is a handle to one of them and implements [`Content`](crate::smtp::Content). [`encode`] stuffs dots.
//!
//! # Decisions
//! - The filler is rendered once, stuffed once, and shared: a piece of a body is one copy of bytes that stand ready.
//! - Content and size of message n follow from spec, seed, n, run id and date alone: two runs differ in the documented
//!   fields only.

mod address;
pub mod encode;
mod filler;
mod message;
mod random;
mod size;

pub use address::InvalidAddress;
pub use message::{Mailer, Message};
pub use size::InvalidSize;

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
    /// The reverse path, a pattern: `{n}` is the message's number. Empty: the null reverse path (RFC 5321 4.5.5).
    pub from: String,
    /// The forward path, a pattern: `{n}` is the recipient's number: the message's number times `recipients` plus its place.
    pub to: String,
    /// Recipients of a message, at least one.
    pub recipients: u32,
    /// How large messages are.
    pub size: Size,
}

/// Why a spec cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidSpec {
    /// The reverse path.
    #[error("the sender {0}")]
    From(#[source] InvalidAddress),
    /// The forward path.
    #[error("the recipient {0}")]
    To(#[source] InvalidAddress),
    /// No recipients.
    #[error("a message has no recipients: give it at least one")]
    NoRecipients,
    /// The size.
    #[error("the message size {0}")]
    Size(#[source] InvalidSize),
}

impl Spec {
    /// Whether messages can be made of it, whatever their numbers.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of the fields.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        self.parts().map(drop)
    }

    /// The parts that a mailer is made of.
    fn parts(&self) -> Result<Parts, InvalidSpec> {
        let from = match self.from.as_str() {
            "" => None,
            from => Some(address::Pattern::parse(from).map_err(InvalidSpec::From)?),
        };
        let to = address::Pattern::parse(&self.to).map_err(InvalidSpec::To)?;
        if self.recipients == 0 {
            return Err(InvalidSpec::NoRecipients);
        }
        let sampler = size::Sampler::new(&self.size).map_err(InvalidSpec::Size)?;
        Ok(Parts { from, to, sampler })
    }
}

/// A spec that has been checked.
struct Parts {
    /// `None`: the null reverse path.
    from: Option<address::Pattern>,
    to: address::Pattern,
    sampler: size::Sampler,
}
