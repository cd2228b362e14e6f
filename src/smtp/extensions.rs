//! The extensions that a session asks for, and those that it uses after the listener's offer.
//!
//! The session only sends the parameters. Their effect is up to the listener.
//!
//! # Decisions
//! - One rule for all: `Off` is never used, and `Auto` is used when offered. `Require` is always used: a listener that
//!   does not offer the extension fails the session at hello. Nothing that was asked for is dropped silently.
//! - Parameters that are the same for every message are rendered once for each session.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::time::Duration;

use super::hello::Offer;

/// Whether an extension is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Use {
    /// Never.
    #[default]
    Off,
    /// When it is offered.
    Auto,
    /// Always. A listener that does not offer it fails the session.
    Require,
}

impl Use {
    /// Whether the extension is used with this offer.
    fn when(self, offered: bool, keyword: &'static str) -> Result<bool, Missing> {
        match self {
            Use::Require if !offered => Err(Missing(keyword)),
            Use::Off => Ok(false),
            Use::Auto | Use::Require => Ok(offered),
        }
    }
}

/// The keyword of an extension that is required and not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing(pub &'static str);

/// The delivery reports that are requested (RFC 3461).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dsn {
    /// Whether DSN is used.
    pub wanted: Use,
    /// `RET=`, either `FULL` or `HDRS`.
    pub ret: Option<&'static str>,
    /// `ENVID=`, the message's identifier.
    pub envid: bool,
    /// `NOTIFY=`, either `NEVER` or a list of `SUCCESS`, `FAILURE` and `DELAY`.
    pub notify: Option<String>,
    /// `ORCPT=`, the original recipient: the address as RCPT has it.
    pub orcpt: bool,
}

/// What the listener does with a message that cannot be delivered in time (RFC 2852 4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// `R`: it returns the message.
    #[default]
    Return,
    /// `N`: it notifies the sender.
    Notify,
}

/// The time limit of a delivery (RFC 2852).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliverBy {
    /// Whether DELIVERBY is used.
    pub wanted: Use,
    /// The time from MAIL on, in whole seconds, 1 to 999999999.
    pub within: Duration,
    /// What happens to the message after that time.
    pub late: Late,
    /// `T`: each relay is to be reported.
    pub trace: bool,
}

/// How the content is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    /// Whether BDAT is used (RFC 3030).
    pub wanted: Use,
    /// The size of a chunk in bytes; the last one may be shorter.
    pub size: NonZeroU64,
}

impl Default for Chunking {
    /// Returns DATA, with chunks of 64 KiB if BDAT is chosen.
    fn default() -> Self {
        Chunking { wanted: Use::Off, size: NonZeroU64::new(64 * 1024).expect("64 KiB is not nothing") }
    }
}

/// All that a session asks of the listener's extensions, except PIPELINING.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// BDAT.
    pub chunking: Chunking,
    /// `SIZE=` (RFC 1870).
    pub size: Use,
    /// `BODY=8BITMIME` (RFC 6152).
    pub eight_bit: Use,
    /// `BODY=BINARYMIME` (RFC 3030 section 3), which goes with BDAT only.
    pub binary: Use,
    /// `SMTPUTF8` (RFC 6531).
    pub utf8: Use,
    /// `REQUIRETLS` (RFC 8689).
    pub require_tls: Use,
    /// Delivery status notifications.
    pub dsn: Dsn,
    /// A time limit for the delivery.
    pub deliver_by: DeliverBy,
}

impl Default for Wishes {
    /// Returns the default: only the size is declared, if the listener offers that.
    fn default() -> Self {
        Wishes {
            chunking: Chunking::default(),
            size: Use::Auto,
            eight_bit: Use::Off,
            binary: Use::Off,
            utf8: Use::Off,
            require_tls: Use::Off,
            dsn: Dsn::default(),
            deliver_by: DeliverBy::default(),
        }
    }
}

/// What a session does with the listener's offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The size of a chunk in bytes; `None` for DATA.
    pub chunk: Option<NonZeroU64>,
    /// Whether MAIL declares the size of the content.
    pub size: bool,
    /// Whether MAIL declares the message's identifier.
    pub envid: bool,
    /// Whether RCPT declares the original recipient.
    pub orcpt: bool,
    /// The other parameters of MAIL, each with a space before it.
    pub mail: Box<str>,
    /// The other parameters of RCPT, each with a space before it.
    pub rcpt: Box<str>,
}

