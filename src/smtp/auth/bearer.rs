//! XOAUTH2 and OAUTHBEARER (RFC 7628), the client's side. The AUTH command carries the token, and a challenge gives the
//! listener's reason to refuse the token.

use std::fmt;

use super::{AuthExchange, Secret};

/// An exchange with a bearer token.
pub(super) struct BearerClient {
    initial: Option<Vec<u8>>,
    /// The answer to the challenge with the listener's reason. The listener refuses the login after this answer.
    dummy: Option<&'static [u8]>,
    /// Whether the client has answered an error. A success after it is invalid.
    failed: bool,
}

impl BearerClient {
    /// Creates the exchange with the message `user=...^Aauth=Bearer ...^A^A`. The answer to an error is empty.
    pub fn xoauth2(user: &str, token: &Secret) -> BearerClient {
        let initial = format!("user={user}\x01auth=Bearer {}\x01\x01", token.reveal());
        BearerClient { initial: Some(initial.into_bytes()), dummy: Some(b""), failed: false }
    }

    /// Creates the exchange with the message of RFC 7628 3.1. The answer to an error is one ^A (3.2.3).
    pub fn oauthbearer(user: &str, token: &Secret, endpoint: Option<(&str, u16)>) -> BearerClient {
        let endpoint = endpoint.map(|(host, port)| format!("host={host}\x01port={port}\x01"));
        // The name is a saslname (RFC 5801 4).
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let initial =
            format!("n,a={user},\x01{}auth=Bearer {}\x01\x01", endpoint.unwrap_or_default(), token.reveal());
        BearerClient { initial: Some(initial.into_bytes()), dummy: Some(b"\x01"), failed: false }
    }
}

impl fmt::Debug for BearerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearer {{ failed: {} }}", self.failed)
    }
}

impl AuthExchange for BearerClient {
    fn initial(&mut self) -> Option<Vec<u8>> {
        self.initial.take()
    }

    fn respond(&mut self, _challenge: &[u8]) -> Option<Vec<u8>> {
        self.failed = true;
        self.dummy.take().map(<[u8]>::to_vec)
    }

    /// Whether the challenge asks for the token again. A reason to refuse the token is a JSON object (RFC 7628 3.2.2).
    /// Any other challenge can only ask for the token.
    fn asks_again(&self, challenge: &[u8]) -> bool {
        !challenge.trim_ascii_start().starts_with(b"{")
    }

    fn reads_challenges(&self) -> bool {
        false
    }

    fn is_done(&self) -> bool {
        self.initial.is_none() && !self.failed
    }
}
