//! `[timeouts]` and `[session]`: the dialogue.

use super::auth::Auth;
use crate::plan;
use crate::profile::bounds;
use crate::profile::table::{Word, tables, words};
use crate::profile::units::{Count, Rate, RetryTimes, Size, Time, TimeRange};
use crate::profile::value::Distribution;
use crate::smtp::Step;
use crate::smtp::extensions::{Chunking, Late, Use};
use crate::smtp::script::{self, Aside, Hello, Pipelining, Quit};

words! {
    /// The first command.
    for Hello {
        /// EHLO, and HELO if the listener refuses it.
        Ehlo = "ehlo",
        /// EHLO; a refusal is a failure.
        EhloOnly = "ehlo-only",
        /// HELO.
        Helo = "helo",
    }
    /// How commands are grouped (RFC 2920).
    for Pipelining {
        /// One command at a time.
        Off = "off",
        /// MAIL, RCPT and DATA in one group, when offered.
        Auto = "auto",
        /// Also the content and the next MAIL, RCPT and DATA in one group, when offered.
        Full = "full",
        /// Like `full`; a listener that does not offer it fails the session.
        Require = "require",
    }
    /// Whether an extension is used.
    for Use {
        /// Never.
        Off = "off",
        /// When it is offered.
        Auto = "auto",
        /// Always; a listener that does not offer it fails the session.
        Require = "require",
    }
    /// The content of a delivery report (RFC 3461).
    enum Ret {
        /// The whole message.
        Full = "full",
        /// The header.
        Hdrs = "hdrs",
    }
    /// When a delivery is to be reported (RFC 3461).
    enum Notify {
        /// Never; must be the only value.
        Never = "never",
        /// When it succeeded.
        Success = "success",
        /// When it failed.
        Failure = "failure",
        /// When it is delayed.
        Delay = "delay",
    }
    /// What happens with a late message (RFC 2852).
    for Late {
        /// It is returned.
        Return = "return",
        /// The sender gets a report.
        Notify = "notify",
    }
    /// A command without effect.
    for Aside {
        /// NOOP.
        Noop = "noop",
        /// RSET.
        Reset = "rset",
    }
    /// How a session ends.
    for Quit {
        /// QUIT, its reply, close.
        Clean = "clean",
        /// Close without QUIT.
        Close = "close",
        /// Reset without QUIT.
        Reset = "reset",
        /// QUIT at the end of the phase: until then the session stays open.
        Hold = "hold",
    }
}

