//! Reads a delivery status notification (RFC 3464): the identity of the message, and the result for each recipient.
//!
//! # Decisions
//! - A part of type message/delivery-status makes a notification, in any kind of multipart: OpenSMTPD sends it in a
//!   multipart/mixed.
//! - If the status gives only its class (`5.0.0`), the enhanced code of the reply is used (RFC 3464 2.3.6).
//! - A library reads MIME and header fields. Some servers send bounces that are not a `multipart/report`. Such a bounce
//!   is read by the message that it quotes and by `X-Failed-Recipients`: the recipients named in that field failed.
//! - The message is identified by its returned header, else by the envelope id (RFC 3461 4.4), which holds the run id
//!   and the number, else by a Message-ID that the text quotes.

use std::borrow::Cow;
use std::collections::HashMap;

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::{Encoding, Message, MessageParser, MessagePart, MimeHeaders, PartType};
use serde::{Deserialize, Serialize};

use super::mime;
use super::received::{self, Identity};
use crate::smtp::Enhanced;

/// The largest number of groups of fields that are read: that of the message, and one for each of the most recipients that a
/// profile allows.
const MOST_GROUPS: usize = 1_000_001;

/// The action of a relay for a recipient (RFC 3464 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryAction {
    /// The relay gave up.
    Failed,
    /// The relay tries again.
    Delayed,
    /// The message was delivered.
    Delivered,
    /// The message was passed to a server that sends no notifications.
    Relayed,
    /// The message was passed to several recipients in place of this recipient.
    Expanded,
}

/// The part of a notification about one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientStatus {
    /// The address: the original one if the notification has it.
    pub address: String,
    /// What the relay did.
    pub action: DeliveryAction,
    /// The enhanced status code (RFC 3463), such as `5.1.1`; empty if none is given.
    pub status: String,
    /// The reply of the next server, or another reason; empty if none is given.
    pub diagnostic: String,
}

/// A notification about a message of some run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The message.
    pub identity: Identity,
    /// The recipients, in the order of the notification; empty if it names none.
    pub recipients: Vec<RecipientStatus>,
}

impl Notification {
    /// Reads a message as a notification; `None` if the message is not a notification, or names no message of a run.
    pub fn read(message: &Message<'_>) -> Option<Notification> {
        let report = is_report(message.root_part());
        let failed = message.header_raw("X-Failed-Recipients");
        let status = message.parts.iter().find(|part| is_type(part, "message", "delivery-status"));
        if !report && status.is_none() && failed.is_none() && !is_from_mail_system(message) {
            return None;
        }
        let status = status.map(|part| contents(message, part)).unwrap_or_default();
        let groups = groups(&status);
        let envelope = groups.iter().find_map(|group| field(group, "Original-Envelope-Id"));
        let of_envelope = || Identity::in_text(decoded(&envelope?).as_bytes(), "");
        let identity = returned(message).or_else(of_envelope).or_else(|| quoted(message))?;
        let mut recipients: Vec<RecipientStatus> =
            groups.iter().filter_map(|group| recipient(group)).collect();
        complete(&mut recipients, message);
        if recipients.is_empty() {
            recipients = failed.into_iter().flat_map(|list| list.split(',')).map(failed_one).collect();
        }
        Some(Notification { identity, recipients })
    }
}

fn is_report(part: &MessagePart<'_>) -> bool {
    is_type(part, "multipart", "report")
}

fn is_type(part: &MessagePart<'_>, main: &str, sub: &str) -> bool {
    part.content_type().is_some_and(|is| {
        is.ctype().eq_ignore_ascii_case(main) && is.subtype().is_some_and(|is| is.eq_ignore_ascii_case(sub))
    })
}

/// Whether the message has the null reverse path, as every notification has (RFC 5321 4.5.5), or is marked as automatic
/// (Auto-Submitted, RFC 3834).
fn is_from_mail_system(message: &Message<'_>) -> bool {
    message.header_raw("Return-Path").is_some_and(|path| path.trim() == "<>")
        || message.header_raw("Auto-Submitted").is_some_and(|value| value.trim().starts_with("auto-"))
}

