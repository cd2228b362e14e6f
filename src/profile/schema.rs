//! What a profile may say: the serde types of the TOML file, and with them its JSON Schema (`smtpress schema profile`).
//!
//! Nothing is decided here. A key that is absent is `None`; `resolved` fills in defaults, `compile` says what makes sense.
//!
//! # Decisions
//! - `deny_unknown_fields` everywhere, no `flatten`, no untagged enums: they lose the place of an error.
//! - A phase is one flat table for all load models, so that a key of another model gets an error that says so.
//! - Places of later errors come from the document (`Document::place`), not from spans in these types: a profile that is
//!   made from flags has the same types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::Auth;
use super::listener::Listener;
use super::message::Message;
use super::misbehave::Misbehave;
use super::tls::{Tls, TlsOptions};
use super::units::{Count, Level, Percent, Rate, Seed, Setting, Size, Time, TimeRange};
use super::value::{Distribution, Plain};

/// Writes a table of optional keys, with what all of them share.
macro_rules! tables {
    ($($(#[doc = $doc:literal])* $name:ident {
        $($(#[doc = $field_doc:literal])* $(#[serde($($serde:tt)*)])? $field:ident: $type:ty,)*
    })*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $field_doc])* $(#[serde($($serde)*)])?
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $field: Option<$type>,)*
        }
    )*};
}
pub(super) use tables;

/// A smtpress profile: one load test, what it expects, and what it promises.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The version of this format: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<u32>,
    /// A name for reports and run directories: letters, digits, `-`, `_` and `.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Decides every random choice of the run. Absent: drawn, printed and stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
    /// Threads of the generator. Absent: as many as there are cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Where the load goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// How long each step may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// The dialogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// The messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// The parts of the run, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phase: Vec<Phase>,
    /// Answers that are right, and no failures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expect>,
    /// What must hold for the run to pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assert: Vec<Assert>,
    /// Your own names for replies, asked before the built-in rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classify: Vec<Classify>,
    /// For `smtpress limit`: what the administrator configured, by the name of the limit, such as
    /// `too-many-connections-from-host = 50`; `smtpress limit --target embedded --plan` lists the names. A count, a size, a time
    /// or a rate, as the limit asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Plain>,
    /// For `smtpress capacity`: what to search, and which goals to meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// The embedded listener: for `address = "embedded"` and `smtpress listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Listener>,
}

/// Writes an enum of words, with their aliases; serde's list of variants makes the error for a wrong one.
macro_rules! words {
    ($($(#[doc = $doc:literal])* $name:ident {
        $($(#[doc = $variant_doc:literal])* $variant:ident = $word:literal $(| $alias:literal)*,)*
    })*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[doc = $variant_doc])* #[serde(rename = $word, $(alias = $alias),*)] $variant,)*
        }

        impl $name {
            /// The word in the profile.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            // Derived, it would not know the aliases.
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "description": concat!($($doc),*).trim(),
                    "oneOf": [$(
                        { "const": $word, "description": concat!($($variant_doc),*).trim() },
                        $({ "const": $alias, "description": concat!("the same as ", $word) },)*
                    )*],
                })
            }
        }
    )*};
}
pub(super) use words;

