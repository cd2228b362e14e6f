//! Finds the header fields that the hops added to a message.

use mail_parser::{HeaderName, HeaderValue, MessageParser};

/// A header field that a hop added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedField {
    /// The name as written.
    pub name: String,
    /// The value on one line.
    pub value: String,
    /// The date of a Received field, by the clock of the hop, in seconds since the Unix epoch.
    pub at: Option<i64>,
}

/// Returns the fields that were added to a message, in the order of the received message: the fields of the last hop
/// first.
pub fn added(sent: &[u8], received: &[u8]) -> Vec<AddedField> {
    let mut own = fields(sent);
    let mut found = Vec::new();
    for field in fields(received) {
        let same =
            |other: &AddedField| other.name.eq_ignore_ascii_case(&field.name) && other.value == field.value;
        match own.iter().position(same) {
            Some(place) => drop(own.remove(place)),
            None => found.push(field),
        }
    }
    found
}

fn fields(content: &[u8]) -> Vec<AddedField> {
    let Some(message) = MessageParser::default().parse_headers(content) else { return Vec::new() };
    let read = |header: &mail_parser::Header<'_>| {
        let raw = content.get(header.offset_start as usize..header.offset_end as usize).unwrap_or_default();
        let value = String::from_utf8_lossy(raw).split_whitespace().collect::<Vec<_>>().join(" ");
        let at = match (&header.name, &header.value) {
            (HeaderName::Received, HeaderValue::Received(trace)) => {
                trace.date.map(|date| date.to_timestamp())
            }
            _ => None,
        };
        AddedField { name: header.name.as_str().to_owned(), value, at }
    };
    message.headers().iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hops_added_stands_apart() {
        let sent = "From: <a@b.example>\r\nSubject: one\r\n two\r\n\r\nbody\r\n";
        let trace = "Received: from b by c with ESMTP id 2; Sat, 28 Nov 2026 12:00:05 +0000\r\n\
                     Received: from a by b with ESMTP id 1;\r\n\tSat, 28 Nov 2026 13:00:02 +0100\r\nX-Seen: yes\r\n";
        let came_out = format!("{trace}{}", sent.replace("Subject: one\r\n two", "Subject: one two"));
        let fields = added(sent.as_bytes(), came_out.as_bytes());
        let told: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.at.is_some())).collect();
        assert_eq!(told, [("Received", true), ("Received", true), ("X-Seen", false)]);
        assert_eq!(fields[0].at.zip(fields[1].at).map(|(last, first)| last - first), Some(3));
        assert!(added(sent.as_bytes(), sent.as_bytes()).is_empty());
    }
}
