//! `chunking` and `[session.extensions]`, made into what a session wants of the listener.

use std::num::NonZeroU64;
use std::time::Duration;

use super::document::{Document, keys};
use super::error::ProfileError;
use super::schema::{self, Session};
use super::units::Size;
use crate::smtp::extensions::{Chunking, DeliverBy, Dsn, Late, Use, Wishes};

/// The longest time that BY= can say, in seconds (RFC 2852 4.1: nine digits).
const LONGEST: u64 = 999_999_999;

/// What the session wants.
///
/// # Errors
/// A wish that no listener could grant.
pub(super) fn wishes(document: &Document, session: &Session) -> Result<Wishes, ProfileError> {
    let written = session.extensions.clone().unwrap_or_default();
    let chunking = chunking(document, session)?;
    let binary = wanted(written.binarymime, Use::Off);
    if chunking.wanted == Use::Off && binary != Use::Off {
        return Err(document.error_at(
            &keys!["session", "extensions", "binarymime"],
            "BODY=BINARYMIME goes with BDAT only, and `chunking` is off",
            "write `chunking = \"require\"` in [session], or remove the key",
        ));
    }
    let wishes = Wishes {
        chunking,
        size: wanted(written.size, Use::Auto),
        eight_bit: wanted(written.eight_bit_mime, Use::Off),
        binary,
        utf8: wanted(written.smtputf8, Use::Off),
        require_tls: wanted(written.requiretls, Use::Off),
        dsn: written.dsn.map(|written| dsn(document, written)).transpose()?.unwrap_or_default(),
        deliver_by: written
            .deliverby
            .map(|written| deliver_by(document, written))
            .transpose()?
            .unwrap_or_default(),
    };
    helo_has_none(document, session, &wishes)?;
    Ok(wishes)
}

fn wanted(written: Option<schema::Use>, default: Use) -> Use {
    match written {
        Some(schema::Use::Off) => Use::Off,
        Some(schema::Use::Auto) => Use::Auto,
        Some(schema::Use::Require) => Use::Require,
        None => default,
    }
}

fn chunking(document: &Document, session: &Session) -> Result<Chunking, ProfileError> {
    let default = Chunking::default();
    Ok(Chunking {
        wanted: match session.chunking {
            Some(schema::Chunking::Off) => Use::Off,
            Some(schema::Chunking::Auto) | None => Use::Auto,
            Some(schema::Chunking::Require) => Use::Require,
        },
        size: match session.chunk_size {
            None => default.size,
            Some(Size(size)) => NonZeroU64::new(size).ok_or_else(|| {
                document.error_at(
                    &keys!["session", "chunk_size"],
                    "a chunk of nothing carries nothing",
                    "write a size such as \"64KiB\"",
                )
            })?,
        },
    })
}

/// What is required of a listener that is only told HELO can never be.
fn helo_has_none(document: &Document, session: &Session, wishes: &Wishes) -> Result<(), ProfileError> {
    if session.hello != Some(schema::Hello::Helo) {
        return Ok(());
    }
    let pipelining = session.pipelining == Some(schema::Pipelining::Require);
    let required = [
        (pipelining, keys!["session", "pipelining"].to_vec()),
        (wishes.chunking.wanted == Use::Require, keys!["session", "chunking"].to_vec()),
    ];
    let of_table = [
        ("size", wishes.size),
        ("8bitmime", wishes.eight_bit),
        ("binarymime", wishes.binary),
        ("smtputf8", wishes.utf8),
        ("requiretls", wishes.require_tls),
        ("dsn", wishes.dsn.wanted),
        ("deliverby", wishes.deliver_by.wanted),
    ]
    .map(|(key, wanted)| (wanted == Use::Require, keys!["session", "extensions", key].to_vec()));
    match required.into_iter().chain(of_table).find(|(required, _)| *required) {
        None => Ok(()),
        Some((_, at)) => Err(document.error_at(
            &at,
            "an extension is required, and a session that says HELO has none",
            "write `hello = \"ehlo\"`",
        )),
    }
}

fn dsn(document: &Document, written: schema::Dsn) -> Result<Dsn, ProfileError> {
    let notify = written.notify.unwrap_or_default();
    let at = keys!["session", "extensions", "dsn", "notify"];
    if notify.contains(&schema::Notify::Never) && notify.len() > 1 {
        return Err(document.error_at(
            &at,
            "`never` stands alone (RFC 3461 4.1)",
            "write [\"never\"], or remove it from the list",
        ));
    }
    let words: Vec<&str> = notify
        .iter()
        .map(|word| match word {
            schema::Notify::Never => "NEVER",
            schema::Notify::Success => "SUCCESS",
            schema::Notify::Failure => "FAILURE",
            schema::Notify::Delay => "DELAY",
        })
        .collect();
    Ok(Dsn {
        wanted: wanted(written.wanted, Use::Require),
        ret: written.ret.map(|ret| match ret {
            schema::Ret::Full => "FULL",
            schema::Ret::Hdrs => "HDRS",
        }),
        envid: written.envid.unwrap_or_default(),
        notify: (!words.is_empty()).then(|| words.join(",")),
        orcpt: written.orcpt.unwrap_or_default(),
    })
}

fn deliver_by(document: &Document, written: schema::DeliverBy) -> Result<DeliverBy, ProfileError> {
    let within = written.within.unwrap_or_default().0;
    if within != Duration::from_secs(within.as_secs()) || !(1..=LONGEST).contains(&within.as_secs()) {
        return Err(document.error_at_key(
            &keys!["session", "extensions", "deliverby", "within"],
            "BY= says whole seconds, 1 to 999999999",
            "write a time such as `within = \"2m\"`",
        ));
    }
    Ok(DeliverBy {
        wanted: wanted(written.wanted, Use::Require),
        within,
        late: match written.late {
            Some(schema::Late::Notify) => Late::Notify,
            Some(schema::Late::Return) | None => Late::Return,
        },
        trace: written.trace.unwrap_or_default(),
    })
}
