//! The limits that can be searched. `TABLE` has one row for each limit, with all that is known before the measurement.

use std::fmt;

use crate::condition::Condition;

use LimitKind::*;

/// One limit, or one rule of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitKind {
    /// A rule of the protocol that is broken on purpose.
    Rule(ProtocolRule),
    /// Messages of one session.
    MessagesPerSession,
    /// Bytes of all messages of one session.
    SessionBytes,
    /// Recipients of one message.
    Recipients,
    /// Bytes of a part of the dialogue.
    Size(SizedPart),
    /// `Received:` fields of a message.
    Hops,
    /// A text with these bytes where CRLF would be right.
    BareLineEnd(&'static [u8]),
    /// An invalid end of data (RFC 5321 4.1.1.4).
    Smuggling(&'static [u8]),
    /// Sessions held at once.
    Concurrency(SessionScope),
    /// Mistakes of one session.
    Mistakes(Mistake),
    /// Messages per unit of time.
    MessageRate,
    /// Connections per unit of time.
    ConnectionRate,
    /// How long the client may be silent at this point.
    IdleTimeout(IdlePoint),
    /// How long a session may last whose client is not silent.
    SessionTime,
}

/// A rule of the order of commands, or of their form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtocolRule {
    /// DATA without a recipient.
    DataBeforeRcpt,
    /// RCPT without a transaction.
    RcptBeforeMail,
    /// A transaction without a hello.
    MailBeforeHello,
    /// A transaction within a transaction.
    MailTwice,
    /// A hello without its name.
    HelloWithoutName,
    /// A hello with a name that no host can have.
    HelloTooLong,
    /// A second login.
    AuthTwice,
    /// TLS within TLS.
    StarttlsTwice,
    /// A command that does not exist.
    UnknownCommand,
    /// Several commands in one write.
    Pipelining,
}

/// The part of the dialogue that is made longer until it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SizedPart {
    /// A message, by the SIZE that MAIL declares.
    Declaration,
    /// A message, by its content.
    Content,
    /// The header of a message.
    Header,
    /// A line of text.
    TextLine,
    /// A command line.
    CommandLine,
    /// A path with its angle brackets.
    Path,
}

/// The sessions that a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionScope {
    /// The sessions of one client host.
    Host,
    /// All sessions of the listener.
    Listener,
    /// All sessions of the target's host, on all its ports.
    TargetHost,
    /// The encrypted sessions.
    Tls,
}

/// A mistake that is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mistake {
    /// A command that does not exist.
    Command,
    /// A command with a wrong syntax.
    Syntax,
    /// A command that does nothing.
    Junk,
    /// A recipient that does not exist.
    Recipient,
    /// A login with a wrong password.
    Login,
}

/// The point in a session at which the client is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdlePoint {
    /// After the hello.
    Hello,
    /// After the greeting.
    Greeting,
    /// After MAIL.
    Mail,
    /// After RCPT.
    Rcpt,
    /// After DATA.
    Data,
    /// Within the content.
    Body,
}

/// The measure of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitMeasure {
    /// A number.
    Count,
    /// Bytes.
    Bytes,
    /// A time.
    Time,
    /// A number per unit of time.
    Rate,
    /// No value: the listener keeps a rule or breaks it.
    Rule,
}

/// The condition under which a limit is searched although the user does not name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// Always.
    Always,
    /// Only if sessions are encrypted.
    Encrypted,
    /// Only if sessions log in.
    LoggedIn,
    /// Only on loopback: elsewhere the listener may block this machine for a long time afterwards.
    Loopback,
    /// Never: the user must name the limit.
    ByName,
}

/// The facts about a limit that are known before it is measured.
#[derive(Debug)]
struct KindRow {
    kind: LimitKind,
    name: &'static str,
    measure: LimitMeasure,
    unit: &'static str,
    how: &'static str,
    applies: Applies,
}

const fn row(
    kind: LimitKind,
    name: &'static str,
    measure: LimitMeasure,
    unit: &'static str,
    how: &'static str,
) -> KindRow {
    KindRow { kind, name, measure, unit, how, applies: Applies::Always }
}

const fn rule(rule: ProtocolRule, name: &'static str, how: &'static str) -> KindRow {
    row(Rule(rule), name, LimitMeasure::Rule, "reply", how)
}

const fn count(kind: LimitKind, name: &'static str, unit: &'static str, how: &'static str) -> KindRow {
    row(kind, name, LimitMeasure::Count, unit, how)
}

const fn bytes(kind: LimitKind, name: &'static str, how: &'static str) -> KindRow {
    row(kind, name, LimitMeasure::Bytes, "bytes", how)
}

