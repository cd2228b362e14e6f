//! Addresses, envelopes and message bytes, all determined by seed and sequence number.
//!
//! A [`Spec`] describes the messages, and [`Spec::check`] checks that they can be made. A [`Mailer`] renders once the
//! parts that all messages share. A [`Message`] is a handle to one message and implements
//! [`Content`](crate::smtp::Content). [`encode`] stuffs dots. [`files`] and [`List`] read the user's files before the
//! run.
//!
//! # Decisions
//! - The filler is rendered and stuffed once, and all messages share it: a piece of a body is one copy of prepared
//!   bytes.
//! - Content and size of message n depend only on spec, seed, n, run id, date and (where `{session}` is used) the
//!   session's number. So two runs differ only in the documented fields.

mod address;
pub mod encode;
pub mod files;
mod filler;
mod list;
mod message;
mod placeholder;
mod random;
pub mod sign;
mod size;
mod stuffed;
mod template;
mod text;

use std::sync::Arc;

pub use address::{InvalidAddress, Rules};
pub use files::Corpus;
pub use list::{BadLines, InvalidList, List, Reading, delimiter, line_of};
pub use message::{Mailer, Message};
pub use placeholder::InvalidTemplate;
pub use sign::Signer;
pub use size::InvalidSize;
pub use text::{InvalidField, InvalidText};

/// A message size in bytes, before dot stuffing.
#[derive(Clone, Debug, PartialEq)]
pub enum MessageSize {
    /// Always this size.
    Fixed(u64),
    /// Uniform between `min` and `max`, both included.
    Uniform {
        /// The smallest size.
        min: u64,
        /// The largest size.
        max: u64,
    },
    /// One of these sizes, each with its weight.
    Weighted(Vec<(u64, f64)>),
    /// Log-normal, between `min` and `max`.
    LogNormal {
        /// The median: whatever the bounds are, half of the sizes are at most the median, and half are at least the
        /// median.
        median: u64,
        /// The standard deviation of the size's natural logarithm: 0.5 is narrow, 2 is wide.
        sigma: f64,
        /// The smallest size.
        min: u64,
        /// The largest size.
        max: u64,
    },
}

impl MessageSize {
    /// Returns the smallest and the largest possible size.
    pub fn bounds(&self) -> (u64, u64) {
        match self {
            MessageSize::Fixed(size) => (*size, *size),
            MessageSize::Uniform { min, max } | MessageSize::LogNormal { min, max, .. } => (*min, *max),
            MessageSize::Weighted(shares) => {
                let sizes = shares.iter().map(|share| share.0);
                (sizes.clone().min().unwrap_or_default(), sizes.max().unwrap_or_default())
            }
        }
    }
}

/// The order in which entries are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// One after the other; after the last entry the first follows.
    #[default]
    InTurn,
    /// Random, by seed and the message's number. The recipients of one message are consecutive entries.
    Random,
}

/// The source of mailboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A pattern with placeholders.
    Pattern(String),
    /// A list.
    List(Arc<List>),
}

/// The mailboxes of senders or of recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailboxes {
    /// The source of the mailboxes.
    pub source: Source,
    /// The order in which they are used.
    pub order: Order,
}

impl Mailboxes {
    /// Returns the number of mailboxes of a list; `None` for a pattern.
    pub fn listed(&self) -> Option<u64> {
        match &self.source {
            Source::Pattern(_) => None,
            Source::List(list) => Some(list.len() as u64),
        }
    }
}

impl From<&str> for Mailboxes {
    fn from(pattern: &str) -> Self {
        pattern.to_owned().into()
    }
}

impl From<String> for Mailboxes {
    fn from(pattern: String) -> Self {
        Mailboxes { source: Source::Pattern(pattern), order: Order::InTurn }
    }
}