impl Wishes {
    /// Returns the terms that follow from these wishes and an offer.
    ///
    /// # Errors
    /// The first extension that is required and not offered.
    pub fn agree(&self, offer: &Offer) -> Result<Terms, Missing> {
        let chunks = self.chunking.wanted.when(offer.chunking, "CHUNKING")?;
        let size = self.size.when(offer.size.is_some(), "SIZE")?;
        // RFC 3030 section 3: BINARYMIME needs CHUNKING, and its content is sent with BDAT.
        let binary = self.binary.when(offer.binary_mime && chunks, "BINARYMIME")?;
        let eight_bit = self.eight_bit.when(offer.eight_bit_mime, "8BITMIME")?;
        let (mut mail, mut rcpt) = (String::new(), String::new());
        if binary {
            mail.push_str(" BODY=BINARYMIME");
        } else if eight_bit {
            mail.push_str(" BODY=8BITMIME");
        }
        if self.utf8.when(offer.smtp_utf8, "SMTPUTF8")? {
            mail.push_str(" SMTPUTF8");
        }
        if self.require_tls.when(offer.require_tls, "REQUIRETLS")? {
            mail.push_str(" REQUIRETLS");
        }
        let dsn = self.dsn.wanted.when(offer.dsn, "DSN")?;
        if dsn {
            for (out, keyword, value) in
                [(&mut mail, "RET", self.dsn.ret), (&mut rcpt, "NOTIFY", self.dsn.notify.as_deref())]
            {
                if let Some(value) = value {
                    write!(out, " {keyword}={value}").expect("a String takes everything");
                }
            }
        }
        if self.deliver_by.wanted.when(offer.deliver_by.is_some(), "DELIVERBY")? {
            let late = match self.deliver_by.late {
                Late::Return => "R",
                Late::Notify => "N",
            };
            let trace = if self.deliver_by.trace { "T" } else { "" };
            write!(mail, " BY={};{late}{trace}", self.deliver_by.within.as_secs())
                .expect("a String takes everything");
        }
        Ok(Terms {
            chunk: chunks.then_some(self.chunking.size),
            size,
            envid: dsn && self.dsn.envid,
            orcpt: dsn && self.dsn.orcpt,
            mail: mail.into(),
            rcpt: rcpt.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns wishes that treat every extension as `wanted` says.
    fn all(wanted: Use) -> Wishes {
        Wishes {
            chunking: Chunking { wanted, ..Chunking::default() },
            size: wanted,
            eight_bit: wanted,
            binary: wanted,
            utf8: wanted,
            require_tls: wanted,
            dsn: Dsn {
                wanted,
                ret: Some("HDRS"),
                envid: true,
                notify: Some("SUCCESS,DELAY".into()),
                orcpt: true,
            },
            deliver_by: DeliverBy {
                wanted,
                within: Duration::from_secs(120),
                late: Late::Notify,
                trace: true,
            },
        }
    }

    fn everything() -> Offer {
        Offer {
            pipelining: true,
            chunking: true,
            size: Some(0),
            eight_bit_mime: true,
            binary_mime: true,
            smtp_utf8: true,
            dsn: true,
            require_tls: true,
            deliver_by: Some(0),
            ..Offer::default()
        }
    }

    #[test]
    fn what_is_offered_is_used_and_what_is_off_is_not() {
        for wanted in [Use::Auto, Use::Require] {
            let terms = all(wanted).agree(&everything()).unwrap();
            assert_eq!(&*terms.mail, " BODY=BINARYMIME SMTPUTF8 REQUIRETLS RET=HDRS BY=120;NT");
            assert_eq!(&*terms.rcpt, " NOTIFY=SUCCESS,DELAY");
            assert!(terms.size && terms.envid && terms.orcpt && terms.chunk.is_some());
        }
        assert_eq!(all(Use::Auto).agree(&Offer::default()), Ok(Terms::default()));
        assert_eq!(all(Use::Off).agree(&everything()), Ok(Terms::default()));
    }

    #[test]
    fn each_that_is_required_and_missing_is_named() {
        type Taken = fn(&mut Offer);
        let cases: [(&str, Taken); 9] = [
            ("CHUNKING", |o| o.chunking = false),
            ("SIZE", |o| o.size = None),
            ("BINARYMIME", |o| o.binary_mime = false),
            ("8BITMIME", |o| o.eight_bit_mime = false),
            ("SMTPUTF8", |o| o.smtp_utf8 = false),
            ("REQUIRETLS", |o| o.require_tls = false),
            ("DSN", |o| o.dsn = false),
            ("DELIVERBY", |o| o.deliver_by = None),
            ("CHUNKING", |o| *o = Offer::default()),
        ];
        for (keyword, take) in cases {
            let mut offer = everything();
            take(&mut offer);
            assert_eq!(all(Use::Require).agree(&offer), Err(Missing(keyword)));
            assert!(all(Use::Auto).agree(&offer).is_ok());
        }
    }

    #[test]
    fn binary_content_never_goes_with_data() {
        let offer = Offer { chunking: false, ..everything() };
        let terms = all(Use::Auto).agree(&offer).unwrap();
        assert!(terms.mail.starts_with(" BODY=8BITMIME "), "{}", terms.mail);
        let wishes = Wishes { chunking: Chunking::default(), ..all(Use::Require) };
        assert_eq!(wishes.agree(&everything()), Err(Missing("BINARYMIME")));
    }
}
