//! Writes the commands as they are sent (RFC 5321 4.1.1).

use std::net::IpAddr;

use super::extensions::Terms;
use super::script::{Hello, Protocol};

/// Returns `HELO`, `EHLO` or `LHLO`.
pub fn hello_verb(protocol: Protocol, kind: Hello) -> &'static str {
    match (protocol, kind) {
        (Protocol::Lmtp, _) => "LHLO",
        (Protocol::Smtp, Hello::Ehlo | Hello::EhloOnly) => "EHLO",
        (Protocol::Smtp, Hello::Helo) => "HELO",
    }
}

/// Writes HELO, EHLO or LHLO with the client's name.
pub fn hello(out: &mut Vec<u8>, protocol: Protocol, kind: Hello, name: &str) {
    out.extend_from_slice(hello_verb(protocol, kind).as_bytes());
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes MAIL FROM. `mailbox` appends the reverse path without `<>`. `size` and `envid` are called only if the terms
/// include them.
pub fn mail(
    out: &mut Vec<u8>,
    terms: &Terms,
    size: impl FnOnce() -> u64,
    envid: impl FnOnce(&mut Vec<u8>),
    mailbox: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(b"MAIL FROM:<");
    mailbox(out);
    out.push(b'>');
    if terms.size {
        out.extend_from_slice(b" SIZE=");
        number(out, size());
    }
    out.extend_from_slice(terms.mail.as_bytes());
    if terms.envid {
        out.extend_from_slice(b" ENVID=");
        envid(out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a number in decimal digits, without the cost of formatting.
fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // A remainder of ten is one digit.
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes RCPT TO. `mailbox` appends the forward path without `<>`.
pub fn rcpt(out: &mut Vec<u8>, terms: &Terms, mailbox: impl Fn(&mut Vec<u8>)) {
    out.extend_from_slice(b"RCPT TO:<");
    mailbox(out);
    out.push(b'>');
    out.extend_from_slice(terms.rcpt.as_bytes());
    if terms.orcpt {
        // RFC 3461 4.2: the address as the sender wrote it.
        let before = out.len();
        out.extend_from_slice(b" ORCPT=rfc822;");
        let start = out.len();
        mailbox(out);
        if out[start..].is_ascii() {
            xtext(out, start);
        } else {
            let address = String::from_utf8_lossy(&out[start..]).into_owned();
            out.truncate(before);
            out.extend_from_slice(b" ORCPT=utf-8;");
            unitext(out, &address);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Encodes everything from `start` on as xtext (RFC 3461 section 4): `+`, `=` and bytes that are not printable become
/// `+` and two hexadecimal digits.
fn xtext(out: &mut Vec<u8>, start: usize) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut at = start;
    while let Some(&byte) = out.get(at) {
        if byte.is_ascii_graphic() && !matches!(byte, b'+' | b'=') {
            at += 1;
        } else {
            let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
            out.splice(at..=at, [b'+', high, low]);
            at += 3;
        }
    }
}

/// Appends an address beyond ASCII as utf-8-addr-unitext (RFC 6533 section 3). Bytes that xtext would encode are
/// written as `\x{...}`.
fn unitext(out: &mut Vec<u8>, address: &str) {
    for c in address.chars() {
        match c {
            '\\' | '+' | '=' | '\0'..=' ' | '\x7f' => {
                out.extend_from_slice(format!("\\x{{{:02X}}}", u32::from(c)).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Writes BDAT for a chunk of this many bytes. `last` marks the last chunk (RFC 3030 section 2).
pub fn bdat(out: &mut Vec<u8>, bytes: u64, last: bool) {
    out.extend_from_slice(b"BDAT ");
    number(out, bytes);
    out.extend_from_slice(if last { b" LAST\r\n" } else { b"\r\n" });
}

/// Writes VRFY with this name. A name beyond ASCII has the parameter SMTPUTF8 (RFC 6531 section 3.7.4.2), which the
/// listener must have offered.
pub fn verify(out: &mut Vec<u8>, whom: &str) {
    out.extend_from_slice(b"VRFY ");
    out.extend_from_slice(whom.as_bytes());
    if !whom.is_ascii() {
        out.extend_from_slice(b" SMTPUTF8");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes XCLIENT with these attributes (an extension of Postfix).
pub fn xclient(out: &mut Vec<u8>, attributes: &str) {
    out.extend_from_slice(b"XCLIENT ");
    out.extend_from_slice(attributes.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Returns the attributes of XCLIENT for a client at `address` that sent `hello` and has no known DNS name. Postfix's
/// XCLIENT_README: an IPv6 address has a prefix, and values are xtext (RFC 3461 4).
pub fn xclient_attributes(address: IpAddr, hello: &str) -> String {
    let prefix = if address.is_ipv6() { "IPV6:" } else { "" };
    let mut attributes = format!("ADDR={prefix}{address} NAME=[UNAVAILABLE] HELO=");
    for byte in hello.bytes() {
        match byte {
            b'!'..=b'~' if !matches!(byte, b'+' | b'=') => attributes.push(char::from(byte)),
            _ => attributes.push_str(&format!("+{byte:02X}")),
        }
    }
    attributes
}

/// A line that is not a command.
pub const GARBAGE: &[u8] = b"@@@ GARBAGE ###\r\n";
/// STARTTLS (RFC 3207).
pub const STARTTLS: &[u8] = b"STARTTLS\r\n";
/// DATA.
pub const DATA: &[u8] = b"DATA\r\n";
/// RSET.
pub const RSET: &[u8] = b"RSET\r\n";
/// NOOP.
pub const NOOP: &[u8] = b"NOOP\r\n";
/// QUIT.
pub const QUIT: &[u8] = b"QUIT\r\n";
/// The end of data without any content. RFC 2920 3.1: the client sends it after a 354 to DATA if all recipients were
/// refused.
pub const EMPTY_CONTENT: &[u8] = b".\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn said(append: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        append(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn a_mailbox(out: &mut Vec<u8>) {
        out.extend_from_slice(b"a@b.example");
    }

    #[test]
    fn mail_declares_the_size_to_the_digit() {
        let terms = Terms { size: true, ..Terms::default() };
        for size in [0, 9, 10, 20_000, u64::MAX] {
            assert_eq!(
                said(|out| mail(out, &terms, || size, |_| {}, a_mailbox)),
                format!("MAIL FROM:<a@b.example> SIZE={size}\r\n")
            );
        }
        assert_eq!(said(|out| mail(out, &Terms::default(), || 1, |_| {}, |_| {})), "MAIL FROM:<>\r\n");
    }

    #[test]
    fn parameters_follow_the_path() {
        let terms = Terms {
            size: true,
            envid: true,
            orcpt: true,
            mail: " BODY=8BITMIME RET=HDRS".into(),
            rcpt: " NOTIFY=NEVER".into(),
            ..Terms::default()
        };
        assert_eq!(
            said(|out| mail(out, &terms, || 5, |out| out.extend_from_slice(b"run.1"), a_mailbox)),
            "MAIL FROM:<a@b.example> SIZE=5 BODY=8BITMIME RET=HDRS ENVID=run.1\r\n"
        );
        assert_eq!(
            said(|out| rcpt(out, &terms, |out| out.extend_from_slice(b"a+b=\"c d\"@e.example"))),
            "RCPT TO:<a+b=\"c d\"@e.example> NOTIFY=NEVER ORCPT=rfc822;a+2Bb+3D\"c+20d\"@e.example\r\n"
        );
        assert_eq!(said(|out| rcpt(out, &Terms::default(), a_mailbox)), "RCPT TO:<a@b.example>\r\n");
        let beyond = |out: &mut Vec<u8>| out.extend_from_slice("\"j\u{f6} +\"@b.example".as_bytes());
        assert_eq!(
            said(|out| rcpt(out, &terms, beyond)),
            "RCPT TO:<\"j\u{f6} +\"@b.example> NOTIFY=NEVER ORCPT=utf-8;\"j\u{f6}\\x{20}\\x{2B}\"@b.example\r\n"
        );
    }

    #[test]
    fn vrfy_names_the_recipient() {
        assert_eq!(said(|out| verify(out, "user12@b.example")), "VRFY user12@b.example\r\n");
        // RFC 6531 3.7.4.2.
        assert_eq!(said(|out| verify(out, "\u{e4}@b.example")), "VRFY \u{e4}@b.example SMTPUTF8\r\n");
    }

    #[test]
    fn chunks_are_counted_to_the_byte() {
        assert_eq!(said(|out| bdat(out, 100, false)), "BDAT 100\r\n");
        assert_eq!(said(|out| bdat(out, 0, true)), "BDAT 0 LAST\r\n");
    }

    #[test]
    fn xclient_tells_of_either_family_in_xtext() {
        let of = |address: &str, hello| xclient_attributes(address.parse().unwrap(), hello);
        assert_eq!(of("127.0.0.7", "load.example"), "ADDR=127.0.0.7 NAME=[UNAVAILABLE] HELO=load.example");
        assert_eq!(
            of("2001:db8::7", "a=b+c d"),
            "ADDR=IPV6:2001:db8::7 NAME=[UNAVAILABLE] HELO=a+3Db+2Bc+20d"
        );
    }
}
