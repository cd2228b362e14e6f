//! The commands as they go over the wire (RFC 5321 4.1.1).

use super::script::Hello;

/// HELO or EHLO with the client's name.
pub fn hello(out: &mut Vec<u8>, kind: Hello, name: &str) {
    out.extend_from_slice(match kind {
        Hello::Ehlo => b"EHLO ",
        Hello::Helo => b"HELO ",
    });
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// MAIL FROM; `mailbox` appends the reverse path without `<>`.
pub fn mail(out: &mut Vec<u8>, mailbox: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"MAIL FROM:<");
    mailbox(out);
    out.extend_from_slice(b">\r\n");
}

/// RCPT TO; `mailbox` appends the forward path without `<>`.
pub fn rcpt(out: &mut Vec<u8>, mailbox: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"RCPT TO:<");
    mailbox(out);
    out.extend_from_slice(b">\r\n");
}

/// DATA.
pub const DATA: &[u8] = b"DATA\r\n";
/// RSET.
pub const RSET: &[u8] = b"RSET\r\n";
/// QUIT.
pub const QUIT: &[u8] = b"QUIT\r\n";
/// The end of data without any content (RFC 2920 3.1: after a 354 to DATA although all recipients failed).
pub const EMPTY_CONTENT: &[u8] = b".\r\n";
