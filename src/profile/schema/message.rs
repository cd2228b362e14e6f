//! `[message]`: the messages, their senders and their recipients.

use crate::mail::Order;
use crate::profile::bounds;
use crate::profile::table::{Word, tables, words};
use crate::profile::units::{Count, Size};
use crate::profile::value::Distribution;

words! {
    /// What happens with lines of a list that hold no usable mailbox.
    enum OnBadLine {
        /// The list is refused; all such lines are counted, and the first five are named.
        Error = "error",
        /// They are skipped, counted and named, in `check` and in the report.
        Skip = "skip",
    }
}

tables! {
    /// The messages. In all templates `{n}` is a number, `{n:1..500}` the same within bounds, again and again,
    /// `{session}` the session's number (where arrivals are sessions), `{run}` the run's id, `{random:8}` so many letters by seed, and `{{` a brace;
    /// `{date}` is the date of the run, for headers and texts.
    Message {
        /// The sender, a template: `{n}` is the message's number. Empty or `<>`: the null reverse path. Default load@sender.example.
        from: String;
        /// Senders from a CSV file (commas, semicolons or tabs; UTF-8 or UTF-16): its first column, or the one headed
        /// `mailbox` or `email`; `Name <a@b.example>` is read as the address in it, `<>` as the null reverse path.
        from_file: String;
        /// The order in which senders of a file or of `{n:1..500}` are taken.
        from_order: Word<Order>, or Word(Order::InTurn);
        /// The recipient, a template: `{n}` is the recipient's number. Default user{n}@recipient.example.
        to: String;
        /// Recipients from a CSV file, as for `from_file`.
        to_file: String;
        /// The order in which recipients of a file or of `{n:1..500}` are taken.
        to_order: Word<Order>, or Word(Order::InTurn);
        /// Whether addresses must have the grammar and the lengths of RFC 5321. If false, others are sent unchanged
        /// (`a..b@c.example`, `postmaster`, `u@my_host`), unless they would break the command line.
        strict_addresses: bool, or true;
        /// What happens with lines of `from_file` and `to_file` that hold no usable mailbox.
        on_bad_line: OnBadLine, or OnBadLine::Error;
        /// Recipients of a message.
        recipients: Count = Count(1), if bounds::recipients, flag "--recipients";
        /// The size of a message, in bytes. Default 4KiB, or what `text` has.
        size: Distribution<Size>, flag "--size";
        /// The subject, a template. Default: smtpress message {n}.
        subject: String;
        /// Further header fields, each a template such as "X-Campaign: {n}".
        headers: Vec<String>;
        /// The text, a template; random words follow if `size` is larger. Default: random words.
        text: String;
        /// The text from a file.
        text_file: String;
        /// Attachments by their sizes in bytes, before base64.
        attachments: Vec<Size>;
        /// Messages from files, unchanged: a file, a folder (its *.eml), a Maildir (its `cur` and `new`), or a pattern
        /// such as "corpus/*.eml". Files that are no message (an empty file, an mbox) are skipped, counted and named.
        files: String;
        /// The order in which the files are taken.
        files_order: Word<Order>, or Word(Order::InTurn);
        /// Sign them with DKIM (RFC 6376). `smtpress limit` sends them unsigned.
        dkim: Dkim;
    }
    /// DKIM signatures.
    Dkim {
        /// The domain that signs: `d=`.
        domain: String;
        /// The selector of its key: `s=`.
        selector: String;
        /// A file with the private key, PEM: RSA or Ed25519.
        key: String;
    }
}
