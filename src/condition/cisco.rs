//! Cisco's list of the 52 conversational bounces of its mail appliances: row, reply, condition, and how a client causes
//! it.
//!
//! The list is reference data for `smtpress codes`; the classifier does not read it.

use super::Condition;

/// How certain the text of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// The list prints this text.
    Exact,
    /// The text is put together from a list entry that holds several replies.
    Reconstructed,
}

/// How the bounce of a row can be caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provocation {
    /// A client causes it by SMTP, in this way.
    Smtp(&'static str),
    /// A client causes it with Cisco's mail merge (XMRG), which smtpress does not have. `smtpress codes` says "not in this
    /// version".
    NotYet(&'static str),
    /// No client can cause it: it shows a state of the listener.
    Outside(&'static str),
}

impl Provocation {
    /// Returns the way, or the reason why there is none.
    pub const fn describe(self) -> &'static str {
        match self {
            Provocation::Smtp(text) | Provocation::NotYet(text) | Provocation::Outside(text) => text,
        }
    }
}

/// One row of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounce {
    /// The number, 1 to 52.
    pub number: u8,
    /// The reply with its code first. `XXX` and `<hostname>` stand for text that the listener fills in.
    pub reply: &'static str,
    /// The condition.
    pub condition: Condition,
    /// How certain the text is.
    pub certainty: Certainty,
    /// How it can be caused.
    pub provocation: Provocation,
}

/// Defines the rows without their field names.
macro_rules! rows {
    ($($number:literal, $reply:literal, $condition:ident, $certainty:ident, $provocation:ident, $text:literal;)*) => {
        &[$(Bounce {
            number: $number,
            reply: $reply,
            condition: Condition::$condition,
            certainty: Certainty::$certainty,
            provocation: Provocation::$provocation($text),
        },)*]
    };
}

