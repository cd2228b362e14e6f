//! `[receive]`: the receiver behind the relay under test.

use super::listener::Listener;
use crate::profile::table::tables;
use crate::profile::units::Time;
use crate::smtp::script::Protocol;

tables! {
    /// The receiver behind the relay under test: it takes what the relay delivers, and matches it with what the relay accepted.
    Receive {
        /// Where the relay delivers to: `ip:port` or `unix:path`, one or more.
        address: Vec<String>, flag "--receive";
        /// The delivery log of `smtpress receive`, which is a process of its own: the run does not listen at `address`, it reads what
        /// came out there. Several where several receive. A path is relative to the working directory.
        deliveries: Vec<String>, flag "--deliveries";
        /// How far the clock of the machine that wrote the log is ahead of ours, as it was measured, with its bound:
        /// `"1.2ms+-0.3ms"`. Needed for times where that is another machine.
        clock_offset: String, flag "--clock-offset";
        /// Whether the run directory keeps what the relay accepted, in `transactions.jsonl`, so that `smtpress report RUN --deliveries
        /// FILE` can join the run when it is over: about 40 bytes a message. Runs with `deliveries` always do.
        keep_transactions: bool, or false;
        /// What the receiver speaks.
        protocol: Protocol, or Protocol::Smtp;
        /// How long deliveries are awaited after the last arrival, at most.
        drain: Time, or Time::seconds(120), flag "--drain";
        /// How long nothing must have come out for what is in doubt to be given up, once nothing accepted is missing. What is missing is
        /// awaited until `drain`, however silent the relay is: it may try again after minutes.
        quiet: Time, or Time::seconds(10);
        /// How the receiver answers, as `[listener]` says of the embedded listener: limits, delays, refused recipients, forced
        /// replies, TLS. `protocol` and `address` stand above.
        listener: Listener;
    }
}