words! {
    /// Whether the PROXY protocol carries the source address.
    Proxy {
        /// No header.
        None = "none",
        /// The text header.
        V1 = "v1",
        /// The binary header.
        V2 = "v2",
    }
    /// The first command.
    Hello {
        /// EHLO, and HELO where the listener does not know it.
        Ehlo = "ehlo",
        /// EHLO; a listener that does not know it is a failure.
        EhloOnly = "ehlo-only",
        /// HELO.
        Helo = "helo",
    }
    /// How commands are grouped (RFC 2920).
    Pipelining {
        /// One command at a time.
        Off = "off",
        /// MAIL, RCPT and DATA in one group, when offered.
        Auto = "auto",
        /// The content and the next MAIL, RCPT and DATA in one group too, when offered.
        Full = "full",
        /// As full; a listener that does not offer it is a finding.
        Require = "require",
    }
    /// Whether BDAT carries the content (RFC 3030).
    Chunking {
        /// DATA.
        Off = "off",
        /// BDAT, when offered.
        Auto = "auto",
        /// BDAT; a listener that does not offer it is a finding.
        Require = "require",
    }
    /// Whether an extension is used.
    Use {
        /// Never.
        Off = "off",
        /// When it is offered.
        Auto = "auto",
        /// Always; a listener that does not offer it is a finding.
        Require = "require",
    }
    /// What a delivery report is to hold (RFC 3461).
    Ret {
        /// The whole message.
        Full = "full",
        /// Its header.
        Hdrs = "hdrs",
    }
    /// When a delivery is to be reported (RFC 3461).
    Notify {
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
    Late {
        /// It is returned.
        Return = "return",
        /// The sender is told.
        Notify = "notify",
    }
    /// A command for its own sake.
    Aside {
        /// NOOP.
        Noop = "noop",
        /// RSET.
        Rset = "rset",
    }
    /// How a session ends.
    Quit {
        /// QUIT, its reply, close.
        Clean = "clean",
        /// Close without QUIT.
        Close = "close",
        /// Reset without QUIT.
        Reset = "reset",
        /// QUIT too, but not before the end of the phase: until then the session stays open.
        Hold = "hold",
    }
    /// The load model of a phase.
    Load {
        /// Arrivals at a rate, whatever the target does: `rate`, `for`.
        ConstantRate = "constant-rate" | "constant-arrival-rate",
        /// Arrivals at a changing rate: `from`, `to`, `for`; or `from` and `stages`.
        RampingRate = "ramping-rate" | "ramping-arrival-rate",
        /// So many sessions at a time, each beginning again when it has ended: `sessions`, `for`.
        ConstantSessions = "constant-sessions" | "constant-vus",
        /// A changing number of sessions: `from`, `to`, `for`; or `from` and `stages`.
        RampingSessions = "ramping-sessions" | "ramping-vus",
        /// `messages` in all, shared by `sessions`; `for` is the longest it may take.
        SharedMessages = "shared-messages" | "shared-iterations",
        /// `size` arrivals at once, at the start and then `every` so often, `for` so long. Without `every`: once.
        Burst = "burst",
        /// From `from` up by `step`, `every` so often, `steps` steps in all. Rates or numbers of sessions.
        Staircase = "staircase",
        /// `sessions` opened (at `rate` if given) and held open, `for` so long.
        HeldSessions = "held-sessions",
    }
    /// How the arrivals of a rate are spaced.
    Arrival {
        /// Evenly.
        Uniform = "uniform",
        /// As a Poisson process: independent senders.
        Poisson = "poisson",
    }
    /// What one arrival is.
    Unit {
        /// A session with all its messages.
        Session = "session",
        /// A message, on a session of the pool.
        Message = "message",
    }
    /// What becomes of an arrival that is due when no session is free.
    OnSaturation {
        /// It waits, with its intended time. Up to 1048576 arrivals wait at once; what comes due beyond is shed.
        Queue = "queue",
        /// It is dropped, and counted as shed.
        Drop = "drop",
    }
    /// What a capacity search varies.
    By {
        /// The rate of arrivals.
        Rate = "rate",
        /// The number of sessions.
        Sessions = "sessions",
        /// The size of the messages, under the load of the first measured phase.
        Size = "size",
    }
}

tables! {
    /// Where the load goes.
    Target {
        /// `smtp://host:port`, `smtps://host:port`, `lmtp://host:port`, `smtp+unix:path`, `lmtp+unix:path`, or `embedded`
        /// for the listener inside the process. Of a name with several addresses a session goes to the first that answers;
        /// the load is not spread over them. Needed.
        address: String,
        /// Whether the sessions are encrypted, and how. Default none; `smtps://`: implicit.
        tls: Tls,
        /// Client addresses, used in turn by session: addresses, ranges `a-b`, blocks `a/n`. They are bound, or with
        /// `proxy` or `xclient` carried instead.
        sources: Vec<String>,
        /// Whether a PROXY protocol header carries the client address (one of `sources`, or our own). Default none.
        proxy: Proxy,
        /// XCLIENT tells the listener the client address (one of `sources`); it must offer XCLIENT to us. Default false.
        xclient: bool,
        /// Hosts beyond loopback that may be loaded, with their owner's consent: the same as `--allow-target`. Default none.
        allow: Vec<String>,
        /// Details of TLS.
        tls_options: TlsOptions,
    }
    /// How long each step may take; the defaults are the minima of RFC 5321 4.5.3.2.
    Timeouts {
        /// Name resolution and connect. Default 30s.
        connect: Time,
        /// The greeting. Default 5m.
        greeting: Time,
        /// HELO, EHLO, MAIL, RCPT, QUIT. Default 5m.
        command: Time,
        /// DATA, until the 354. Default 2m.
        data: Time,
        /// The content, until its reply. Default 10m.
        body: Time,
        /// The whole session. Default 1h.
        session: Time,
    }
    /// The dialogue.
    Session {
        /// The first command. `ehlo` says HELO on the same connection where EHLO is refused with 50z. Default ehlo.
        hello: Hello,
        /// The name given with it. Default load.example.
        name: String,
        /// Messages in a session. Default 1. 0: open and close the session; for phases of messages: as many as there are.
        messages: Distribution<Count>,
        /// How commands are grouped. Default auto.
        pipelining: Pipelining,
        /// Whether BDAT carries the content. Default auto.
        chunking: Chunking,
        /// Octets of a chunk. Default 64KiB.
        chunk_size: Size,
        /// Which ESMTP parameters MAIL and RCPT carry.
        extensions: Extensions,
        /// VRFY commands at the beginning of a session, about `to` with `{n}` counted from 0. Default 0.
        verify: Count,
        /// Commands after each message, before the next one or QUIT: noop, rset. Default none.
        between: Vec<Aside>,
        /// How long a session pauses between two arrivals (closed loads). Default 0s.
        think: TimeRange,
        /// How a session ends. Default clean.
        quit: Quit,
        /// The pauses of closed loads before the next session is opened after one failed: it was refused, or the listener ended it
        /// before it had served anything. One session is tried after each; loads at a rate, bursts and held-sessions have none.
        reconnect: Reconnect,
        /// Who logs in, and how. Default: nobody does.
        auth: Auth,
        /// How it behaves badly on purpose. Default: not at all.
        misbehave: Misbehave,
    }
    /// The pauses after sessions that failed.
    Reconnect {
        /// The first pause. 0: none. Default 50ms.
        first: Time,
        /// By how much each further pause is longer than the one before, until a session is served. Default 2.
        factor: f64,
        /// The longest pause. Default 1s.
        max: Time,
    }
    /// Parameters of MAIL and RCPT. Each is never sent (`off`), sent when offered (`auto`), or sent, and a listener that does
    /// not offer it is a finding (`require`).
    Extensions {
        /// SIZE= (RFC 1870). Default auto.
        size: Use,
        /// BODY=8BITMIME (RFC 6152). Default off.
        #[serde(rename = "8bitmime")]
        eight_bit_mime: Use,
        /// BODY=BINARYMIME (RFC 3030), which goes with BDAT only. Default off.
        binarymime: Use,
        /// SMTPUTF8 (RFC 6531). Default off.
        smtputf8: Use,
        /// REQUIRETLS (RFC 8689). Default off.
        requiretls: Use,
        /// Delivery reports (RFC 3461).
        dsn: Dsn,
        /// Deliver by (RFC 2852).
        deliverby: DeliverBy,
    }
    /// Delivery reports (RFC 3461).
    Dsn {
        /// Whether they are asked for. Default require.
        #[serde(rename = "use")]
        wanted: Use,
        /// RET=: what a report is to hold.
        ret: Ret,
        /// ENVID=: the run and the message's number. Default false.
        envid: bool,
        /// NOTIFY=: never, or some of success, failure, delay.
        notify: Vec<Notify>,
        /// ORCPT=: the recipient. Default false.
        orcpt: bool,
    }
    /// Deliver by (RFC 2852).
    DeliverBy {
        /// Whether it is asked for. Default require.
        #[serde(rename = "use")]
        wanted: Use,
        /// The time from MAIL on, in whole seconds. Needed.
        within: Time,
        /// What becomes of a message that is late. Default return.
        late: Late,
        /// Whether each relay is to be reported. Default false.
        trace: bool,
    }
    /// A part of the run.
    Phase {
        /// Its name, unique in the profile: letters, digits, `-` and `_`. Default: `phase-` and its number.
        name: String,
        /// The load model: which keys the phase needs stands with each. Needed.
        load: Load,
        /// How long; for shared-messages the longest that it may take. A staircase has `every` and `steps` instead.
        #[serde(rename = "for")]
        length: Time,
        /// Arrivals in a time (constant-rate); sessions opened in a time (held-sessions; absent: at once).
        rate: Rate,
        /// Sessions at a time.
        sessions: Count,
        /// Messages in all (shared-messages).
        messages: Count,
        /// Arrivals of a burst.
        size: Count,
        /// From burst to burst, or from step to step.
        every: Time,
        /// The first value of a ramp or staircase: a rate such as "10/s", or a number of sessions.
        from: Level,
        /// The last value of a ramp.
        to: Level,
        /// The height of a staircase's step.
        step: Level,
        /// The number of a staircase's steps, the first included.
        steps: Count,
        /// A ramp in several parts, each from the value before it.
        stages: Vec<Stage>,
        /// How arrivals of a rate are spaced. Default uniform.
        arrival: Arrival,
        /// What one arrival is. Default message for rates, bursts and shared-messages, session for the others.
        unit: Unit,
        /// Never measured. Default false.
        warmup: bool,
        /// The most sessions open at once. Default: 1000 for rates and bursts, else as many as the load asks for.
        max_sessions: Count,
        /// Open all sessions before the first message is begun (constant-sessions and shared-messages of unit message).
        /// The load is measured from then on; what the opening takes is part of `for`. Default false.
        open_first: bool,
        /// The most connections opened in a time. Default: as the load asks.
        connect_rate: Rate,
        /// What becomes of an arrival when no session is free. Default queue.
        on_saturation: OnSaturation,
        /// How long arrivals may take to end after the phase. Default 30s.
        graceful_stop: Time,
    }
    /// A part of a ramp.
    Stage {
        /// How long.
        #[serde(rename = "for")]
        length: Time,
        /// The rate at its end (ramping-rate).
        rate: Rate,
        /// The sessions at its end (ramping-sessions).
        sessions: Count,
    }
    /// An answer that is right, and no failure. All that is given must hold.
    Expect {
        /// A name for expressions: `expect.NAME rate >= 99%`.
        name: String,
        /// Only in this phase.
        phase: String,
        /// Only at this step: dns, connect, tls, greeting, hello, starttls, auth, mail, rcpt, data, body, command or quit.
        step: String,
        /// Only with this meaning: the name of a condition, as `smtpress codes` lists them.
        condition: String,
        /// Only with this reply code.
        code: u16,
        /// Only while so many sessions are open, the refused one included: "sessions > 50".
        when: String,
    }
    /// What must hold for the run to pass.
    Assert {
        /// In this phase. Absent: in all measured phases together.
        phase: String,
        /// The expression: "response p99 < 800ms", "unexpected rate < 0.1%", "accepted >= 500". Needed. A rate in /s is of what fell into the phase's
        /// window; only that of condition.NAME and expect.NAME takes what was met after it too.
        expr: String,
        /// Over every stretch of this length instead of the whole.
        window: Time,
        /// Stop the run when it fails. Default false.
        abort: bool,
        /// Not looked at before the phase is this old. Default 0s.
        grace: Time,
        /// Remove the built-in assertion with this expression (`accepted > 0`, `shed == 0`, `done rate == 100%`, `unexpected rate <= 1%`). Default false.
        remove: bool,
    }
    /// Your own name for a reply. All that is given must hold.
    Classify {
        /// A regular expression for the whole reply, without regard to case.
        pattern: String,
        /// Only with this reply code.
        code: u16,
        /// Only at this step, as for `[[expect]]`.
        step: String,
        /// What it means: the name of a condition, as `smtpress codes` lists them. Needed.
        condition: String,
    }
    /// A search for the highest load that meets the goals.
    Capacity {
        /// What is varied from trial to trial. Default rate.
        by: By,
        /// Where the search begins: a rate, a number of sessions or a size. Default 20/s, 1 or 4KiB.
        start: Setting,
        /// Where it ends. Default 5000/s, 1000 or 64MiB.
        max: Setting,
        /// How close its two bounds must come. Default 5%.
        width: Percent,
        /// How long a trial lasts. Default 20s.
        trial: Time,
        /// How much trial time decides. Default 60s.
        duration_sum: Time,
        /// How long the result is confirmed; 0: not at all. Default 60s.
        confirm: Time,
        /// How long the listener is warmed up before the first trial. Default 10s.
        warmup: Time,
        /// How long the listener may take to be as fast again as at rest, between two trials. Default 60s.
        cooldown_max: Time,
        /// The longest that the whole search may take. Default 20m.
        deadline: Time,
        /// A command that the shell runs before each trial but the first: flush a queue, restart a service. When it fails,
        /// the search ends.
        between_trials: String,
        /// What a load must meet. Needed, here or by `--goal`.
        goals: Vec<Goal>,
    }
    /// What a load must meet.
    Goal {
        /// Its name.
        name: String,
        /// The objective: "response p99 < 500ms". Needed.
        slo: String,
        /// The share of arrivals that need not be accepted, beside those that the objective lets be slow. Default 0%.
        failures: Percent,
    }
}

/// The JSON Schema of a profile (2020-12).
pub fn json_schema() -> schemars::Schema {
    schemars::schema_for!(Profile)
}
