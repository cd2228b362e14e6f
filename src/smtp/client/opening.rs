//! The opening of a session: greeting, TLS, hello, XCLIENT and AUTH.
//!
//! This module decides which command is next and which replies fit. The client handles the time-outs and the events.
//!
//! # Decisions
//! - A feature that the script requires and the listener does not offer ends the session as a failure
//!   ([`Failure::NotOffered`]). The client never falls back to clear text silently, and never sends a message without
//!   the required login.
//! - After TLS and after XCLIENT the client sends hello again (RFC 3207 4.2), and forgets the former offer. TLS comes
//!   first, so that neither XCLIENT nor AUTH is sent in clear text before it.
//! - An AUTH exchange is one step, from the command to the first reply that is not 334 (RFC 4954 4).
//! - For a listener that does not know EHLO, or no initial response to AUTH, the client uses the older form on the same
//!   connection, as mail clients do: RFC 5321 3.2, RFC 4954 4. Both attempts are one step.
//! - The client does not read the prompts of LOGIN, nor a challenge that asks for the initial response once more: it
//!   sends its answer whatever their text is. If the client must read a challenge and cannot, it cancels the login and
//!   reports that.
//! - XCLIENT is not timed: the client that it announces would not send it.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::event::{Failure, Lacking};
use super::reply_check;
use crate::smtp::auth::{AuthExchange, Mechanism};
use crate::smtp::command;
use crate::smtp::extensions::{Missing, Terms};
use crate::smtp::hello::Offer;
use crate::smtp::machine::Handshake;
use crate::smtp::reply::{RawReply, Reply};
use crate::smtp::script::{Hello, Pipelining, Protocol, Script, SessionIdentity, TlsMode};
use crate::smtp::step::Step;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpeningStage {
    /// The TLS handshake is in progress.
    Handshake {
        /// Whether the handshake follows STARTTLS: then there is no second greeting (RFC 3207 4.2).
        greeted: bool,
    },
    Greeting,
    /// How many lines of garbage are left to send.
    Garbage(u32),
    /// The command must be written, or is written. The same holds for all stages below.
    Hello,
    Starttls,
    Xclient,
    Auth,
}

/// Decodes base64 with or without padding: the challenges of some listeners have none.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// How much of a challenge is kept, in characters.
const KEPT: usize = 300;

/// The effect of a positive reply.
#[derive(Debug)]
pub(super) enum OpeningProgress {
    /// The client writes more, or the handshake begins.
    Goes {
        /// Whether the step is complete.
        complete: bool,
    },
    /// The session can send mail on these terms.
    Established {
        /// Whether PIPELINING is offered, so that commands can be grouped.
        pipelining: bool,
        terms: Terms,
    },
    /// The step is complete, and this next one fails before anything is written.
    Fails(Step, Failure),
}

/// Everything before the first transaction.
#[derive(Debug)]
pub(super) struct Opening {
    stage: OpeningStage,
    identity: SessionIdentity,
    /// The handshake, once it is complete.
    handshake: Option<Handshake>,
    /// Whether hello was sent before the greeting came.
    talked_early: bool,
    /// Whether XCLIENT was accepted.
    presented: bool,
    /// The login, once it has started.
    login: Option<Box<dyn AuthExchange>>,
    /// The next line of the login, without its CRLF.
    line: Vec<u8>,
    /// The initial response, encoded, as long as it may still be needed.
    initial: Option<Vec<u8>>,
    /// Whether AUTH was sent without the initial response.
    bare: bool,
    /// Whether the login is cancelled.
    cancelled: bool,
    /// The challenge that gives the reason for a refused login, and whether it was understood.
    challenge: Option<(String, bool)>,
    /// The reply that refused the first form of this step, while the second form is in progress.
    refused: Option<Reply>,
    /// Whether the client uses HELO, because the listener does not know EHLO.
    old: bool,
    /// What the listener offered last.
    offer: Offer,
    /// The terms that follow from the offer.
    terms: Terms,
}

