//! Words and phrases that may not come back, in any file that people read.
//!
//! A phrase is found however it is written: `LetterBox`, `letter_box`, "letter box" over two lines of a comment.

/// A phrase, and what to say instead.
const PHRASES: &[(&str, &str)] = &[
    ("a look", "a repeat"),
    ("are told", "are reported, printed, shown"),
    ("bad manners", "misbehaviour"),
    ("begun", "started"),
    ("being told", "being reported"),
    ("bite", "is enforced at"),
    ("bites", "is enforced at"),
    ("books", "counts"),
    ("came about", "there was; was made"),
    ("came round", "was late; ran again"),
    ("comes about", "there is; is made"),
    ("counts balance", "the counts reconcile"),
    ("drawn and told", "what the test prints"),
    ("free again", "released after"),
    ("harmed", "dropped; the open sessions stayed usable"),
    ("hear of", "get a message of"),
    ("heard of", "sent a message"),
    ("hears of", "gets a message of"),
    ("heeded", "is followed"),
    ("heeds", "follows, stops as asked"),
    ("is told", "is reported, printed, shown"),
    ("it is looked", "is checked"),
    ("knock", "the reachability check"),
    ("knocked", "the reachability check"),
    ("knocking", "the reachability check"),
    ("knocks", "the reachability check"),
    ("last look", "the last repeat"),
    ("last words", "the worker's report"),
    ("led by", "a probe, a raw client"),
    ("let go", "released after"),
    ("lets go", "released after"),
    ("lets us in", "accepts the credentials"),
    ("letter box", "the slot of a session"),
    ("likewise", "too"),
    ("lived on", "the open sessions stayed usable"),
    ("more than always", "say the bound"),
    ("nobody looks", "there is no receiver"),
    ("octet", "byte"),
    ("octets", "bytes"),
    ("on paper", "in the transcript"),
    ("one look", "one repeat"),
    ("other than it should", "all limits as expected"),
    ("our own side", "the generator"),
    ("own side", "the generator"),
    ("reckoned", "computed"),
    ("second look", "the second repeat"),
    ("sign of life", "heartbeat; progress"),
    ("signs of life", "heartbeats"),
    ("slip of the pen", "a typing error"),
    ("somebody", "name the subject"),
    ("speak against", "name what is wrong"),
    ("speaks against", "name what is wrong"),
    ("takes leave", "ends"),
    ("teller", "exporter"),
    ("tellers", "exporters"),
    ("the pen of", "the writer of"),
    ("the telling", "the report"),
    ("third look", "the third repeat"),
    ("those inside", "the open sessions"),
    ("those who", "name the subject"),
    ("truly began", "started"),
    ("underway", "in progress"),
    ("unharmed", "the open sessions stayed usable"),
    ("was told", "was reported, printed, shown"),
    ("were told", "were reported, printed, shown"),
    ("what came of", "the result of"),
    ("whoever", "name the subject"),
    ("without word", "without a message"),
];

/// Words of an RFC that a line may quote if it names the RFC.
const OF_AN_RFC: &[&str] = &["octet", "octets"];

/// Names of the contract, which may stand in quotes or backquotes: a code of `result.json`.
const NAMES: &[&str] = &["books"];

/// A phrase of the list: its line from 1, the phrase and what to say instead.
pub type Found = (usize, &'static str, &'static str);

/// A word in small letters, where it stands in its text, and in which line.
struct Word {
    text: String,
    start: usize,
    end: usize,
    line: usize,
}

/// Every phrase of the list in `text`, in order of their lines.
pub fn phrases(text: &str) -> Vec<Found> {
    let words = words(text);
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for at in 0..words.len() {
        for (phrase, instead) in PHRASES {
            // Cheap, because it is asked for each phrase at each word of the repository.
            if !phrase.starts_with(&words[at].text) {
                continue;
            }
            let parts: Vec<&str> = phrase.split(' ').collect();
            let Some(run) = words.get(at..at + parts.len()) else { continue };
            let is_phrase = run.iter().zip(&parts).all(|(word, part)| word.text == *part)
                && run.windows(2).all(|pair| is_gap(&text[pair[0].end..pair[1].start]));
            let line = run[0].line;
            let names_it = |of: &str| lines[line - 1].contains(of);
            let is_quoted = OF_AN_RFC.contains(phrase) && (names_it("RFC") || names_it("octet-stream"));
            let end = run[parts.len() - 1].end;
            let around = [text[..run[0].start].chars().next_back(), text[end..].chars().next()];
            let is_name =
                NAMES.contains(phrase) && around.iter().all(|c| c.is_some_and(|c| matches!(c, '`' | '"')));
            if is_phrase && !is_quoted && !is_name {
                found.push((line, *phrase, *instead));
            }
        }
    }
    found
}

/// Whether two words of a phrase may have this text between them: blanks, the mark of a comment, the joint of a name.
fn is_gap(between: &str) -> bool {
    between.chars().all(|c| c.is_whitespace() || matches!(c, '/' | '!' | '#' | '*' | '\\' | '_' | '-' | '>'))
}

/// The words of a text; names are taken apart at their joints.
fn words(text: &str) -> Vec<Word> {
    let (mut words, mut line, mut before) = (Vec::<Word>::new(), 1, ' ');
    for (start, c) in text.char_indices() {
        let end = start + c.len_utf8();
        let is_start = !before.is_alphanumeric() || (before.is_lowercase() && c.is_uppercase());
        match words.last_mut() {
            _ if !c.is_alphanumeric() => line += usize::from(c == '\n'),
            Some(word) if !is_start => {
                word.text.extend(c.to_lowercase());
                word.end = end;
            }
            _ => words.push(Word { text: c.to_lowercase().collect(), start, end, line }),
        }
        before = c;
    }
    words
}

/// Tests of the check itself: it finds faults, and accepts what only looks like one.
mod checked {
    use super::*;

    #[track_caller]
    fn assert_found(text: &str, expected: &[(usize, &str)]) {
        let found: Vec<(usize, &str)> =
            phrases(text).iter().map(|(line, phrase, _)| (*line, *phrase)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_phrase_is_found_however_it_is_written() {
        assert_found("/// The letter box.", &[(1, "letter box")]);
        assert_found("\nstruct LetterBox; fn letter_box() {}", &[(2, "letter box"), (2, "letter box")]);
        assert_found("//! sessions that are led\n//! by hand", &[(1, "led by")]);
        assert_found("A worker's Last\n   words", &[(1, "last words")]);
        assert_found("let octets = OCTETS; message_octets", &[(1, "octets"), (1, "octets"), (1, "octets")]);
    }

    #[test]
    fn what_only_looks_like_a_phrase_is_none() {
        assert_found("handled by, the filled bytes, the last of these words", &[]);
        assert_found("letters; box. The last. Words", &[]);
        assert_found("RFC 5321, 4.5.3.1: 512 octets", &[]);
        assert_found("`books` and \"books\"; the books", &[(1, "books")]);
        assert_found("bookshelf, notebooks, tell it apart", &[]);
    }
}
