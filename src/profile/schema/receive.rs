//! `[receive]`: the receiver behind the relay under test.

use super::listener::Listener;
use crate::profile::table::{Word, tables};
use crate::profile::units::Time;
use crate::smtp::script::Protocol;

tables! {
    /// The receiver behind the relay under test: it takes what the relay delivers, and matches it with what the relay accepted.
    Receive {
        /// The addresses to which the relay delivers: `ip:port` or `unix:path`, one or more.
        address: Vec<String>, flag "--receive";
        /// The name of the agent of a fleet that listens at `address`; without it the coordinator listens. Its times are joined
        /// with the measured offset of its clock, whose bound the report shows.
        agent: String;
        /// The delivery log of `smtpress receive`, which runs as another process: the run does not listen at `address`,
        /// but reads deliveries from the log. Several logs if there are several receivers. A path is relative to the
        /// working directory.
        deliveries: Vec<String>, flag "--deliveries";
        /// The measured offset by which the clock of the log's machine is ahead of this machine's, with its bound:
        /// `"1.2ms+-0.3ms"`. Needed for times if it is another machine.
        clock_offset: String, flag "--clock-offset";
        /// The receiver that writes the log, as a target (`host:port`, `smtps://host:port`, `lmtp://host:port`): it is asked for its
        /// clock before and after the run, in place of `clock_offset`. The rules of targets hold: loopback, or allowed.
        clock_probe: String, flag "--clock-probe";
        /// Whether the run directory keeps the accepted messages, in `transactions.jsonl` (about 40 bytes a message),
        /// so that `smtpress report RUN --deliveries FILE` can join the run afterwards. Runs with `deliveries` always
        /// keep them.
        keep_transactions: bool, or false;
        /// The protocol of the receiver.
        protocol: Word<Protocol>, or Word(Protocol::Smtp);
        /// The longest wait for deliveries after the last arrival.
        drain: Time, or Time::seconds(120), flag "--drain";
        /// How long to wait without any delivery for messages in doubt, once no accepted one is missing. Missing
        /// messages are awaited until `drain`, even if the relay is silent: it may try again after minutes.
        quiet: Time, or Time::seconds(10);
        /// The settings of the receiver's listener, with the keys of `[listener]`: limits, delays, refused recipients,
        /// forced replies, TLS. `protocol` and `address` are set above. Without `max_message_size` the receiver refuses a
        /// message of more than 256 MiB; it always refuses recipients of a message after the first 100,000.
        listener: Listener;
    }
}
