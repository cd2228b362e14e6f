//! The commands as they go over the wire (RFC 5321 4.1.1).

use std::net::IpAddr;

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

/// MAIL FROM; `mailbox` appends the reverse path without `<>`, `size` is declared if it is given (RFC 1870).
pub fn mail(out: &mut Vec<u8>, size: Option<u64>, mailbox: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"MAIL FROM:<");
    mailbox(out);
    out.push(b'>');
    if let Some(size) = size {
        out.extend_from_slice(b" SIZE=");
        number(out, size);
    }
    out.extend_from_slice(b"\r\n");
}

/// A number in decimal digits, without the detour over formatting.
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

/// RCPT TO; `mailbox` appends the forward path without `<>`.
pub fn rcpt(out: &mut Vec<u8>, mailbox: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"RCPT TO:<");
    mailbox(out);
    out.extend_from_slice(b">\r\n");
}

/// XCLIENT with these attributes (of Postfix).
pub fn xclient(out: &mut Vec<u8>, attributes: &str) {
    out.extend_from_slice(b"XCLIENT ");
    out.extend_from_slice(attributes.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What XCLIENT says of a client at `address` that said `hello`, which has no name in the DNS that we know of
/// (Postfix's XCLIENT_README: an IPv6 address has a prefix, and values are xtext, RFC 3461 4).
pub fn xclient_attributes(address: IpAddr, hello: &str) -> String {
    let prefix = if address.is_ipv6() { "IPV6:" } else { "" };
    let mut attributes = format!("ADDR={prefix}{address} NAME=[UNAVAILABLE] HELO=");
    for octet in hello.bytes() {
        match octet {
            b'!'..=b'~' if !matches!(octet, b'+' | b'=') => attributes.push(char::from(octet)),
            _ => attributes.push_str(&format!("+{octet:02X}")),
        }
    }
    attributes
}

/// STARTTLS (RFC 3207).
pub const STARTTLS: &[u8] = b"STARTTLS\r\n";
/// DATA.
pub const DATA: &[u8] = b"DATA\r\n";
/// RSET.
pub const RSET: &[u8] = b"RSET\r\n";
/// QUIT.
pub const QUIT: &[u8] = b"QUIT\r\n";
/// The end of data without any content (RFC 2920 3.1: after a 354 to DATA although all recipients failed).
pub const EMPTY_CONTENT: &[u8] = b".\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_declares_the_size_to_the_digit() {
        for size in [0, 9, 10, 20_000, u64::MAX] {
            let mut out = Vec::new();
            mail(&mut out, Some(size), |out| out.extend_from_slice(b"a@b.example"));
            assert_eq!(String::from_utf8(out).unwrap(), format!("MAIL FROM:<a@b.example> SIZE={size}\r\n"));
        }
        let mut out = Vec::new();
        mail(&mut out, None, |_| {});
        assert_eq!(out, b"MAIL FROM:<>\r\n");
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
