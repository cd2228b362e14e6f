//! What each condition means and what to do about it, for a mail administrator: one sentence each.
//!
//! Every report, `smtpress codes` and `docs/conditions.md` print this table. A condition without a row does not compile.

use super::Condition;

/// Defines both lookups from one table.
macro_rules! meanings {
    ($($($condition:ident)|+: $meaning:literal, $remedy:literal;)*) => {
        impl Condition {
            /// Returns what the condition means, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $($(Condition::$condition)|+ => $meaning,)* }
            }

            /// Returns what to do about the condition, in one sentence or two.
            pub const fn remedy(self) -> &'static str {
                match self { $($(Condition::$condition)|+ => $remedy,)* }
            }
        }
    };
}

meanings! {
    // Connections.
    TooManyConnections: "The listener refuses the connection because too many are open; the reply does not say how they are counted.",
        "If the limit is intended, add an `[[expect]]`; else raise the listener's connection limit, or lower `sessions` or `max_sessions`.";
    TooManyConnectionsFromHost: "The listener refuses the connection because too many are open from this client address, network or host name.",
        "If the limit is intended, add an `[[expect]]`; else raise the limit for this client, or send from more addresses (`sources`, `proxy`, `xclient`).";
    TooManyConnectionsToHost: "The listener refuses the connection because the whole server has too many open connections, over all its ports and processes.",
        "If the limit is intended, add an `[[expect]]`; else raise the server's connection or process limit, or lower `sessions` or `max_sessions`.";
    TooManyConnectionsToListener: "The listener refuses the connection because too many are open to this address and port.",
        "If the limit is intended, add an `[[expect]]`; else raise the limit of this listener, or lower `sessions` or `max_sessions`.";
    ConnectionRateLimited: "The listener refuses the connection because this client opens too many new connections per unit of time.",
        "Lower `connect_rate`, send more messages per session, or raise the listener's connection rate limit.";
    UserConcurrencyExceeded: "The account or mailbox has more sessions or deliveries at a time than the listener allows.",
        "Log in as more users (`users_file`), or raise the limit per account.";
    TooManyTlsSessions: "The listener refuses TLS because it has too many TLS sessions, or starts too many per unit of time.",
        "Lower the number of sessions, or raise the listener's limit of TLS sessions.";

    // Sessions.
    TooManyMessagesPerSession: "The session has sent as many messages (mail transactions) as the listener allows per connection.",
        "Set `messages` in `[session]` to the limit or below; a real client opens a new connection then.";
    ConnectionTimeExceeded: "The connection has been open longer than the listener allows, whether it was active or not.",
        "Keep sessions shorter (`messages`, `think`), or raise the listener's limit of connection time.";
    IdleTimeout: "The listener ended the session because no command or no content arrived within its time-out (RFC 5321 4.5.3.2.7).",
        "Shorten `think` and pauses; if the session is held on purpose, add an `[[expect]]`.";
    SessionBytesExceeded: "The session has transferred more bytes than the listener allows per connection.",
        "Send fewer or smaller messages per session, or raise the limit.";
    BadCommandLimitExceeded: "The listener ended the session after too many unknown, malformed or useless commands.",
        "Read in the transcript which commands it refused before; `misbehave` sends such commands on purpose.";
    TooManyInvalidRecipients: "The session has named too many recipients that do not exist; the listener takes it for a directory harvest attack.",
        "Correct `to`, so that the recipients exist at the listener.";
    TooManyAuthFailures: "The session or the client has failed to log in too often.",
        "Correct the user and the password; `smtpress trace` shows one login.";

    // Messages.
    TooManyRecipients: "The message, or the session, has more recipients than the listener allows (RFC 5321 4.5.3.1.10; at least 100 must be allowed).",
        "Lower `recipients` in `[message]`, or raise the listener's limit.";
    MessageSizeExceeded: "The message is larger than the listener allows: the size that MAIL declares (SIZE=, RFC 1870), or the size of its content.",
        "Lower `size` in `[message]`, or raise the listener's limit.";
    HeaderSizeExceeded: "The message's header has more bytes or more fields than the listener allows.",
        "Send fewer or shorter header fields (`headers`, `files`), or raise the limit.";
    LineTooLong: "A command line or a line of the content is longer than the listener allows (RFC 5321 4.5.3.1: 512 and 1000 bytes).",
        "Read in the transcript which line it was; lines of messages from `files` are sent unchanged.";
    TooManyHops: "The message carries too many `Received:` fields; the listener takes it for a mail loop (RFC 5321 6.3).",
        "Look for a mail loop, and remove `Received:` fields from the messages in `files`.";
    BareCrLf: "The content holds a CR or an LF alone; lines must end in CR LF (RFC 5321 2.3.8).",
        "End the lines of `files` with CR LF. The refusal is right: it prevents SMTP smuggling.";

    // Rates.
    RateLimited: "The client, the sender or the user sends more messages, recipients, logins or bytes per unit of time than the listener allows.",
        "If the limit is intended, add an `[[expect]]`; else lower the load, or exempt the generator's address.";
    QuotaExceeded: "A sending quota, such as messages per day, is used up; the listener accepts more only after the period.",
        "Wait for the next period, or raise the quota for the test.";
    Greylisted: "The listener defers mail from a client that it does not know yet, and accepts it when the client tries again later.",
        "Exempt the generator's address from greylisting, or add an `[[expect]]`.";

    // The server's state.
    ResourceLow: "The server refuses mail for now because its load is too high, or because it is short of memory or processes.",
        "Look at the server's CPU, memory, disk and processes; `smtpress capacity` finds the load that it carries.";
    QueueFull: "The server's mail queue is full.",
        "Let the queue drain, or send to a destination that discards mail; find out why it drains slower than it fills.";
    InsufficientStorage: "The server is short of disk space for the message (RFC 5321: 452).",
        "Free disk space on the server, also for its queue and its temporary files.";
    TemporarySystemError: "The server could not process the command for now: a part of it, or a service that it depends on, failed.",
        "Read the server's log of that time; often a lookup, a content filter or a database did not answer.";
    ServerError: "The server reports an internal error that it does not expect to go away.",
        "Read the server's log of that time: a part of the server failed.";
    ServiceUnavailable: "The server says that the mail service is not available (RFC 5321: 421), and gives no other reason.",
        "Check that the service runs and accepts mail; under load its process limit is often reached.";
    ServiceShuttingDown: "The server is being shut down or restarted.",
        "Run again once the server is up; it was stopped or restarted during the run.";
    LicenseExpired: "The product's licence, subscription or evaluation period has ended.",
        "Renew the licence.";
    DeferredUnspecified: "The listener refuses for now (4yz) and gives no reason.",
        "Read the server's log of that time; give the reply a name of its own with `[[classify]]`.";
    RejectedUnspecified: "The listener refuses permanently (5yz) and gives no reason.",
        "Read the server's log of that time; give the reply a name of its own with `[[classify]]`.";
    ConnectionDropped: "The reply says that a connection was lost: this one, or one between the server and another host.",
        "Read the server's log of that time, and check the network between the hosts.";

    // TLS.
    TlsUnavailable: "The listener cannot start TLS, now or at all (RFC 3207: 454, or no STARTTLS offered).",
        "Configure TLS at the listener, or set `tls = \"none\"`.";
    TlsFailure: "The TLS handshake failed: the certificate, the protocol version or the cipher was not accepted.",
        "`smtpress trace --tls starttls` shows the certificate and the reason; `ca` and `sni` set what is checked.";
    EncryptionRequired: "The listener requires TLS for this command (RFC 3207: 530 Must issue a STARTTLS command first).",
        "Set `tls` in `[target]`.";

    // Authentication.
    AuthRequired: "The listener requires the client to authenticate first (RFC 4954: 530).",
        "Give `auth` in `[session]`, or allow the generator's address to send without.";
    AuthFailed: "The listener does not accept the user name and password (RFC 4954: 535).",
        "Correct the user and the password; `smtpress trace --auth` shows one login.";
    AuthTemporaryFailure: "The listener could not check the login for now (RFC 4954: 454).",
        "Check the service behind the logins: directory, database or SASL.";
    AuthChallengeNotUnderstood: "The listener's challenge does not follow the SASL mechanism.",
        "Read the challenge in the report: the listener breaks the mechanism; choose another `mechanism`.";
    AuthNotAvailable: "The listener does not offer AUTH, or not this mechanism (RFC 4954: 504).",
        "Choose a mechanism that is offered; many listeners offer AUTH only over TLS.";

    // Protocol.
    SyntaxError: "The listener does not accept the syntax of a command, a parameter or an address (RFC 5321: 501).",
        "Read in the transcript which command it was.";
    UnrecognizedCommand: "The listener does not know the command, or has it disabled (RFC 5321: 500, 502).",
        "Read in the transcript which command it was; after HELO (`hello = \"helo\"`) a listener may know no extensions.";
    UnsupportedParameter: "The listener does not know a parameter of MAIL or RCPT, or its value (RFC 5321: 504, 555).",
        "Set the extension to `off` or `auto` in `[session.extensions]`.";
    BadSequence: "The listener does not expect the command at this point of the session (RFC 5321: 503).",
        "Read the transcript; often an earlier command of the group was refused: try `pipelining = \"off\"`.";
    NoValidRecipients: "DATA was refused because every RCPT of the message had been refused.",
        "Look at the refusals of RCPT in the same run, and correct `to`.";
    ProtocolViolation: "The client broke the protocol: it sent before the greeting, grouped commands that must not be grouped, or did not speak SMTP.",
        "Read the transcript; `early_talk` and other kinds of `misbehave` do this on purpose.";
    MailMergeError: "A command of Cisco's mail merge (XMRG, XDFN, XPRT) is out of order or malformed.",
        "Look for another client: smtpress does not send mail merge commands.";

    // Recipients.
    UnknownUser: "The recipient's mailbox does not exist (RFC 5321: 550).",
        "Correct `to`, so that the recipients exist at the listener.";
    MailboxFull: "The recipient's mailbox has reached its quota.",
        "Empty the mailbox, or send to more recipients.";
    MailboxUnavailable: "The recipient's mailbox exists, but is disabled, suspended or inactive.",
        "Choose recipients whose mailboxes are active.";
    HostNotAcceptingMail: "The recipient's domain accepts no mail (RFC 7505: null MX; RFC 7504: 521, 556).",
        "Choose a recipient in a domain that accepts mail.";
    RelayingDenied: "The listener does not accept mail for the recipient's domain, and this client may not relay.",
        "Choose a recipient in a domain of the listener, or allow the generator's address to relay.";

    // Policy.
    PolicyRejected: "A rule of the listener refuses the client, the sender or the message.",
        "Read the rule in the reply; exempt the generator's address, or change `from`.";
    Blocklisted: "The client's address is on a blocklist (DNSBL), has a bad reputation, or is banned.",
        "Exempt the generator's address from blocklists.";
    ContentRejected: "A content filter refuses the message: spam, a virus, or a structure that it does not accept.",
        "Exempt the generator from content filters, or send messages that pass (`files`).";
    SenderAuthFailed: "The sender's domain does not allow this message: SPF, DKIM or DMARC failed.",
        "Use a sender domain whose SPF record names the generator's address, or sign with `dkim`.";
    DnsPolicyRejected: "The listener does not accept a name: the client's reverse DNS (PTR), its HELO name, or the sender's domain is missing or wrong in DNS.",
        "Give the generator's address a name in DNS, and set `name` in `[session]` to it.";

    // The connection itself.
    ConnectRefused: "The host refused the TCP connection (RST): nothing listens on that port, or its accept queue is full.",
        "Check that the service runs and listens on this address and port.";
    ConnectTimeout: "The host did not answer the connection attempt (SYN) in time.",
        "Check firewalls on the way, and the listener's backlog: a full accept queue drops attempts.";
    HostUnreachable: "There is no route to the host, or the host no longer acknowledges sent data.",
        "Correct the route or the address; if sessions were open before, check whether the host was restarted or cut off.";
    NameNotResolved: "DNS does not resolve the listener's name.",
        "Correct the name, or write the address instead.";
    NoGreeting: "The host accepted the connection, but sent no greeting (220) within the time-out.",
        "Check the listener's process limit, because accepted connections wait for a free process; or the listener waits for DNS.";
    ClosedBeforeGreeting: "The host accepted the connection and closed it without a greeting.",
        "Look for a connection limit that sends no reply, a firewall or a TCP wrapper; if it is intended, add an `[[expect]]`.";
    ResetBeforeGreeting: "The host accepted the connection and reset it without a greeting.",
        "Look for a connection limit that sends no reply, a firewall or a TCP wrapper; if it is intended, add an `[[expect]]`.";
    ConnectionClosed: "The listener closed the connection where a reply was due.",
        "Read the server's log of that time: a process ended, or a device on the way closed the connection.";
    ConnectionReset: "The connection was reset where a reply was due; a reply on its way may be lost.",
        "Read the server's log of that time: a process ended, or a device on the way reset the connection.";
    ReplyTimeout: "The listener sent no reply within the time-out of this step, or took no more of what was sent for as long (RFC 5321 4.5.3.2).",
        "Find out what the listener waits for at this step, or raise the step's value in `[timeouts]`.";
    SessionTimeout: "The session took longer than `session` in `[timeouts]` allows.",
        "Raise `session` in `[timeouts]`, or send fewer messages per session.";
    LostAfterDot: "The connection was lost between the end of the message and its reply: the message may or may not have been accepted (RFC 1047).",
        "Search the listener's queue or log for the message.";
    MalformedReply: "The listener sent lines that are not an SMTP reply (RFC 5321 4.2).",
        "Read the transcript: is it an SMTP listener, and does it expect TLS from the first byte?";
    UnexpectedReply: "The reply's code does not fit the command, such as 250 to DATA.",
        "Read the transcript: the listener breaks the protocol at this step.";
    SurplusReply: "The listener sent a surplus reply, so that later replies cannot be matched to their commands.",
        "Read the transcript: the listener, or a proxy before it, answers twice. No later message of the session counts as accepted.";
    MixedReply: "The lines of one reply have different codes; the code of the last line counts.",
        "Read the transcript: RFC 5321 4.2.1 requires the same code on all lines of a reply.";
    RepliesMissing: "An LMTP listener sent fewer replies to the content than the message has recipients (RFC 2033 4.2).",
        "Check that the listener speaks LMTP: an SMTP listener sends one reply for all recipients.";
    Aborted: "The command was not answered, because an earlier command of the group ended the session.",
        "Look at the condition of the earlier command.";
    RunEnded: "The exchange was still in flight when the run ended.",
        "Raise `graceful_stop`; if that does not help, the listener no longer answers.";

    // The generator.
    OutOfDescriptors: "The generator ran out of file descriptors (EMFILE, ENFILE).",
        "Raise `ulimit -n` for the generator; `smtpress check` says how many descriptors the profile needs.";
    OutOfPorts: "The generator's machine ran out of local ports (EADDRNOTAVAIL).",
        "Send from more addresses (`sources`), or send more messages per session.";
    OutOfBuffers: "The generator's kernel ran out of socket buffers (ENOBUFS).",
        "Lower the number of sessions of this machine, or raise its socket memory.";
    OutOfMemory: "The generator's machine ran out of memory (ENOMEM).",
        "Lower the number of sessions, or give the generator more memory.";
    ContentLost: "A message file disappeared or changed while it was sent.",
        "Do not change the files of `files` during a run.";
    NoSourceAddress: "The generator's machine has no address from which it can reach the listener.",
        "Give this machine an address of the listener's family (IPv4, IPv6), or list one in `sources`.";
    TargetNotAllowed: "The listener's name resolves to an address that was not allowed; nothing was sent there.",
        "Find out who changed the name; if that host may be put under load, use `--allow-target`.";
    OwnError: "The generator or its machine failed in another way.",
        "Read the sample in the report.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings_and_remedies_are_sentences_of_one_line() {
        for condition in Condition::ALL {
            for text in [condition.meaning(), condition.remedy()] {
                let begins = text.starts_with(|c: char| c.is_uppercase() || c == '`');
                assert!(begins && text.ends_with(['.', '?']) && text.len() <= 160, "{condition}: {text}");
            }
        }
    }
}