impl Opening {
    pub(super) fn new(script: &Script, identity: SessionIdentity) -> Opening {
        Opening {
            stage: match script.tls {
                TlsMode::Implicit => OpeningStage::Handshake { greeted: false },
                TlsMode::None | TlsMode::Starttls => OpeningStage::Greeting,
            },
            identity,
            handshake: None,
            presented: false,
            talked_early: false,
            login: None,
            line: Vec::new(),
            initial: None,
            bare: false,
            cancelled: false,
            challenge: None,
            refused: None,
            old: false,
            offer: Offer::default(),
            terms: Terms::default(),
        }
    }

    pub(super) fn step(&self) -> Step {
        match self.stage {
            OpeningStage::Handshake { .. } => Step::Tls,
            OpeningStage::Greeting => Step::Greeting,
            OpeningStage::Garbage(_) => Step::Command,
            OpeningStage::Hello | OpeningStage::Xclient => Step::Hello,
            OpeningStage::Starttls => Step::Starttls,
            OpeningStage::Auth => Step::Auth,
        }
    }

    /// Whether the client waits without having sent a command: for the greeting, or for the handshake.
    pub(super) fn waits_unasked(&self) -> bool {
        matches!(self.stage, OpeningStage::Greeting | OpeningStage::Handshake { .. })
    }

    /// Whether hello is sent although no greeting came.
    pub(super) fn talks_early(&self, script: &Script) -> bool {
        self.stage == OpeningStage::Greeting && script.manners.early_talk
    }

    /// Whether hello was sent before the greeting and this stage is hello. Returns true only once.
    pub(super) fn was_said_early(&mut self) -> bool {
        self.stage == OpeningStage::Hello && std::mem::take(&mut self.talked_early)
    }

    pub(super) fn is_handshake(&self) -> bool {
        matches!(self.stage, OpeningStage::Handshake { .. })
    }

    /// Whether the bytes to write hold a secret.
    pub(super) fn is_secret(&self) -> bool {
        self.stage == OpeningStage::Auth
    }

    /// Whether this write continues a step in progress.
    pub(super) fn continues(&self) -> bool {
        self.stage == OpeningStage::Auth && self.login.is_some() || self.refused.is_some()
    }

    /// Returns the reply that refused the first form of the step, if this is the second form.
    pub(super) fn refused_before(&mut self) -> Option<Reply> {
        self.refused.take()
    }

    /// Returns the failure for a reply that refuses; `None` for any other reply.
    pub(super) fn refusal(&self, raw: RawReply<'_>) -> Option<Box<Failure>> {
        let refusal = reply_check::refusal(raw)?;
        Some(match &self.challenge {
            Some((challenge, understood)) if self.stage == OpeningStage::Auth => {
                Box::new(Failure::Challenged {
                    reply: raw.to_reply(),
                    challenge: challenge.clone(),
                    understood: *understood,
                })
            }
            _ => refusal,
        })
    }

    /// Whether the listener only refuses the form of the command, and the client repeats it in an older form.
    pub(super) fn steps_down(&mut self, script: &Script, raw: RawReply<'_>) -> bool {
        // All replies about syntax (RFC 5321 4.2.1) mean that the command is unknown: 500, 501, 502, 504, and 503 from
        // an old listener that takes EHLO for another command.
        let is_unknown = (500..510).contains(&raw.code);
        let goes_on = match self.stage {
            OpeningStage::Hello => {
                let may = script.protocol == Protocol::Smtp && script.hello == Hello::Ehlo && !self.old;
                self.old |= may && is_unknown;
                may && is_unknown
            }
            // RFC 4954 4: the initial response may be too long for the listener, or the listener does not accept an
            // initial response.
            OpeningStage::Auth if is_unknown && !self.bare && !self.cancelled && self.initial.is_some() => {
                self.bare = true;
                self.line = self.auth_line();
                true
            }
            _ => false,
        };
        if goes_on {
            self.refused = Some(raw.to_reply());
        }
        goes_on
    }

    /// Returns the form of hello that the client uses now.
    fn hello(&self, script: &Script) -> Hello {
        if self.old { Hello::Helo } else { script.hello }
    }

