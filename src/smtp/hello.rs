//! The offer of a listener in its reply to EHLO (RFC 5321 4.1.1.1).

use serde::{Deserialize, Serialize};

use super::reply::Reply;

/// The extensions that matter to a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// SIZE (RFC 1870): the largest message in bytes; `Some(0)` if offered without a number.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// BINARYMIME (RFC 3030).
    pub binary_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// DELIVERBY (RFC 2852): the shortest time in seconds; `Some(0)` if offered without one.
    pub deliver_by: Option<u64>,
    /// AUTH (RFC 4954): the mechanisms, in capitals.
    pub auth: Vec<String>,
    /// XCLIENT (an extension of Postfix).
    pub xclient: bool,
}

impl Offer {
    /// Reads the keyword lines; the first line holds only the listener's name.
    pub fn parse(reply: &Reply) -> Offer {
        let mut offer = Offer::default();
        for line in reply.lines.iter().skip(1) {
            // `AUTH=PLAIN` is an old spelling of `AUTH PLAIN`, and many listeners send both.
            let mut words =
                line.split(|c: char| c.is_ascii_whitespace() || c == '=').filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default();
            let flags = [
                ("XCLIENT", &mut offer.xclient),
                ("PIPELINING", &mut offer.pipelining),
                ("STARTTLS", &mut offer.starttls),
                ("CHUNKING", &mut offer.chunking),
                ("8BITMIME", &mut offer.eight_bit_mime),
                ("BINARYMIME", &mut offer.binary_mime),
                ("SMTPUTF8", &mut offer.smtp_utf8),
                ("DSN", &mut offer.dsn),
                ("REQUIRETLS", &mut offer.require_tls),
            ];
            let is = |name: &str| keyword.eq_ignore_ascii_case(name);
            if let Some((_, flag)) = flags.into_iter().find(|(name, _)| is(name)) {
                *flag = true;
            } else if is("AUTH") {
                offer.auth.extend(words.map(str::to_ascii_uppercase));
            } else if is("SIZE") {
                offer.size = Some(number(words.next()));
            } else if is("DELIVERBY") {
                offer.deliver_by = Some(number(words.next()));
            }
        }
        offer
    }
}

fn number(word: Option<&str>) -> u64 {
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_read_without_regard_to_case_and_never_from_the_first_line() {
        let reply =
            Reply::parse("250-PIPELINING greets you\n250-size 1000\n250-Starttls\n250 8BITMIME").unwrap();
        let offer = Offer::parse(&reply);
        let expected = Offer { starttls: true, size: Some(1000), eight_bit_mime: true, ..Offer::default() };
        assert_eq!(offer, expected);
        assert!(Offer::parse(&Reply::parse("250-mx\n250 PIPELINING").unwrap()).pipelining);
        assert_eq!(Offer::parse(&Reply::parse("250-mx\n250 SIZE").unwrap()).size, Some(0));
        let reply =
            "250-mx\n250-Chunking\n250-BINARYMIME\n250-SMTPUTF8\n250-DSN\n250-REQUIRETLS\n250 DELIVERBY 240";
        let offer = Offer::parse(&Reply::parse(reply).unwrap());
        let expected = Offer {
            chunking: true,
            binary_mime: true,
            smtp_utf8: true,
            dsn: true,
            require_tls: true,
            deliver_by: Some(240),
            ..Offer::default()
        };
        assert_eq!(offer, expected);
    }
}
