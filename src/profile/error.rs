//! The error for a wrong profile: the place underlined, one sentence, and the remedy.
//!
//! Each fault of a profile, from TOML syntax to incompatible keys, is a [`ProfileFault`]. A [`ProfileError`] holds all
//! faults that are found together.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::fmt;

use super::nearest::choose;
pub use super::nearest::nearest;
pub use super::place::TextPlace;
use super::redact;
use super::units::REMEDY;

/// The most faults that are shown at once.
pub const MOST_SHOWN: usize = 20;

/// One fault. `Display` gives one line, and [`ProfileFault::render`] shows the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ProfileFault {
    /// The fault: a sentence without its full stop.
    pub message: String,
    /// The remedy.
    pub remedy: Option<String>,
    /// The place; `None` if there is no text that could be shown.
    pub place: Option<Box<TextPlace>>,
}

impl fmt::Display for ProfileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            let (line, column) = place.line_and_column();
            write!(f, "{}:{line}:{column}: ", place.origin)?;
        }
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl ProfileFault {
    /// Creates a fault with its remedy. An empty remedy counts as none.
    pub(super) fn new(
        message: impl Into<String>,
        remedy: impl Into<String>,
        place: Option<TextPlace>,
    ) -> ProfileFault {
        let remedy = Some(harmless(&remedy.into())).filter(|remedy| !remedy.is_empty());
        let place = place.map(redact::place).map(|place| TextPlace {
            origin: harmless(&place.origin),
            text: of_one_set_of_controls(&place.text),
            ..place
        });
        let message = harmless(&redact::sentence(&message.into()));
        ProfileFault { message, remedy, place: place.map(Box::new) }
    }

    /// Returns the position among all texts of the document. A fault without a place comes last.
    pub(super) fn position(&self) -> usize {
        self.place.as_ref().map_or(usize::MAX, |place| place.base + place.span.start)
    }

    /// Returns the fault in the form of a compiler error: message, place, the offending text underlined, remedy. There
    /// is no final line end.
    pub fn render(&self, color: bool) -> String {
        // A command line without any key has no text to show.
        let is_shown = |place: &&TextPlace| place.origin != COMMAND_LINE || !place.text.is_empty();
        let place = self.place.as_deref().filter(is_shown);
        let mut report = Level::ERROR.primary_title(self.message.as_str()).elements(place.map(|place| {
            Snippet::source(place.text.as_str())
                .path(place.origin.as_str())
                .annotation(AnnotationKind::Primary.span(place.first_line()))
        }));
        if let Some(remedy) = &self.remedy {
            report = report.element(Level::HELP.message(remedy.as_str()));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[report])
    }
}

/// The name of the command line in place of that of a profile.
pub const COMMAND_LINE: &str = "command line";

/// Why a profile cannot be used: all faults in order of place, at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ProfileError {
    faults: Vec<ProfileFault>,
}

impl ProfileError {
    /// Returns an error with these faults; `None` if there are none.
    pub(super) fn of(mut faults: Vec<ProfileFault>) -> Option<ProfileError> {
        faults.sort_by_key(ProfileFault::position);
        faults.dedup();
        (!faults.is_empty()).then_some(ProfileError { faults })
    }

    /// Returns the faults in order of place.
    pub fn faults(&self) -> &[ProfileFault] {
        &self.faults
    }

