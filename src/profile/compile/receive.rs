//! The `[receive]` table: the receiver behind the relay. `delivery` counts the relay's deliveries.

use std::path::PathBuf;

use super::listener;
use crate::delivery::settings::{ClockOffset, ReceiverSettings};
use crate::listener::limits::Limits;
use crate::mail;
use crate::net::address::Target;
use crate::net::address::bind::{Bind, BindError};
use crate::profile::document::{Document, keys};
use crate::profile::error::ProfileFault;
use crate::profile::schema::Profile;
use crate::profile::schema::receive::Receive;
use crate::profile::table::Word;
use crate::smtp::script::TlsMode;

/// Whether the run itself observes the relay's deliveries.
pub(super) fn is_behind_relay(profile: &Profile) -> bool {
    let is_given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    profile
        .receive
        .as_ref()
        .is_some_and(|receive| is_given(&receive.address) || is_given(&receive.deliveries))
}

/// Compiles the table. `mail` describes the messages that the receiver must recognise. `mail` is `None` if this process
/// sends no messages; then the receiver listens even if a log is given.
///
/// # Errors
/// The first fault in the table.
pub(super) fn compile(
    document: &Document,
    receive: &Receive,
    mail: Option<&mail::Spec>,
) -> Result<ReceiverSettings, ProfileFault> {
    let texts = receive.address.clone().unwrap_or_default();
    let logs = receive.deliveries.clone().unwrap_or_default();
    let keeps_transactions = receive.keep_transactions() || !logs.is_empty();
    if texts.is_empty() && (!keeps_transactions || mail.is_none()) {
        let fault = ProfileFault::new(
            "the receiver has no address",
            "add `address = [\"127.0.0.1:2600\"]` to [receive], or give --receive, and let the relay deliver to it",
            document.place(&keys!["receive"]).or(document.end()),
        );
        return Err(fault);
    }
    let offset = receive.clock_offset.as_deref().map(str::parse::<ClockOffset>).transpose();
    let clock_offset = offset.map_err(|why| document.error_at(&keys!["receive", "clock_offset"], why, ""))?;
    // `smtpress report --deliveries` uses the offset of a run that kept its transactions.
    if clock_offset.is_some() && !keeps_transactions && mail.is_some() {
        return Err(document.error_at_key(
            &keys!["receive", "clock_offset"],
            "without a delivery log there is no other clock",
            "remove it, or add `deliveries`",
        ));
    }
    let clock_probe = clock_probe(document, receive)?;
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
    if receive.agent.is_some() && !logs.is_empty() {
        return Err(document.error_at_key(
            &keys!["receive", "agent"],
            "`agent` has no meaning beside `deliveries`: the receiver that writes the log runs already",
            "remove one of the two",
        ));
    }
    if mail.is_some_and(mail::Spec::names_session) {
        return Err(document.error_at(
            &keys!["message"],
            "a message with `{session}` cannot be compared with what comes out of a relay",
            "write `{n}` in its place: the number of the message",
        ));
    }
    if let Some(mail) = mail.filter(|mail| mail.may_repeat_recipients()) {
        return Err(document.error_at(
            &keys!["message", "to"],
            format!(
                "two of the {} recipients of a message can have the same address, and no delivery could be assigned to one of them",
                mail.recipients
            ),
            "write `{n}` into `to`, the number of the recipient, or lower `recipients`",
        ));
    }
    let clients = table.tls.map_or(TlsMode::None, |Word(tls)| tls);
    let limits = listener::compile(&document.within("receive"), &table, Some(clients), true)?;
    Ok(ReceiverSettings {
        addresses,
        agent: receive.agent.clone(),
        logs: logs.into_iter().map(PathBuf::from).collect(),
        clock_offset,
        clock_probe,
        keeps_transactions,
        limits: Limits { protocol: receive.protocol().0, ..limits },
        drain: receive.drain().0,
        quiet: receive.quiet().0,
    })
}

/// Returns the receiver that is asked for its clock.
fn clock_probe(document: &Document, receive: &Receive) -> Result<Option<String>, ProfileFault> {
    let Some(text) = &receive.clock_probe else { return Ok(None) };
    let wrong = |what: String, remedy: &str| {
        Err(document.error_at(&keys!["receive", "clock_probe"], what, remedy.to_owned()))
    };
    match text.parse::<Target>() {
        Err(error) => return wrong(error.to_string(), ""),
        Ok(target) if target.is_embedded() => {
            return wrong(
                "the embedded listener is no receiver".to_owned(),
                "write host:port of `smtpress receive`",
            );
        }
        Ok(_) => {}
    }
    if receive.deliveries.as_ref().is_none_or(Vec::is_empty) {
        return wrong(
            "without a delivery log there is no other clock".to_owned(),
            "add `deliveries`, or remove `clock_probe`",
        );
    }
    Ok(Some(text.clone()))
}
