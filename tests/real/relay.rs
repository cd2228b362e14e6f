//! Real listeners as relays: each delivers its messages to a next hop, and its log has the outcome of each recipient.

use std::collections::BTreeMap;

use crate::exim_relay::EximRelay;
use crate::opensmtpd::Opensmtpd;
use crate::postfix::Postfix;

/// The outcomes of the recipients at `recipient.example` in a relay's log. Notifications go to senders in other
/// domains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The number of recipients that the next hop accepted.
    pub delivered: u64,
    /// The number of recipients that it refused permanently, by the enhanced status code of the reply if the log has
    /// it.
    pub bounced: BTreeMap<String, u64>,
}

/// A relay between smtpress and its receiver.
pub trait Relay {
    /// Returns the port at which it accepts mail.
    fn port(&self) -> u16;
    /// Returns the outcomes in its log so far.
    fn account(&self) -> Account;
    /// Returns the number of files in its queue.
    fn waiting(&self) -> u64;
}

const DOMAIN: &str = "@recipient.example";

impl Account {
    /// Counts each line that `read` knows: `None` delivered, or the status code of a refusal.
    fn of(log: &str, read: impl Fn(&str) -> Option<Option<String>>) -> Account {
        let mut account = Account::default();
        for found in log.lines().filter_map(read) {
            match found {
                None => account.delivered += 1,
                Some(status) => *account.bounced.entry(status).or_default() += 1,
            }
        }
        account
    }
}

/// Returns the part of the line after `before`, up to `end`.
fn behind<'a>(line: &'a str, before: &str, end: char) -> Option<&'a str> {
    line.split_once(before)?.1.split(end).next()
}

impl Relay for Postfix {
    fn port(&self) -> u16 {
        self.port
    }

    // postfix/smtp[9]: ID: to=<user1@recipient.example>, relay=.., delay=.., dsn=5.1.1, status=bounced (host .. said: 550 ..)
    fn account(&self) -> Account {
        Account::of(&self.log(), |line| {
            behind(line, "postfix/smtp[", ' ')?;
            behind(line, ": to=<", '>')?.strip_suffix(DOMAIN)?;
            match behind(line, " status=", ' ')? {
                "sent" => Some(None),
                "bounced" => Some(Some(behind(line, " dsn=", ',')?.to_owned())),
                _ => None,
            }
        })
    }

    fn waiting(&self) -> u64 {
        Postfix::waiting(self)
    }
}

impl Relay for EximRelay {
    fn port(&self) -> u16 {
        self.port
    }

    // DATE TIME ID => user1@recipient.example R=next T=next H=127.0.0.1 [127.0.0.1] C="250 .."
    // DATE TIME ID ** user1@recipient.example R=next T=next H=..: SMTP error from remote mail server after RCPT TO:<..>: 550 5.1.1 ..
    // `->` stands for the second recipient of a delivery.
    fn account(&self) -> Account {
        Account::of(&self.log(), |line| {
            let words: Vec<&str> = line.split(' ').collect();
            words.get(4)?.strip_suffix(DOMAIN)?;
            match *words.get(3)? {
                "=>" | "->" => Some(None),
                "**" => Some(Some(status(line.split_once(": 5")?.1).unwrap_or_default())),
                _ => None,
            }
        })
    }

    fn waiting(&self) -> u64 {
        EximRelay::waiting(self)
    }
}

/// Returns the second word, if it is an enhanced status code.
fn status(reply: &str) -> Option<String> {
    let code = reply.split([' ', '-']).nth(1)?.trim_start_matches('#');
    (code.split('.').count() == 3).then(|| code.to_owned())
}

impl Relay for Opensmtpd {
    fn port(&self) -> u16 {
        self.plain
    }

    // ID mta delivery evpid=.. from=<..> to=<user1@recipient.example> rcpt=<-> .. result="PermFail" stat="550 5.1.1 .."
    fn account(&self) -> Account {
        Account::of(&self.log(), |line| {
            behind(line, " mta delivery ", ' ')?;
            behind(line, " to=<", '>')?.strip_suffix(DOMAIN)?;
            match behind(line, " result=\"", '"')? {
                "Ok" => Some(None),
                "PermFail" => Some(Some(status(behind(line, " stat=\"", '"')?).unwrap_or_default())),
                _ => None,
            }
        })
    }

    fn waiting(&self) -> u64 {
        Opensmtpd::waiting(self)
    }
}
