//! Who may look at the live page, and who may stop the run.
//!
//! # Decisions
//! - On loopback the danger is another page in the same browser. It can send requests here under a name of its own that leads
//!   to this machine (so `Host` must name loopback, at any port: see `hosts`), and it can let a form be sent here (so a request
//!   to stop must come from our own page, by `Origin` and `Sec-Fetch-Site`). What a browser always says, and says not, is
//!   what tells: a program that says neither is none.
//! - Beyond loopback a token is asked for, for everything. No foreign page knows it, and no name can be expected.

use std::fmt;

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::telemetry::hosts::is_loopback;

/// What a stranger cannot guess.
#[derive(Clone)]
pub struct AccessToken(String);

impl AccessToken {
    /// Returns a token of these random bytes.
    pub fn new(random: [u8; 32]) -> AccessToken {
        AccessToken(URL_SAFE_NO_PAD.encode(random))
    }

    /// Returns its text for the URL.
    pub fn told(&self) -> &str {
        &self.0
    }

    /// Whether this is it; takes as long for any guess of its length.
    fn is(&self, guess: &str) -> bool {
        self.0.as_bytes().ct_eq(guess.as_bytes()).into()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(..)")
    }
}

/// Why a request is refused, as a sentence.
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

/// Lets in who may come in.
#[derive(Debug)]
pub struct Guard {
    token: Option<AccessToken>,
}

impl Guard {
    /// Of a page on loopback; with a token that is all that is asked for, wherever the page is.
    pub fn new(token: Option<AccessToken>) -> Guard {
        Guard { token }
    }

    /// Whether a request may be answered.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, method: &Method, query: Option<&str>, headers: &HeaderMap) -> Result<(), TurnedAway> {
        let host = headers.get(HOST).and_then(text).unwrap_or_default();
        match &self.token {
            Some(token) if !given(query).is_some_and(|guess| token.is(guess)) => return Err(NO_TOKEN),
            None if !is_loopback(host) => return Err(OTHER_NAME),
            _ => {}
        }
        // A link to the page may stand anywhere; all else is asked for by the page.
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

/// The token in a query.
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
        // Behind `ssh -L 9000:127.0.0.1:8025` a browser asks for port 9000, and for 80 it leaves the port out.
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
        // The page, and a program that is no browser.
        assert_eq!(post(&[("origin", "http://localhost:8025"), ("sec-fetch-site", "same-origin")]), None);
        assert_eq!(post(&[("origin", "http://localhost:8025")]), None);
        assert_eq!(post(&[]), None);
        for foreign in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "https://localhost:8025")],
            &[("origin", "http://localhost:8026")],
            // One of our names, but not the one that was asked.
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
