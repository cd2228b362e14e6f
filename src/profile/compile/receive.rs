//! The `[receive]` table: the receiver behind the relay. What comes out of it, `delivery` counts.

use super::listener;
use crate::delivery::settings::ReceiverSettings;
use crate::listener::limits::Limits;
use crate::mail;
use crate::net::address::bind::{Bind, BindError};
use crate::profile::document::{Document, keys};
use crate::profile::error::ProfileFault;
use crate::profile::schema::receive::Receive;
use crate::smtp::script::TlsMode;

/// What the table makes of the receiver. `mail`: the messages that are to be known again.
///
/// # Errors
/// The first thing in the table that makes no sense.
pub(super) fn compile(
    document: &Document,
    receive: &Receive,
    mail: &mail::Spec,
) -> Result<ReceiverSettings, ProfileFault> {
    let texts = receive.address.clone().unwrap_or_default();
    if texts.is_empty() {
        return Err(document.error_at(
            &keys!["receive"],
            "the receiver has no address",
            "add `address = [\"127.0.0.1:2600\"]`, and let the relay deliver to it",
        ));
    }
    let parse = |(index, text): (usize, &String)| {
        let wrong =
            |error: BindError| document.error_at(&keys!["receive", "address", index], error.to_string(), "");
        text.parse::<Bind>().map_err(wrong)
    };
    let addresses: Vec<Bind> = texts.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
    let table = receive.listener.clone().unwrap_or_default();
    for (is_there, key) in [(table.address.is_some(), "address"), (table.protocol.is_some(), "protocol")] {
        if is_there {
            return Err(document.error_at_key(
                &keys!["receive", "listener", key],
                format!("`{key}` of a receiver does not stand here"),
                format!("write `{key}` in [receive]"),
            ));
        }
    }
    if mail.names_session() {
        return Err(document.error_at(
            &keys!["message"],
            "a message with `{session}` cannot be compared with what comes out of a relay",
            "write `{n}` in its place: the number of the message",
        ));
    }
    let clients = table.tls.unwrap_or(TlsMode::None);
    let limits = listener::compile(&document.within("receive"), &table, Some(clients), true)?;
    Ok(ReceiverSettings {
        addresses,
        limits: Limits { protocol: receive.protocol(), ..limits },
        drain: receive.drain().0,
        quiet: receive.quiet().0,
    })
}
