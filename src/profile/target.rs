//! What a profile's `[target]` means, and which of its forms this version cannot do yet.

use super::document::{Document, keys};
use super::error::ProfileError;
use crate::net::target::{Protocol, Target};

/// Refuses what the contract knows and this version cannot speak.
pub(super) fn spoken(document: &Document, target: &Target) -> Result<(), ProfileError> {
    if target.protocol() != Protocol::Lmtp {
        return Ok(());
    }
    Err(document.error_at(
        &keys!["target", "address"],
        "LMTP is not supported yet in this version",
        "write smtp://host:port, smtps://host:port, smtp+unix:path, or embedded",
    ))
}
