//! The `[message]` table: its messages, its errors, and that a stored profile repeats its messages.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::super::{Compiled, Document, Override, ProfileError, Purpose, check, compile};
use super::context;
use crate::mail::{Body, Mailer, MessageSize, Order, Source};
use crate::smtp::Content;

const BEFORE: &str =
    "[target]\naddress = \"embedded\"\n[[phase]]\nload = \"constant-rate\"\nrate = \"50/s\"\nfor = \"10s\"\n";

/// Returns a folder with the files of a profile: a corpus, lists, a text.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    fs::create_dir(folder.path().join("corpus")).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    write("corpus/a.eml", "Subject: a\r\n\r\nM\u{fc}ller\r\n");
    write("corpus/b.eml", "Subject: b\n\nbody\n");
    write("users.csv", "name,mailbox\nA,a@x.example\nB,b@x.example\n");
    write("wrong.csv", "a@x.example\nbob\n");
    write("text.txt", "Dear {n},\n");
    write("latin1.txt", "");
    fs::write(folder.path().join("latin1.txt"), b"M\xfcller\n").unwrap();
    folder
}

fn compiled_in(folder: &Path, purpose: Purpose, keys: &str) -> Result<Compiled, ProfileError> {
    let origin = folder.join("profile.toml").display().to_string();
    let document = Document::parse(&origin, &format!("{BEFORE}[message]\n{keys}\n"))?;
    compile(&document, &context(purpose))
}

fn spec(keys: &str) -> crate::mail::Spec {
    let folder = folder();
    let compiled = compiled_in(folder.path(), Purpose::Run, keys);
    compiled.unwrap_or_else(|error| panic!("{}", error.render(false))).plan.mail
}

#[test]
fn a_size_is_the_default_only_without_anything_else() {
    assert_eq!((spec("").size, spec("").body), (MessageSize::Fixed(4096), Body::Words));
    let text = |filled| Body::Text { text: "Dear {n},\n".into(), filled };
    assert_eq!(spec("text = \"Dear {n},\\n\"").body, text(false));
    assert_eq!(spec("text_file = \"text.txt\"").body, text(false));
    let both = spec("text_file = \"text.txt\"\nsize = \"2KiB\"");
    assert_eq!((both.body, both.size), (text(true), MessageSize::Fixed(2048)));
    let attached = spec("attachments = [\"100KiB\", 5]").body;
    assert!(matches!(attached, Body::Attached { attachments, .. } if attachments == [102_400, 5]));
    let log_normal = spec("size = { median = \"20KiB\", sigma = 1, max = \"10MiB\" }").size;
    assert_eq!(log_normal, MessageSize::LogNormal { median: 20_480, sigma: 1.0, min: 0, max: 10 << 20 });
}

#[test]
fn files_are_found_from_the_profiles_folder() {
    let spec = spec(
        "to_file = \"users.csv\"\nto_order = \"random\"\nfrom = \"{n:1..9}@y.example\"\nfrom_order = \"random\"\n\
         files = \"corpus/*.eml\"\nfiles_order = \"random\"\nheaders = [\"X-A: b\"]",
    );
    assert!(matches!(&spec.to.source, Source::List(list) if list.len() == 2));
    assert_eq!((spec.to.order, spec.from.order), (Order::Random, Order::Random));
    assert!(matches!(&spec.body, Body::Files { corpus, order: Order::Random } if corpus.len() == 2));
}

#[test]
fn a_stored_profile_repeats_its_messages_from_anywhere_and_other_files_make_another() {
    let folder = folder();
    for keys in [
        "files = \"corpus\"\nto_file = \"users.csv\"",
        "text_file = \"text.txt\"\nfrom_file = \"users.csv\"\nsubject = \"{n}\"",
        "size = { median = \"2KiB\", sigma = 0.5, min = \"1KiB\", max = \"10KiB\" }",
        "text = \"\"\"\na {random:5}\n\"\"\"\nattachments = [\"1KiB\"]\nheaders = [\"X-A: {run}\"]",
    ] {
        let first = compiled_in(folder.path(), Purpose::Run, keys).unwrap();
        let stored = Document::parse("/elsewhere/profile.toml", &first.resolved).unwrap();
        let second = compile(&stored, &context(Purpose::Run)).unwrap();
        assert_eq!((&second.resolved, &second.plan.mail), (&first.resolved, &first.plan.mail), "{keys}");
        let contents = |compiled: &Compiled| {
            let plan = &compiled.plan;
            let mailer = Arc::new(Mailer::new(&plan.mail, plan.seed, "run", "now"));
            let mut out = Vec::new();
            (0..20).for_each(|n| assert!(mailer.message(n).body(0, &mut out).is_ok()));
            out
        };
        assert_eq!(contents(&first), contents(&second), "{keys}");
    }
    let sha256 = || compiled_in(folder.path(), Purpose::Run, "files = \"corpus\"").unwrap().sha256;
    let before = sha256();
    fs::write(folder.path().join("corpus/a.eml"), "Subject: c\r\n\r\nMuller\r\n").unwrap();
    assert_ne!(sha256(), before);
}

