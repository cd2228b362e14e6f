//! Files of every shape: found, read, sent whole or in blocks, and changed during the run.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::mail::encode::END_OF_DATA;
use crate::mail::encode::tests::unstuff;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, content)| fs::write(folder.path().join(name), content).unwrap());
    folder
}

/// Returns the rest of a message from this offset on.
fn sent(corpus: &Corpus, index: usize, form: ContentForm, from: u64) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), from);
    while at < corpus.size(index) {
        let before = out.len();
        let next = corpus.append(index, form, at, BLOCK as u64, &mut out).unwrap();
        assert!(next > at && out.len() - before <= 2 * BLOCK + 2, "{at} to {next}");
        at = next;
    }
    out
}

/// Returns the expected content, computed byte by byte.
fn expected(file: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for byte in file {
        if *byte == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    match out.last() {
        Some(b'\n') => {}
        Some(b'\r') => out.push(b'\n'),
        _ => out.extend_from_slice(b"\r\n"),
    }
    out
}

fn both(file: &[u8]) -> [Corpus; 2] {
    let folder = folder(&[("a.eml", file)]);
    let [held, streamed] =
        [u64::MAX, 0].map(|held| Corpus::read_holding(&folder.path().join("a.eml"), held).unwrap());
    assert!(held.is_held() && !streamed.is_held());
    // The folder must live as long as a corpus that streams from it.
    std::mem::forget(folder);
    [held, streamed]
}

fn check(file: &[u8], places: &[u64]) {
    let expected = expected(file);
    for corpus in both(file) {
        assert_eq!(corpus.size(0), expected.len() as u64);
        assert_eq!(sent(&corpus, 0, ContentForm::Plain, 0), expected);
        let wire = [&sent(&corpus, 0, ContentForm::Stuffed, 0), END_OF_DATA].concat();
        let (content, taken) = unstuff(&wire).unwrap();
        assert_eq!((taken, content), (wire.len(), expected.clone()));
        for place in places {
            let place = place % expected.len() as u64;
            let from = place as usize;
            assert_eq!(sent(&corpus, 0, ContentForm::Plain, place), expected[from..], "from {place}");
            let mut stuffed = Vec::new();
            let mut stuffer =
                from.checked_sub(1).map_or(Stuffer::new(), |last| Stuffer::after(expected[last]));
            stuffer.stuff(&expected[from..], &mut stuffed);
            assert_eq!(sent(&corpus, 0, ContentForm::Stuffed, place), stuffed, "from {place}");
        }
    }
}

#[test]
fn lines_end_in_crlf_and_dots_are_stuffed_at_every_border() {
    // Each shape, with its parts before, on and after the border of two blocks.
    for shape in ["\n.x\n", "\r\n.x\r\n", "\r.\n", "\r\r\n..\n", "x", "\n", "\r", ".\n"] {
        for before in BLOCK - 5..=BLOCK + 1 {
            let mut file = vec![b'a'; before];
            file.extend_from_slice(shape.as_bytes());
            let near = [before as u64 - 1, before as u64, before as u64 + 2, BLOCK as u64, BLOCK as u64 + 1];
            check(&file, &near);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_file_is_sent_as_it_is_but_for_its_line_ends(
        parts in prop::collection::vec(
            prop::sample::select(vec!["\n", "\r", ".", "a", "\r\n", "\n.", "a line of some bytes\n", "\u{e9}"]), 1..80,
        ),
        filler in 0_usize..2 * BLOCK,
        places in prop::collection::vec(any::<u64>(), 4),
    ) {
        let (first, last) = parts.split_at(parts.len() / 2);
        let file = [first.concat().into_bytes(), vec![b'b'; filler], last.concat().into_bytes()].concat();
        check(&file, &places);
    }
}

#[test]
fn files_are_found_by_name_in_order() {
    let folder = folder(&[("b.eml", b"b"), ("a.eml", b"a"), ("c.txt", b"c")]);
    fs::create_dir(folder.path().join("d.eml")).unwrap();
    nix::unistd::mkfifo(&folder.path().join("e.eml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let contents = |pattern: &str| {
        let corpus = Corpus::read(&folder.path().join(pattern)).unwrap();
        (0..corpus.len())
            .map(|index| sent(&corpus, index, ContentForm::Plain, 0))
            .collect::<Vec<_>>()
            .concat()
    };
    assert_eq!(contents("*.eml"), b"a\r\nb\r\n");
    assert_eq!(contents(""), b"a\r\nb\r\n");
    assert_eq!(contents("[bc].*"), b"b\r\nc\r\n");
    assert_eq!(contents("c.txt"), b"c\r\n");
}

#[test]
fn what_cannot_be_sent_is_refused_and_never_waited_for() {
    let folder = folder(&[("empty.eml", b"")]);
    let at = |name: &str| folder.path().join(name);
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = |path: &Path| Corpus::read(path).unwrap_err().to_string();
    let here = folder.path().display();
    assert_eq!(error(Path::new("/dev/zero")), "/dev/zero is no regular file");
    assert_eq!(error(&at("fifo")), format!("{here}/fifo is no regular file"));
    assert_eq!(error(&at("empty.eml")), format!("{here}/empty.eml is empty"));
    assert_eq!(error(Path::new("/proc/self/status")), "/proc/self/status is empty");
    assert_eq!(
        error(&at("none.eml")),
        format!("{here}/none.eml cannot be read: No such file or directory (os error 2)")
    );
    assert_eq!(error(&at("x*")), format!("no file matches {here}/x*"));
    assert_eq!(
        error(&at("x[")),
        format!(
            "{here}/x[ is no pattern of file names: Pattern syntax error near position 1: invalid range pattern"
        )
    );
    assert!(error(&at("*/a.eml")).ends_with("only the name of the files may have `*`, `?` and `[...]`"));
    let sparse = File::create(at("large.eml")).unwrap();
    sparse.set_len(LARGEST_FILE + 1).unwrap();
    assert_eq!(
        error(&at("large.eml")),
        format!("{here}/large.eml has 2147483649 bytes: 2147483648 are allowed")
    );
    assert!(matches!(read(&at("fifo"), 10), Err(InvalidFiles::NotRegular(_))));
    assert!(matches!(read(&at("large.eml"), 10), Err(InvalidFiles::Large { .. })));
}

#[test]
fn a_file_that_vanishes_or_changes_is_lost() {
    let content = "a line\n".repeat(20_000);
    let lost = |change: fn(&Path)| {
        let folder = folder(&[("a.eml", content.as_bytes())]);
        let path = folder.path().join("a.eml");
        let corpus = Corpus::read_holding(&path, 0).unwrap();
        let mut out = Vec::new();
        let first = corpus.append(0, ContentForm::Stuffed, 0, 1, &mut out).unwrap();
        change(&path);
        let lost = corpus.append(0, ContentForm::Stuffed, first, 1, &mut out).unwrap_err().to_string();
        lost.replace(&path.display().to_string(), "PATH")
    };
    assert_eq!(
        lost(|path| fs::remove_file(path).unwrap()),
        "PATH cannot be read any more: No such file or directory (os error 2)"
    );
    let changed = "PATH changed since the run began";
    assert_eq!(
        lost(|path| OpenOptions::new().write(true).open(path).unwrap().set_len(100_000).unwrap()),
        changed
    );
    // Another file with the same length and time replaces the first one.
    assert_eq!(
        lost(|path| {
            let time = fs::metadata(path).unwrap().modified().unwrap();
            let other = path.with_extension("other");
            fs::write(&other, "b line\n".repeat(20_000)).unwrap();
            File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
            fs::rename(&other, path).unwrap();
        }),
        changed
    );
    assert_eq!(
        lost(|path| {
            fs::remove_file(path).unwrap();
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        "PATH is no longer what it was when the run began"
    );
}

#[test]
fn there_is_something_to_say_of_odd_files() {
    let folder = folder(&[
        ("a.eml", b"Message-Id: <a@b>\r\n\r\nplain\r\n"),
        ("b.eml", "X: y\n\nMessage-ID: in the body\nM\u{fc}ller\n".as_bytes()),
        ("c.eml", &[b"a\rb\r\n".as_slice(), &[b'x'; 999], b"\r\n"].concat()),
        ("d.eml", &[&[b'x'; 998], b"\r\n".as_slice()].concat()),
        ("e.eml", "\u{feff}X: y\r\n\r\n".as_bytes()),
    ]);
    let corpus = Corpus::read(folder.path()).unwrap();
    let remarks = Remarks { eight_bit: 2, bare_cr: 1, long_lines: 1, bare_lf: 1, byte_order_mark: 1 };
    assert_eq!(corpus.remarks(), remarks);
    assert_eq!([0, 1, 2, 3].map(|index| corpus.has_message_id(index)), [true, false, false, false]);
    assert_eq!(corpus.sizes(), (11, 1006));
}

#[test]
fn a_line_is_as_long_wherever_a_block_ends() {
    let line = |bytes: usize| [vec![b'x'; bytes], b"\r\n".to_vec()].concat();
    for length in [998, 999] {
        // The block ends in the line, before its CR, between CR and LF, and after its LF.
        for start in BLOCK - length - 3..=BLOCK - length {
            let mut file = line(98).repeat((start - 200) / 100);
            file.extend(line(start - file.len() - 2));
            file.extend(line(length));
            let folder = folder(&[("a.eml", &file), ("b.eml", &[file.as_slice(), b"y\r\n"].concat())]);
            let long_lines = if length > 998 { 2 } else { 0 };
            let remarks = Remarks { long_lines, ..Remarks::default() };
            assert_eq!(Corpus::read(folder.path()).unwrap().remarks(), remarks, "{length} from {start}");
        }
    }
}

#[test]
fn a_folder_is_taken_as_people_have_it_and_the_rest_is_named() {
    let folder = folder(&[
        ("a.EML", b"a"),
        ("b.Eml", b"b"),
        ("c.eml", b""),
        ("d.eml", b"From joe@x.example Sat Nov 28 12:00:00 2026\nSubject: d\n\nbody\n"),
        ("e.eml", b"\xff\xfeS\0"),
        (".hidden.eml", b"h"),
        ("._a.eml", b"h"),
        ("README.txt", b"r"),
        ("From.eml", b"From: joe\r\n\r\nno mbox\r\n"),
    ]);
    fs::create_dir(folder.path().join("sub")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("f.eml")).unwrap();
    std::os::unix::fs::symlink("a.EML", folder.path().join("g.eml")).unwrap();
    let corpus = Corpus::read(folder.path()).unwrap();
    let names: Vec<_> =
        corpus.files.iter().map(|file| file.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["From.eml", "a.EML", "b.Eml", "g.eml"]);
    let said = corpus.skipped().to_string();
    assert_eq!(corpus.skipped().count(), 8);
    for part in [
        "2 hidden (the name begins with a dot): such as ",
        "1 of another name than *.eml (a pattern such as FOLDER/* takes them): README.txt",
        "1 folders, which are not entered: sub",
        "1 empty: c.eml",
        "1 mboxes (they begin with a line `From ...`; `git mailsplit -oFOLDER FILE` splits one): d.eml",
        "1 UTF-16, which no message is: e.eml",
        "1 not readable: f.eml",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    // A file that is named itself is never skipped.
    let error = |name: &str| Corpus::read(&folder.path().join(name)).unwrap_err().to_string();
    assert!(error("d.eml").contains("begins with a line `From ...`, as an mbox does"));
    assert!(error("e.eml").contains("is UTF-16"));
    assert!(error("c.*").contains("no file of ") && error("c.*").ends_with("1 empty: c.eml"));
    // A pattern chooses files of any name, but takes hidden files only if it begins with a dot.
    let of = |pattern: &str| Corpus::read(&folder.path().join(pattern)).unwrap();
    assert!(of("[ab].*").skipped().is_empty());
    assert_eq!((of(".hid*").len(), of("*a.*").skipped().count()), (1, 1));
}

#[test]
fn a_maildir_is_its_cur_and_its_new() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("cur/1700000000.M1P1.host:2,S", "a"),
        ("new/1700000001.M1P1.host", "b"),
        ("tmp/1700000002.M1P1.host", "c"),
        ("cur/.nfs", "d"),
        ("dovecot-uidlist", "e"),
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let of = |name: &str| Corpus::read(&folder.path().join(name)).unwrap();
    let whole = of("");
    assert_eq!([0, 1].map(|index| sent(&whole, index, ContentForm::Plain, 0)), [b"a\r\n", b"b\r\n"]);
    assert_eq!((whole.len(), whole.skipped().count(), of("new").len()), (2, 1, 1));
}
