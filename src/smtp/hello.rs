//! What a listener offers in its reply to EHLO (RFC 5321 4.1.1.1).

use super::reply::Reply;

/// The extensions that matter to a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// SIZE (RFC 1870): the largest message in octets; `Some(0)`: offered without a number.
    pub size: Option<u64>,
}

impl Offer {
    /// Reads the keyword lines; the first line holds only the listener's name.
    pub fn parse(reply: &Reply) -> Offer {
        let mut offer = Offer::default();
        for line in reply.lines.iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => offer.pipelining = true,
                "STARTTLS" => offer.starttls = true,
                "CHUNKING" => offer.chunking = true,
                "SIZE" => offer.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
                _ => {}
            }
        }
        offer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_read_without_regard_to_case_and_never_from_the_first_line() {
        let reply =
            Reply::parse("250-PIPELINING greets you\n250-size 1000\n250-Starttls\n250 8BITMIME").unwrap();
        let offer = Offer::parse(&reply);
        assert_eq!(offer, Offer { pipelining: false, starttls: true, chunking: false, size: Some(1000) });
        assert!(Offer::parse(&Reply::parse("250-mx\n250 PIPELINING").unwrap()).pipelining);
        assert_eq!(Offer::parse(&Reply::parse("250-mx\n250 SIZE").unwrap()).size, Some(0));
    }
}