#[test]
fn a_path_that_is_set_is_relative_to_where_we_are() {
    let folder = folder();
    let origin = folder.path().join("profile.toml").display().to_string();
    let mut document =
        Document::parse(&origin, &format!("{BEFORE}[message]\nto_file = \"users.csv\"\n")).unwrap();
    document.apply(Override::set("message.files=\"Cargo.toml\"").unwrap()).unwrap();
    let compiled = compile(&document, &context(Purpose::Run)).unwrap();
    assert!(matches!(&compiled.plan.mail.body, Body::Files { corpus, .. } if corpus.len() == 1));
}

#[test]
fn a_listener_needs_no_files() {
    let keys = "files = \"none/*.eml\"\nto_file = \"none.csv\"";
    let compiled = compiled_in(Path::new("/nowhere"), Purpose::Listen, keys).unwrap();
    assert_eq!(compiled.plan.mail, crate::mail::Spec::default());
}

#[test]
fn what_makes_no_message_is_refused_at_its_place() {
    let folder = folder();
    let mut seen = String::new();
    for (case, keys) in [
        ("an unknown placeholder", "to = \"user{i}@x.example\""),
        ("a range the wrong way round", "from = \"user{n:9..1}@x.example\""),
        ("a date in an address", "from = \"{date}@x.example\""),
        ("two places for the recipients", "to = \"a@b.example\"\nto_file = \"users.csv\""),
        ("a list that is not there", "to_file = \"none.csv\""),
        ("a list that is none", "to_file = \"wrong.csv\""),
        ("a list that is a device", "from_file = \"/dev/zero\""),
        ("a list that is too short", "to_file = \"users.csv\"\nrecipients = 3"),
        ("nothing to choose from", "to_order = \"random\""),
        ("a header that would break out", "headers = [\"X-A: b\", \"X-B: c\\r\\nBcc: d\"]"),
        ("a header of ours", "headers = [\"Message-ID: <a@b>\"]"),
        ("a subject beyond ASCII", "subject = \"Gr\u{fc}\u{df}e\""),
        ("a text with an open brace", "text = \"a {n\""),
        ("a text that is no text", "text_file = \"latin1.txt\""),
        ("a size beside attachments", "size = \"4KiB\"\nattachments = [\"1KiB\"]"),
        ("attachments beyond all memory", "attachments = [\"1GiB\"]"),
        ("a text beside files", "text = \"a\"\nfiles = \"corpus\""),
        ("files that match nothing", "files = \"corpus/*.msg\""),
        ("an empty folder", "files = \"empty\""),
        ("a pattern of folders", "files = \"*/*.eml\""),
        ("an order without files", "files_order = \"random\""),
        ("an order that is none", "files = \"corpus\"\nfiles_order = \"rnd\""),
        ("a spread without its end", "size = { median = \"20KiB\", sigma = 1 }"),
        ("a spread without its width", "size = { median = \"20KiB\", max = \"1MiB\" }"),
        ("a spread of nothing", "size = { median = \"20KiB\", sigma = 0, max = \"1MiB\" }"),
        ("a median out of bounds", "size = { median = \"2MiB\", sigma = 1, max = \"1MiB\" }"),
        ("signatures without a key", "dkim = { domain = \"x.example\", selector = \"s\" }"),
    ] {
        let error = compiled_in(folder.path(), Purpose::Run, keys).expect_err(case);
        writeln!(seen, "## {case}\n{}\n", error.render(false)).unwrap();
    }
    let session = "[session]\nmessages = { median = 5, sigma = 1, max = 9 }";
    let error = compiled_in(folder.path(), Purpose::Run, session).unwrap_err();
    writeln!(seen, "## a spread of a number\n{}", error.render(false)).unwrap();
    insta::assert_snapshot!(seen.replace(&folder.path().display().to_string(), "FOLDER"));
}

