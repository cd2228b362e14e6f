//! The profiles in `profiles/`: each compiles, and its schedule and messages do not change.

use std::fmt::Write as _;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::super::{Document, Purpose, check, compile, resolved};
use super::context;
use crate::load;
use crate::mail::Mailer;
use crate::net::address::Target;
use crate::plan::Plan;
use crate::smtp::transaction::Content;

const SHIPPED: [(&str, &str); 17] = [
    ("capacity", include_str!("../../../profiles/capacity.toml")),
    ("cisco-listener", include_str!("../../../profiles/cisco-listener.toml")),
    ("connection-storm", include_str!("../../../profiles/connection-storm.toml")),
    ("greylisting", include_str!("../../../profiles/greylisting.toml")),
    ("held-sessions", include_str!("../../../profiles/held-sessions.toml")),
    ("messages-per-session", include_str!("../../../profiles/messages-per-session.toml")),
    ("outage-recovery", include_str!("../../../profiles/outage-recovery.toml")),
    ("postfix-relay", include_str!("../../../profiles/postfix-relay.toml")),
    ("quickstart", include_str!("../../../profiles/quickstart.toml")),
    ("relay-capacity", include_str!("../../../profiles/relay-capacity.toml")),
    ("relay-crash", include_str!("../../../profiles/relay-crash.toml")),
    ("relay-delivery", include_str!("../../../profiles/relay-delivery.toml")),
    ("session-capacity", include_str!("../../../profiles/session-capacity.toml")),
    ("soak", include_str!("../../../profiles/soak.toml")),
    ("spike", include_str!("../../../profiles/spike.toml")),
    ("staircase", include_str!("../../../profiles/staircase.toml")),
    ("steady", include_str!("../../../profiles/steady.toml")),
];

fn hex(bytes: &[u8]) -> String {
    bytes[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the first messages with their envelopes, as they would be sent.
fn messages(plan: &Plan) -> String {
    let mailer = Arc::new(Mailer::new(&plan.mail, plan.seed, "run", "Thu, 01 Jan 1970 00:00:00 +0000"));
    // The larger profiles have hundreds of megabytes, and the hash need not be cryptographic.
    let mut hash = Xxh3::new();
    let mut bytes = Vec::new();
    for n in 0..10_000 {
        let message = mailer.message(n);
        bytes.clear();
        message.sender(&mut bytes);
        (0..message.recipients()).for_each(|i| message.recipient(i, &mut bytes));
        let mut offset = 0;
        while offset < message.size() {
            offset = message.body(offset, &mut bytes).unwrap();
        }
        hash.update(&bytes);
    }
    hex(&hash.digest128().to_be_bytes())
}

#[test]
fn each_shipped_profile_keeps_its_schedule_and_its_messages() {
    let mut golden = String::new();
    for (name, text) in SHIPPED {
        let document = Document::parse(&format!("profiles/{name}.toml"), text).unwrap();
        let compiled =
            compile(&document, &context(Purpose::Run)).unwrap_or_else(|e| panic!("{}", e.render(false)));
        let plan = &compiled.plan;
        assert_eq!(plan.name, name);
        assert!(
            text.starts_with(&format!("# {name}: ")) && text.contains("\n# Change: "),
            "{name} opens with its question"
        );
        match name {
            "postfix-relay" | "relay-capacity" | "relay-crash" | "relay-delivery" => {
                assert_eq!(plan.target.to_string(), "smtp://127.0.0.1:2525")
            }
            _ => assert_eq!(plan.target, Target::embedded()),
        }
        let loads = plan.loads();
        let schedule = hex(&load::fingerprint(&loads, plan.seed));
        writeln!(golden, "{name}: schedule {schedule}, messages {}", messages(plan)).unwrap();
    }
    insta::assert_snapshot!(golden);
}

#[test]
fn each_shipped_profile_is_the_same_after_rendering_and_compiling_again() {
    for (name, text) in SHIPPED {
        let first = compile(&Document::parse(name, text).unwrap(), &context(Purpose::Run)).unwrap();
        let document = Document::parse("resolved.toml", &first.resolved).unwrap();
        assert_eq!(document.read().unwrap(), first.profile, "{name}");
        let second = compile(&document, &context(Purpose::Run)).unwrap();
        assert_eq!(second.resolved, first.resolved, "{name}");
        assert_eq!(second.plan.phases, first.plan.phases, "{name}");
        assert_eq!(resolved::render(&second.profile), second.resolved);
    }
}

#[test]
fn quickstart_takes_ten_seconds_and_its_preview_shows_it() {
    let (_, text) = SHIPPED.into_iter().find(|(name, _)| *name == "quickstart").unwrap();
    let compiled =
        compile(&Document::parse("quickstart.toml", text).unwrap(), &context(Purpose::Run)).unwrap();
    assert_eq!(check::Needs::of(&compiled.plan).duration.unwrap().as_secs(), 10);
    let mut preview = Vec::new();
    check::preview(&compiled, &mut preview).unwrap();
    let preview = String::from_utf8(preview).unwrap();
    insta::assert_snapshot!(preview);
}
