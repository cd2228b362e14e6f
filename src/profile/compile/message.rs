//! The `[message]` table: its keys, the messages that follow from them, and what `smtpress check` reports about them.
//!
//! The files that the table names are read here, before anything is sent. `mail` knows which messages are possible.
//!
//! # Decisions
//! - A path is relative to the place where it is written: the profile's folder, or the current folder for `--set`. In
//!   the resolved profile it is absolute, so that a stored profile repeats its run from any folder. A line beside it
//!   has the digest of the messages, so that other files make another profile.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Purpose;
use crate::mail::files::{self, Corpus};
use crate::mail::{
    self, Body, InvalidAddress, InvalidList, InvalidSpec, List, Mailboxes, Mailer, Order, Rules, Signer,
    Source, Spec,
};
use crate::plan::{Phase, Plan, Unit};
use crate::profile::document::{Document, Key, keys};
use crate::profile::error::ProfileFault;
use crate::profile::schema::Profile;
use crate::profile::schema::message::{Message, OnBadLine};
use crate::profile::table::{KeyTable, Keyword, Word};
use crate::profile::units::Size;
use crate::profile::value::{Distribution, LogNormalTable, RangeTable};
use crate::profile::{input, resolved};
use crate::smtp::extensions::{Use, Wishes};
use crate::smtp::{Content, Script};

/// The largest message in bytes that a profile may ask for.
const LARGEST_MESSAGE: u64 = 1 << 31;
/// The largest message that is signed. It is rendered whole for the signature.
const LARGEST_SIGNED: u64 = 64 << 20;
/// The largest file of mailboxes, of a text, or of a key, in bytes.
const LARGEST_LIST: u64 = 256 << 20;
const LARGEST_TEXT: u64 = 256 << 10;
const LARGEST_KEY: u64 = 64 << 10;

/// The most recipients that VRFY names.
const MOST_VERIFIED: u32 = 10_000;

/// Returns the largest message in bytes.
pub(super) fn largest(is_signed: bool) -> u64 {
    if is_signed { LARGEST_SIGNED } else { LARGEST_MESSAGE }
}

/// The default text of a message with attachments.
const TEXT: &str = "This is smtpress message {n}.\n";

