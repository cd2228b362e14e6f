//! `[timeouts]` and `[session]`: the dialogue.

use super::auth::Auth;
use crate::plan;
use crate::profile::bounds;
use crate::profile::table::{tables, words};
use crate::profile::units::{Count, Rate, RetryTimes, Size, Time, TimeRange};
use crate::profile::value::Distribution;
use crate::smtp::Step;
use crate::smtp::extensions::{Chunking, Late, Use};
use crate::smtp::script::{self, Aside, Hello, Pipelining, Quit};

words! {
    /// The first command.
    for Hello {
        /// EHLO, and HELO where the listener does not know it.
        Ehlo = "ehlo",
        /// EHLO; a listener that does not know it is a failure.
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
        /// The content and the next MAIL, RCPT and DATA in one group too, when offered.
        Full = "full",
        /// As full; a listener that does not offer it is a finding.
        Require = "require",
    }
    /// Whether an extension is used.
    for Use {
        /// Never.
        Off = "off",
        /// When it is offered.
        Auto = "auto",
        /// Always; a listener that does not offer it is a finding.
        Require = "require",
    }
    /// What a delivery report is to hold (RFC 3461).
    enum Ret {
        /// The whole message.
        Full = "full",
        /// Its header.
        Hdrs = "hdrs",
    }
    /// When a delivery is to be reported (RFC 3461).
    enum Notify {
        /// In no case; stands alone.
        Never = "never",
        /// When it succeeded.
        Success = "success",
        /// When it failed.
        Failure = "failure",
        /// When it takes long.
        Delay = "delay",
    }
    /// What becomes of a message that is late (RFC 2852).
    for Late {
        /// It is returned.
        Return = "return",
        /// The sender gets a report.
        Notify = "notify",
    }
    /// A command for its own sake.
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
        /// QUIT too, but not before the end of the phase: until then the session stays open.
        Hold = "hold",
    }
}

