//! `chunking` and `[session.extensions]`: the extensions that a session asks for.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::profile::document::{Document, keys};
use crate::profile::error::ProfileFault;
use crate::profile::schema::session::{self, Ret, Session};
use crate::profile::table::Keyword;
use crate::smtp::extensions::{Chunking, DeliverBy, Dsn, Use, Wishes};
use crate::smtp::script::{Hello, Pipelining};

/// The longest time of BY=, in seconds (RFC 2852 4.1: nine digits).
const LONGEST: u64 = 999_999_999;

/// Returns the extensions that the session asks for.
///
/// # Errors
/// A value that no listener can accept.
pub(super) fn wishes(document: &Document, session: &Session) -> Result<Wishes, ProfileFault> {
    let written = session.extensions();
    let default = Chunking::default().size;
    let size = NonZeroU64::new(session.chunk_size().0).unwrap_or(default);
    let chunking = Chunking { wanted: session.chunking().0, size };
    if chunking.wanted == Use::Off && written.binarymime().0 != Use::Off {
        return Err(document.error_at(
            &keys!["session", "extensions", "binarymime"],
            "BODY=BINARYMIME goes with BDAT only, and `chunking` is off",
            "write `chunking = \"require\"` in [session], or remove the key",
        ));
    }
    let wishes = Wishes {
        chunking,
        size: written.size().0,
        eight_bit: written.eight_bit_mime().0,
        binary: written.binarymime().0,
        utf8: written.smtputf8().0,
        require_tls: written.requiretls().0,
        dsn: written.dsn.as_ref().map(dsn).unwrap_or_default(),
        deliver_by: written
            .deliverby
            .as_ref()
            .map(|written| deliver_by(document, written))
            .transpose()?
            .unwrap_or_default(),
    };
    helo_has_none(document, session, &wishes)?;
    Ok(wishes)
}

/// Checks that a session with HELO requires no extensions, because HELO offers none.
fn helo_has_none(document: &Document, session: &Session, wishes: &Wishes) -> Result<(), ProfileFault> {
    let required = [
        (session.pipelining().0 == Pipelining::Require, keys!["session", "pipelining"].to_vec()),
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
        Some((_, at)) if session.hello().0 == Hello::Helo => Err(document.error_at(
            &at,
            "an extension is required, and a session that says HELO has none",
            "write `hello = \"ehlo\"`",
        )),
        _ => Ok(()),
    }
}

fn dsn(written: &session::Dsn) -> Dsn {
    let words: Vec<String> = written.notify().iter().map(|word| word.word().to_uppercase()).collect();
    Dsn {
        wanted: written.wanted().0,
        ret: written.ret.map(|ret| match ret {
            Ret::Full => "FULL",
            Ret::Hdrs => "HDRS",
        }),
        envid: written.envid(),
        notify: (!words.is_empty()).then(|| words.join(",")),
        orcpt: written.orcpt(),
    }
}

fn deliver_by(document: &Document, written: &session::DeliverBy) -> Result<DeliverBy, ProfileFault> {
    let within = written.within.unwrap_or_default().0;
    if within != Duration::from_secs(within.as_secs()) || !(1..=LONGEST).contains(&within.as_secs()) {
        return Err(document.error_at_key(
            &keys!["session", "extensions", "deliverby", "within"],
            "BY= says whole seconds, 1 to 999999999",
            "write a time such as `within = \"2m\"`",
        ));
    }
    Ok(DeliverBy { wanted: written.wanted().0, within, late: written.late().0, trace: written.trace() })
}