#[test]
fn the_preview_tells_what_will_be_sent() {
    let folder = folder();
    let mut seen = String::new();
    for keys in [
        "files = \"corpus\"\nto_file = \"users.csv\"\nrecipients = 2\nto_order = \"random\"",
        "text = \"hello {n}\"\nfrom = \"\"",
        "size = { min = 10, max = \"1MiB\" }\ntext = \"hello\"\nto = \"{n:5..6}@x.example\"\nto_order = \"random\"",
        "attachments = [\"1KiB\", \"2KiB\"]",
    ] {
        let compiled = compiled_in(folder.path(), Purpose::Run, keys).unwrap();
        let mut preview = Vec::new();
        check::preview(&compiled, &mut preview).unwrap();
        let preview = String::from_utf8(preview).unwrap();
        let told = |line: &&str| {
            ["messages", "  from", "  to", "  first   ", "note"].iter().any(|name| line.starts_with(name))
        };
        let lines: Vec<&str> =
            preview.lines().filter(told).filter(|line| !line.starts_with("  first     ")).collect();
        writeln!(seen, "{keys}\n=>\n{}\n", lines.join("\n")).unwrap();
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn equal_recipients_of_a_message_are_refused_where_deliveries_are_matched() {
    let folder = folder();
    for (to, recipients, is_refused) in [
        ("to = \"a@b.example\"", 1, false),
        ("to = \"a@b.example\"", 2, true),
        ("to = \"u{n:1..2}@b.example\"", 2, false),
        ("to = \"u{n:1..2}@b.example\"", 3, true),
        ("to = \"u{random:1}@b.example\"", 2, true),
        ("to = \"u{random:8}@b.example\"", 2, false),
        ("to_file = \"users.csv\"", 2, false),
        ("", 100, false),
    ] {
        let keys = format!("{to}\nrecipients = {recipients}");
        assert!(compiled_in(folder.path(), Purpose::Run, &keys).is_ok(), "{keys}");
        let keys = format!("{keys}\n[receive]\naddress = [\"127.0.0.1:2600\"]");
        match compiled_in(folder.path(), Purpose::Run, &keys) {
            Ok(_) => assert!(!is_refused, "{keys}"),
            Err(error) => {
                let said = error.render(false);
                assert!(is_refused, "{said}");
                assert!(said.contains("recipients of a message can have the same address"), "{said}");
                assert!(said.contains("profile.toml:8") && said.contains("write `{n}` into `to`"), "{said}");
            }
        }
    }
}

fn refused(folder: &Path, keys: &str) -> String {
    compiled_in(folder, Purpose::Run, keys).unwrap_err().render(false)
}

#[test]
fn addresses_that_break_the_grammar_are_refused_with_their_remedy_or_sent() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("{}@x.example", "a".repeat(65));
    for address in ["a..b@x.example", "x.@x.example", "postmaster", "u@my_host", "a b@x.example", &long] {
        for key in ["from", "to"] {
            let said = refused(folder.path(), &format!("{key} = \"{address}\""));
            assert!(said.contains("`strict_addresses = false` in [message] to send it as it is"), "{said}");
            let lax = format!("{key} = \"{address}\"\nstrict_addresses = false");
            let plan = compiled_in(folder.path(), Purpose::Run, &lax).unwrap().plan;
            let message = Arc::new(Mailer::new(&plan.mail, 1, "run", "now")).message(0);
            let mut out = Vec::new();
            if key == "from" {
                message.sender(&mut out)
            } else {
                message.recipient(0, &mut out)
            }
            assert_eq!(String::from_utf8(out).unwrap(), address);
        }
    }
    for address in ["a@b>\\r\\nDATA", "a@b> SIZE=1", "a\\u0000@b", "<a@b"] {
        let said = refused(folder.path(), &format!("to = \"{address}\"\nstrict_addresses = false"));
        assert!(said.contains("no address is sent with it"), "{said}");
    }
    assert_eq!(spec("from = \"<>\"").from, "".into());
}

#[test]
fn lists_are_read_in_every_form_and_their_bad_lines_told() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    let utf16: Vec<u8> = "\u{feff}name;email\r\nM\u{fc}ller;a@x.example\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    write("utf16.csv", &utf16);
    write("bom.csv", "\u{feff}a@x.example\r\n".as_bytes());
    write("bad.csv", b"a@x.example\nbob\nx..y@c\n\xe4@x\n");
    for name in ["utf16.csv", "bom.csv"] {
        let plan = compiled_in(folder.path(), Purpose::Run, &format!("to_file = \"{name}\"")).unwrap().plan;
        let mut out = Vec::new();
        Arc::new(Mailer::new(&plan.mail, 1, "run", "now")).message(0).recipient(0, &mut out);
        assert_eq!(out, b"a@x.example", "{name}");
    }
    let said = refused(folder.path(), "to_file = \"bad.csv\"");
    assert!(said.contains("bad.csv has 3 lines without a mailbox that can be used: line 2: `bob`"), "{said}");
    assert!(said.contains("on_bad_line = \"skip\"") && said.contains("strict_addresses = false"), "{said}");
    let compiled =
        compiled_in(folder.path(), Purpose::Run, "to_file = \"bad.csv\"\non_bad_line = \"skip\"").unwrap();
    let mut out = Vec::new();
    check::preview(&compiled, &mut out).unwrap();
    let shown = String::from_utf8(out).unwrap();
    assert!(shown.contains("note: 3 lines of the list of recipients passed over: line 2: `bob`"), "{shown}");
    let said = refused(folder.path(), "on_bad_line = \"skip\"");
    assert!(said.contains("there is no list"), "{said}");
}

