//! Removes possible secrets from text that is repeated to the user. If a profile or a URL holds a password, although it
//! must not, the error about it does not show the password.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::nearest::nearest;
use super::place::TextPlace;

/// A value in TOML, or a word without quotes.
const VALUE: &str = r#""{3}[\s\S]*?"{3}|'{3}[\s\S]*?'{3}|"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?|[^\s,{}\[\]"'=]+"#;

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant")
}

/// Returns a sentence without the user and the password of URLs in it.
pub fn sentence(text: &str) -> Cow<'_, str> {
    static URL: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?i)(://)[^\s"]*(@|%40)"#));
    // Without a scheme only a text with a port counts as an address, not `Reply-To:a@b.example`.
    static ADDRESS: LazyLock<Regex> =
        LazyLock::new(|| pattern(r#"(?i)[^\s:@/"'`{}]+:[^\s"{}]*(@|%40)([^\s:@/"]+:\d)"#));
    if !(text.contains('@') || text.contains("%40")) {
        return Cow::Borrowed(text);
    }
    let shown = ADDRESS.replace_all(&URL.replace_all(text, "$1***$2"), "***$1$2").into_owned();
    if shown == text { Cow::Borrowed(text) } else { Cow::Owned(shown) }
}

/// Replaces by stars every value whose key names a secret, misspelt or not, and the user and the password of every URL.
/// The length of the text stays the same, so that the span stays right.
pub(super) fn place(place: TextPlace) -> TextPlace {
    static PAIR: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r#"([\w-]+)(["']?\s*=\s*)({VALUE})"#)));
    static ANY: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r#"[\w+.-]+://[^\s"']*|{VALUE}|=+"#)));
    // Texts that hold the target alone: `--target user:password@host:25  # target.address`, `target.address=...`.
    static TARGET: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^(\S+?[ =])(.*)(\s+# target\.(?:address|allow))$"));
    static SET: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(target\.(?:address|allow)\s*=)(.*)()$"));
    let text = PAIR.replace_all(&place.text, |found: &Captures<'_>| {
        let value = &found[3];
        let shown = match &found[1] {
            key if names_a_secret(key) => stars(value),
            key if ["address", "target", "url"]
                .iter()
                .any(|word| key.to_ascii_lowercase().ends_with(word)) =>
            {
                before_host(value, 0)
            }
            _ => value.to_owned(),
        };
        format!("{}{}{shown}", &found[1], &found[2])
    });
    let of_target = |found: &Captures<'_>| format!("{}{}{}", &found[1], before_host(&found[2], 0), &found[3]);
    let text = TARGET.replace_all(&text, of_target);
    let text = SET.replace_all(&text, of_target);
    let text = ANY.replace_all(&text, |found: &Captures<'_>| {
        let value = &found[0];
        value.find("://").map_or_else(|| value.to_owned(), |scheme| before_host(value, scheme + 3))
    });
    let text = text.into_owned();
    TextPlace { text, ..place }
}

fn names_a_secret(key: &str) -> bool {
    const SECRETS: [&str; 5] = ["password", "passphrase", "token", "secret", "credential"];
    let key = key.to_ascii_lowercase();
    let names_a_place = ["_env", "_file"].iter().any(|end| key.ends_with(end));
    let near = nearest(&key, &SECRETS).is_some();
    !names_a_place && (near || ["pass", "pwd", "secret", "token"].iter().any(|word| key.contains(word)))
}

/// Returns the value with stars from `start` to its last `@`, if it has one. A scheme and a quote stay.
fn before_host(value: &str, start: usize) -> String {
    let end = value.rfind('@').into_iter().chain(value.to_ascii_lowercase().rfind("%40")).max();
    let scheme = value.find("://").map_or(0, |scheme| scheme + 3);
    let quotes = value.len() - value.trim_start_matches(['"', '\'', '[']).len();
    let start = start.max(scheme).max(quotes);
    match end.filter(|end| *end > start) {
        Some(end) => format!("{}{}{}", &value[..start], stars(&value[start..end]), &value[end..]),
        None => value.to_owned(),
    }
}

/// Returns as many stars as the text has bytes. Line ends stay.
fn stars(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { '*' }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::error::ProfileFault;
    use super::*;
    use std::ops::Range;

    fn place(text: &str, span: Range<usize>) -> TextPlace {
        TextPlace { origin: "p.toml".to_owned(), text: text.to_owned(), span, base: 0 }
    }

    #[test]
    fn no_place_shows_what_may_be_a_secret() {
        for text in [
            "auth={password=\"hunter2\",user=\"u\"}",
            "auth = { user = \"u\", \"password\" = 'hunter2' }",
            "[session.auth]\nPassword = \"a \\\" hunter2\"\nuser = \"u\"",
            "pasword = \"hunter2\"  # user = \"u\"",
            "session.auth.tokn=hunter2 user = \"u\"",
            "my_secret = \"\"\"\nhunter2\n\"\"\"\nuser = \"u\"",
            "password = \"hunter2\nuser = \"u\"",
            "pässwörd = 'x'\npassword = 'hünter2'\nuser = \"u\"",
        ] {
            let place = ProfileFault::new("wrong", "", Some(place(text, 0..3))).place.unwrap();
            assert!(!place.text.contains("nter2") && place.text.contains("user"), "{}", place.text);
            assert_eq!(
                (place.text.len(), place.text.matches('\n').count()),
                (text.len(), text.matches('\n').count())
            );
        }
        let harmless = "password_env = \"P\"\ntoken_file = 'f'\nname = \"pass\"\naddress = \"smtp://a:1\"";
        assert_eq!(ProfileFault::new("", "", Some(place(harmless, 0..1))).place.unwrap().text, harmless);
    }

    #[test]
    fn no_place_shows_the_credentials_of_a_url() {
        for text in [
            "address = \"smtp://joe:hunter2@h:25\" # keep",
            "address = \"joe:hunter2@h:25\" # keep",
            "[target]\naddress = 'smtps://joe:hun\"ter2@h'\nname = \"keep\"",
            "address = \"smtp://joe:hun\\\"hunter2@h:25\" # keep",
            "address = \"smtp://joe:pa ss hunter2@h:25\" # keep",
            "allow = [\"keep\", \"smtp://joe:hunter2@h\"]",
            "address = \"smtp://joe:hunter2%40h:25\" # keep",
            "address = \"lmtp+unix://joe:hunter2@h/x\" # keep",
            "--target smtp://joe:hunter2@h:25  # target.address keep",
            "--target smtp://joe:hunter2@h:25  # target.address",
            "--target joe:hunter2@h:25  # target.address",
            "--target \"joe:hunter2@h:25\"  # target.address",
            "SMTPRESS_TARGET=joe:hunter2@h:25  # target.address",
            "--allow-target [\"joe:hunter2@h:25\"]  # target.allow",
            "URL joe:hun{ter}hunter2@h:25  # target.address",
            "target.address=joe:hunter2@h:25",
            "target.address=joe:p=hunter2@h:25",
            "target.address = smtp://joe:p=hunter2@h:25",
            "target.address=\"http://joe:hunter2@h:25\"",
        ] {
            let place = ProfileFault::new("wrong", "", Some(place(text, 0..3))).place.unwrap();
            assert!(!place.text.contains("ter2"), "{}", place.text);
            assert!(!text.contains("keep") || place.text.contains("keep"), "{}", place.text);
            assert_eq!(place.text.len(), text.len());
        }
        for harmless in [
            "from = \"load{n:1..5}@a.example\"",
            "headers = [\"Reply-To: a@b.example\", \"X:a@b\"]",
            "address = \"smtp://127.0.0.1:25\" # of joe@example.net",
            "address = \"lmtp+unix:/run/x\"\nfrom = \"a@b\"",
        ] {
            assert_eq!(ProfileFault::new("", "", Some(place(harmless, 0..1))).place.unwrap().text, harmless);
        }
    }

    #[test]
    fn no_sentence_repeats_the_credentials_of_a_url() {
        for text in [
            "failed to read smtp://joe:hunter2@h:25: no such file",
            "\"smtp://joe:hunter2@h\" is no target",
            "invalid value 'http://joe:hunt:hunter2@h/x' for '--bind'",
            "failed to read joe:hunter2@h:25: no such file",
            "smtp://joe:hunter2%40h is wrong",
        ] {
            let said = sentence(text);
            assert!(!said.contains("hunter2") && said.contains("***"), "{said}");
        }
        for harmless in ["the sender `a{n:1..5}@b` is none", "Reply-To:a@b", "see https://h/x", "a@b:c"] {
            assert_eq!(sentence(harmless), harmless);
        }
    }
}