    /// Returns the faults in the form of compiler errors, at most [`MOST_SHOWN`]. There is no final line end.
    pub fn render(&self, color: bool) -> String {
        let mut shown: Vec<String> =
            self.faults.iter().take(MOST_SHOWN).map(|fault| fault.render(color)).collect();
        if self.faults.len() > MOST_SHOWN {
            shown.push(format!("There are more than {MOST_SHOWN} errors; correct these first."));
        }
        shown.join("\n\n")
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.faults.iter().take(MOST_SHOWN).map(ProfileFault::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl From<ProfileFault> for ProfileError {
    fn from(fault: ProfileFault) -> Self {
        ProfileError { faults: vec![fault] }
    }
}

/// Replaces the control characters that a terminal would interpret. A profile may come from a stranger, and errors
/// repeat its text.
pub(super) fn harmless(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

/// Replaces the C1 controls (ISO 6429) in a text that is shown line by line. The length stays the same, so that the
/// span stays right. The renderer itself draws the ASCII controls as pictures.
fn of_one_set_of_controls(text: &str) -> String {
    text.replace(|c: char| c.is_control() && !c.is_ascii(), "\u{b7}")
}

/// Translates an error of serde or of the TOML parser. Returns message and remedy.
pub(super) fn explain(said: &str) -> (String, String) {
    if let Some((message, remedy)) = said.split_once(REMEDY) {
        return (message.to_owned(), remedy.to_owned());
    }
    if let Some(rest) = said.strip_prefix("unknown field ") {
        let (key, known) = quoted(rest);
        if ["password", "token", "secret"].contains(&key.as_str()) {
            return (
                format!("`{key}`: a secret does not stand in a profile"),
                "put it in a variable or a file, and name that: `password_env`, `password_file`, `token_env` or `token_file`"
                    .to_owned(),
            );
        }
        return (format!("unknown key `{key}`"), choose(&key, &known, "the keys here are"));
    }
    if let Some(rest) = said.strip_prefix("unknown variant ") {
        let (word, known) = quoted(rest);
        return (format!("`{word}` is not a value of this key"), choose(&word, &known, "write one of"));
    }
    if let Some((found, expected)) = said
        .strip_prefix("invalid type: ")
        .or(said.strip_prefix("invalid value: "))
        .and_then(|s| s.rsplit_once(", expected "))
    {
        let found = found.strip_prefix("string ").map_or(found.to_owned(), |text| format!("the text {text}"));
        let found = found.trim_end_matches(" as i128").trim_end_matches(" as u128").to_owned();
        let found = if found == "map" { "a table".to_owned() } else { found.replace("sequence", "a list") };
        return (format!("{found} does not fit here"), format!("write {}", in_words(expected)));
    }
    if let Some((key, _)) = said.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
        return (format!("the key `{key}` is missing"), format!("add `{key} = ...`"));
    }
    if said.starts_with("string values must be quoted") {
        return ("this text needs quotes".to_owned(), "write it as in \"10s\"".to_owned());
    }
    if said == "duplicate key" {
        return ("this key was given before".to_owned(), "keep one of the two".to_owned());
    }
    (format!("not valid TOML: {said}"), String::new())
}

/// Returns what serde expects, in a user's words.
fn in_words(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        "a string" => "a text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list, as in [[...]] or [...]".to_owned(),
        "a map" => "a table".to_owned(),
        _ if expected.starts_with("struct ") => "a table".to_owned(),
        _ => expected.to_owned(),
    }
}

/// Returns the words in backticks: the first, and all others.
fn quoted(text: &str) -> (String, Vec<String>) {
    let Some((word, known)) = text.strip_prefix('`').and_then(|rest| rest.split_once("`, ")) else {
        return (text.trim_matches('`').to_owned(), Vec::new());
    };
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    // A word that is also accepted in capitals is listed once.
    let is_double = |name: &str| name != name.to_lowercase() && known.contains(&name.to_lowercase().as_str());
    (word.to_owned(), known.iter().filter(|name| !is_double(name)).map(|name| (*name).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn place(text: &str, span: Range<usize>) -> TextPlace {
        TextPlace { origin: "p.toml".to_owned(), text: text.to_owned(), span, base: 0 }
    }

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        assert_eq!(place("a = 1\nä = 2", 9..10).line_and_column(), (2, 3));
        assert_eq!(place("", 0..0).line_and_column(), (1, 1));
        assert_eq!(place("a\n", 99..100).line_and_column(), (2, 1));
    }

    #[test]
    fn a_place_over_several_lines_is_shown_by_its_first() {
        let error = ProfileFault::new("wrong", "do better", Some(place("[a]\nb = 1\n\n[c]\n", 0..9)));
        let shown = error.render(false);
        assert!(shown.contains("1 | [a]\n  | ^^^"), "{shown}");
        assert!(shown.contains("help: do better"));
        assert!(!shown.contains('\u{1b}') && error.render(true).contains('\u{1b}'));
    }

    #[test]
    fn nothing_that_is_repeated_drives_a_terminal() {
        for owned in ["\0", "\u{1b}[2J", "\u{7f}", "\u{9b}31m", "\r"] {
            let text = format!("ä{owned} = 1");
            let end = text.len();
            let said = format!("`{owned}` is wrong");
            let mut place = place(&text, end - 1..end);
            place.origin = format!("{owned}.toml");
            let error = ProfileFault::new(&said, format!("not {owned}"), Some(place));
            for shown in [error.render(false), error.to_string()] {
                assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
                assert!(shown.contains("is wrong"), "{shown:?}");
            }
            let place = error.place.unwrap();
            assert_eq!(&place.text[place.span], "1");
        }
    }

    #[test]
    fn what_serde_says_is_said_in_the_tools_words() {
        let said = |text: &str| explain(text);
        assert_eq!(
            said("unknown field `rat`, expected one of `rate`, `for`"),
            ("unknown key `rat`".into(), "did you mean `rate`?".into())
        );
        assert_eq!(
            said("unknown field `xyzzy`, expected `rate` or `for`").1,
            "the keys here are `rate`, `for`"
        );
        assert_eq!(
            said("invalid type: string \"x\", expected a boolean"),
            ("the text \"x\" does not fit here".into(), "write true or false".into())
        );
    }
}