/// Finds the message that is returned in a part, as a whole or by its header.
fn returned(message: &Message<'_>) -> Option<Identity> {
    message.parts.iter().find_map(|part| match &part.body {
        PartType::Message(original) => Identity::of(original),
        _ if is_type(part, "text", "rfc822-headers") => {
            Identity::of(&received::parse(&contents(message, part))?)
        }
        // An encoded message (RFC 6532 3.7). Its text ends before the delimiter, its place behind it.
        _ if is_type(part, "message", "rfc822") || is_type(part, "message", "global") => {
            Identity::of(&received::parse(&mime::decode(part.contents(), mime::encoding(part)))?)
        }
        _ => None,
    })
}

/// Returns the decoded content of a part that is not a multipart, a text in UTF-8.
fn contents<'a>(message: &'a Message<'_>, part: &'a MessagePart<'_>) -> Cow<'a, [u8]> {
    let encoding = mime::encoding(part);
    if encoding == Encoding::None {
        return Cow::Borrowed(part.contents());
    }
    let place = part.offset_body as usize..part.offset_end as usize;
    let decoded = mime::decode(message.raw_message.get(place).unwrap_or_default(), encoding);
    let charset = part.content_type().and_then(|is| is.attribute("charset"));
    match charset.and_then(|charset| charset_decoder(charset.as_bytes())) {
        Some(to_text) if part.is_text() => Cow::Owned(to_text(&decoded).into_bytes()),
        _ => decoded,
    }
}

/// Finds a message that is quoted in the text.
fn quoted(message: &Message<'_>) -> Option<Identity> {
    message.parts.iter().find_map(|part| Identity::find(&contents(message, part)))
}

/// Returns the groups of fields of a delivery status: of the message first, then of each recipient (RFC 3464 2.1). At most
/// [`MOST_GROUPS`] are read.
fn groups(status: &[u8]) -> Vec<Message<'_>> {
    let mut groups = Vec::new();
    let mut rest = status.trim_ascii_start();
    while !rest.is_empty() && groups.len() < MOST_GROUPS {
        let empty = |at: &usize| rest[*at..].starts_with(b"\n") || rest[*at..].starts_with(b"\r\n");
        let end = memchr::memchr_iter(b'\n', rest).map(|at| at + 1).find(empty);
        let (group, after) = rest.split_at(end.unwrap_or(rest.len()));
        // A line of blanks ends the header too, and what follows it is no message.
        groups.extend(MessageParser::new().default_header_raw().parse_headers(group));
        rest = after.trim_ascii_start();
    }
    groups
}

