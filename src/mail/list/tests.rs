//! Tests of `list`.

use super::*;

fn read(file: &str) -> Result<List, InvalidList> {
    List::parse(file.as_bytes(), Reading::default())
}

fn all(file: &str) -> Vec<String> {
    mailboxes(&read(file).unwrap())
}

fn mailboxes(list: &List) -> Vec<String> {
    (0..list.len() as u64).map(|n| String::from_utf8_lossy(list.mailbox(n)).into_owned()).collect()
}

#[test]
fn the_column_is_the_first_or_the_one_that_is_headed() {
    assert_eq!(all("a@b\nc@d\n"), ["a@b", "c@d"]);
    assert_eq!(all("a@b,secret\r\n\r\n\"c{n}@d\" , x,y"), ["a@b", "c{n}@d"]);
    assert_eq!(all("name,Email\nA,a@b\nC,c@d\n"), ["a@b", "c@d"]);
    assert_eq!(all("MAILBOX\na@b\n"), ["a@b"]);
    assert_eq!(all("Name;E-Mail Address\nA;a@b\n"), ["a@b"]);
}

#[test]
fn they_come_again_from_the_first() {
    let list = read("a@b\nlonger@d\n").unwrap();
    assert_eq!(
        [0, 1, 2, u64::MAX].map(|n| list.mailbox(n)),
        [b"a@b".as_slice(), b"longer@d", b"a@b", b"longer@d"]
    );
    assert_eq!(list.longest(), 8);
}

#[test]
fn what_is_no_list_is_refused_with_its_line() {
    let error = |file: &str| read(file).unwrap_err().to_string();
    assert_eq!(
        error("a@b\nbob\n"),
        "has an invalid mailbox in line 2: `bob` has no domain: write it as local-part@domain"
    );
    assert_eq!(error("name,email\nA,a@b\nC\n"), "has no mailbox in line 3");
    assert_eq!(error("email\n"), "has no mailbox");
    assert_eq!(error(""), "has no mailbox");
    assert!(error("a@b\n\"x\r\nRCPT TO:<y>\"@d\n").starts_with("has an invalid mailbox in line 2:"));
    assert!(List::parse(b"a\xff@b\n", Reading::default()).is_err());
}

#[test]
fn files_are_read_as_people_have_them() {
    assert_eq!(all("a@b;x;y\r\nc@d;;\r\n"), ["a@b", "c@d"]);
    assert_eq!(all("name\temail\nA, B\ta@b\nC\tc@d\n"), ["a@b", "c@d"]);
    assert_eq!(all("sep=;\r\nname;mail\r\nDoe, Jane;a@b\r\n"), ["a@b"]);
    assert_eq!(all("\"sep=|\"\na@b|x\n"), ["a@b"]);
    assert_eq!(all("\"Doe, Jane\" <a@b>\nJane Doe <c@d>\n<e@f>\n  g@h  \n\n"), ["a@b", "c@d", "e@f", "g@h"]);
    // A quoted local part, bare and as in CSV.
    assert_eq!(all("\"a b\"@c\n\"d@e\"\n"), ["\"a b\"@c", "d@e"]);
    assert_eq!(all("\"\"\"a b\"\"@c\"\n"), ["\"a b\"@c"]);
    assert_eq!(all("a@b\rc@d\r"), ["a@b", "c@d"], "line ends of old");
    assert_eq!(all("sep=;\rname;mail\rA;a@b\rC;c@d\r"), ["a@b", "c@d"]);
    assert_eq!(all("a@b\r\"a b\"@c\r"), ["a@b", "\"a b\"@c"]);
    assert_eq!(all("\r\n \n  sep=;\r\nname;mail\r\nA;a@b\r\n"), ["a@b"], "blank lines before it");
    assert_eq!(read("\nsep=;").unwrap_err(), InvalidList::Empty);
}

#[test]
fn all_bad_lines_are_counted_and_the_first_are_named() {
    let file = "a@b\nbob\nx..y@c\n<>\nd@e;f@g\n\u{e4}@b\nno\nc@d\n,,\n";
    let InvalidList::Lines(bad) = read(file).unwrap_err() else { panic!("they are bad lines") };
    assert_eq!(bad.count(), 7);
    let said = InvalidList::Lines(bad).to_string();
    assert!(
        said.starts_with("has 7 lines without a mailbox that can be used: line 2: `bob` has no domain"),
        "{said}"
    );
    assert!(said.contains("line 4: `<>` is the null path") && said.ends_with("; and 2 more"), "{said}");
    let skipping = Reading { skip: true, ..Reading::default() };
    let list = List::parse(file.as_bytes(), skipping).unwrap();
    assert_eq!((mailboxes(&list), list.skipped().count()), (vec!["a@b".to_owned(), "c@d".to_owned()], 7));
    let said = List::parse(b"bob\nalice\n", skipping).unwrap_err().to_string();
    assert!(said.starts_with("has 2 lines without a mailbox"), "{said}");
}

#[test]
fn several_mailboxes_of_a_line_are_not_dropped_in_silence() {
    let said = read("a@b; c@d; e@f\n").unwrap_err().to_string();
    assert_eq!(
        said,
        "has an invalid mailbox in line 1: it has 3 mailboxes: write one a line, or head the column to use `mailbox`"
    );
    assert_eq!(all("mailbox,other\na@b,c@d\n"), ["a@b"]);
}

#[test]
fn a_sender_may_be_null_and_rules_may_be_lax() {
    let senders = Reading { senders: true, ..Reading::default() };
    assert_eq!(mailboxes(&List::parse(b"a@b\n<>\n", senders).unwrap()), ["a@b", ""]);
    let lax = Reading { rules: Rules { strict: false, utf8: false }, ..Reading::default() };
    let file = b"a..b@c\npostmaster\nu@my_host\n";
    assert_eq!(mailboxes(&List::parse(file, lax).unwrap()), ["a..b@c", "postmaster", "u@my_host"]);
    assert!(List::parse(b"a@b>x\n", lax).is_err());
    let utf8 = Reading { rules: Rules { strict: true, utf8: true }, ..Reading::default() };
    assert!(List::parse("\u{e4}@\u{f6}.test\n".as_bytes(), utf8).unwrap().needs_utf8());
}

#[test]
fn lines_are_numbered_as_an_editor_numbers_them() {
    for (file, line) in [
        ("a@b\nbob\n", 2),
        ("a@b\r\nc@d\r\nbob\r\n", 3),
        ("a@b\r\r\nbob\r\n", 2),
        ("\n\na@b\n\nbob", 5),
        ("sep=;\r\nmail;x\r\na@b;1\r\nbob;2\r\n", 4),
        ("a@b\rbob\r", 2),
        ("sep=;\rmail\ra@b\rbob\r", 4),
        ("\n\nsep=;\nmail\na@b\nbob\n", 6),
    ] {
        let said = read(file).unwrap_err().to_string();
        assert!(said.starts_with(&format!("has an invalid mailbox in line {line}: ")), "{file:?}: {said}");
    }
}
