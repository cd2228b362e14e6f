//! Divides the bytes that a client sends into commands and message content.
//!
//! Transcripts shorten content and show every command, also a command in the same write as the content before it (RFC
//! 2920 3.1). This module reads the bytes that both sides sent, and does not judge them.

/// The kind of a piece that the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialoguePart {
    /// A command line.
    Command,
    /// Content, between 354 and the final dot or within a BDAT chunk.
    Content,
    /// The final dot (RFC 5321 4.1.1.4).
    Dot,
}

/// Divides the bytes of one session.
#[derive(Debug, Default)]
pub struct Dialogue {
    /// The kind of the content in progress.
    content: Option<ContentKind>,
    /// Whether the last command was DATA, so that a 354 begins the content.
    data: bool,
    /// The first bytes of the client's current line.
    line: Vec<u8>,
    /// The first four bytes of the listener's current line: the code and its separator.
    reply: Vec<u8>,
}

#[derive(Debug)]
enum ContentKind {
    /// Content up to the final dot.
    Dotted,
    /// A chunk of which this many bytes are still to come.
    Chunk(u64),
}

impl Dialogue {
    /// Divides the client's bytes into pieces of at most one line.
    pub fn sent<'b>(&mut self, mut bytes: &'b [u8]) -> Vec<(DialoguePart, &'b [u8])> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let mut length = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            if let Some(ContentKind::Chunk(left)) = self.content {
                length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
            }
            let (piece, rest) = bytes.split_at(length);
            pieces.push((self.piece(piece), piece));
            bytes = rest;
        }
        pieces
    }

    fn piece(&mut self, piece: &[u8]) -> DialoguePart {
        if let Some(ContentKind::Chunk(left)) = &mut self.content {
            *left -= piece.len() as u64;
            if *left == 0 {
                self.content = None;
            }
            return DialoguePart::Content;
        }
        // A line may come in several writes. The longest line that matters here is a BDAT command.
        let room = 64_usize.saturating_sub(self.line.len());
        self.line.extend_from_slice(&piece[..piece.len().min(room)]);
        if !piece.ends_with(b"\n") {
            return if self.content.is_some() { DialoguePart::Content } else { DialoguePart::Command };
        }
        let line = std::mem::take(&mut self.line);
        if self.content.is_some() {
            if line != b".\r\n" {
                return DialoguePart::Content;
            }
            self.content = None;
            return DialoguePart::Dot;
        }
        let text = String::from_utf8_lossy(&line).to_ascii_uppercase();
        let mut words = text.split_ascii_whitespace();
        let verb = words.next();
        self.data = verb == Some("DATA");
        if verb == Some("BDAT") {
            let size = words.next().and_then(|size| size.parse().ok()).unwrap_or(0);
            self.content = (size > 0).then_some(ContentKind::Chunk(size));
        }
        DialoguePart::Command
    }

    /// Reads the listener's bytes.
    pub fn received(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                // Without a text, the line end may follow the code (with or without CR).
                if self.data && matches!(&self.reply[..], b"354 " | b"354") {
                    self.content = Some(ContentKind::Dotted);
                    self.data = false;
                }
                self.reply.clear();
            } else if self.reply.len() < 4 {
                self.reply.push(if byte == b'\r' { b' ' } else { byte });
            }
        }
    }
}