/// Returns the value of a field on one line.
fn field(group: &Message<'_>, name: &str) -> Option<String> {
    let value = group.header_raw(name.to_owned())?;
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Returns the value after the type of `rfc822; user@host` or `smtp; 550 5.1.1 ...`.
fn behind_type(value: &str) -> &str {
    value.split_once(';').map_or(value, |(_, value)| value).trim()
}

fn recipient(group: &Message<'_>) -> Option<RecipientStatus> {
    let original = field(group, "Original-Recipient").map(|field| address_in_xtext(behind_type(&field)));
    let address = original.or_else(|| Some(behind_type(&field(group, "Final-Recipient")?).to_owned()))?;
    let action = match field(group, "Action")?.to_ascii_lowercase().as_str() {
        "failed" => DeliveryAction::Failed,
        "delayed" => DeliveryAction::Delayed,
        "delivered" => DeliveryAction::Delivered,
        "relayed" => DeliveryAction::Relayed,
        "expanded" => DeliveryAction::Expanded,
        _ => return None,
    };
    let status = field(group, "Status").unwrap_or_default();
    let status = status.split_whitespace().next().unwrap_or_default();
    let diagnostic = field(group, "Diagnostic-Code").unwrap_or_default();
    let diagnostic = behind_type(&diagnostic);
    let of_reply = || diagnostic.split_whitespace().nth(1).filter(|code| Enhanced::parse(code).is_some());
    let exact =
        Some(status).filter(|status| !status.ends_with(".0.0") && !status.is_empty()).or_else(of_reply);
    Some(RecipientStatus {
        address: address.trim_matches(['<', '>']).to_owned(),
        action,
        status: exact.unwrap_or(status).to_owned(),
        diagnostic: diagnostic.to_owned(),
    })
}

/// Reads the replies for recipients from the human-readable text, such as `<user@host>: 550 5.1.1 ...`, where the status
/// part has none.
fn complete(recipients: &mut [RecipientStatus], message: &Message<'_>) {
    let is_bare = |recipient: &RecipientStatus| {
        recipient.diagnostic.is_empty() && recipient.action == DeliveryAction::Failed
    };
    if !recipients.iter().any(is_bare) {
        return;
    }
    let parts = message.parts.iter().filter(|part| matches!(part.body, PartType::Text(_)));
    let texts: Vec<Cow<'_, [u8]>> = parts.map(|part| contents(message, part)).collect();
    let texts: Vec<Cow<'_, str>> = texts.iter().map(|text| String::from_utf8_lossy(text)).collect();
    let mut replies: HashMap<String, &str> = HashMap::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        let Some((before, reply)) = line.split_once(": ") else { continue };
        if reply.len() > 3 && reply.bytes().take(3).all(|byte| byte.is_ascii_digit()) {
            let address = before.trim().trim_matches(['<', '>']).to_ascii_lowercase();
            replies.entry(address).or_insert(reply.trim());
        }
    }
    for recipient in recipients.iter_mut().filter(|recipient| is_bare(recipient)) {
        let Some(reply) = replies.get(&recipient.address.to_ascii_lowercase()) else { continue };
        let enhanced = reply.split_whitespace().nth(1).filter(|code| Enhanced::parse(code).is_some());
        if let Some(code) =
            enhanced.filter(|_| recipient.status.ends_with(".0.0") || recipient.status.is_empty())
        {
            code.clone_into(&mut recipient.status);
        }
        (*reply).clone_into(&mut recipient.diagnostic);
    }
}

fn failed_one(address: &str) -> RecipientStatus {
    RecipientStatus {
        address: address.trim().to_owned(),
        action: DeliveryAction::Failed,
        status: String::new(),
        diagnostic: String::new(),
    }
}

/// Returns an address that was sent in xtext. Xtext escapes `+`, `=`, spaces and what is not ASCII; another escape is a
/// part of an address that a relay wrote as it is, such as `user+12@host`.
fn address_in_xtext(xtext: &str) -> String {
    let is_escape = |byte: u8| matches!(byte, b'+' | b'=' | b' ') || !byte.is_ascii();
    unescaped(xtext, is_escape).unwrap_or_else(|| xtext.to_owned())
}

/// Decodes a text in xtext (RFC 3461 4: `+2B` for `+`).
fn decoded(xtext: &str) -> String {
    unescaped(xtext, |_| true).unwrap_or_else(|| xtext.to_owned())
}

