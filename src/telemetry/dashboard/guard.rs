//! Decides which requests may read the live page, and which may stop the run.
//!
//! # Decisions
//! - On loopback the danger is another page in the same browser. Its domain can resolve to 127.0.0.1 (DNS rebinding), so
//!   `Host` must name loopback, at any port: see `hosts`. It can also submit a form to this port, so a request to stop must
//!   come from the live page itself, according to `Origin` and `Sec-Fetch-Site`. A browser always sends at least one of the
//!   two with such a request. A request with neither header comes from a program that is not a browser, and is admitted.
//! - Beyond loopback every request must carry a token, which a foreign page does not know. `Host` is not checked there,
//!   because the name of this machine is not known.

use std::fmt;

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::telemetry::hosts::is_loopback;

/// A random secret that a request must carry to be admitted beyond loopback.
#[derive(Clone)]
pub struct AccessToken(String);

impl AccessToken {
    /// Creates a token from `random`, in base64url.
    pub fn new(random: [u8; 32]) -> AccessToken {
        AccessToken(URL_SAFE_NO_PAD.encode(random))
    }

    /// Returns the token as text, for the URL.
    pub fn told(&self) -> &str {
        &self.0
    }

    /// Returns whether `guess` is the token, in a time that does not depend on which characters are right.
    fn is(&self, guess: &str) -> bool {
        self.0.as_bytes().ct_eq(guess.as_bytes()).into()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(..)")
    }
}