/// The whole list in its original order.
pub const BOUNCES: &[Bounce] = rows! {
    1, "421 #4.4.5 Too many TLS sessions at this time", TooManyTlsSessions, Exact, Smtp, "hold more TLS sessions open than the appliance allows, then send STARTTLS in one more";
    2, "421 #4.4.5 Too many connections from your host", TooManyConnectionsFromHost, Exact, Smtp, "hold more connections open from one address than the sender group's limit, then open one more";
    3, "421 #4.4.5 Too many connections to this host", TooManyConnectionsToHost, Exact, Smtp, "hold more connections open, from any addresses, than the host takes, then open one more";
    4, "421 #4.4.5 Too many connections to this listener", TooManyConnectionsToListener, Exact, Smtp, "hold more connections open to one listener than its limit, then open one more";
    5, "421 #4.x.2 Too many messages for this session", TooManyMessagesPerSession, Exact, Smtp, "send one transaction more in a session than the messages a connection may carry";
    6, "421 <hostname> Service not available, closing transaction channel", ServiceUnavailable, Exact, Outside, "comes when the service stops; stop or suspend the listener while sessions are open";
    7, "421 Exceeded allowable connection time", ConnectionTimeExceeded, Exact, Smtp, "keep a session busy, NOOP by NOOP, past the lifetime of a connection";
    8, "421 Exceeded bad SMTP command limit, disconnecting", BadCommandLimitExceeded, Exact, Smtp, "send unknown commands until the limit is passed (4 by default on many listeners)";
    9, "421 The evaluation license has expired", LicenseExpired, Exact, Outside, "comes once the evaluation key has run out; a client cannot bring it about";
    10, "451 #4.3.0 Server Error", ServerError, Exact, Outside, "an internal fault of the appliance; a client cannot bring it about";
    11, "452 #4.3.1 queue full", QueueFull, Exact, Smtp, "send messages faster than they are delivered until the queue is full";
    12, "452 #4.3.1 server resources low - try again later", ResourceLow, Exact, Smtp, "raise the load until the appliance is in resource conservation";
    13, "452 #4.3.1 temporary system error (12)", TemporarySystemError, Exact, Smtp, "raise the load until a system call fails for want of memory (12 is ENOMEM)";
    14, "452 #4.5.3 Too many recipients", TooManyRecipients, Exact, Smtp, "send one RCPT more than the recipients a message may have";
    15, "454 TLS not available due to a temporary reason", TlsUnavailable, Exact, Smtp, "send STARTTLS while the appliance cannot start TLS";
    16, "500 #5.5.1 command not recognized", UnrecognizedCommand, Exact, Smtp, "send a command that does not exist";
    17, "500 Line too long", LineTooLong, Exact, Smtp, "send a command line over the limit (512 bytes in RFC 5321 4.5.3.1.4)";
    18, "501 #5.0.0 EHLO requires domain address", SyntaxError, Exact, Smtp, "send EHLO without an argument";
    19, "501 #5.5.2 syntax error XXX", SyntaxError, Exact, Smtp, "send MAIL or RCPT with a malformed path";
    20, "501 #5.5.4 Invalid arguments to AUTH command", SyntaxError, Exact, Smtp, "send AUTH without a mechanism";
    21, "501 Unknown command XXX", UnrecognizedCommand, Exact, Smtp, "send a command that does not exist";
    22, "501 Unknown option XXX", UnsupportedParameter, Exact, Smtp, "send MAIL with an unknown parameter, such as FOO=BAR";
    23, "501 Unknown value XXX", UnsupportedParameter, Exact, Smtp, "send MAIL with a known parameter and an unknown value, such as BODY=FOO";
    24, "503 #5.3.3 AUTH not available", AuthNotAvailable, Exact, Smtp, "send AUTH to a listener that does not offer it";
    25, "503 #5.5.0 AUTH not permitted during a mail transaction", BadSequence, Exact, Smtp, "send AUTH between MAIL and the final dot";
    26, "503 #5.5.0 Already authenticated", BadSequence, Exact, Smtp, "log in, then send AUTH a second time";
    27, "503 #5.5.1 MAIL first", BadSequence, Exact, Smtp, "send RCPT or DATA without MAIL";
    28, "503 #5.5.1 RCPT first", BadSequence, Exact, Smtp, "send DATA without RCPT";
    29, "503 Bad sequence of commandsDATA within mailmerge transaction", BadSequence, Reconstructed, NotYet, "needs mail merge (XMRG): DATA within its transaction";
    30, "503 Bad sequence of commandsXPRT within plain transaction", BadSequence, Reconstructed, NotYet, "needs mail merge (XPRT): XPRT within a plain transaction";
    31, "503 Bad sequence of commandsnow receiving parts", BadSequence, Reconstructed, NotYet, "needs mail merge (XPRT): another command while parts are received";
    32, "503 Not in a mailmerge transaction", BadSequence, Exact, NotYet, "needs mail merge (XDFN, XPRT): sent outside its transaction";
    33, "504 #5.5.1 AUTH mechanism XXX is not available", AuthNotAvailable, Exact, Smtp, "send AUTH with a mechanism that the listener does not offer";
    34, "504 Command parameter XXX unrecognized", UnsupportedParameter, Exact, Smtp, "send a command with a parameter that it does not know";
    35, "504 Invalid XDFN syntax", SyntaxError, Exact, NotYet, "needs mail merge (XDFN): XDFN with broken syntax";
    36, "504 Invalid part number", SyntaxError, Exact, NotYet, "needs mail merge (XPRT): a part number that is none";
    37, "504 Invalid part number XXX", SyntaxError, Exact, NotYet, "needs mail merge (XPRT): a part number out of range";
    38, "504 No variable value specified", SyntaxError, Exact, NotYet, "needs mail merge (XDFN): a variable without a value";
    39, "504 Other parts still missing", BadSequence, Exact, NotYet, "needs mail merge (XPRT): the last part before the others";
    40, "504 Reserved variable name", SyntaxError, Exact, NotYet, "needs mail merge (XDFN): a variable with a reserved name";
    41, "504 Syntax error in *parts syntax", SyntaxError, Exact, NotYet, "needs mail merge (XDFN): a broken *parts list";
    42, "504 XDFN command must not contain NULL characters", SyntaxError, Exact, NotYet, "needs mail merge (XDFN): a NUL within the command";
    43, "530 #5.7.0 Must issue a STARTTLS command first", EncryptionRequired, Exact, Smtp, "send MAIL in clear text to a listener that requires TLS";
    44, "530 #5.7.0 This sender must issue a STARTTLS command first", EncryptionRequired, Exact, Smtp, "send MAIL in clear text from a sender of whom TLS is required";
    45, "530 Authentication required", AuthRequired, Exact, Smtp, "send MAIL without AUTH to a listener that requires it";
    46, "538 #5.7.11 Encryption required", EncryptionRequired, Exact, Smtp, "send AUTH in clear text to a listener that takes logins within TLS only";
    47, "552 #5.3.4 message header size exceeds limit", HeaderSizeExceeded, Exact, Smtp, "send a header over the limit";
    48, "552 #5.3.4 message size exceeds limit", MessageSizeExceeded, Exact, Smtp, "send a message over the limit";
    49, "552 size limit exceeded", MessageSizeExceeded, Exact, Smtp, "declare, in SIZE=, a message over the limit";
    50, "554 #5.3.0 Server Error", ServerError, Exact, Outside, "an internal fault of the appliance; a client cannot bring it about";
    51, "554 Too many hops", TooManyHops, Exact, Smtp, "send a message with more Received: lines than the hops allowed";
    52, "554 message body contains illegal bare CR/LF characters.", BareCrLf, Exact, Smtp, "send a message with a bare CR or LF";
};

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::condition::classify;
    use crate::smtp::Reply;

    #[derive(Deserialize)]
    struct Listed {
        row: u8,
        reply: String,
        category: String,
        certainty: String,
    }

    #[test]
    fn the_table_is_the_shared_list() {
        let listed: Vec<Listed> = include_str!("../../tests/data/cisco_replies.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(BOUNCES.len(), 52);
        assert_eq!(listed.len(), BOUNCES.len());
        for (listed, row) in listed.iter().zip(BOUNCES) {
            assert_eq!((listed.row, listed.reply.as_str()), (row.number, row.reply));
            assert_eq!(listed.category, row.condition.as_str(), "row {}", row.number);
            assert_eq!(listed.certainty == "exact", row.certainty == Certainty::Exact, "row {}", row.number);
            assert!(!row.provocation.describe().is_empty());
            // smtpress speaks TLS and AUTH; only mail merge is missing.
            let is_missing = matches!(row.provocation, Provocation::NotYet(_));
            assert_eq!(is_missing, row.provocation.describe().contains("mail merge"), "row {}", row.number);
        }
    }

    #[test]
    fn the_classifier_names_every_row_without_reading_the_table() {
        for row in BOUNCES {
            let reply = Reply::parse(row.reply).unwrap();
            assert_eq!(classify(None, &reply, false), row.condition, "row {}: {}", row.number, row.reply);
        }
    }
}
