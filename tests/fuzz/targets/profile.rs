//! The profile: any text is refused at a place that can be shown, or compiled to what reads the same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpress_program::load::Shard;
use smtpress_program::profile::{Context, Document, Override, ProfileError, Purpose, compile};

fn context(purpose: Purpose) -> Context {
    Context { purpose, seed: 7, run_id: "run".into(), threads: 2, shard: Shard::WHOLE }
}

fn try_all(text: &str, set: &str, purpose: Purpose) -> Result<(), ProfileError> {
    let mut document = Document::parse("profile.toml", text)?;
    if !set.is_empty() {
        document.apply(Override::set(set)?)?;
    }
    let compiled = compile(&document, &context(purpose))?;
    let again = compile(&Document::parse("again.toml", &compiled.resolved)?, &context(purpose))
        .unwrap_or_else(|error| panic!("what is resolved is no profile: {error}\n{}", compiled.resolved));
    assert_eq!(again.resolved, compiled.resolved);
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // What names files of this machine would make the result depend on it, or read what has no end.
    if text.contains("file") || text.contains('/') && text.contains("csv") {
        return;
    }
    let (set, text) = if choice & 4 == 0 { ("", text) } else { text.split_once('\n').unwrap_or(("", text)) };
    let purpose = match choice & 3 {
        0 => Purpose::Search,
        1 => Purpose::Listen,
        _ => Purpose::Run,
    };
    if let Err(error) = try_all(text, set, purpose) {
        let shown = error.render(false);
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        assert!(!error.faults().is_empty());
        for fault in error.faults() {
            assert!(!fault.message.is_empty());
            let place = fault.place.as_ref().unwrap_or_else(|| panic!("no place: {shown}"));
            let (line, column) = place.line_and_column();
            assert!(line > 0 && column > 0 && place.span.start <= place.text.len(), "{place:?}");
        }
    }
});