/// Replaces the escapes that stand for such a byte; `None`: the result is not UTF-8.
fn unescaped(xtext: &str, is_escape: impl Fn(u8) -> bool) -> Option<String> {
    let digit = |at: usize| char::from(*xtext.as_bytes().get(at)?).to_digit(16);
    let escape = |at: usize| u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok();
    let (mut text, mut at) = (Vec::with_capacity(xtext.len()), 0);
    while let Some(byte) = xtext.as_bytes().get(at) {
        match escape(at).filter(|escaped| *byte == b'+' && is_escape(*escaped)) {
            Some(escaped) => (text.push(escaped), at += 3).1,
            None => (text.push(*byte), at += 1).1,
        }
    }
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Option<Notification> {
        Notification::read(&received::parse(content.replace('\n', "\r\n").as_bytes()).unwrap())
    }

    #[test]
    fn any_number_of_groups_is_read_in_time_and_each_ends_at_its_empty_line() {
        let many = "a: b\n\n".repeat(20_000);
        assert_eq!(groups(many.as_bytes()).len(), 20_000);
        let mixed = groups(b"Reporting-MTA: dns; a\n\nAction: failed\r\n\r\nAction: delayed\n");
        let actions: Vec<_> = mixed.iter().map(|group| field(group, "Action")).collect();
        assert_eq!(actions, [None, Some("failed".into()), Some("delayed".into())]);
    }

    #[test]
    fn groups_that_look_like_messages_in_one_another_are_read_with_a_small_stack() {
        let read = || groups("Content-Type: message/rfc822\n \n".repeat(100_000).as_bytes()).len();
        let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(read).unwrap();
        assert_eq!(thread.join().unwrap(), 1);
    }

    const POSTFIX: &str = "Return-Path: <>
From: MAILER-DAEMON@relay.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: load@sender.example
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary=\"B\"

This is a MIME-encapsulated message.

--B
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

<bounce2@recipient.example>: host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no such user

--B
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example
X-Postfix-Queue-ID: 1234
Arrival-Date: Sat, 28 Nov 2026 12:00:00 +0000 (UTC)

Final-Recipient: rfc822; other@recipient.example
Original-Recipient: rfc822;bounce+2B2@recipient.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; 127.0.0.1
Diagnostic-Code: smtp; 550 5.1.1 <bounce2@recipient.example>:
    no such user

Final-Recipient: rfc822; late@recipient.example
Action: Delayed
Status: 4.4.1

--B
Content-Description: Undelivered Message
Content-Type: message/rfc822

Received: from x by y; today
From: <load@sender.example>
Message-ID: <run-7.42@smtpress.invalid>
X-Smtpress-Run: run-7
X-Smtpress-Seq: 42
Subject: x

body
--B--
";

    #[test]
    fn a_report_names_message_recipients_and_reasons() {
        let notification = read(POSTFIX).unwrap();
        assert_eq!(notification.identity, Identity { run: "run-7".into(), seq: 42 });
        let failed = RecipientStatus {
            address: "bounce+2@recipient.example".into(),
            action: DeliveryAction::Failed,
            status: "5.1.1".into(),
            diagnostic: "550 5.1.1 <bounce2@recipient.example>: no such user".into(),
        };
        let delayed = RecipientStatus {
            address: "late@recipient.example".into(),
            action: DeliveryAction::Delayed,
            status: "4.4.1".into(),
            diagnostic: String::new(),
        };
        assert_eq!(notification.recipients, [failed, delayed]);
    }

    /// Only the original recipient is in xtext (RFC 3464 2.3.1); the final one may have a plus of its own.
    #[test]
    fn a_plus_in_the_final_recipient_is_no_escape() {
        let original = "Original-Recipient: rfc822;bounce+2B2@recipient.example\n";
        let of = |field: &str| {
            let text = POSTFIX.replace(original, field);
            let text = text.replace("; other@recipient.example", "; user+12@recipient.example");
            read(&text).unwrap().recipients[0].address.clone()
        };
        assert_eq!(of(""), "user+12@recipient.example");
        assert_eq!(
            of("Original-Recipient: rfc822;user+2B12@recipient.example\n"),
            "user+12@recipient.example"
        );
        assert_eq!(
            of("Original-Recipient: rfc822;user+12@recipient.example\n"),
            "user+12@recipient.example",
            "a relay that wrote the original recipient as it is"
        );
    }

    #[test]
    fn returned_headers_alone_are_enough() {
        let headers = POSTFIX.replace("Content-Type: message/rfc822", "Content-Type: text/rfc822-headers");
        assert_eq!(read(&headers).unwrap().identity.seq, 42);
        let stripped = headers.replace("X-Smtpress-Run: run-7\nX-Smtpress-Seq: 42\n", "");
        assert_eq!(read(&stripped).unwrap().identity.seq, 42, "by its Message-ID");
    }

    #[test]
    fn a_status_part_in_another_multipart_is_a_notification_and_the_reply_has_the_code() {
        let text = POSTFIX
            .replace("multipart/report; report-type=delivery-status", "multipart/mixed")
            .replace("Return-Path: <>\n", "")
            .replace("Auto-Submitted: auto-replied\n", "")
            .replace("Status: 5.1.1", "Status: 5.0.0");
        let notification = read(&text).unwrap();
        assert_eq!(notification.recipients[0].status, "5.1.1");
        assert_eq!(notification.recipients[1].status, "4.4.1");
        let without = text.replace("Diagnostic-Code: smtp; 550 5.1.1 <", "Diagnostic-Code: smtp; 550 <");
        assert_eq!(read(&without).unwrap().recipients[0].status, "5.0.0");
    }

    #[test]
    fn a_reply_in_the_text_stands_for_the_one_that_the_status_part_lacks() {
        let text = POSTFIX
            .replace("Original-Recipient: rfc822;bounce+2B2@recipient.example\n", "")
            .replace(
                "<bounce2@recipient.example>: host 127.0.0.1[127.0.0.1] said: 550",
                "other@recipient.example: 550",
            )
            .replace("Diagnostic-Code: smtp; 550 5.1.1 <bounce2@recipient.example>:\n    no such user\n", "")
            .replace("Status: 5.1.1", "Status: 5.0.0");
        let found = &read(&text).unwrap().recipients[0];
        assert_eq!((found.status.as_str(), found.diagnostic.as_str()), ("5.1.1", "550 5.1.1 no such user"));
    }

    /// A returned message may be encoded where the mail is internationalized (RFC 6532 3.7).
    #[test]
    fn encoded_parts_are_read_as_others() {
        let returned = "Content-Type: message/global\nContent-Transfer-Encoding: base64\n\n\
                        WC1TbXRwcmVzcy1SdW46IHJ1bi04ClgtU210cHJlc3MtU2VxOiA0MwoK\n--B--\n";
        let (before, _) = POSTFIX.split_once("Content-Type: message/rfc822").unwrap();
        let notification = read(&format!("{before}{returned}")).unwrap();
        assert_eq!(notification.identity, Identity { run: "run-8".into(), seq: 43 });
        let text = POSTFIX
            .replace(
                "charset=us-ascii\n",
                "charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n",
            )
            .replace(
                "<bounce2@recipient.example>: host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no such user",
                "bounce+2@recipient.exam=\nple: 550 5.1.1 Empf=E4nger unbekannt",
            )
            .replace("Diagnostic-Code: smtp; 550 5.1.1 <bounce2@recipient.example>:\n    no such user\n", "");
        let found = &read(&text).unwrap().recipients[0];
        assert_eq!(found.diagnostic, "550 5.1.1 Empf\u{e4}nger unbekannt");
    }

    #[test]
    fn the_envelope_id_names_a_message_that_was_not_returned() {
        let cut = POSTFIX.find("--B\nContent-Description: Undelivered").unwrap();
        let text = format!("{}--B--\n", &POSTFIX[..cut]);
        assert_eq!(read(&text), None, "nothing names a message");
        let with_id = text.replace("Reporting-MTA", "Original-Envelope-Id: run+2D7.43\nReporting-MTA");
        assert_eq!(read(&with_id).unwrap().identity, Identity { run: "run-7".into(), seq: 43 });
    }

    #[test]
    fn an_old_bounce_is_read_by_what_it_quotes() {
        let text = "From: Mail Delivery System <Mailer-Daemon@relay.example>
X-Failed-Recipients: a@recipient.example,
  b@recipient.example
Auto-Submitted: auto-replied
Subject: Mail delivery failed

A message that you sent could not be delivered.

------ This is a copy of the message ------
Message-ID: <run.9@smtpress.invalid>
Subject: x
";
        let notification = read(text).unwrap();
        assert_eq!(notification.identity.seq, 9);
        let addresses: Vec<&str> = notification.recipients.iter().map(|r| r.address.as_str()).collect();
        assert_eq!(addresses, ["a@recipient.example", "b@recipient.example"]);
        assert!(notification.recipients.iter().all(|r| r.action == DeliveryAction::Failed));
    }

    #[test]
    fn mail_of_the_run_and_of_others_is_no_notification() {
        assert_eq!(read("From: <a@b.example>\nX-Smtpress-Run: r\nX-Smtpress-Seq: 1\n\nbody\n"), None);
        assert_eq!(read("From: <a@b.example>\nSubject: hello\n\n<r.1@smtpress.invalid>\n"), None);
    }
}
