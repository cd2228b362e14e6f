//! The `[message]` table: its keys, what they make of the messages, and what `smtpress check` tells of them.
//!
//! The files that it names are read here, before anything is sent. What makes a message possible, `mail` knows.
//!
//! # Decisions
//! - A path is relative to where it is written: the profile's folder, or for `--set` the current one. In the resolved
//!   profile it is absolute, so that a stored profile repeats its run from anywhere, and a line beside it has the digest of
//!   the messages: other files make another profile.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compile::Purpose;
use super::dialogue::distribution;
use super::document::{Document, Key, keys};
use super::error::ProfileError;
use super::input;
use super::schema::{Profile, tables, words};
use super::units::{Count, Size};
use super::value::Distribution;
use crate::mail::files::{self, Corpus};
use crate::mail::{
    self, Body, InvalidAddress, InvalidList, InvalidSpec, List, Mailboxes, Mailer, Rules, Signer, Source,
    Spec,
};
use crate::plan::Plan;
use crate::smtp::Content;
use crate::smtp::extensions::Use;

/// The largest message in octets that a profile may ask for.
const LARGEST_MESSAGE: u64 = 1 << 31;
/// The largest that is signed: it is rendered whole for that.
const LARGEST_SIGNED: u64 = 64 << 20;
/// The largest file of mailboxes, of a text, and of a key.
const LARGEST_LIST: u64 = 256 << 20;
const LARGEST_TEXT: u64 = 256 << 10;
const LARGEST_KEY: u64 = 64 << 10;

/// What a message with attachments says.
const TEXT: &str = "This is smtpress message {n}.\n";

words! {
    /// What becomes of a list with a line that holds no mailbox that can be used.
    OnBadLine {
        /// It is refused; all such lines are counted, and the first five named.
        Error = "error",
        /// They are passed over, counted and named, in `check` and in the report.
        Skip = "skip",
    }
    /// Which of many comes next.
    Order {
        /// One after the other, and again from the first.
        InTurn = "in-turn",
        /// Any, by seed.
        Random = "random",
    }
}

tables! {
    /// The messages. In all templates `{n}` is a number, `{n:1..500}` the same within bounds, again and again,
    /// `{session}` the session's number (where arrivals are sessions), `{run}` the run's id, `{random:8}` so many letters by seed, and `{{` a brace;
    /// `{date}` is the date of the run, for headers and texts.
    Message {
        /// The sender, a template: `{n}` is the message's number. Empty or `<>`: the null reverse path. Default load@sender.example.
        from: String,
        /// Senders from a CSV file (commas, semicolons or tabs; UTF-8 or UTF-16): its first column, or the one headed
        /// `mailbox` or `email`; `Name <a@b.example>` is read as the address in it, `<>` as the null reverse path.
        from_file: String,
        /// Which sender comes next, of a file or of `{n:1..500}`. Default in-turn.
        from_order: Order,
        /// The recipient, a template: `{n}` is the recipient's number. Default user{n}@recipient.example.
        to: String,
        /// Recipients from a CSV file, as for `from_file`.
        to_file: String,
        /// Which recipient comes next, of a file or of `{n:1..500}`. Default in-turn.
        to_order: Order,
        /// Addresses keep the grammar and the lengths of RFC 5321. If false, those that break them are sent as they are
        /// (`a..b@c.example`, `postmaster`, `u@my_host`), but nothing that would break the command line. Default true.
        strict_addresses: bool,
        /// What becomes of lines of `from_file` and `to_file` that hold no mailbox that can be used. Default error.
        on_bad_line: OnBadLine,
        /// Recipients of a message. Default 1.
        recipients: Count,
        /// How large a message is, in octets. Default 4KiB, or what `text` has.
        size: Distribution<Size>,
        /// The subject, a template. Default: smtpress message {n}.
        subject: String,
        /// Further header fields, each a template such as "X-Campaign: {n}".
        headers: Vec<String>,
        /// What it says, a template; words follow if `size` asks for more. Default: words.
        text: String,
        /// The same from a file.
        text_file: String,
        /// Attachments by their sizes in octets, before base64.
        attachments: Vec<Size>,
        /// Messages from files, as they are: a file, a folder (its *.eml), a Maildir (its `cur` and `new`), or a pattern such
        /// as "corpus/*.eml". What is no message (an empty file, an mbox) is passed over, counted and named.
        files: String,
        /// Which file comes next. Default in-turn.
        files_order: Order,
        /// Sign them with DKIM (RFC 6376).
        dkim: Dkim,
    }
    /// DKIM signatures.
    Dkim {
        /// The domain that signs: `d=`.
        domain: String,
        /// The selector of its key: `s=`.
        selector: String,
        /// A file with the private key, PEM: RSA or Ed25519.
        key: String,
    }
}