tables! {
    /// The longest time of each step; the defaults are the minima of RFC 5321 4.5.3.2.
    Timeouts {
        /// Name resolution and connect.
        connect: Time = Time(script::Timeouts::default().connect), if bounds::timeout;
        /// The greeting.
        greeting: Time = Time(script::Timeouts::default().greeting), if bounds::timeout;
        /// HELO, EHLO, MAIL, RCPT, and QUIT if it has no time of its own.
        command: Time = Time(script::Timeouts::default().command), if bounds::timeout;
        /// DATA, until the 354.
        data: Time = Time(script::Timeouts::default().data), if bounds::timeout;
        /// The content, until its reply.
        body: Time = Time(script::Timeouts::default().body), if bounds::timeout;
        /// QUIT. Absent: as `command`. After a refused opening it is at most 5 s.
        quit: Time, if bounds::timeout;
        /// The whole session. A session that sends messages of any number starts none after it, and one that is held idle
        /// stays.
        session: Time = Time(script::Timeouts::default().session), if bounds::timeout;
    }
    /// The dialogue.
    Session {
        /// The first command. `ehlo` sends HELO on the same connection if EHLO is refused with 50z.
        hello: Word<Hello> = Word(Hello::Ehlo), flag "--hello";
        /// The name given with it.
        name: String = "load.example".to_owned(), if bounds::hello_name;
        /// Messages in a session. 0: open and close the session; for phases of messages: as many as there are.
        messages: Distribution<Count> = Distribution::Fixed(Count(1)), if bounds::messages,
            flag "--messages-per-session";
        /// How commands are grouped.
        pipelining: Word<Pipelining> = Word(Pipelining::Auto), flag "--pipelining";
        /// Whether the content is sent by BDAT (RFC 3030) instead of DATA.
        chunking: Word<Use> = Word(Use::Auto);
        /// Bytes of a chunk.
        chunk_size: Size = Size(Chunking::default().size.get()), if bounds::chunk;
        /// The ESMTP parameters of MAIL and RCPT.
        extensions: Extensions, or Extensions::default();
        /// VRFY commands at the beginning of a session, about the recipients of `to` or `to_file` from number 0 on; after
        /// 10,000 recipients again from the first.
        verify: Count, or Count(0), if bounds::verify;
        /// Commands after each message, before the next one or QUIT: noop, rset. Default none.
        between: Vec<Word<Aside>>, or Vec::new();
        /// How long a session pauses between two arrivals (closed loads).
        think: TimeRange = TimeRange::default();
        /// How a session ends.
        quit: Word<Quit> = Word(Quit::Clean);
        /// The pauses of closed loads after a failed session: it was refused, or the listener ended it before it served
        /// anything. After each pause one session is tried. Loads at a rate, bursts and held-sessions have no pauses.
        reconnect: Reconnect, or Reconnect::default();
        /// When a message is tried again that was deferred (4yz), refused, dropped or timed out, or is in doubt.
        /// Default: never. Only for phases of messages; searches never try again.
        retry: Retry;
        /// The login. Default: none.
        auth: Auth;
        /// Misbehaviour on purpose. Default: none.
        misbehave: Misbehave, or Misbehave::default();
    }
    /// The pauses after sessions that failed.
    Reconnect {
        /// The first pause. 0: none.
        first: Time, or Time(plan::Reconnect::default().first);
        /// The factor from each pause to the next, until a session is served.
        factor: f64, or plan::Reconnect::default().factor, if bounds::factor;
        /// The longest pause. Default 1s.
        max: Time;
    }
    /// When a message is tried again: the same bytes with the same Message-ID, as an MTA does. Give `schedule`, or `first` and
    /// `attempts`. A message is given up after its last attempt, and at once after a 5yz reply.
    Retry {
        /// The pauses from the end of an attempt to the next, such as 5m, 15m, 1h; `postfix`: its defaults (300s, then the age of the
        /// message up to 4000s, for 5 days); `exim`: its default rule (every 15m for 2h, from 1h on 1.5 times as long for 16h,
        /// every 6h for 4 days).
        schedule: RetryTimes, if bounds::retry_times;
        /// The first pause, for growing pauses.
        first: Time;
        /// The factor from each pause to the next.
        factor: f64, or 2.0, if bounds::factor;
        /// The longest pause. Default: unlimited.
        max: Time;
        /// Attempts of a message, the first included. Needed with `first`.
        attempts: Count, if bounds::attempts;
        /// A factor for all pauses, to shorten hours for a test.
        time_scale: f64, or 1.0, if bounds::time_scale;
        /// How long after the last phase retries still start. Messages that are not accepted by then count as
        /// interrupted. Default: the `graceful_stop` of the last phase.
        wait: Time;
    }
    /// Parameters of MAIL and RCPT: `off` never sends one, `auto` sends it when it is offered, `require` always sends it,
    /// and a listener that does not offer it fails the session.
    Extensions {
        /// SIZE= (RFC 1870).
        size: Word<Use>, or Word(Use::Auto);
        /// BODY=8BITMIME (RFC 6152).
        eight_bit_mime as "8bitmime": Word<Use>, or Word(Use::Off);
        /// BODY=BINARYMIME (RFC 3030), which goes with BDAT only.
        binarymime: Word<Use>, or Word(Use::Off);
        /// SMTPUTF8 (RFC 6531).
        smtputf8: Word<Use>, or Word(Use::Off);
        /// REQUIRETLS (RFC 8689).
        requiretls: Word<Use>, or Word(Use::Off);
        /// Delivery reports (RFC 3461).
        dsn: Dsn;
        /// Deliver by (RFC 2852).
        deliverby: DeliverBy;
    }
    /// Delivery reports (RFC 3461).
    Dsn {
        /// Whether reports are requested.
        wanted as "use": Word<Use>, or Word(Use::Require);
        /// RET=: the content of a report.
        ret: Ret;
        /// ENVID=: the run and the message's number.
        envid: bool, or false;
        /// NOTIFY=: never, or some of success, failure, delay.
        notify: Vec<Notify>, or Vec::new(), if notify_alone;
        /// ORCPT=: the recipient.
        orcpt: bool, or false;
    }
    /// Deliver by (RFC 2852).
    DeliverBy {
        /// Whether it is requested.
        wanted as "use": Word<Use>, or Word(Use::Require);
        /// The time from MAIL on, in whole seconds. Needed.
        within: Time;
        /// What happens with a late message.
        late: Word<Late>, or Word(Late::Return);
        /// Whether each relay is to be reported.
        trace: bool, or false;
    }
    /// Misbehaviour of a session, on purpose.
    Misbehave {
        /// Send the hello before the greeting.
        early_talk: bool, or false;
        /// Be silent for a time after each accepted step.
        stall: Silence;
        /// Invalid lines after the greeting, each timed as the step `command`.
        garbage: Count, or Count(0), if bounds::garbage;
        /// Close the sending side after the command of this step, and read the missing replies: hello, mail, rcpt,
        /// data, body (its final dot) or quit.
        half_close: Word<Step>, if bounds::half_close;
        /// When ready for mail, send NOOP without end and read no reply.
        never_read: bool, or false;
        /// The largest number of bytes written in a time, as in 100/s.
        trickle: Rate, if bounds::trickle;
    }
    /// A silence of the client.
    Silence {
        /// The step: greeting, hello, starttls, tls, auth, mail, rcpt, data or body.
        after: Word<Step>, if bounds::silent_after;
        /// The length of the silence.
        length as "for": Time;
    }
}

fn notify_alone(notify: &[Notify]) -> Result<(), crate::profile::units::UnitError> {
    let alone = !notify.contains(&Notify::Never) || notify.len() == 1;
    let remedy = "write [\"never\"], or remove it from the list";
    bounds::hold(alone, "`never` stands alone (RFC 3461 4.1)", remedy)
}