#[test]
fn what_is_beyond_ascii_needs_smtputf8_and_then_requires_it() {
    let folder = tempfile::tempdir().unwrap();
    for keys in [
        "from = \"j\u{f6}rg@x.example\"",
        "to = \"{n}@b\u{fc}cher.example\"",
        "subject = \"Gr\u{fc}\u{df}e {n}\"",
        "headers = [\"X-A: \u{4f8b}\"]",
    ] {
        let said = refused(folder.path(), keys);
        assert!(said.contains("`smtputf8 = \"require\"`"), "{said}");
        for (on, hello) in [("auto", "ehlo"), ("require", "ehlo"), ("auto", "helo")] {
            let keys =
                format!("{keys}\n[session]\nhello = \"{hello}\"\n[session.extensions]\nsmtputf8 = \"{on}\"");
            let compiled = compiled_in(folder.path(), Purpose::Run, &keys);
            match hello {
                "helo" => assert!(compiled.is_err(), "HELO has no extensions"),
                _ => {
                    let plan = compiled.unwrap().plan;
                    assert_eq!(plan.script.wishes.utf8, crate::smtp::extensions::Use::Require);
                    Arc::new(Mailer::new(&plan.mail, 1, "run", "now")).message(0);
                }
            }
        }
    }
    let plain = "[session.extensions]\nsmtputf8 = \"auto\"";
    let plan = compiled_in(folder.path(), Purpose::Run, plain).unwrap().plan;
    assert_eq!(plan.script.wishes.utf8, crate::smtp::extensions::Use::Auto);
}

#[test]
fn vrfy_names_the_recipients_of_the_messages() {
    let folder = folder();
    let names = |keys: &str, times: u32| {
        let keys = format!("{keys}\n[session]\nverify = {times}");
        let compiled = compiled_in(folder.path(), Purpose::Run, &keys);
        compiled.unwrap_or_else(|error| panic!("{}", error.render(false))).plan.script.verify.whom
    };
    let default = ["user0@recipient.example", "user1@recipient.example"];
    assert_eq!(names("", 2), default);
    assert_eq!(names("to = \"u{n:5..6}@b.example\"", 3), ["u5@b.example", "u6@b.example", "u5@b.example"]);
    assert_eq!(names("to_file = \"users.csv\"", 3), ["a@x.example", "b@x.example", "a@x.example"]);
    assert_eq!(names("to = \"{run}+{n}@b.example\"\nsize = \"1MiB\"", 1), ["run+0@b.example"]);
    assert_eq!(names("", 20_000).len(), 10_000);
    assert!(names("", 0).is_empty());
}
