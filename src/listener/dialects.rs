//! The listener's replies in the dialects of three servers: data only. `behaviour` decides when each is sent.
//!
//! `{host}` is the listener's name, `{peer}` the client's address, `{arg}` the subject of the reply.
//!
//! # Decisions
//! - Cisco's texts are exactly those of Cisco's published list of SMTP replies (52 rows). If the list has no reply for
//!   a case, the entry states that, and the text is written for smtpress or taken from the RFC.
//! - If Postfix or Exim does not have a limit, the entry is its reply to the nearest case.

use super::limits::Dialect;
use crate::condition::Condition;

/// Writes the enum and its texts from one table, so that each saying is defined in one place.
macro_rules! sayings {
    ($($(#[$note:meta])* $name:ident, $condition:expr, $cisco:literal, $postfix:literal, $exim:literal;)*) => {
        /// Every reply of the listener except the answer to EHLO.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Saying {
            $($(#[$note])* $name,)*
        }

        impl Saying {
            /// Every saying.
            pub const ALL: &'static [Saying] = &[$(Saying::$name),*];

            /// Returns the condition that the reply shows; `None` if it is not a refusal.
            pub const fn condition(self) -> Option<Condition> {
                match self { $(Saying::$name => $condition,)* }
            }

            /// Returns the reply's pattern, lines separated by `\n`.
            pub const fn pattern(self, style: Dialect) -> &'static str {
                match self {
                    $(Saying::$name => match style {
                        Dialect::Cisco => $cisco,
                        Dialect::Postfix => $postfix,
                        Dialect::Exim => $exim,
                    },)*
                }
            }
        }
    };
}

sayings! {
    /// The greeting.
    Greeting, None, "220 {host} ESMTP", "220 {host} ESMTP Postfix", "220 {host} ESMTP Exim 4.98";
    /// HELO.
    Hello, None, "250 {host}", "250 {host}", "250 {host} Hello {arg} [{peer}]";
    /// MAIL.
    Sender, None, "250 sender ok", "250 2.1.0 Ok", "250 OK";
    /// RCPT.
    Recipient, None, "250 recipient ok", "250 2.1.5 Ok", "250 Accepted";
    /// DATA.
    GoAhead, None,
        "354 go ahead", "354 End data with <CR><LF>.<CR><LF>",
        "354 Enter message, ending with \".\" on a line by itself";
    /// The final dot.
    Accepted, None, "250 ok:  Message accepted", "250 2.0.0 Ok: queued", "250 OK";
    /// STARTTLS.
    TlsGoAhead, None, "220 Go ahead with TLS", "220 2.0.0 Ready to start TLS", "220 TLS go ahead";
    /// A chunk that is not the last. Cisco has no BDAT, so its text is written for smtpress.
    Chunk, None, "250 ok:  {arg} octets received", "250 2.0.0 Ok: {arg} bytes", "250 {arg} byte chunk received"; // RFC 3030 4.2
    /// RSET.
    Reset, None, "250 reset", "250 2.0.0 Ok", "250 Reset OK";
    /// NOOP.
    Noop, None, "250 ok", "250 2.0.0 Ok", "250 OK";
    /// VRFY and EXPN.
    Verify, None,
        "252 Cannot VRFY user, but will accept message and attempt delivery", "252 2.0.0 Cannot VRFY user",
        "252 VRFY not available";
    /// HELP.
    Help, None, "214 HELO EHLO MAIL RCPT DATA RSET NOOP VRFY QUIT", "214 2.0.0 HELO EHLO MAIL RCPT DATA RSET NOOP VRFY QUIT",
        "214 Commands supported: HELO EHLO MAIL RCPT DATA RSET NOOP VRFY QUIT";
    /// QUIT.
    Bye, None, "221 {host}", "221 2.0.0 Bye", "221 {host} closing connection";

    /// TLS sessions over the limit.
    TooManyTlsSessions, Some(Condition::TooManyTlsSessions),
        "421 #4.4.5 Too many TLS sessions at this time",
        "421 4.7.0 {host} Error: too many new TLS sessions from unknown[{peer}]", "454 TLS currently unavailable";
    /// Sessions from one address over the limit.
    TooManyFromHost, Some(Condition::TooManyConnectionsFromHost),
        "421 #4.4.5 Too many connections from your host", "421 4.7.0 {host} Error: too many connections from {peer}",
        "421 Too many concurrent SMTP connections from this IP address; please try again later.";
    /// Sessions of the server over the limit.
    TooManyToHost, Some(Condition::TooManyConnectionsToHost),
        "421 #4.4.5 Too many connections to this host", "421 4.3.2 All server ports are busy",
        "421 Too many concurrent SMTP connections; please try again later.";
    /// Sessions of the listener over the limit.
    TooManyToListener, Some(Condition::TooManyConnectionsToListener),
        "421 #4.4.5 Too many connections to this listener", "421 4.7.0 Error: too many connections",
        "421 {host}: Too many concurrent SMTP connections; please try again later";
    /// Connections by time over the limit. Cisco's list has no such reply; Postfix has one text for this and for too
    /// many sessions from one address.
    ConnectionRate, Some(Condition::ConnectionRateLimited),
        "421 #4.4.5 Too many connections from your host", "421 4.7.0 {host} Error: too many connections from {peer}",
        "451 SMTP service not available";
    /// Messages of a session over the limit. Postfix has no such limit, so its text is written for smtpress.
    TooManyMessages, Some(Condition::TooManyMessagesPerSession),
        "421 #4.x.2 Too many messages for this session", "421 4.7.0 {host} Error: too many messages for this session",
        "421 too many messages in this connection";
    /// Bytes of content of a session over the limit. None of the three servers has such a limit, so the texts are
    /// written for smtpress.
    SessionBytes, Some(Condition::SessionBytesExceeded),
        "452 #4.7.28 Session exceeded transfer quota",
        "421 4.4.2 {host} Error: message size limit for this connection reached",
        "452 Session exceeded transfer quota";
    /// The service is not available.
    Unavailable, Some(Condition::ServiceUnavailable),
        "421 {host} Service not available, closing transaction channel",
        "421 4.3.2 {host} Service unavailable - try again later", "421 {host}: Service not available - closing connection";
    /// The session lasted too long. Postfix and Exim send these texts to idle sessions.
    ConnectionTime, Some(Condition::ConnectionTimeExceeded),
        "421 Exceeded allowable connection time", "421 4.4.2 {host} Error: timeout exceeded",
        "421 {host}: SMTP command timeout - closing connection";
    /// The client sent nothing for too long. Cisco's list has no such reply, so its text is written for smtpress.
    Idle, Some(Condition::IdleTimeout),
        "421 #4.4.2 Idle timeout, closing connection", "421 4.4.2 {host} Error: timeout exceeded",
        "421 {host}: SMTP command timeout - closing connection";
    /// Errors of a session over the limit.
    TooManyErrors, Some(Condition::BadCommandLimitExceeded),
        "421 Exceeded bad SMTP command limit, disconnecting", "421 4.7.0 {host} Error: too many errors",
        "500-unrecognized command\n500 Too many syntax or protocol errors";
    /// Junk commands (NOOP, RSET, ...) over the limit. Cisco and Postfix count them as errors.
    TooMuchJunk, Some(Condition::BadCommandLimitExceeded),
        "421 Exceeded bad SMTP command limit, disconnecting", "421 4.7.0 {host} Error: too many errors",
        "554 Too many nonmail commands";
    /// The licence has expired. Only Cisco needs one.
    LicenceExpired, Some(Condition::LicenseExpired),
        "421 The evaluation license has expired", "421 4.3.5 Server configuration problem - try again later",
        "421 Local configuration error; please try again later.";
    /// A temporary server error.
    ServerDeferral, Some(Condition::ServerError),
        "451 #4.3.0 Server Error", "451 4.3.0 Error: queue file write error",
        "451 Temporary local problem - please try later";
    /// The queue is full.
    QueueFull, Some(Condition::QueueFull),
        "452 #4.3.1 queue full", "452 4.3.1 Insufficient system storage", "452 Space shortage, please try later";
    /// Too many transactions in progress.
    ResourceLow, Some(Condition::ResourceLow),
        "452 #4.3.1 server resources low - try again later", "421 4.3.2 No system resources",
        "421 {host}: Too much load; please try again later";
    /// A temporary system error.
    TemporaryError, Some(Condition::TemporarySystemError),
        "452 #4.3.1 temporary system error (12)", "451 4.3.0 <{arg}>: Temporary lookup failure",
        "451 Temporary local problem - please try later";
    /// Recipients of a message over the limit.
    TooManyRecipients, Some(Condition::TooManyRecipients),
        "452 #4.5.3 Too many recipients", "452 4.5.3 Error: too many recipients", "452 too many recipients";
    /// An unknown recipient. Cisco's list has no such reply; this is the text of Cisco's recipient access table.
    UnknownUser, Some(Condition::UnknownUser),
        "550 #5.1.0 Address rejected.",
        "550 5.1.1 <{arg}>: Recipient address rejected: User unknown in local recipient table", "550 Unknown user";
    /// A recipient whose first attempt is too recent. None of the three servers has a greylist of its own. The texts
    /// are those of Postgrey for Postfix and of the usual ACL for Exim; Cisco's is written for smtpress.
    Greylisted, Some(Condition::Greylisted),
        "450 #4.7.1 Greylisted, please try again later",
        "450 4.2.0 <{arg}>: Recipient address rejected: Greylisted, please try again later",
        "451 greylisted, please try again later";
    /// Unknown recipients of a session over the limit. Cisco's list has no such reply; this is the default text of
    /// Cisco's host access table. Postfix counts unknown recipients as errors.
    TooManyInvalidRecipients, Some(Condition::TooManyInvalidRecipients),
        "550 Too many invalid recipients", "421 4.7.0 {host} Error: too many errors",
        "550 Rejected for too many bad recipients";
    /// STARTTLS is offered, but TLS cannot be used.
    TlsUnavailable, Some(Condition::TlsUnavailable),
        "454 TLS not available due to a temporary reason", "454 4.7.0 TLS not available due to local problem",
        "454 TLS currently unavailable";
    /// An unknown command.
    Unrecognized, Some(Condition::UnrecognizedCommand),
        "500 #5.5.1 command not recognized", "500 5.5.2 Error: command not recognized", "500 unrecognized command";
    /// A command line that is too long. Exim treats it as an unknown command.
    LineTooLong, Some(Condition::LineTooLong),
        "500 Line too long", "500 5.5.2 {host} Error: command too long", "500 unrecognized command";
    /// A text line that is too long. Postfix breaks such lines instead; its text here is the one for a command line.
    TextLineTooLong, Some(Condition::LineTooLong),
        "500 Line too long", "500 5.5.2 {host} Error: command too long",
        "550 maximum allowed line length is 998 octets, got {arg}"; // RFC 5322 2.1.1
    /// A path that is too long. None of the three servers has such a limit, so the texts are written for smtpress.
    PathTooLong, Some(Condition::LineTooLong),
        "553 #5.1.3 Path too long", "501 5.5.4 Error: path too long", "501 path too long";
    /// HELO or EHLO without a domain.
    HelloName, Some(Condition::SyntaxError),
        "501 #5.0.0 EHLO requires domain address", "501 Syntax: EHLO hostname",
        "501 Syntactically invalid EHLO argument(s)";
    /// An argument that is wrong.
    Syntax, Some(Condition::SyntaxError),
        "501 #5.5.2 syntax error {arg}", "500 5.5.2 Error: bad syntax", "501 {arg}: malformed address";
    /// HELP about an unknown command. Cisco's list does not say when this reply is sent; the case is a guess.
    HelpUnknown, Some(Condition::UnrecognizedCommand),
        "501 Unknown command {arg}", "500 5.5.2 Error: command not recognized", "500 unrecognized command";
    /// An unknown parameter of MAIL.
    UnknownOption, Some(Condition::UnsupportedParameter),
        "501 Unknown option {arg}", "555 5.5.4 Unsupported option: {arg}", "501 {arg}: malformed address";
    /// An unknown value of a parameter.
    UnknownValue, Some(Condition::UnsupportedParameter),
        "501 Unknown value {arg}", "555 5.5.4 Unsupported option: {arg}", "501 {arg}: malformed address";
    /// An unknown parameter of RCPT.
    UnknownParameter, Some(Condition::UnsupportedParameter),
        "504 Command parameter {arg} unrecognized", "555 5.5.4 Unsupported option: {arg}",
        "501 {arg}: malformed address";
    /// AUTH without a mechanism.
    AuthArguments, Some(Condition::SyntaxError),
        "501 #5.5.4 Invalid arguments to AUTH command", "501 5.5.4 Syntax: AUTH mechanism",
        "501 Syntactically invalid AUTH argument(s)";
    /// A login. Cisco's list has no such reply, so its text is written for smtpress, as for other replies to AUTH.
    AuthAccepted, None, "235 #2.0.0 OK Authenticated", "235 2.7.0 Authentication successful",
        "235 Authentication succeeded";
    /// A login that failed.
    AuthFailed, Some(Condition::AuthFailed),
        "535 #5.7.8 Authentication failed", "535 5.7.8 Error: authentication failed: authentication failure",
        "535 Incorrect authentication data";
    /// An exchange that the client cancelled.
    AuthCancelled, Some(Condition::SyntaxError),
        "501 #5.7.0 Authentication exchange cancelled", "501 5.7.0 Authentication aborted",
        "501 Authentication cancelled";
    /// A response that is not base64, or not in the form of the mechanism.
    AuthEncoding, Some(Condition::SyntaxError),
        "501 #5.5.2 Cannot decode AUTH input", "501 5.5.2 Error: cannot decode AUTH input", "501 Invalid base64 data";
    /// A line of the exchange that is too long (RFC 4954 4).
    AuthTooLong, Some(Condition::LineTooLong),
        "500 #5.5.6 Authentication exchange line too long", "500 5.5.6 Authentication exchange line too long",
        "500 Authentication exchange line too long";
    /// Failed logins of a session over the limit. Postfix counts them as errors. Cisco and Exim have no text for this
    /// case, so their texts are written for smtpress.
    TooManyAuthFailures, Some(Condition::TooManyAuthFailures),
        "421 #4.7.0 Too many failed authentication attempts, disconnecting",
        "421 4.7.0 {host} Error: too many errors", "421 {host}: Too many failed authentication attempts";
    /// AUTH after a login.
    LoggedIn, Some(Condition::BadSequence),
        "503 #5.5.0 Already authenticated", "503 5.5.1 Error: already authenticated", "503 already authenticated";
    /// AUTH that is not offered.
    AuthNotAvailable, Some(Condition::AuthNotAvailable),
        "503 #5.3.3 AUTH not available", "503 5.5.1 Error: authentication not enabled",
        "503 AUTH command used when not advertised";
    /// XCLIENT from a peer that is not trusted. Cisco and Exim have no XCLIENT, so their texts are written for smtpress.
    XclientDenied, Some(Condition::PolicyRejected),
        "550 #5.7.1 XCLIENT is not permitted from your host", "550 5.7.0 Error: insufficient authorization",
        "550 XCLIENT is not permitted from your host";
    /// AUTH within a transaction.
    InTransaction, Some(Condition::BadSequence),
        "503 #5.5.0 AUTH not permitted during a mail transaction", "503 5.5.1 Error: MAIL transaction in progress",
        "503 not permitted in mail transaction";
    /// A mechanism that is not offered.
    AuthMechanism, Some(Condition::AuthNotAvailable),
        "504 #5.5.1 AUTH mechanism {arg} is not available",
        "535 5.7.8 Error: authentication failed: Invalid authentication mechanism",
        "504 {arg} authentication mechanism not supported";
    /// RCPT or DATA before MAIL.
    MailFirst, Some(Condition::BadSequence),
        "503 #5.5.1 MAIL first", "503 5.5.1 Error: need MAIL command", "503 sender not yet given";
    /// DATA before RCPT.
    RcptFirst, Some(Condition::BadSequence),
        "503 #5.5.1 RCPT first", "503 5.5.1 Error: need RCPT command", "503 valid RCPT command must precede DATA";
    /// DATA after every RCPT was refused. Cisco's list has the same text as for DATA before RCPT.
    NoValidRecipients, Some(Condition::NoValidRecipients),
        "503 #5.5.1 RCPT first", "554 5.5.1 Error: no valid recipients",
        "503-All RCPT commands were rejected\n503 Valid RCPT command must precede DATA";
    /// DATA or RCPT after BDAT, or DATA for binary content. The texts are written for smtpress.
    BdatOnly, Some(Condition::BadSequence),
        "503 Bad sequence of commands", "503 5.5.1 Error: need BDAT command", "503 only BDAT permissible after non-LAST BDAT";
    /// A path beyond ASCII without SMTPUTF8 (RFC 6531 3.5). The texts are written for smtpress.
    NotAscii, Some(Condition::UnsupportedParameter),
        "553 #5.6.7 SMTPUTF8 required", "553 5.6.7 Error: bad address syntax: SMTPUTF8 is required",
        "553 bad address syntax: SMTPUTF8 required";
    /// MAIL before HELO. Cisco's list has only the beginning of this text.
    HelloFirst, Some(Condition::BadSequence),
        "503 Bad sequence of commands", "503 5.5.1 Error: send HELO/EHLO first", "503 HELO or EHLO required";
    /// MAIL within a transaction. Here too Cisco's list has only the beginning of the text.
    NestedMail, Some(Condition::BadSequence),
        "503 Bad sequence of commands", "503 5.5.1 Error: nested MAIL command", "503 sender already given";
    /// STARTTLS during TLS. Cisco's list has no such reply, so its text is written for smtpress. During TLS, Exim does
    /// not offer STARTTLS.
    TlsActive, Some(Condition::BadSequence),
        "503 #5.5.1 TLS already active", "554 5.5.1 Error: TLS already active",
        "503 STARTTLS command used when not advertised";
    /// Input directly after STARTTLS. Cisco's list has no such reply, so its text is written for smtpress.
    TlsNotLast, Some(Condition::ProtocolViolation),
        "554 #5.5.0 protocol violation: input before the handshake", "503 5.5.0 {host} Error: improper command pipelining after STARTTLS",
        "554 SMTP synchronization error";
    /// MAIL before STARTTLS, where the listener requires TLS.
    StarttlsFirst, Some(Condition::EncryptionRequired),
        "530 #5.7.0 Must issue a STARTTLS command first", "530 5.7.0 Must issue a STARTTLS command first",
        "550 Administrative prohibition";
    /// MAIL before AUTH, where the listener requires a login.
    AuthRequired, Some(Condition::AuthRequired),
        "530 Authentication required", "530 5.7.0 Authentication required", "550 Administrative prohibition";
    /// AUTH in clear text, where the listener requires encryption.
    EncryptionRequired, Some(Condition::EncryptionRequired),
        "538 #5.7.11 Encryption required", "504 5.5.4 Encryption required for requested authentication mechanism",
        "503 AUTH command used when not advertised";
    /// A header over the limit.
    HeaderSize, Some(Condition::HeaderSizeExceeded),
        "552 #5.3.4 message header size exceeds limit", "552 5.3.4 Error: message file too big",
        "552 Message header is ridiculously long";
    /// A content over the limit.
    MessageSize, Some(Condition::MessageSizeExceeded),
        "552 #5.3.4 message size exceeds limit", "552 5.3.4 Error: message file too big",
        "552 Message size exceeds maximum permitted";
    /// A SIZE= over the limit.
    DeclaredSize, Some(Condition::MessageSizeExceeded),
        "552 size limit exceeded", "552 5.3.4 Message size exceeds fixed limit",
        "552 Message size exceeds maximum permitted";
    /// A permanent server error. Postfix and Exim have no such reply, so their texts are written for smtpress.
    ServerError, Some(Condition::ServerError),
        "554 #5.3.0 Server Error", "554 5.3.0 Error: internal server error", "554 Internal server error";
    /// `Received:` fields over the limit.
    TooManyHops, Some(Condition::TooManyHops),
        "554 Too many hops", "554 5.4.0 Error: too many hops",
        "550 Too many \"Received\" headers - suspected mail loop";
    /// A bare CR or LF.
    BareCrLf, Some(Condition::BareCrLf),
        "554 message body contains illegal bare CR/LF characters.", "550 5.5.2 {host} Error: bare <LF> received",
        "552 Message header not CRLF terminated";
    /// Messages by time over the limit. Cisco's list has no such reply; this is the default text of Cisco's host access
    /// table.
    MessageRate, Some(Condition::RateLimited),
        "452 Too many recipients received this hour", "450 4.7.1 Error: too much mail from {peer}",
        "451 Sorry, too busy. Try again later.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::classify;
    use crate::smtp::Reply;

    /// Returns the reply as a client receives it.
    fn said(saying: Saying, style: Dialect) -> String {
        let pattern = saying.pattern(style);
        pattern.replace("{host}", "mx.example").replace("{peer}", "192.0.2.1").replace("{arg}", "x")
    }

    #[test]
    fn every_saying_is_a_reply_of_its_kind() {
        for style in Dialect::ALL {
            for &saying in Saying::ALL {
                let text = said(saying, style);
                let codes: Vec<&str> = text.lines().map(|line| &line[..3]).collect();
                let last = text.lines().count() - 1;
                for (i, line) in text.lines().enumerate() {
                    assert!(line.is_ascii() && line.len() <= 510, "{line}");
                    assert_eq!(&line[3..4], if i == last { " " } else { "-" }, "{line}");
                    assert_eq!(codes[i], codes[0], "{line}");
                }
                assert!(!text.contains(['{', '}', '\r']), "{text}");
                let refuses = codes[0].starts_with(['4', '5']);
                assert_eq!(refuses, saying.condition().is_some(), "{saying:?}: {text}");
            }
        }
    }

    /// RFC 2034 4: every reply of the dialect that offers ENHANCEDSTATUSCODES has a code of the right class.
    #[test]
    fn postfix_s_replies_have_enhanced_codes_of_their_class() {
        for &saying in Saying::ALL {
            // The greeting and the answers to HELO and EHLO have none.
            if matches!(saying, Saying::Greeting | Saying::Hello | Saying::HelloName) {
                continue;
            }
            for line in said(saying, Dialect::Postfix).lines().filter(|line| !line.starts_with('3')) {
                let enhanced = Reply::parse(line).unwrap().enhanced.map(|code| code.to_string());
                let code = enhanced.unwrap_or_else(|| panic!("{saying:?}: {line} has no code"));
                assert_eq!((&code[..1], &line[4..4 + code.len()]), (&line[..1], code.as_str()), "{line}");
            }
        }
    }

    /// The ledger and the classifier assign the same condition to a refusal in Cisco's dialect, except where the text
    /// does not show the condition.
    #[test]
    fn the_counts_and_the_classifier_agree_on_cisco_s_words() {
        let mut differ = Vec::new();
        for &saying in Saying::ALL {
            let Some(condition) = saying.condition() else { continue };
            // For these sayings Cisco's list has one text for two conditions.
            if matches!(saying, Saying::ConnectionRate | Saying::NoValidRecipients) {
                continue;
            }
            let text = said(saying, Dialect::Cisco);
            let read = classify(None, &Reply::parse(&text).unwrap(), text.starts_with("421"));
            if read != condition {
                differ.push(format!("{text}: {read}, not {condition}"));
            }
        }
        assert!(differ.is_empty(), "{}", differ.join("\n"));
    }
}