/// Fills in what is absent.
pub(super) fn fill(message: &mut Message) {
    if message.from_file.is_none() {
        message.from.get_or_insert_with(|| "load@sender.example".to_owned());
    }
    if message.to_file.is_none() {
        message.to.get_or_insert_with(|| "user{n}@recipient.example".to_owned());
    }
    message.recipients.get_or_insert(Count(1));
    let has_a_size = message.text.is_some()
        || message.text_file.is_some()
        || message.files.is_some()
        || message.attachments.is_some();
    if !has_a_size {
        message.size.get_or_insert(Distribution::Fixed(Size(4096)));
    }
}

/// Makes the table's paths absolute. For a listener they have no use, and need not be there.
pub(super) fn anchor(document: &Document, profile: &mut Profile, purpose: Purpose) {
    let Some(message) = &mut profile.message else { return };
    if purpose == Purpose::Listen {
        for path in [&mut message.from_file, &mut message.to_file, &mut message.text_file, &mut message.files]
        {
            *path = None;
        }
        message.dkim = None;
        return fill(message);
    }
    let absolute = |at: &[Key], path: &mut Option<String>| {
        if let Some(path) = path {
            let place = document.place(at);
            let folder = place.as_ref().and_then(|place| Path::new(&place.origin).parent());
            let whole = folder.unwrap_or(Path::new("")).join(&*path);
            *path = std::path::absolute(&whole).unwrap_or(whole).display().to_string();
        }
    };
    absolute(&keys!["message", "from_file"], &mut message.from_file);
    absolute(&keys!["message", "to_file"], &mut message.to_file);
    absolute(&keys!["message", "text_file"], &mut message.text_file);
    absolute(&keys!["message", "files"], &mut message.files);
    if let Some(dkim) = &mut message.dkim {
        absolute(&keys!["message", "dkim", "key"], &mut dkim.key);
    }
}

/// A line for the resolved profile that changes with the files.
pub(super) fn footprint(spec: &Spec) -> String {
    match &spec.body {
        Body::Files { corpus, .. } => {
            let digest: String = corpus.digest().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\n# message.files: {} files, sha256 {digest}\n", corpus.len())
        }
        _ => String::new(),
    }
}

/// `utf8`: the session may say addresses and send headers beyond ASCII.
pub(super) fn compile(document: &Document, profile: &Profile, utf8: bool) -> Result<Spec, ProfileError> {
    let written = profile.message.clone().unwrap_or_default();
    let rules = Rules { strict: written.strict_addresses.unwrap_or(true), utf8 };
    Reading { document, written: &written, rules }.spec()
}

/// The table on its way to a spec.
struct Reading<'a> {
    document: &'a Document,
    written: &'a Message,
    rules: Rules,
}