/// The body of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Body {
    /// Seeded words up to the size.
    #[default]
    Words,
    /// The user's text.
    Text {
        /// A template.
        text: String,
        /// Whether seeded words follow up to the size. Otherwise the text determines the size.
        filled: bool,
    },
    /// A text, and attachments of seeded bytes (`multipart/mixed`).
    Attached {
        /// A template.
        text: String,
        /// The size of each attachment in bytes, before base64.
        attachments: Vec<u64>,
    },
    /// Messages from files, unchanged.
    Files {
        /// The files.
        corpus: Arc<Corpus>,
        /// The order in which they are used.
        order: Order,
    },
}

/// The description of the messages of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The reverse path. In a pattern, `{n}` is the message's number. Empty stands for the null reverse path (RFC 5321
    /// 4.5.5).
    pub from: Mailboxes,
    /// The forward path. In a pattern, `{n}` is the recipient's number: the message's number times `recipients` plus
    /// the recipient's index.
    pub to: Mailboxes,
    /// The number of recipients of each message, at least one.
    pub recipients: u32,
    /// The size of messages that are filled with words.
    pub size: MessageSize,
    /// The subject, a template; `None` for a default.
    pub subject: Option<String>,
    /// Additional header fields, each a template `Name: value`.
    pub headers: Vec<String>,
    /// The body.
    pub body: Body,
    /// The signer of the messages. Messages from files cannot have a signer.
    pub dkim: Option<Arc<Signer>>,
    /// The rules for patterns of addresses; lists were read with rules of their own. If the rules allow UTF-8, the
    /// subject and the header fields may have it too (RFC 6532).
    pub rules: Rules,
}

impl Spec {
    /// Returns the messages with a body that has any size: words follow the text, and stand in the place of files and
    /// attachments. They are not signed, because a search for limits changes their content after the signature.
    #[must_use]
    pub fn sized(self) -> Spec {
        let body = match self.body {
            Body::Text { text, .. } => Body::Text { text, filled: true },
            Body::Words | Body::Attached { .. } | Body::Files { .. } => Body::Words,
        };
        Spec { body, dkim: None, ..self }
    }
}

impl Default for Spec {
    /// Returns messages of 4 KiB of words to one recipient.
    fn default() -> Self {
        Spec {
            from: "load@sender.example".into(),
            to: "user{n}@recipient.example".into(),
            recipients: 1,
            size: MessageSize::Fixed(4096),
            subject: None,
            headers: Vec::new(),
            body: Body::Words,
            dkim: None,
            rules: Rules::default(),
        }
    }
}

