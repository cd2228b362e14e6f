//! CRAM-MD5 (RFC 2195): the client sends its name, and the HMAC of the challenge with the password as key.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use hmac::{Hmac, Mac};
use md5::Md5;

use super::{AuthExchange, Secret};

/// Returns the keyed digest of a challenge, in lower-case hexadecimal.
///
/// # Panics
/// Never: a key of HMAC may have any length (RFC 2104).
pub(super) fn digest(secret: &Secret, challenge: &[u8]) -> String {
    let mut mac = <Hmac<Md5> as Mac>::new_from_slice(secret.reveal().as_bytes())
        .expect("a key of HMAC may have any length");
    mac.update(challenge);
    mac.finalize().into_bytes().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

/// An exchange that waits for its challenge.
pub(super) struct CramClient {
    user: Arc<str>,
    secret: Option<Secret>,
}

impl CramClient {
    pub fn new(user: &Arc<str>, secret: &Secret) -> CramClient {
        CramClient { user: user.clone(), secret: Some(secret.clone()) }
    }
}

impl fmt::Debug for CramClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CramMd5 {{ done: {} }}", self.is_done())
    }
}

impl AuthExchange for CramClient {
    fn initial(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn respond(&mut self, challenge: &[u8]) -> Option<Vec<u8>> {
        let secret = self.secret.take()?;
        Some(format!("{} {}", self.user, digest(&secret, challenge)).into_bytes())
    }

    fn is_done(&self) -> bool {
        self.secret.is_none()
    }
}