/// The refusal of a request: the status of the response, and a sentence for its body.
pub type TurnedAway = (StatusCode, &'static str);

const NO_TOKEN: TurnedAway = (
    StatusCode::FORBIDDEN,
    "This page needs its whole address, with the token: smtpress printed it at its start.",
);
const OTHER_NAME: TurnedAway = (
    StatusCode::MISDIRECTED_REQUEST,
    "There is nothing of that name here; use the address that smtpress printed.",
);
const OTHER_PAGE: TurnedAway = (StatusCode::FORBIDDEN, "Only the live page itself may ask for this.");

/// Admits or refuses each request to the live page.
#[derive(Debug)]
pub struct Guard {
    token: Option<AccessToken>,
}

impl Guard {
    /// Creates the guard of a page on loopback, which checks `Host`. With a token the guard checks the token instead of
    /// `Host`, on any address.
    pub fn new(token: Option<AccessToken>) -> Guard {
        Guard { token }
    }

    /// Checks whether a request may be answered.
    ///
    /// # Errors
    /// The reason for the refusal.
    pub fn admit(&self, method: &Method, query: Option<&str>, headers: &HeaderMap) -> Result<(), TurnedAway> {
        let host = headers.get(HOST).and_then(text).unwrap_or_default();
        match &self.token {
            Some(token) if !given(query).is_some_and(|guess| token.is(guess)) => return Err(NO_TOKEN),
            None if !is_loopback(host) => return Err(OTHER_NAME),
            _ => {}
        }
        // A link on any site may open the page. All other requests of a browser must come from the page itself.
        let from = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let opened = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
        let reads = method == Method::GET || method == Method::HEAD;
        if from.is_some_and(|from| {
            from != b"same-origin" && !(from == b"none" || opened) || (!reads && from != b"same-origin")
        }) {
            return Err(OTHER_PAGE);
        }
        let own = |origin: &HeaderValue| {
            let place = text(origin).and_then(|origin| origin.strip_prefix("http://"));
            place.is_some_and(|place| place.eq_ignore_ascii_case(host))
        };
        if headers.get(ORIGIN).is_some_and(|origin| !own(origin)) {
            return Err(OTHER_PAGE);
        }
        Ok(())
    }
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

/// Returns the token in a query.
fn given(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|part| part.strip_prefix("token="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        guard: &Guard,
        method: Method,
        query: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Option<u16> {
        let headers =
            headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        guard.admit(&method, query, &headers).err().map(|(status, _)| status.as_u16())
    }

    fn here() -> Guard {
        Guard::new(None)
    }

    #[test]
    fn on_loopback_only_its_names_are_answered_at_any_port() {
        let get = |host| asked(&here(), Method::GET, None, &[("host", host)]);
        // With `ssh -L 9000:127.0.0.1:8025` a browser asks for port 9000. For port 80 it omits the port.
        for host in
            ["127.0.0.1:8025", "localhost:9000", "LOCALHOST:8025", "[::1]:9000", "localhost", "127.0.0.2:81"]
        {
            assert_eq!(get(host), None, "{host}");
        }
        for host in ["evil.example:8025", "localhost:8025.evil.example", "192.0.2.1:8025", ""] {
            assert_eq!(get(host), Some(421), "{host}");
        }
        assert_eq!(asked(&here(), Method::GET, None, &[]), Some(421));
    }

    #[test]
    fn the_button_works_behind_a_tunnel() {
        let post = |host, origin: &str| {
            let headers = [("host", host), ("origin", origin), ("sec-fetch-site", "same-origin")];
            asked(&here(), Method::POST, None, &headers)
        };
        assert_eq!(post("localhost:9000", "http://localhost:9000"), None);
        assert_eq!(post("[::1]:9000", "http://[::1]:9000"), None);
        assert_eq!(post("127.0.0.1:80", "http://127.0.0.1:80"), None);
        assert_eq!(
            post("localhost:9000", "http://localhost:9001"),
            Some(403),
            "another page of this machine"
        );
        assert_eq!(post("evil.example:9000", "http://evil.example:9000"), Some(421));
    }

    #[test]
    fn only_the_page_itself_may_stop() {
        let post = |more: &[(&'static str, &str)]| {
            let headers = [&[("host", "localhost:8025")], more].concat();
            asked(&here(), Method::POST, None, &headers)
        };
        // Admitted: the page itself, and programs that are not browsers.
        assert_eq!(post(&[("origin", "http://localhost:8025"), ("sec-fetch-site", "same-origin")]), None);
        assert_eq!(post(&[("origin", "http://localhost:8025")]), None);
        assert_eq!(post(&[]), None);
        for foreign in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "https://localhost:8025")],
            &[("origin", "http://localhost:8026")],
            // A name of loopback, but not the name in `Host`.
            &[("origin", "http://127.0.0.1:8025")],
            &[("origin", "http://localhost:8025"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
            &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate")],
            &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
        ] {
            assert_eq!(post(foreign), Some(403), "{foreign:?}");
        }
    }

    #[test]
    fn a_link_opens_the_page_and_a_foreign_page_reads_nothing() {
        let get = |site, mode| {
            let headers = [("host", "localhost:8025"), ("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            asked(&here(), Method::GET, None, &headers)
        };
        assert_eq!(get("none", "navigate"), None);
        assert_eq!(get("cross-site", "navigate"), None);
        assert_eq!(get("same-origin", "cors"), None);
        for (site, mode) in [("cross-site", "cors"), ("cross-site", "no-cors"), ("same-site", "cors")] {
            assert_eq!(get(site, mode), Some(403), "{site} {mode}");
        }
    }

    #[test]
    fn beyond_loopback_nothing_is_answered_without_the_token() {
        let token = AccessToken::new([7; 32]);
        let guard = Guard::new(Some(token.clone()));
        let right = format!("a=b&token={}", token.told());
        let ask =
            |method, query: Option<&str>| asked(&guard, method, query, &[("host", "press.example:8025")]);
        assert_eq!(ask(Method::GET, Some(&right)), None);
        assert_eq!(ask(Method::POST, Some(&right)), None);
        let short = &right[..right.len() - 1];
        let long = format!("{right}A");
        let other = format!("token={}", AccessToken::new([8; 32]).told());
        for wrong in [None, Some(""), Some("token="), Some(short), Some(&long), Some(&other), Some("token")] {
            assert_eq!(ask(Method::GET, wrong), Some(403), "{wrong:?}");
        }
        let foreign = [("host", "press.example:8025"), ("origin", "http://evil.example")];
        assert_eq!(asked(&guard, Method::POST, Some(&right), &foreign), Some(403));
        assert!(token.told().len() >= 43 && !format!("{guard:?}").contains(token.told()));
    }
}
