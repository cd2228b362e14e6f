//! `[message]`: what is sent, from whom and to whom.

use crate::mail::Order;
use crate::profile::bounds;
use crate::profile::table::{tables, words};
use crate::profile::units::{Count, Size};
use crate::profile::value::Distribution;

words! {
    /// What becomes of a list with a line that holds no mailbox that can be used.
    enum OnBadLine {
        /// It is refused; all such lines are counted, and the first five named.
        Error = "error",
        /// They are passed over, counted and named, in `check` and in the report.
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
        /// Which sender comes next, of a file or of `{n:1..500}`.
        from_order: Order, or Order::InTurn;
        /// The recipient, a template: `{n}` is the recipient's number. Default user{n}@recipient.example.
        to: String;
        /// Recipients from a CSV file, as for `from_file`.
        to_file: String;
        /// Which recipient comes next, of a file or of `{n:1..500}`.
        to_order: Order, or Order::InTurn;
        /// Addresses keep the grammar and the lengths of RFC 5321. If false, those that break them are sent as they are
        /// (`a..b@c.example`, `postmaster`, `u@my_host`), but nothing that would break the command line.
        strict_addresses: bool, or true;
        /// What becomes of lines of `from_file` and `to_file` that hold no mailbox that can be used.
        on_bad_line: OnBadLine, or OnBadLine::Error;
        /// Recipients of a message.
        recipients: Count = Count(1), if bounds::recipients, flag "--recipients";
        /// How large a message is, in bytes. Default 4KiB, or what `text` has.
        size: Distribution<Size>, flag "--size";
        /// The subject, a template. Default: smtpress message {n}.
        subject: String;
        /// Further header fields, each a template such as "X-Campaign: {n}".
        headers: Vec<String>;
        /// What it says, a template; words follow if `size` asks for more. Default: words.
        text: String;
        /// The same from a file.
        text_file: String;
        /// Attachments by their sizes in bytes, before base64.
        attachments: Vec<Size>;
        /// Messages from files, as they are: a file, a folder (its *.eml), a Maildir (its `cur` and `new`), or a pattern such
        /// as "corpus/*.eml". What is no message (an empty file, an mbox) is passed over, counted and named.
        files: String;
        /// Which file comes next.
        files_order: Order, or Order::InTurn;
        /// Sign them with DKIM (RFC 6376).
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