const fn smuggling(end: &'static [u8], name: &'static str, how: &'static str) -> KindRow {
    row(Smuggling(end), name, LimitMeasure::Rule, "messages", how)
}

const fn rate(kind: LimitKind, name: &'static str, unit: &'static str, how: &'static str) -> KindRow {
    row(kind, name, LimitMeasure::Rate, unit, how)
}

const fn time(kind: LimitKind, name: &'static str, how: &'static str) -> KindRow {
    row(kind, name, LimitMeasure::Time, "ms", how)
}

impl KindRow {
    const fn only(self, applies: Applies) -> KindRow {
        KindRow { applies, ..self }
    }
}

/// Every limit, in the order of the search: first the limits that need one session, then those that fill the listener,
/// then those after which the listener may block the client, and last the long waits. The name of a limit is that of the
/// condition that shows it; a variant follows after a dot.
const TABLE: &[KindRow] = &[
    rule(ProtocolRule::DataBeforeRcpt, "rule.data-before-rcpt", "DATA before any RCPT"),
    rule(ProtocolRule::RcptBeforeMail, "rule.rcpt-before-mail", "RCPT before MAIL"),
    rule(ProtocolRule::MailBeforeHello, "rule.mail-before-hello", "MAIL before HELO or EHLO"),
    rule(ProtocolRule::MailTwice, "rule.mail-twice", "MAIL within a transaction"),
    rule(ProtocolRule::HelloWithoutName, "rule.hello-without-name", "EHLO without a name"),
    rule(ProtocolRule::HelloTooLong, "rule.hello-too-long", "EHLO with a name of 315 bytes"),
    rule(ProtocolRule::AuthTwice, "rule.auth-twice", "AUTH after a login").only(Applies::LoggedIn),
    rule(ProtocolRule::StarttlsTwice, "rule.starttls-twice", "STARTTLS within TLS").only(Applies::Encrypted),
    rule(ProtocolRule::UnknownCommand, "rule.unknown-command", "a command that does not exist"),
    rule(ProtocolRule::Pipelining, "rule.pipelining", "MAIL, RCPT, DATA in one write"),
    count(
        MessagesPerSession,
        "too-many-messages-per-session",
        "messages",
        "one session, message after message",
    ),
    bytes(SessionBytes, "session-bytes-exceeded", "one session, message after message"),
    count(Recipients, "too-many-recipients", "recipients", "RCPT after RCPT"),
    bytes(Size(SizedPart::Declaration), "message-size-exceeded", "MAIL with SIZE=, to the byte"),
    bytes(Size(SizedPart::Content), "message-size-exceeded.content", "real content, to the byte"),
    bytes(Size(SizedPart::Header), "header-size-exceeded", "a header made longer, to the byte"),
    bytes(Size(SizedPart::TextLine), "line-too-long", "a line of text made longer, to the byte"),
    bytes(Size(SizedPart::CommandLine), "line-too-long.command", "a NOOP made longer, to the byte"),
    bytes(Size(SizedPart::Path), "line-too-long.path", "a recipient made longer, to the byte"),
    count(Hops, "too-many-hops", "hops", "more and more Received: fields"),
    count(BareLineEnd(b"\n"), "bare-cr-lf", "lines", "a line that ends in LF alone"),
    count(BareLineEnd(b"\r"), "bare-cr-lf.cr", "lines", "a CR alone within a line"),
    smuggling(b"\n.\n", "bare-cr-lf.lf-dot-lf", "smuggling: LF . LF"),
    smuggling(b"\n.\r\n", "bare-cr-lf.lf-dot-crlf", "smuggling: LF . CRLF"),
    smuggling(b"\r.\r", "bare-cr-lf.cr-dot-cr", "smuggling: CR . CR"),
    smuggling(b"\r.\r\n", "bare-cr-lf.cr-dot-crlf", "smuggling: CR . CRLF"),
    smuggling(b"\r\n.\r", "bare-cr-lf.crlf-dot-cr", "smuggling: CRLF . CR"),
    smuggling(b"\r\n.\n", "bare-cr-lf.crlf-dot-lf", "smuggling: CRLF . LF"),
    smuggling(b"\r\n\0.\r\n", "bare-cr-lf.crlf-nul-dot-crlf", "smuggling: CRLF NUL . CRLF"),
    count(
        Concurrency(SessionScope::Host),
        "too-many-connections-from-host",
        "sessions",
        "sessions held from one address",
    ),
    count(
        Concurrency(SessionScope::Listener),
        "too-many-connections-to-listener",
        "sessions",
        "sessions held, each from its own address",
    ),
    // This limit is measured in the same way as the limit of the listener.
    count(
        Concurrency(SessionScope::TargetHost),
        "too-many-connections-to-host",
        "sessions",
        "sessions held, each from its own address",
    )
    .only(Applies::ByName),
    count(Concurrency(SessionScope::Tls), "too-many-tls-sessions", "sessions", "encrypted sessions held")
        .only(Applies::Encrypted),
    count(Mistakes(Mistake::Command), "bad-command-limit-exceeded", "errors", "commands that do not exist"),
    count(
        Mistakes(Mistake::Syntax),
        "bad-command-limit-exceeded.syntax",
        "errors",
        "commands with a wrong syntax",
    ),
    count(Mistakes(Mistake::Junk), "bad-command-limit-exceeded.junk", "commands", "NOOP after NOOP"),
    count(
        Mistakes(Mistake::Recipient),
        "too-many-invalid-recipients",
        "errors",
        "recipients that do not exist",
    )
    .only(Applies::Loopback),
    count(Mistakes(Mistake::Login), "too-many-auth-failures", "errors", "logins with a wrong password")
        .only(Applies::Loopback),
    rate(MessageRate, "rate-limited", "messages a minute", "messages as fast as they are accepted")
        .only(Applies::Loopback),
    rate(ConnectionRate, "connection-rate-limited", "connections a minute", "one session after the other")
        .only(Applies::Loopback),
    time(IdleTimeout(IdlePoint::Hello), "idle-timeout", "silence after the hello"),
    time(IdleTimeout(IdlePoint::Greeting), "idle-timeout.greeting", "silence before the hello"),
    time(IdleTimeout(IdlePoint::Mail), "idle-timeout.mail", "silence after MAIL"),
    time(IdleTimeout(IdlePoint::Rcpt), "idle-timeout.rcpt", "silence after RCPT"),
    time(IdleTimeout(IdlePoint::Data), "idle-timeout.data", "silence after DATA"),
    time(IdleTimeout(IdlePoint::Body), "idle-timeout.body", "silence within the content"),
    time(SessionTime, "connection-time-exceeded", "a NOOP now and then"),
];