/// Why a spec is invalid.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidSpec {
    /// The reverse path is invalid.
    #[error("the sender {0}")]
    From(#[source] InvalidAddress),
    /// The forward path is invalid.
    #[error("the recipient {0}")]
    To(#[source] InvalidAddress),
    /// There are no recipients.
    #[error("a message has no recipients: give it at least one")]
    NoRecipients,
    /// A message has more recipients than the list.
    #[error(
        "a message has {recipients} recipients and the list has only {listed}: some recipients would get the message twice"
    )]
    FewListed {
        /// The number of recipients of a message.
        recipients: u32,
        /// The number of recipients in the list.
        listed: usize,
    },
    /// The size is invalid.
    #[error("the message size {0}")]
    Size(#[source] InvalidSize),
    /// The subject is invalid.
    #[error("the subject {0}")]
    Subject(#[source] InvalidField),
    /// A header field is invalid.
    #[error("the header field {field:?} {reason}")]
    Header {
        /// The index, from 0.
        index: usize,
        /// The field as it is written.
        field: String,
        /// What is wrong with it.
        reason: InvalidField,
    },
    /// The text is invalid.
    #[error("the text {0}")]
    Text(#[source] InvalidText),
    /// The attachments are too many or too large.
    #[error("{0} attachments of {1} bytes together: at most {most} of {bytes} bytes are possible", most = text::MOST_ATTACHMENTS, bytes = text::MOST_ATTACHED)]
    Attachments(usize, u64),
    /// The spec would change messages from files, which are sent unchanged.
    #[error("messages from files are sent as they are: they cannot be signed, nor have another subject")]
    OfFiles,
}

impl Spec {
    /// Checks that all messages can be made, whatever their numbers are.
    ///
    /// # Errors
    /// The first fault, in the order of the fields.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        self.parts().map(drop)
    }

    /// Returns the approximate memory that is held for all messages, in bytes.
    pub fn memory(&self) -> u64 {
        let list = |mailboxes: &Mailboxes| match &mailboxes.source {
            Source::List(list) => list.memory(),
            Source::Pattern(_) => 0,
        };
        let body = match &self.body {
            Body::Words | Body::Text { .. } => 2 * self.size.bounds().1.min(filler::PERIOD),
            Body::Attached { attachments, .. } => 3 * attachments.iter().sum::<u64>(),
            Body::Files { corpus, .. } => corpus.memory(),
        };
        body + list(&self.from) + list(&self.to)
    }

    /// Returns what is skipped of the user's files: a sentence for each list with skipped lines, and one for skipped
    /// files.
    pub fn passed_over(&self) -> Vec<String> {
        let lists =
            [("senders", &self.from), ("recipients", &self.to)].into_iter().filter_map(|(of, from)| {
                let Source::List(list) = &from.source else { return None };
                let skipped = list.skipped();
                let lines = if skipped.count() == 1 {
                    "1 line".to_owned()
                } else {
                    format!("{} lines", skipped.count())
                };
                (skipped.count() > 0)
                    .then(|| format!("{lines} of the list of {of} passed over: {}", skipped.named()))
            });
        let files = match &self.body {
            Body::Files { corpus, .. } if !corpus.skipped().is_empty() => {
                let skipped = corpus.skipped();
                Some(format!(
                    "{} files or folders skipped when messages were read from files: {skipped}",
                    skipped.count()
                ))
            }
            _ => None,
        };
        lists.chain(files).collect()
    }

    /// Whether a template uses the session's number.
    pub fn names_session(&self) -> bool {
        let pattern = |mailboxes: &Mailboxes| match &mailboxes.source {
            Source::Pattern(pattern) => Some(pattern.clone()),
            Source::List(_) => None,
        };
        let text = match &self.body {
            Body::Text { text, .. } | Body::Attached { text, .. } => Some(text),
            Body::Words | Body::Files { .. } => None,
        };
        let addresses = pattern(&self.from).into_iter().chain(pattern(&self.to));
        let mut templates = addresses.chain(self.subject.iter().chain(&self.headers).chain(text).cloned());
        templates.any(|text| {
            placeholder::parse(&text)
                .is_ok_and(|pieces| pieces.contains(&placeholder::TemplatePiece::Session))
        })
    }

    /// Whether two recipients of one message may have the same address. For a list this is not known: it is `false`.
    pub fn may_repeat_recipients(&self) -> bool {
        match &self.to.source {
            Source::List(_) => false,
            Source::Pattern(pattern) => {
                placeholder::parse(pattern).is_ok_and(|pieces| !placeholder::differ(&pieces, self.recipients))
            }
        }
    }

    /// Returns the largest size of a recipient's address in bytes.
    fn longest_recipient(&self) -> u64 {
        match &self.to.source {
            Source::List(list) => list.longest(),
            Source::Pattern(pattern) => {
                placeholder::parse(pattern).map_or(0, |pieces| placeholder::widest(&pieces).len() as u64)
            }
        }
    }

    /// Returns the approximate memory that a session needs for its message, in bytes: the commands of a group, and the
    /// content while it is signed.
    pub fn memory_of_session(&self, grouped: bool) -> u64 {
        // `RCPT TO:<...>` and its line end.
        let commands = u64::from(self.recipients) * (self.longest_recipient() + 13);
        let signed = match &self.body {
            Body::Attached { attachments, .. } => attachments.iter().sum::<u64>() * 3 / 2,
            _ => self.size.bounds().1,
        };
        (if grouped { commands } else { 0 }) + (if self.dkim.is_some() { signed } else { 0 })
    }

    /// Whether an address or a header field has characters beyond ASCII, so that the listener must offer SMTPUTF8 (RFC
    /// 6531).
    pub fn needs_utf8(&self) -> bool {
        let beyond = |mailboxes: &Mailboxes| match &mailboxes.source {
            Source::Pattern(pattern) => !pattern.is_ascii(),
            Source::List(list) => list.needs_utf8(),
        };
        let fields = self.subject.iter().chain(&self.headers).any(|field| !field.is_ascii());
        beyond(&self.from) || beyond(&self.to) || fields
    }

    /// Returns the checked parts from which a mailer is made.
    fn parts(&self) -> Result<Parts, InvalidSpec> {
        let from = match &self.from.source {
            Source::Pattern(none) if none.is_empty() => None,
            source => Some(CheckedMailboxes::new(source, self.rules).map_err(InvalidSpec::From)?),
        };
        let to = CheckedMailboxes::new(&self.to.source, self.rules).map_err(InvalidSpec::To)?;
        match &to {
            _ if self.recipients == 0 => return Err(InvalidSpec::NoRecipients),
            CheckedMailboxes::List(list) if list.len() < self.recipients as usize => {
                return Err(InvalidSpec::FewListed { recipients: self.recipients, listed: list.len() });
            }
            _ => {}
        }
        let sampler = size::Sampler::new(&self.size).map_err(InvalidSpec::Size)?;
        let of_files = matches!(self.body, Body::Files { .. });
        if of_files && (self.subject.is_some() || self.dkim.is_some()) {
            return Err(InvalidSpec::OfFiles);
        }
        let subject =
            self.subject.as_deref().map(|subject| text::HeaderField::subject(subject, self.rules.utf8));
        let subject = subject.transpose().map_err(InvalidSpec::Subject)?;
        let field = |(index, field): (usize, &String)| {
            text::field(field, index, of_files, self.rules.utf8).map_err(|reason| InvalidSpec::Header {
                index,
                field: field.clone(),
                reason,
            })
        };
        let fields = self.headers.iter().enumerate().map(field).collect::<Result<_, _>>()?;
        let text = match &self.body {
            Body::Text { text, .. } | Body::Attached { text, .. } => {
                text::text(text).map_err(InvalidSpec::Text)?
            }
            Body::Words | Body::Files { .. } => Vec::new(),
        };
        if let Body::Attached { attachments, .. } = &self.body {
            let bytes = attachments.iter().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
            if attachments.len() > text::MOST_ATTACHMENTS || bytes > text::MOST_ATTACHED {
                return Err(InvalidSpec::Attachments(attachments.len(), bytes));
            }
        }
        Ok(Parts { from, to, sampler, subject, fields, text })
    }
}

/// The parts of a spec that has been checked.
struct Parts {
    /// The senders; `None` for the null reverse path.
    from: Option<CheckedMailboxes>,
    to: CheckedMailboxes,
    sampler: size::Sampler,
    subject: Option<text::HeaderField>,
    fields: Vec<text::HeaderField>,
    /// The text of a body that has one.
    text: Vec<placeholder::TemplatePiece>,
}

/// Mailboxes that have been checked.
enum CheckedMailboxes {
    Pattern(Vec<placeholder::TemplatePiece>),
    List(Arc<List>),
}

impl CheckedMailboxes {
    fn new(source: &Source, rules: Rules) -> Result<CheckedMailboxes, InvalidAddress> {
        match source {
            Source::Pattern(pattern) => address::parse(pattern, rules).map(CheckedMailboxes::Pattern),
            Source::List(list) => Ok(CheckedMailboxes::List(Arc::clone(list))),
        }
    }
}
