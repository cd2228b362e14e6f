//! Patterns of addresses: the unknown recipients.

/// Patterns such as `nobody*@*`: `*` stands for any number of bytes, and upper and lower case are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// Reads patterns: `*`, or a text with `@` and without blanks.
    ///
    /// # Errors
    /// The index of the first text that is not a pattern.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Patterns, usize> {
        let is_one = |text: &str| text == "*" || text.contains('@') && !text.contains(blank);
        match texts.iter().position(|text| !is_one(text.as_ref())) {
            Some(index) => Err(index),
            None => Ok(Patterns(texts.iter().map(|text| text.as_ref().to_ascii_lowercase()).collect())),
        }
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the mailbox of this path fits a pattern. A source route (RFC 5321 appendix C) is ignored.
    pub(super) fn fit(&self, path: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let routed = path.strip_prefix('@').and_then(|path| path.split_once(':'));
        let mailbox = routed.map_or(path, |(_, mailbox)| mailbox).to_ascii_lowercase();
        self.0.iter().any(|pattern| fits(pattern, &mailbox))
    }
}

fn blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// Whether the text fits: the first piece at its beginning, the last at its end, and the others between them in order.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(text) = text.strip_prefix(first).and_then(|text| text.strip_suffix(last)) else { return false };
    // The earliest match of a piece leaves the longest rest for the pieces after it.
    let mut left = text;
    between.split('*').all(|piece| match left.split_once(piece) {
        Some((_, after)) => {
            left = after;
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_bytes_and_case_does_not_count() {
        let patterns = Patterns::parse(&["nobody*@*", "A*b*@x.example", "exact@y.example"]).unwrap();
        for path in [
            "nobody@x.example",
            "nobody1@x.example",
            "NoBody.x@y",
            "ab@x.example",
            "a-b-c@x.example",
            "Exact@Y.Example",
            "@hop.example,@b.example:nobody@x.example",
        ] {
            assert!(patterns.fit(path), "{path}");
        }
        for path in
            ["someone@x.example", "a@x.example", "ab@x.example.net", "exact@y.example.net", "postmaster"]
        {
            assert!(!patterns.fit(path), "{path}");
        }
        assert!(Patterns::parse(&["*"]).unwrap().fit("postmaster"));
        assert!(!Patterns::default().fit("postmaster"));
        // No byte matches two pieces.
        assert!(!Patterns::parse(&["ab*ba@*"]).unwrap().fit("aba@x"));
        assert!(!Patterns::parse(&["*x*x@*"]).unwrap().fit("x@y"));
    }

    #[test]
    fn what_cannot_be_an_address_is_reported_by_its_place() {
        assert_eq!(Patterns::parse(&["a@b", "nobody"]), Err(1));
        assert_eq!(Patterns::parse(&[""]), Err(0));
        assert_eq!(Patterns::parse(&["no body@*"]), Err(0));
    }

    proptest! {
        /// The result is that of the definition: a star matches no byte, or one byte and then again a star.
        #[test]
        fn fits_as_it_is_defined(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            fn slowly(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern, text) {
                    ([], _) => text.is_empty(),
                    ([b'*', rest @ ..], _) => {
                        slowly(rest, text) || !text.is_empty() && slowly(pattern, &text[1..])
                    }
                    ([p, rest @ ..], [t, more @ ..]) => p == t && slowly(rest, more),
                    _ => false,
                }
            }
            prop_assert_eq!(fits(&pattern, &text), slowly(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