tables! {
    /// How long each step may take; the defaults are the minima of RFC 5321 4.5.3.2.
    Timeouts {
        /// Name resolution and connect.
        connect: Time = Time(script::Timeouts::default().connect), if bounds::timeout;
        /// The greeting.
        greeting: Time = Time(script::Timeouts::default().greeting), if bounds::timeout;
        /// HELO, EHLO, MAIL, RCPT, and QUIT where it has no time of its own.
        command: Time = Time(script::Timeouts::default().command), if bounds::timeout;
        /// DATA, until the 354.
        data: Time = Time(script::Timeouts::default().data), if bounds::timeout;
        /// The content, until its reply.
        body: Time = Time(script::Timeouts::default().body), if bounds::timeout;
        /// QUIT. Absent: as `command`.
        quit: Time, if bounds::timeout;
        /// The whole session.
        session: Time = Time(script::Timeouts::default().session), if bounds::timeout;
    }
    /// The dialogue.
    Session {
        /// The first command. `ehlo` says HELO on the same connection where EHLO is refused with 50z.
        hello: Hello = Hello::Ehlo, flag "--hello";
        /// The name given with it.
        name: String = "load.example".to_owned(), if bounds::hello_name;
        /// Messages in a session. 0: open and close the session; for phases of messages: as many as there are.
        messages: Distribution<Count> = Distribution::Fixed(Count(1)), if bounds::messages,
            flag "--messages-per-session";
        /// How commands are grouped.
        pipelining: Pipelining = Pipelining::Auto, flag "--pipelining";
        /// Whether BDAT (RFC 3030) carries the content in place of DATA.
        chunking: Use = Use::Auto;
        /// Bytes of a chunk.
        chunk_size: Size = Size(Chunking::default().size.get()), if bounds::chunk;
        /// Which ESMTP parameters MAIL and RCPT carry.
        extensions: Extensions, or Extensions::default();
        /// VRFY commands at the beginning of a session, about `to` with `{n}` counted from 0.
        verify: Count, or Count(0), if bounds::verify;
        /// Commands after each message, before the next one or QUIT: noop, rset. Default none.
        between: Vec<Aside>, or Vec::new();
        /// How long a session pauses between two arrivals (closed loads).
        think: TimeRange = TimeRange::default();
        /// How a session ends.
        quit: Quit = Quit::Clean;
        /// The pauses of closed loads before the next session is opened after one failed: it was refused, or the listener ended it
        /// before it had served anything. One session is tried after each; loads at a rate, bursts and held-sessions have none.
        reconnect: Reconnect, or Reconnect::default();
        /// When a message is tried again that was deferred (4yz), refused, dropped or timed out, or is in doubt. Default: never. For
        /// phases of messages; searches try nothing again.
        retry: Retry;
        /// Who logs in, and how. Default: nobody does.
        auth: Auth;
        /// How it behaves badly on purpose. Default: not at all.
        misbehave: Misbehave, or Misbehave::default();
    }
    /// The pauses after sessions that failed.
    Reconnect {
        /// The first pause. 0: none.
        first: Time, or Time(plan::Reconnect::default().first);
        /// By how much each further pause is longer than the one before, until a session is served.
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
        /// The first pause, if the pauses are to grow.
        first: Time;
        /// By how much each further pause is longer than the one before.
        factor: f64, or 2.0, if bounds::factor;
        /// The longest pause. Default: no bound.
        max: Time;
        /// Attempts of a message, the first included. Needed with `first`.
        attempts: Count, if bounds::attempts;
        /// Every pause is multiplied by this, so that hours fit a test.
        time_scale: f64, or 1.0, if bounds::time_scale;
        /// How long after the last phase retries are still started. What is not accepted then has no end and counts as interrupted.
        /// Default: the `graceful_stop` of the last phase.
        wait: Time;
    }
    /// Parameters of MAIL and RCPT. Each is never sent (`off`), sent when offered (`auto`), or sent, and a listener that does
    /// not offer it is a finding (`require`).
    Extensions {
        /// SIZE= (RFC 1870).
        size: Use, or Use::Auto;
        /// BODY=8BITMIME (RFC 6152).
        eight_bit_mime as "8bitmime": Use, or Use::Off;
        /// BODY=BINARYMIME (RFC 3030), which goes with BDAT only.
        binarymime: Use, or Use::Off;
        /// SMTPUTF8 (RFC 6531).
        smtputf8: Use, or Use::Off;
        /// REQUIRETLS (RFC 8689).
        requiretls: Use, or Use::Off;
        /// Delivery reports (RFC 3461).
        dsn: Dsn;
        /// Deliver by (RFC 2852).
        deliverby: DeliverBy;
    }
    /// Delivery reports (RFC 3461).
    Dsn {
        /// Whether they are asked for.
        wanted as "use": Use, or Use::Require;
        /// RET=: what a report is to hold.
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
        /// Whether it is asked for.
        wanted as "use": Use, or Use::Require;
        /// The time from MAIL on, in whole seconds. Needed.
        within: Time;
        /// What becomes of a message that is late.
        late: Late, or Late::Return;
        /// Whether each relay is to be reported.
        trace: bool, or false;
    }
    /// Bad manners of a session, on purpose.
    Misbehave {
        /// Say hello before the greeting has come.
        early_talk: bool, or false;
        /// Say nothing for a time, whenever a step is accepted.
        stall: Silence;
        /// Lines of nonsense after the greeting, each timed as the step `command`.
        garbage: Count, or Count(0), if bounds::garbage;
        /// End the sending side once the command of this step is out, and read what is owed: hello, mail, rcpt, data, body
        /// (its final dot) or quit.
        half_close: Step, if bounds::half_close;
        /// Once mail can be sent, say NOOP without end and read no reply.
        never_read: bool, or false;
        /// Write no faster than so many bytes in a time, as in 100/s.
        trickle: Rate, if bounds::trickle;
    }
    /// A silence of the client.
    Silence {
        /// The step: greeting, hello, starttls, tls, auth, mail, rcpt, data or body.
        after: Step, if bounds::silent_after;
        /// How long.
        length as "for": Time;
    }
}

fn notify_alone(notify: &[Notify]) -> Result<(), crate::profile::units::UnitError> {
    let alone = !notify.contains(&Notify::Never) || notify.len() == 1;
    let remedy = "write [\"never\"], or remove it from the list";
    bounds::hold(alone, "`never` stands alone (RFC 3461 4.1)", remedy)
}
