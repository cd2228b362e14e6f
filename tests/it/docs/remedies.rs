//! What to do about each condition, for docs/conditions.md. A new condition does not compile without.

use smtpress::condition::Condition;

/// What to do, in a sentence.
pub fn remedy(condition: Condition) -> &'static str {
    use Condition as C;
    match condition {
        C::TooManyConnections | C::TooManyConnectionsToHost | C::TooManyConnectionsToListener => {
            "Expect it if the limit is meant to be there; else raise the listener's limit of sessions, or lower `sessions` or `max_sessions`."
        }
        C::TooManyConnectionsFromHost => {
            "Expect it if it is meant; else raise the limit for this client, or let the load come from more addresses (`sources`, `proxy`, `xclient`)."
        }
        C::ConnectionRateLimited => {
            "Lower `connect_rate` or send more messages in a session; or raise the listener's rate of connections."
        }
        C::UserConcurrencyExceeded => {
            "Log in as more users (`users_file`), or raise the limit of one account."
        }
        C::TooManyTlsSessions => {
            "Lower the number of sessions, or raise the listener's limit of TLS sessions."
        }
        C::TooManyMessagesPerSession => {
            "Set `messages` in `[session]` to the limit or below; real clients open a new session then."
        }
        C::ConnectionTimeExceeded => {
            "Keep sessions shorter (`messages`, `think`), or raise the listener's longest session."
        }
        C::IdleTimeout => "Shorten `think` and pauses; where a session is held on purpose, expect it.",
        C::SessionBytesExceeded => "Send fewer or smaller messages in a session, or raise the limit.",
        C::BadCommandLimitExceeded => {
            "Look at the transcripts for the commands that were refused before; `misbehave` makes them on purpose."
        }
        C::TooManyInvalidRecipients => "Correct `to` so that the recipients exist at the listener.",
        C::TooManyAuthFailures => "Correct the user and the password; `smtpress trace` shows one login.",
        C::TooManyRecipients => "Lower `recipients` in `[message]`, or raise the listener's limit.",
        C::MessageSizeExceeded => "Lower `size` in `[message]`, or raise the listener's limit.",
        C::HeaderSizeExceeded => "Take away header fields (`headers`, `files`), or raise the limit.",
        C::LineTooLong => {
            "Look which line it was in the transcript; lines of messages from `files` are sent as they are."
        }
        C::TooManyHops => {
            "The message has been through too many relays: look for a loop; remove `Received:` fields from `files`."
        }
        C::BareCrLf => "Write the lines of `files` with CR LF; the refusal itself is right (SMTP smuggling).",
        C::RateLimited => "Expect it if it is meant; else lower the load, or exempt the tester's address.",
        C::QuotaExceeded => "Wait for the next period, or raise the quota for the test.",
        C::Greylisted => "Exempt the tester's address from greylisting, or expect it.",
        C::ResourceLow => {
            "The listener is at its end: look at its CPU, memory, disk and processes; `smtpress capacity` finds the load it carries."
        }
        C::QueueFull => {
            "Let the queue drain or send to a discarding destination; look why it drains slower than it fills."
        }
        C::InsufficientStorage => "Free disk space on the listener, also for its queue and temporary files.",
        C::TemporarySystemError => {
            "Read the listener's log at that time; often a lookup, a filter or a database behind it."
        }
        C::ServerError => "Read the listener's log at that time: something in it failed.",
        C::ServiceUnavailable => {
            "See whether the service runs and accepts mail; under load it is often a full process table."
        }
        C::ServiceShuttingDown => "The listener was stopped or restarted while the run went on; run again.",
        C::LicenseExpired => "Renew the product's licence.",
        C::DeferredUnspecified => {
            "The reply gives no reason: read the listener's log; name it by a `[[classify]]` of your own."
        }
        C::RejectedUnspecified => {
            "The reply gives no reason: read the listener's log; name it by a `[[classify]]` of your own."
        }
        C::ConnectionDropped => {
            "The listener says that it lost a connection, ours or one behind it: read its log."
        }
        C::TlsUnavailable => "Configure TLS at the listener, or set `tls = \"none\"`.",
        C::TlsFailure => {
            "`smtpress trace --tls starttls` shows what speaks against the certificate; `ca` or `sni` correct the check."
        }
        C::EncryptionRequired => "Set `tls` in `[target]`.",
        C::AuthRequired => "Give `auth` in `[session]`, or allow the tester's address to send without.",
        C::AuthFailed => "Correct the user and the password; `smtpress trace --auth` shows one login.",
        C::AuthTemporaryFailure => {
            "Look at what stands behind the logins: directory, database, SASL service."
        }
        C::AuthNotAvailable => "Choose a mechanism that is offered; many listeners offer AUTH only over TLS.",
        C::SyntaxError => {
            "Look at the transcript: a command, address or parameter that the listener does not take."
        }
        C::UnrecognizedCommand => {
            "Look at the transcript; with `hello = \"helo\"` a listener may know no extensions."
        }
        C::UnsupportedParameter => "Set the extension to `off` or `auto` in `[session.extensions]`.",
        C::BadSequence => {
            "Look at the transcript; often an earlier command of the group was refused: try `pipelining = \"off\"`."
        }
        C::NoValidRecipients => "See the refusals of RCPT in the same run; correct `to`.",
        C::ProtocolViolation => {
            "Look at the transcript; `early_talk` and other `misbehave` make it on purpose."
        }
        C::MailMergeError => "A Cisco mail merge that is out of order: not sent by smtpress itself.",
        C::UnknownUser => "Correct `to` so that the recipients exist at the listener.",
        C::MailboxFull => "Empty the recipient's mailbox, or send to more recipients.",
        C::MailboxUnavailable => "Choose recipients whose mailboxes are active.",
        C::HostNotAcceptingMail => "Choose a recipient in a domain that takes mail.",
        C::RelayingDenied => {
            "Use a recipient in a domain of the listener, or allow the tester's address to relay."
        }
        C::PolicyRejected => "Read the rule in the reply; exempt the tester's address, or change `from`.",
        C::Blocklisted => "Exempt the tester's address from blocklists.",
        C::ContentRejected => "Exempt the tester from content filters, or send messages that pass (`files`).",
        C::SenderAuthFailed => "Use a sender domain whose SPF allows the tester, or sign with `dkim`.",
        C::DnsPolicyRejected => {
            "Give the tester's address a name in DNS, and a `name` in `[session]` that fits."
        }
        C::ConnectRefused => {
            "Nothing listens there, or its accept queue refuses: see whether the service runs."
        }
        C::ConnectTimeout => {
            "A firewall drops the attempt, or the accept queue is full: look at the listener's backlog."
        }
        C::HostUnreachable => {
            "Correct the route or the address; if there were sessions before, see whether the host was restarted or cut off."
        }
        C::NameNotResolved => "Correct the name, or write its address.",
        C::NoGreeting => {
            "The listener takes connections but has nobody to serve them: often its number of processes; or it waits for DNS."
        }
        C::ClosedBeforeGreeting | C::ResetBeforeGreeting => {
            "Often a limit of connections that is shown without a reply, or a firewall or TCP wrapper; expect it if it is meant."
        }
        C::ConnectionClosed | C::ConnectionReset => {
            "Read the listener's log at that time: a process ended, or something between cut the line."
        }
        C::ReplyTimeout => {
            "The listener is slower than `timeouts` allow: look what it waits for at that step."
        }
        C::SessionTimeout => "Raise `session` in `[timeouts]`, or send fewer messages in a session.",
        C::LostAfterDot => {
            "Whether the message was accepted is not known: look into the listener's queue or log."
        }
        C::MalformedReply => {
            "Look at the transcript: is it an SMTP listener, is TLS expected from the first byte?"
        }
        C::UnexpectedReply => "Look at the transcript; the listener breaks the protocol at that step.",
        C::SurplusReply => {
            "Look at the transcript: the listener, or a proxy before it, says one reply too many. Nothing more was accepted in that session."
        }
        C::MixedReply => "Look at the transcript; RFC 5321 4.2.1 gives all lines of a reply the same code.",
        C::RepliesMissing => {
            "An LMTP listener answers the content once for each recipient (RFC 2033 4.2): is it an SMTP listener?"
        }
        C::Aborted => "See the condition of the command before it.",
        C::RunEnded => "Give arrivals more time to end: `graceful_stop`; or the listener no longer answers.",
        C::OutOfDescriptors => {
            "Raise `ulimit -n` of the generator; `smtpress check` says what the profile needs."
        }
        C::OutOfPorts => "Send from more addresses (`sources`), or send more messages in a session.",
        C::OutOfBuffers => "Lower the number of sessions of this machine, or raise its socket memory.",
        C::OutOfMemory => "Lower the number of sessions, or give the generator more memory.",
        C::ContentLost => "Leave the files of `files` alone while a run goes on.",
        C::AuthChallengeNotUnderstood => {
            "Look at the challenge in the report: the listener breaks the mechanism; try another one (`mechanism`)."
        }
        C::NoSourceAddress => {
            "Give this machine an address of the target's family (IPv4, IPv6), or `sources` of that family."
        }
        C::TargetNotAllowed => {
            "Find out who changed the name; if that host may be loaded, say `--allow-target`."
        }
        C::OwnError => "Read the sample in the report; a failure of the tester's machine.",
    }
}