impl Reading<'_> {
    fn wrong<T>(
        &self,
        key: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Result<T, ProfileError> {
        Err(self.document.error_at(&keys!["message", key], message, remedy))
    }

    fn spec(&self) -> Result<Spec, ProfileError> {
        let written = self.written;
        self.exclusive()?;
        let Count(recipients) = written.recipients.unwrap_or(Count(1));
        let Some(recipients) = u32::try_from(recipients).ok().filter(|n| (1..=1_000_000).contains(n)) else {
            return self.wrong(
                "recipients",
                format!("{recipients} is no possible number of recipients"),
                "write 1 to 1000000",
            );
        };
        let spec = Spec {
            from: self.mailboxes(["from", "from_file", "from_order"])?,
            to: self.mailboxes(["to", "to_file", "to_order"])?,
            recipients,
            size: self.size()?,
            subject: written.subject.clone(),
            headers: written.headers.clone().unwrap_or_default(),
            body: self.body()?,
            dkim: self.signer()?,
            rules: self.rules,
        };
        let Err(error) = spec.check() else { return Ok(spec) };
        let of = |key: &'static str| vec![Key::from("message"), Key::from(key)];
        let listed = |key, file, list: &Option<String>| of(if list.is_some() { file } else { key });
        let (path, remedy) = match &error {
            InvalidSpec::From(reason) if reason.is_sendable() => (
                of("from"),
                "write one such as \"load@sender.example\", or `strict_addresses = false` in [message] to send it as it is",
            ),
            InvalidSpec::To(reason) if reason.is_sendable() => (
                of("to"),
                "write one such as \"user{n}@recipient.example\", or `strict_addresses = false` in [message] to send it as it is",
            ),
            InvalidSpec::From(InvalidAddress::NotAscii { .. }) => (of("from"), ""),
            InvalidSpec::To(InvalidAddress::NotAscii { .. }) => (of("to"), ""),
            InvalidSpec::From(_) => (of("from"), "write one such as \"load@sender.example\""),
            InvalidSpec::To(_) => (of("to"), "write one such as \"user{n}@recipient.example\""),
            InvalidSpec::NoRecipients => (of("recipients"), ""),
            InvalidSpec::FewListed { .. } => {
                (listed("to", "to_file", &written.to_file), "list more, or lower `recipients`")
            }
            InvalidSpec::Size(_) => (of("size"), ""),
            InvalidSpec::Subject(_) => (of("subject"), ""),
            InvalidSpec::Header { index, .. } => (keys!["message", "headers", *index].to_vec(), ""),
            InvalidSpec::Text(_) => (listed("text", "text_file", &written.text_file), ""),
            InvalidSpec::Attachments(..) => (of("attachments"), ""),
            InvalidSpec::OfFiles => (of("files"), ""),
        };
        Err(self.document.error_at(&path, error.to_string(), remedy))
    }

    /// Keys that say the same thing twice, or have nothing to say.
    fn exclusive(&self) -> Result<(), ProfileError> {
        let Message { text, text_file, attachments, files, size, subject, .. } = self.written;
        let given = [
            ("from", self.written.from.is_some()),
            ("to", self.written.to.is_some()),
            ("text", text.is_some()),
            ("from_file", self.written.from_file.is_some()),
            ("to_file", self.written.to_file.is_some()),
            ("text_file", text_file.is_some()),
            ("attachments", attachments.is_some()),
            ("size", size.is_some()),
            ("subject", subject.is_some()),
            ("dkim", self.written.dkim.is_some()),
            ("files", files.is_some()),
        ];
        let is_given = |key: &str| given.iter().any(|(name, given)| *name == key && *given);
        let pairs = [
            ("from_file", &["from"] as &[&'static str], "the senders stand in a file"),
            ("to_file", &["to"], "the recipients stand in a file"),
            ("text_file", &["text"], "the text stands in a file"),
            ("attachments", &["size"], "the size is that of the attachments"),
            (
                "files",
                &["text", "text_file", "attachments", "size", "subject", "dkim"],
                "messages from files are sent as they are",
            ),
        ];
        for (key, others, why) in pairs.into_iter().filter(|(key, ..)| is_given(key)) {
            if let Some(other) = others.iter().find(|other| is_given(other)) {
                return Err(self.document.error_at_key(
                    &keys!["message", *other],
                    format!("`{other}` has no meaning beside `{key}`: {why}"),
                    format!("remove `{other}` or `{key}`"),
                ));
            }
        }
        if self.written.on_bad_line.is_some() && !is_given("from_file") && !is_given("to_file") {
            return Err(self.document.error_at_key(
                &keys!["message", "on_bad_line"],
                "there is no list that could have a bad line",
                "add `to_file = \"recipients.csv\"`, or remove the key",
            ));
        }
        match (files, self.written.files_order) {
            (None, Some(_)) => Err(self.document.error_at_key(
                &keys!["message", "files_order"],
                "there are no files to put in order",
                "add `files = \"corpus/*.eml\"`, or remove the key",
            )),
            _ => Ok(()),
        }
    }

    /// Keys: a pattern, a file, an order.
    fn mailboxes(&self, [key, file_key, order_key]: [&'static str; 3]) -> Result<Mailboxes, ProfileError> {
        let Message { from, from_file, from_order, to, to_file, to_order, .. } = self.written;
        let (pattern, file, order) =
            if key == "from" { (from, from_file, from_order) } else { (to, to_file, to_order) };
        let source = match file {
            Some(path) => {
                let content = self.read(file_key, path, LARGEST_LIST)?;
                let skip = self.written.on_bad_line == Some(OnBadLine::Skip);
                let reading = mail::Reading { rules: self.rules, senders: key == "from", skip };
                match List::parse(&content, reading) {
                    Ok(list) => Source::List(Arc::new(list)),
                    Err(error) => {
                        let remedy = match &error {
                            InvalidList::Lines(lines) if lines.has_sendable() => {
                                "correct them, write `on_bad_line = \"skip\"` to go without them, or `strict_addresses = false` to send what breaks the grammar"
                            }
                            InvalidList::Lines(_) if !skip => {
                                "write one mailbox a line, or CSV with a column headed `mailbox`; `on_bad_line = \"skip\"` goes without bad lines"
                            }
                            _ => "write one mailbox a line, or CSV with a column headed `mailbox`",
                        };
                        return self.wrong(file_key, format!("{path} {error}"), remedy);
                    }
                }
            }
            // As it stands in a command.
            None if key == "from" && pattern.as_deref() == Some("<>") => Source::Pattern(String::new()),
            None => Source::Pattern(pattern.clone().unwrap_or_default()),
        };
        let order = order_of(*order);
        let endless = matches!(&source, Source::Pattern(pattern) if !pattern.contains("{n:"));
        if order == mail::Order::Random && endless {
            return Err(self.document.error_at_key(
                &keys!["message", order_key],
                format!("`{key}` has no list to choose from"),
                format!("give `{file_key}`, or write `{{n:1..500}}` into `{key}`"),
            ));
        }
        Ok(Mailboxes { source, order })
    }

    fn size(&self) -> Result<mail::Size, ProfileError> {
        let largest = if self.written.dkim.is_some() { LARGEST_SIGNED } else { LARGEST_MESSAGE };
        let size = self.written.size.clone().unwrap_or(Distribution::Fixed(Size(0)));
        distribution(self.document, &keys!["message", "size"], &size, |Size(size)| {
            if size <= largest {
                return Ok(size);
            }
            self.wrong(
                "size",
                format!("{} is more than a message may have", Size(size)),
                format!("write at most \"{}\"", Size(largest)),
            )
        })
    }

    fn body(&self) -> Result<Body, ProfileError> {
        if let Some(pattern) = &self.written.files {
            let order = order_of(self.written.files_order);
            return match Corpus::read(Path::new(pattern)) {
                Ok(corpus) => Ok(Body::Files { corpus: Arc::new(corpus), order }),
                Err(error) => self.wrong(
                    "files",
                    format!("there are no messages to send: {error}"),
                    "name a file, a folder with *.eml, a Maildir, or a pattern such as \"corpus/*.eml\"",
                ),
            };
        }
        let text = match (&self.written.text, &self.written.text_file) {
            (None, Some(path)) => match String::from_utf8(self.read("text_file", path, LARGEST_TEXT)?) {
                Ok(text) => Some(text),
                Err(_) => {
                    return self.wrong("text_file", format!("{path} is not UTF-8"), "save it as UTF-8 text");
                }
            },
            (text, _) => text.clone(),
        };
        Ok(match (&self.written.attachments, text) {
            (Some(sizes), text) => Body::Attached {
                text: text.unwrap_or_else(|| TEXT.to_owned()),
                attachments: sizes.iter().map(|Size(octets)| *octets).collect(),
            },
            (None, Some(text)) => Body::Text { text, filled: self.written.size.is_some() },
            (None, None) => Body::Words,
        })
    }

    fn signer(&self) -> Result<Option<Arc<Signer>>, ProfileError> {
        let Some(dkim) = &self.written.dkim else { return Ok(None) };
        let part = |key: &'static str, part: &Option<String>, example: &str| match part {
            Some(part) => Ok(part.clone()),
            None => Err(self.document.error_at(
                &keys!["message", "dkim"],
                format!("`dkim` has no `{key}`"),
                format!("add {key} = \"{example}\""),
            )),
        };
        let domain = part("domain", &dkim.domain, "sender.example")?;
        let selector = part("selector", &dkim.selector, "load")?;
        let path = part("key", &dkim.key, "dkim.pem")?;
        let at = |key: &'static str| keys!["message", "dkim", key];
        let pem = files::read(Path::new(&path), LARGEST_KEY)
            .map(input::pem)
            .map_err(|error| self.document.error_at(&at("key"), error.to_string(), "name a file in PEM"))?;
        let signer = Signer::new(&pem, &domain, &selector).map_err(|error| {
            use mail::sign::InvalidSigner;
            match &error {
                InvalidSigner::Missing => {
                    self.document.error_at_key(&keys!["message", "dkim"], error.to_string(), "")
                }
                InvalidSigner::Key => self.document.error_at(&at("key"), format!("{path} {error}"), ""),
                InvalidSigner::Domain(wrong) => {
                    let key = if *wrong == domain { "domain" } else { "selector" };
                    self.document.error_at(&at(key), error.to_string(), "write labels with dots between them")
                }
            }
        })?;
        Ok(Some(Arc::new(signer)))
    }

    fn read(&self, key: &'static str, path: &str, most: u64) -> Result<Vec<u8>, ProfileError> {
        files::read(&PathBuf::from(path), most)
            .map(input::decoded)
            .or_else(|error| self.wrong(key, error.to_string(), "name a file that can be read"))
    }
}

fn order_of(order: Option<Order>) -> mail::Order {
    match order {
        Some(Order::Random) => mail::Order::Random,
        Some(Order::InTurn) | None => mail::Order::InTurn,
    }
}

/// The Date of messages that are only looked at.
const SOME_DATE: &str = "Thu, 01 Jan 1970 00:00:00 +0000";

/// What will be sent, for `check`: a name and a value each.
pub(super) fn told(plan: &Plan) -> Vec<(&'static str, String)> {
    let Spec { from, to, recipients, body, .. } = &plan.mail;
    let spread = |(least, largest): (u64, u64)| match least == largest {
        true => Size(least).to_string(),
        false => format!("{} to {}", Size(least), Size(largest)),
    };
    let sizes = spread(plan.mail.size.bounds());
    let half = match plan.mail.size {
        mail::Size::LogNormal { median, .. } => format!(" (half of them up to {})", Size(median)),
        _ => String::new(),
    };
    let kind = match body {
        Body::Words => format!("{sizes}{half} of words"),
        Body::Text { filled: true, .. } => format!("{sizes}{half} of text and words"),
        Body::Text { filled: false, .. } => "text".to_owned(),
        Body::Attached { attachments, .. } => {
            let octets: u64 = attachments.iter().sum();
            format!("text with {} attachments of {} together", attachments.len(), Size(octets))
        }
        Body::Files { corpus, order } => format!(
            "{} files of {}, {}, {}",
            corpus.len(),
            spread(corpus.sizes()),
            named(*order),
            if corpus.is_held() { "held in memory" } else { "read from disk as they are sent" }
        ),
    };
    let signed = if plan.mail.dkim.is_some() { ", signed" } else { "" };
    let each = if *recipients == 1 { "1 recipient".to_owned() } else { format!("{recipients} recipients") };
    let mailer = Arc::new(Mailer::new(&plan.mail, plan.seed, &plan.run_id, SOME_DATE));
    let first = mailer.message(0);
    let rendered = |append: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        append(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    let (sender, recipient) = (rendered(&|out| first.sender(out)), rendered(&|out| first.recipient(0, out)));
    vec![
        ("messages", format!("{kind}{signed}, to {each} each")),
        ("  from", source(from)),
        ("  to", source(to)),
        ("  first", format!("{} octets from <{sender}> to <{recipient}>", first.size())),
    ]
}

fn source(mailboxes: &Mailboxes) -> String {
    let order = named(mailboxes.order);
    match &mailboxes.source {
        Source::Pattern(none) if none.is_empty() => "<>, the null reverse path".to_owned(),
        Source::Pattern(pattern) if mailboxes.order == mail::Order::InTurn => pattern.clone(),
        Source::Pattern(pattern) => format!("{pattern}, {order}"),
        Source::List(list) => format!("{} mailboxes of a list, {order}", list.len()),
    }
}

fn named(order: mail::Order) -> &'static str {
    match order {
        mail::Order::InTurn => Order::InTurn.as_str(),
        mail::Order::Random => Order::Random.as_str(),
    }
}

/// What is asked and will be done in another way, or may surprise.
pub(super) fn notes(plan: &Plan) -> Vec<String> {
    let mut notes = plan.mail.passed_over();
    if plan.mail.needs_utf8() {
        notes.push(
            "addresses or header fields are beyond ASCII: a listener that does not offer SMTPUTF8 is a finding"
                .to_owned(),
        );
    }
    let is_sized = matches!(plan.mail.body, Body::Words | Body::Text { filled: true, .. });
    if is_sized {
        let (least, _) = plan.mail.size.bounds();
        // A mailer renders its filler once; one of the least size asked for knows the least possible as well.
        let small = Spec { size: mail::Size::Fixed(least.min(1 << 10)), ..plan.mail.clone() };
        let possible = Mailer::new(&small, plan.seed, &plan.run_id, SOME_DATE).minimum();
        if least < possible {
            notes.push(format!(
                "messages of {least} octets become {possible}, which is what the header needs"
            ));
        }
    }
    if let Body::Files { corpus, .. } = &plan.mail.body {
        let remarks = corpus.remarks();
        let remarks = [
            (remarks.bare_lf, "lines that end in LF alone: they are sent with CRLF"),
            (remarks.bare_cr, "a CR that ends no line: it is sent as it is, and some listeners refuse it"),
            (remarks.long_lines, "a line of more than 998 octets, which is more than RFC 5322 allows"),
            (
                remarks.eight_bit,
                match plan.script.wishes.eight_bit {
                    Use::Off => {
                        "octets above 127, which MAIL does not declare (`8bitmime = \"auto\"` in [session.extensions] does), and which a listener may refuse"
                    }
                    _ => "octets above 127, which a listener without 8BITMIME may refuse",
                },
            ),
            (
                remarks.byte_order_mark,
                "a byte order mark before its first header field, which is then another: it is sent as it is",
            ),
        ];
        let files =
            |count: u32| if count == 1 { "1 file has".to_owned() } else { format!("{count} files have") };
        notes.extend(
            remarks
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!("{} {what}", files(count))),
        );
    }
    notes
}
