//! `trace --receive`: shows the message as it came out of the relay, and the header fields that each hop added.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::delivery::{AddedField, Catcher, CaughtMessage, added, integrity};
use crate::generator::clock;
use crate::report::format;

/// The interval at which the receiver is asked for the message.
const LOOK: Duration = Duration::from_millis(20);
/// The number of lines of the body that are shown without `--full`.
const LINES: usize = 5;

/// Waits until the message came out for this many recipients, or the time is over. Returns what the receiver got.
pub async fn wait(catcher: &Catcher, recipients: u32, longest: Duration) -> Vec<CaughtMessage> {
    let until = clock::now() + longest;
    loop {
        let caught = catcher.caught();
        let ends: usize = caught.iter().map(CaughtMessage::ends).sum();
        if ends >= recipients as usize || clock::now() >= until {
            return caught;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether the message came out for all recipients, and as it was sent.
pub fn is_whole(sent: &[u8], caught: &[CaughtMessage], recipients: u32) -> bool {
    let copies: Vec<&CaughtMessage> =
        caught.iter().filter(|message| message.notification.is_none()).collect();
    let ends: usize = copies.iter().map(|message| message.ends()).sum();
    let is_same = |message: &&CaughtMessage| integrity::differences(sent, &message.content).is_empty();
    ends == recipients as usize && copies.iter().all(is_same)
}

/// Writes the received message for a terminal. `waited` is the length of the wait; `None` if the user ended the wait.
pub fn text(
    sent: &[u8],
    caught: &[CaughtMessage],
    began: Instant,
    waited: Option<Duration>,
    full: bool,
) -> String {
    let mut text = String::new();
    if caught.is_empty() {
        return match waited {
            Some(waited) => format!(
                "\nnothing came out of the relay within {}: look into its queue and its log\n",
                format::seconds(waited.as_secs_f64())
            ),
            None => "\nnothing came out of the relay before the wait was given up\n".to_owned(),
        };
    }
    for message in caught {
        let after = format::seconds(message.ended.saturating_duration_since(began).as_secs_f64());
        let to = message.recipients.join(", ");
        let what = if message.notification.is_some() { "a notification came back" } else { "came out" };
        text += &format!("\n{what} {after} after the start of the session, for {}\n", format::harmless(&to));
        if let Some(about) = &message.notification {
            for own in &about.recipients {
                let line = format!("  {} {}: {}", own.address, own.status, own.diagnostic);
                text += &(format::harmless(&line) + "\n");
            }
            continue;
        }
        text += &of_hops(&added(sent, &message.content));
        let differs = integrity::differences(sent, &message.content);
        let words: Vec<String> = differs.iter().map(ToString::to_string).collect();
        text += &match words.is_empty() {
            true => "  everything else is as it was sent\n".to_owned(),
            false => format!("  ALTERED: {}\n", format::harmless(&words.join(", "))),
        };
        text += &content(&message.content, full);
    }
    text
}

/// Writes the added fields, with the time between two Received fields.
fn of_hops(fields: &[AddedField]) -> String {
    let mut text = String::new();
    for (place, field) in fields.iter().enumerate() {
        let before = fields[place + 1..].iter().find_map(|older| older.at);
        let spent =
            field.at.zip(before).map(|(at, before)| format!("  ({:+} s since the hop before)", at - before));
        let line = format!("  + {}: {}", field.name, field.value);
        text += &format!("{}{}\n", format::harmless(&line), spent.unwrap_or_default());
    }
    text
}

fn content(content: &[u8], full: bool) -> String {
    let lossy = String::from_utf8_lossy(content);
    let lines: Vec<&str> = lossy.lines().collect();
    let header = lines.iter().position(|line| line.is_empty()).unwrap_or(lines.len());
    let shown = if full { lines.len() } else { (header + 1 + LINES).min(lines.len()) };
    let mut text: String =
        lines[..shown].iter().map(|line| format!("  < {}\n", format::harmless(line))).collect();
    if shown < lines.len() {
        text += &format!(
            "  < ... {} more (--full shows all)\n",
            format::counted((lines.len() - shown) as u64, "line")
        );
    }
    text
}

/// Returns the received message as JSON.
pub fn values(sent: &[u8], caught: &[CaughtMessage], began: Instant) -> serde_json::Value {
    let one = |message: &CaughtMessage| {
        let after = message.ended.saturating_duration_since(began);
        let fields: Vec<_> = added(sent, &message.content)
            .into_iter()
            .map(|field| json!({ "name": field.name, "value": field.value, "at_unix_s": field.at }))
            .collect();
        let differs: Vec<String> = match message.notification {
            Some(_) => Vec::new(),
            None => integrity::differences(sent, &message.content).iter().map(ToString::to_string).collect(),
        };
        json!({
            "to": message.recipients,
            "after_ns": u64::try_from(after.as_nanos()).unwrap_or(u64::MAX),
            "notification": message.notification,
            "added": fields,
            "differences": differs,
            "content": String::from_utf8_lossy(&message.content),
        })
    };
    caught.iter().map(one).collect()
}