impl LimitKind {
    /// Returns every limit, in the order of the search.
    pub fn all() -> impl Iterator<Item = LimitKind> {
        TABLE.iter().map(|row| row.kind)
    }

    /// Returns the limit with this name.
    pub fn of(name: &str) -> Option<LimitKind> {
        LimitKind::all().find(|kind| kind.name() == name)
    }

    fn row(self) -> &'static KindRow {
        TABLE.iter().find(|row| row.kind == self).expect("each limit has a row")
    }

    /// Returns the name in profiles, flags and results.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the measure of the limit.
    pub fn measure(self) -> LimitMeasure {
        self.row().measure
    }

    /// Returns the unit, in one or a few words.
    pub fn unit(self) -> &'static str {
        self.row().unit
    }

    /// Returns how the limit is searched, in a few words.
    pub fn how(self) -> &'static str {
        self.row().how
    }

    /// Returns when the limit is searched although the user does not name it.
    pub fn applies(self) -> Applies {
        self.row().applies
    }

    /// Returns the condition that shows the limit; `None` for rules.
    pub fn condition(self) -> Option<Condition> {
        let (family, _) = self.name().split_once('.').unwrap_or((self.name(), ""));
        family.parse().ok()
    }

    /// Whether a name denotes this limit: the name of the limit, or of its family (`rule`, `bare-cr-lf`).
    pub fn is_named(self, name: &str) -> bool {
        self.name().strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_stands_for_one_limit_and_each_limit_but_a_rule_has_its_condition() {
        let (kinds, names): (BTreeSet<_>, BTreeSet<_>) =
            LimitKind::all().map(|kind| (kind, kind.name())).unzip();
        assert_eq!((kinds.len(), names.len()), (TABLE.len(), TABLE.len()));
        for kind in kinds {
            assert_eq!(LimitKind::of(kind.name()), Some(kind));
            let is_rule = matches!(kind, Rule(_));
            assert_eq!(kind.condition().is_none(), is_rule, "{kind}");
        }
    }

    #[test]
    fn a_family_is_named_by_what_stands_before_the_dot() {
        let named = |name| LimitKind::all().filter(|kind| kind.is_named(name)).count();
        assert_eq!((named("rule"), named("bare-cr-lf"), named("line-too-long")), (10, 9, 3));
        assert_eq!((named("line-too-long.path"), named("line-too"), named("")), (1, 0, 0));
    }
}
