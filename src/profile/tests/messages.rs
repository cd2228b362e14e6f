//! The `[message]` table: what is made of it, what is refused and how, and that a stored profile repeats its messages.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::super::{Compiled, Document, Override, ProfileError, Purpose, check, compile};
use super::context;
use crate::mail::{Body, Mailer, Order, Size, Source};
use crate::smtp::Content;

const BEFORE: &str =
    "[target]\naddress = \"embedded\"\n[[phase]]\nload = \"constant-rate\"\nrate = \"50/s\"\nfor = \"10s\"\n";

/// A folder with a profile's neighbours: a corpus, lists, a text.
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
    assert_eq!((spec("").size, spec("").body), (Size::Fixed(4096), Body::Words));
    let text = |filled| Body::Text { text: "Dear {n},\n".into(), filled };
    assert_eq!(spec("text = \"Dear {n},\\n\"").body, text(false));
    assert_eq!(spec("text_file = \"text.txt\"").body, text(false));
    let both = spec("text_file = \"text.txt\"\nsize = \"2KiB\"");
    assert_eq!((both.body, both.size), (text(true), Size::Fixed(2048)));
    let attached = spec("attachments = [\"100KiB\", 5]").body;
    assert!(matches!(attached, Body::Attached { attachments, .. } if attachments == [102_400, 5]));
    let log_normal = spec("size = { median = \"20KiB\", sigma = 1, max = \"10MiB\" }").size;
    assert_eq!(log_normal, Size::LogNormal { median: 20_480, sigma: 1.0, min: 0, max: 10 << 20 });
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