    fn auth_line(&self) -> Vec<u8> {
        let name = self.identity.login.as_ref().map_or("", |login| login.mechanism.as_str());
        [b"AUTH ", name.as_bytes()].concat()
    }

    /// Whether a reply that does not refuse fits the step.
    pub(super) fn fits(&self, code: u16) -> bool {
        match self.stage {
            OpeningStage::Handshake { .. } => false,
            OpeningStage::Greeting | OpeningStage::Starttls | OpeningStage::Xclient => code == 220,
            // A cancelled login can only be refused. It must neither succeed nor go on with endless challenges.
            OpeningStage::Auth if self.cancelled => false,
            OpeningStage::Auth if code == 334 => true,
            OpeningStage::Auth | OpeningStage::Hello | OpeningStage::Garbage(_) => {
                code / 100 == 2 && !matches!(code, 220 | 221)
            }
        }
    }

    /// Notes that the handshake is complete.
    pub(super) fn secured(&mut self, handshake: Handshake) {
        if let OpeningStage::Handshake { greeted } = self.stage {
            self.stage = if greeted { OpeningStage::Hello } else { OpeningStage::Greeting };
            self.handshake = Some(handshake);
        }
    }

    /// Appends the command of this stage.
    pub(super) fn write(&mut self, script: &Script, out: &mut Vec<u8>) {
        match self.stage {
            OpeningStage::Handshake { .. } => {}
            OpeningStage::Greeting => {
                self.talked_early = true;
                command::hello(out, script.protocol, self.hello(script), &script.name);
            }
            OpeningStage::Garbage(_) => out.extend_from_slice(command::GARBAGE),
            OpeningStage::Hello => command::hello(out, script.protocol, self.hello(script), &script.name),
            OpeningStage::Starttls => out.extend_from_slice(command::STARTTLS),
            OpeningStage::Xclient => {
                command::xclient(out, self.identity.xclient.as_deref().unwrap_or_default())
            }
            OpeningStage::Auth => {
                out.append(&mut self.line);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Returns what the listener offered last.
    pub(super) fn into_offer(self) -> Offer {
        self.offer
    }

    /// Processes a reply that fits the step.
    pub(super) fn reply(&mut self, script: &Script, raw: RawReply<'_>) -> OpeningProgress {
        self.refused = None;
        match self.stage {
            OpeningStage::Handshake { .. } => OpeningProgress::Goes { complete: false },
            OpeningStage::Greeting if script.manners.garbage > 0 && !self.talked_early => {
                self.go(OpeningStage::Garbage(script.manners.garbage), true)
            }
            OpeningStage::Garbage(left @ 2..) => self.go(OpeningStage::Garbage(left - 1), true),
            OpeningStage::Greeting | OpeningStage::Garbage(_) => self.go(OpeningStage::Hello, true),
            OpeningStage::Starttls => self.go(OpeningStage::Handshake { greeted: true }, true),
            OpeningStage::Xclient => {
                self.presented = true;
                self.go(OpeningStage::Hello, false)
            }
            OpeningStage::Hello => {
                self.offer = match (script.protocol, self.hello(script)) {
                    (Protocol::Smtp, Hello::Helo) => Offer::default(),
                    (Protocol::Smtp, Hello::Ehlo | Hello::EhloOnly) | (Protocol::Lmtp, _) => {
                        Offer::parse(&raw.to_reply())
                    }
                };
                self.hello_accepted(script)
            }
            OpeningStage::Auth if raw.code == 334 => self.challenged(&raw.to_reply()),
            OpeningStage::Auth => {
                // A login does not succeed before the listener has proved its own identity.
                if self.login.as_ref().is_some_and(|login| login.is_done()) {
                    self.established()
                } else {
                    OpeningProgress::Fails(Step::Auth, Failure::Unexpected(raw.to_reply()))
                }
            }
        }
    }

    fn established(&mut self) -> OpeningProgress {
        OpeningProgress::Established {
            pipelining: self.offer.pipelining,
            terms: std::mem::take(&mut self.terms),
        }
    }

    fn go(&mut self, stage: OpeningStage, complete: bool) -> OpeningProgress {
        self.stage = stage;
        OpeningProgress::Goes { complete }
    }

    /// Continues once the offer is known: TLS, XCLIENT and AUTH follow in this order, as far as the script asks for
    /// them.
    fn hello_accepted(&mut self, script: &Script) -> OpeningProgress {
        let lacks = |step, what| OpeningProgress::Fails(step, Failure::NotOffered(what));
        if script.tls == TlsMode::Starttls && self.handshake.is_none() {
            if !self.offer.starttls {
                return lacks(Step::Starttls, Lacking::Starttls);
            }
            return self.go(OpeningStage::Starttls, true);
        }
        if self.identity.xclient.is_some() && !self.presented {
            if !self.offer.xclient {
                return lacks(Step::Hello, Lacking::Xclient);
            }
            return self.go(OpeningStage::Xclient, true);
        }
        if script.pipelining == Pipelining::Require && !self.offer.pipelining {
            return lacks(Step::Hello, Lacking::Pipelining);
        }
        match script.wishes.agree(&self.offer) {
            Ok(terms) => self.terms = terms,
            Err(Missing(keyword)) => return lacks(Step::Hello, Lacking::Extension(keyword)),
        }
        let Some(login) = &self.identity.login else { return self.established() };
        if self.handshake.is_none() && !script.clear_text_login {
            return lacks(Step::Auth, Lacking::Encryption);
        }
        let name = login.mechanism.as_str();
        if !self.offer.auth.iter().any(|offered| offered == name) {
            return lacks(Step::Auth, Lacking::Mechanism(login.mechanism));
        }
        let binding = self.handshake.as_ref().and_then(|tls| tls.binding.as_ref());
        if login.mechanism == Mechanism::ScramSha256Plus && binding.is_none() {
            return lacks(Step::Auth, Lacking::ChannelBinding);
        }
        let mut exchange = login.begin(self.handshake.as_ref());
        self.line = self.auth_line();
        if let Some(initial) = exchange.initial() {
            self.line.push(b' ');
            let encoded = STANDARD.encode(initial);
            // An empty response differs from none (RFC 4954 4).
            self.line.extend_from_slice(if encoded.is_empty() { b"=" } else { encoded.as_bytes() });
            self.initial = Some(encoded.into_bytes());
        }
        self.login = Some(exchange);
        self.go(OpeningStage::Auth, true)
    }

    fn challenged(&mut self, reply: &Reply) -> OpeningProgress {
        let goes_on = OpeningProgress::Goes { complete: false };
        let text =
            reply.lines.iter().map(|line| line.trim()).find(|line| !line.is_empty()).unwrap_or_default();
        let Some(login) = &mut self.login else { return goes_on };
        let decoded = LENIENT.decode(text.trim_end_matches('=')).ok();
        let challenge = decoded.or_else(|| (!login.reads_challenges()).then(|| text.as_bytes().to_vec()));
        let asks_again = |challenge: &Vec<u8>| self.bare || login.asks_again(challenge);
        if self.initial.is_some() && challenge.as_ref().is_none_or(asks_again) {
            self.line = self.initial.take().unwrap_or_default();
            return goes_on;
        }
        self.initial = None;
        let shown = challenge.as_deref().map_or_else(|| text.into(), String::from_utf8_lossy);
        let shown = || shown.chars().take(KEPT).collect::<String>();
        match challenge.as_deref().and_then(|challenge| login.respond(challenge)) {
            Some(answer) => {
                // After a token, a challenge can only give a reason to refuse it.
                let has_token = self.identity.login.as_ref().is_some_and(|login| login.mechanism.has_token());
                self.challenge = has_token.then(|| (shown(), true));
                self.line = STANDARD.encode(answer).into_bytes();
            }
            None => {
                self.challenge = Some((shown(), false));
                // `*` cancels the login. The listener answers 501, and the step fails with that reply.
                self.cancelled = true;
                self.line = b"*".to_vec();
            }
        }
        goes_on
    }
}