/// Returns bytes that the client wrote in an AUTH exchange, without the secret. The name of the mechanism is not
/// secret.
pub fn without_secret(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(verb), Some(mechanism), response) if verb.eq_ignore_ascii_case("AUTH") => {
            let response = if response.is_some() { " [redacted]" } else { "" };
            format!("{verb} {mechanism}{response}\r\n").into_bytes()
        }
        // The line that cancels the exchange is not secret (RFC 4954 4).
        (Some("*"), None, None) => b"*\r\n".to_vec(),
        _ => b"[redacted]\r\n".to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(dialogue: &mut Dialogue, bytes: &str) -> String {
        let letter = |part| match part {
            DialoguePart::Command => 'c',
            DialoguePart::Content => 'm',
            DialoguePart::Dot => '.',
        };
        dialogue.sent(bytes.as_bytes()).into_iter().map(|(part, _)| letter(part)).collect()
    }

    #[test]
    fn content_ends_at_its_dot_and_the_group_behind_it_is_commands() {
        let mut dialogue = Dialogue::default();
        assert_eq!(parts(&mut dialogue, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"), "ccc");
        dialogue.received(b"250 ok\r\n250 ok\r\n354 go\r\n");
        assert_eq!(
            parts(&mut dialogue, "From: a\r\n\r\n..\r\nbody\r\n.\r\nMAIL FROM:<a@b>\r\nDATA\r\n"),
            "mmmm.cc"
        );
        for bare in ["354\r\n", "354\n"] {
            dialogue.received(bare.as_bytes());
            assert_eq!(parts(&mut dialogue, "x\r\n.\r\nDATA\r\n"), "m.c");
        }
    }

    #[test]
    fn a_dot_within_a_line_or_cut_in_two_is_read_for_what_it_is() {
        let mut dialogue = Dialogue::default();
        parts(&mut dialogue, "DATA\r\n");
        dialogue.received(b"35");
        dialogue.received(b"4 go\r\n");
        assert_eq!(parts(&mut dialogue, "end"), "m");
        assert_eq!(parts(&mut dialogue, ".\r\nmore\r\n."), "mmm");
        assert_eq!(parts(&mut dialogue, "\r\nRSET\r\n"), ".c");
    }

    #[test]
    fn a_chunk_is_as_long_as_it_says_wherever_it_is_cut() {
        let whole = b"BDAT 9 LAST\r\nab\r\n.\r\nxyMAIL FROM:<a@b>\r\nBDAT 2\r\nhiQUIT\r\n";
        let mut expected: Option<Vec<u8>> = None;
        for size in [1, 2, 3, 7, whole.len()] {
            let mut dialogue = Dialogue::default();
            let commands: Vec<u8> = whole
                .chunks(size)
                .flat_map(|bytes| dialogue.sent(bytes))
                .filter(|(part, _)| *part == DialoguePart::Command)
                .flat_map(|(_, piece)| piece.to_vec())
                .collect();
            assert_eq!(*expected.get_or_insert_with(|| commands.clone()), commands, "pieces of {size}");
        }
        assert_eq!(expected.unwrap(), b"BDAT 9 LAST\r\nMAIL FROM:<a@b>\r\nBDAT 2\r\nQUIT\r\n");
    }

    #[test]
    fn data_that_is_refused_begins_no_content() {
        let mut dialogue = Dialogue::default();
        parts(&mut dialogue, "DATA\r\n");
        dialogue.received(b"503 no\r\n354-what\r\n");
        assert_eq!(parts(&mut dialogue, "RSET\r\nMAIL FROM:<a@b>\r\n"), "cc");
    }

    #[test]
    fn the_mechanism_is_shown_and_the_secret_is_not() {
        for (bytes, shown) in [
            ("AUTH PLAIN AGEAYg==\r\n", "AUTH PLAIN [redacted]\r\n"),
            ("auth login\r\n", "auth login\r\n"),
            ("AUTH XOAUTH2 dXNlcj1\r\n", "AUTH XOAUTH2 [redacted]\r\n"),
            ("AUTH PLAIN =\r\n", "AUTH PLAIN [redacted]\r\n"),
            ("AGEAYg==\r\n", "[redacted]\r\n"),
            ("*\r\n", "*\r\n"),
            ("\r\n", "[redacted]\r\n"),
            ("\u{0}secret two words\r\n", "[redacted]\r\n"),
        ] {
            assert_eq!(without_secret(bytes.as_bytes()), shown.as_bytes(), "{bytes:?}");
        }
    }
}