/// Makes the table's paths absolute. For a listener the files are not used, and need not exist.
pub(super) fn anchor(document: &Document, profile: &mut Profile, purpose: Purpose) {
    let Some(message) = &mut profile.message else { return };
    if !purpose.sends() {
        for path in [&mut message.from_file, &mut message.to_file, &mut message.text_file, &mut message.files]
        {
            *path = None;
        }
        message.dkim = None;
        return resolved::message(message);
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

/// Returns a line for the resolved profile that changes with the files.
pub(super) fn footprint(spec: &Spec) -> String {
    match &spec.body {
        Body::Files { corpus, .. } => {
            let digest: String = corpus.digest().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\n# message.files: {} files, sha256 {digest}\n", corpus.len())
        }
        _ => String::new(),
    }
}

/// Compiles the table. With `utf8` the session may send addresses and header fields beyond ASCII.
pub(super) fn compile(document: &Document, profile: &Profile, utf8: bool) -> Result<Spec, ProfileFault> {
    let written = profile.message();
    let rules = Rules { strict: written.strict_addresses(), utf8 };
    MessageReader { document, written: &written, rules }.spec()
}

/// Compiles the table to a spec.
struct MessageReader<'a> {
    document: &'a Document,
    written: &'a Message,
    rules: Rules,
}

impl MessageReader<'_> {
    fn wrong<T>(
        &self,
        key: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Result<T, ProfileFault> {
        Err(self.document.error_at(&keys!["message", key], message, remedy))
    }

    fn spec(&self) -> Result<Spec, ProfileFault> {
        let written = self.written;
        self.exclusive()?;
        let spec = Spec {
            from: self.mailboxes(["from", "from_file", "from_order"])?,
            to: self.mailboxes(["to", "to_file", "to_order"])?,
            recipients: written.recipients().small(),
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

    /// Checks for keys that contradict each other, or have no effect.
    fn exclusive(&self) -> Result<(), ProfileFault> {
        let given = self.written.given();
        let is_given = |key: &str| given.contains(&key);
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
        if is_given("on_bad_line") && !is_given("from_file") && !is_given("to_file") {
            return Err(self.document.error_at_key(
                &keys!["message", "on_bad_line"],
                "there is no list that could have a bad line",
                "add `to_file = \"recipients.csv\"`, or remove the key",
            ));
        }
        if is_given("files_order") && !is_given("files") {
            return Err(self.document.error_at_key(
                &keys!["message", "files_order"],
                "there are no files to put in order",
                "add `files = \"corpus/*.eml\"`, or remove the key",
            ));
        }
        Ok(())
    }

    /// Reads the keys of mailboxes: a pattern, a file, an order.
    fn mailboxes(&self, [key, file_key, order_key]: [&'static str; 3]) -> Result<Mailboxes, ProfileFault> {
        let Message { from, from_file, to, to_file, .. } = self.written;
        let (pattern, file, Word(order)) = match key {
            "from" => (from, from_file, self.written.from_order()),
            _ => (to, to_file, self.written.to_order()),
        };
        let source = match file {
            Some(path) => {
                let content = self.read(file_key, path, LARGEST_LIST)?;
                let skip = self.written.on_bad_line() == OnBadLine::Skip;
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
            // `<>` is accepted as it stands in a command.
            None if key == "from" && pattern.as_deref() == Some("<>") => Source::Pattern(String::new()),
            None => Source::Pattern(pattern.clone().unwrap_or_default()),
        };
        let endless = matches!(&source, Source::Pattern(pattern) if !pattern.contains("{n:"));
        if order == Order::Random && endless {
            return Err(self.document.error_at_key(
                &keys!["message", order_key],
                format!("`{key}` has no list to choose from"),
                format!("give `{file_key}`, or write `{{n:1..500}}` into `{key}`"),
            ));
        }
        Ok(Mailboxes { source, order })
    }

    fn size(&self) -> Result<mail::MessageSize, ProfileFault> {
        let largest = largest(self.written.dkim.is_some());
        let size = self.written.size.clone().unwrap_or(Distribution::Fixed(Size(0)));
        if let Some(beyond) = size.values().into_iter().find(|Size(size)| *size > largest) {
            return self.wrong(
                "size",
                format!("{beyond} is more than a message may have"),
                format!("write at most \"{}\"", Size(largest)),
            );
        }
        Ok(match size {
            Distribution::Fixed(Size(size)) => mail::MessageSize::Fixed(size),
            Distribution::Range(RangeTable { min, max }) => {
                mail::MessageSize::Uniform { min: min.0, max: max.0 }
            }
            Distribution::LogNormal(LogNormalTable { median, sigma, min, max }) => {
                mail::MessageSize::LogNormal {
                    median: median.0,
                    sigma,
                    min: min.map_or(0, |min| min.0),
                    max: max.0,
                }
            }
            Distribution::Weighted(shares) => {
                mail::MessageSize::Weighted(shares.iter().map(|one| (one.value.0, one.weight)).collect())
            }
        })
    }

    fn body(&self) -> Result<Body, ProfileFault> {
        if let Some(pattern) = &self.written.files {
            let Word(order) = self.written.files_order();
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
                attachments: sizes.iter().map(|Size(bytes)| *bytes).collect(),
            },
            (None, Some(text)) => Body::Text { text, filled: self.written.size.is_some() },
            (None, None) => Body::Words,
        })
    }

    fn signer(&self) -> Result<Option<Arc<Signer>>, ProfileFault> {
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

    fn read(&self, key: &'static str, path: &str, most: u64) -> Result<Vec<u8>, ProfileFault> {
        files::read(&PathBuf::from(path), most)
            .map(input::decoded)
            .or_else(|error| self.wrong(key, error.to_string(), "name a file that can be read"))
    }
}

/// Checks that the messages can be sent in these phases.
///
/// # Errors
/// The messages name the session, and any free session may send them.
pub(super) fn fits(document: &Document, mail: &Spec, phases: &[Phase]) -> Result<(), ProfileFault> {
    match phases.iter().find(|phase| phase.unit == Unit::Message) {
        Some(phase) if mail.names_session() => Err(document.error_at(
            &keys!["message"],
            format!(
                "a template has `{{session}}`, and the messages of phase `{}` are served by whichever session is free: their bytes would differ from run to run",
                phase.name
            ),
            "write `{n}` instead, or give the phase `unit = \"session\"`",
        )),
        _ => Ok(()),
    }
}

/// Returns the script with SMTPUTF8 required if the messages need it: they must not be sent without it (RFC 6531 3.2).
pub(super) fn requiring_utf8(script: Script, mail: &Spec) -> Script {
    match mail.needs_utf8() {
        true => Script { wishes: Wishes { utf8: Use::Require, ..script.wishes }, ..script },
        false => script,
    }
}

/// The Date of messages that are only inspected.
const SOME_DATE: &str = "Thu, 01 Jan 1970 00:00:00 +0000";

/// Returns what will be sent, for `check`: pairs of name and value.
pub(in crate::profile) fn describe(plan: &Plan) -> Vec<(&'static str, String)> {
    let Spec { from, to, recipients, body, .. } = &plan.mail;
    let spread = |(least, largest): (u64, u64)| match least == largest {
        true => Size(least).to_string(),
        false => format!("{} to {}", Size(least), Size(largest)),
    };
    let sizes = spread(plan.mail.size.bounds());
    let half = match plan.mail.size {
        mail::MessageSize::LogNormal { median, .. } => format!(" (half of them up to {})", Size(median)),
        _ => String::new(),
    };
    let kind = match body {
        Body::Words => format!("{sizes}{half} of words"),
        Body::Text { filled: true, .. } => format!("{sizes}{half} of text and words"),
        Body::Text { filled: false, .. } => "text".to_owned(),
        Body::Attached { attachments, .. } => {
            let bytes: u64 = attachments.iter().sum();
            format!("text with {} attachments of {} together", attachments.len(), Size(bytes))
        }
        Body::Files { corpus, order } => format!(
            "{} files of {}, {}, {}",
            corpus.len(),
            spread(corpus.sizes()),
            order.word(),
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
        ("  first", format!("{} bytes from <{sender}> to <{recipient}>", first.size())),
    ]
}

/// Returns the names for this many VRFY commands of a session: the first recipients.
pub(super) fn names_to_verify(spec: &Spec, seed: u64, run_id: &str, times: u32) -> Vec<String> {
    if times == 0 {
        return Vec::new();
    }
    // The names do not depend on the size, and a mailer renders its filler when it is made.
    let small = Spec { size: mail::MessageSize::Fixed(0), ..spec.clone() };
    Mailer::new(&small, seed, run_id, SOME_DATE).first_recipients(times.min(MOST_VERIFIED))
}

fn source(mailboxes: &Mailboxes) -> String {
    let order = mailboxes.order.word();
    match &mailboxes.source {
        Source::Pattern(none) if none.is_empty() => "<>, the null reverse path".to_owned(),
        Source::Pattern(pattern) if mailboxes.order == Order::InTurn => pattern.clone(),
        Source::Pattern(pattern) => format!("{pattern}, {order}"),
        Source::List(list) => format!("{} mailboxes of a list, {order}", list.len()),
    }
}

/// Returns notes on requests that are changed, or that may surprise.
pub(in crate::profile) fn notes(plan: &Plan) -> Vec<String> {
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
        // A mailer renders its filler when it is made, so this one is made for at most 1 KiB. The least possible size
        // does not depend on the requested size.
        let small = Spec { size: mail::MessageSize::Fixed(least.min(1 << 10)), ..plan.mail.clone() };
        let possible = Mailer::new(&small, plan.seed, &plan.run_id, SOME_DATE).minimum();
        if least < possible {
            notes
                .push(format!("messages of {least} bytes become {possible}, which is what the header needs"));
        }
    }
    if let Body::Files { corpus, .. } = &plan.mail.body {
        let remarks = corpus.remarks();
        let remarks = [
            (remarks.bare_lf, "lines that end in LF alone: they are sent with CRLF"),
            (remarks.bare_cr, "a CR that ends no line: it is sent as it is, and some listeners refuse it"),
            (remarks.long_lines, "a line of more than 998 bytes, which is more than RFC 5322 allows"),
            (
                remarks.eight_bit,
                match plan.script.wishes.eight_bit {
                    Use::Off => {
                        "bytes above 127, which MAIL does not declare (`8bitmime = \"auto\"` in [session.extensions] does), and which a listener may refuse"
                    }
                    _ => "bytes above 127, which a listener without 8BITMIME may refuse",
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
