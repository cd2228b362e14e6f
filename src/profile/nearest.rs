//! Finds the known word that the user probably meant.

/// Returns the nearest known word as a remedy, or all known words after `otherwise`.
pub(super) fn choose<S: AsRef<str>>(word: &str, known: &[S], otherwise: &str) -> String {
    if let Some(nearest) = nearest(word, known) {
        return format!("did you mean `{nearest}`?");
    }
    let known: Vec<String> = known.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    if known.is_empty() { String::new() } else { format!("{otherwise} {}", known.join(", ")) }
}

/// Returns the known word that the user most likely meant, if one is near enough.
pub fn nearest<'a, S: AsRef<str>>(word: &str, known: &'a [S]) -> Option<&'a str> {
    // `max-sessions` and `maxSessions` are the same mistake.
    let plain = |word: &str| word.replace(['-', '_', ' '], "").to_lowercase();
    let wanted = plain(word);
    let distance = |known: &str| strsim::damerau_levenshtein(&wanted, &plain(known));
    let within = (wanted.chars().count() / 3).max(1);
    known
        .iter()
        .map(AsRef::as_ref)
        .map(|known| (distance(known), known))
        .filter(|(d, _)| *d <= within)
        .min()
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["rate", "for", "max_sessions", "constant-rate"];
        assert_eq!(nearest("max-sessions", &known), Some("max_sessions"));
        assert_eq!(nearest("rtae", &known), Some("rate"));
        assert_eq!(nearest("contsant-rate", &known), Some("constant-rate"));
        assert_eq!(nearest("duration", &known), None);
    }
}
