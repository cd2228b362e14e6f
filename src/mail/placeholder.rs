//! The syntax of placeholders in a text. `template` inserts their values.

/// The most letters of one `{random:N}`.
pub(super) const MOST_LETTERS: u8 = 64;
/// The most bytes of a run id in a template. A longer run id is cut.
pub(super) const RUN_ID: usize = 24;

/// Why a text with placeholders is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// A `{` without its `}`.
    #[error("has a `{{` that is not closed: write `{{n}}` for the number, and `{{{{` for the brace itself")]
    Unclosed,
    /// An unknown placeholder.
    #[error(
        "has the unknown placeholder `{{{0}}}`: known are `{{n}}`, `{{n:1..500}}`, `{{session}}`, `{{run}}`, `{{date}}` and `{{random:8}}`; write `{{{{` for the brace itself"
    )]
    Unknown(String),
    /// An invalid range of numbers.
    #[error("has the range `{{{0}}}`: write it from the smaller to the larger number, as in `{{n:1..500}}`")]
    Range(String),
    /// An invalid number of random letters.
    #[error("has `{{{0}}}`: write 1 to {MOST_LETTERS} letters, as in `{{random:8}}`")]
    Letters(String),
}

/// A part of a template, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TemplatePiece {
    Text(String),
    /// `{n}`, or `{n:low..high}`.
    Number(Option<(u64, u64)>),
    Session,
    Run,
    Date,
    /// `{random:N}`.
    Letters(u8),
}

/// Divides a text into its parts. `{{` stands for `{`, and `}}` or a single `}` for `}`.
pub(super) fn parse(text: &str) -> Result<Vec<TemplatePiece>, InvalidTemplate> {
    let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(brace) = rest.find(['{', '}']) {
        literal.push_str(&rest[..brace]);
        rest = &rest[brace..];
        if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix('}')) {
            literal.push_str(&rest[..1]);
            rest = after.strip_prefix('}').filter(|_| rest.starts_with('}')).unwrap_or(after);
            continue;
        }
        let (name, after) = rest[1..].split_once('}').ok_or(InvalidTemplate::Unclosed)?;
        let piece = placeholder(name)?;
        if !literal.is_empty() {
            pieces.push(TemplatePiece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(piece);
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(TemplatePiece::Text(literal));
    }
    Ok(pieces)
}

fn placeholder(name: &str) -> Result<TemplatePiece, InvalidTemplate> {
    match name.split_once(':') {
        None => match name {
            "n" => Ok(TemplatePiece::Number(None)),
            "session" => Ok(TemplatePiece::Session),
            "run" => Ok(TemplatePiece::Run),
            "date" => Ok(TemplatePiece::Date),
            "random" => Err(InvalidTemplate::Letters(name.into())),
            _ => Err(InvalidTemplate::Unknown(name.chars().take(40).collect())),
        },
        Some(("n", range)) => {
            let bounds =
                range.split_once("..").and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
            match bounds {
                Some((low, high)) if low <= high && high < u64::MAX => {
                    Ok(TemplatePiece::Number(Some((low, high))))
                }
                _ => Err(InvalidTemplate::Range(name.into())),
            }
        }
        Some(("random", letters)) => match letters.parse() {
            Ok(letters) if (1..=MOST_LETTERS).contains(&letters) => Ok(TemplatePiece::Letters(letters)),
            _ => Err(InvalidTemplate::Letters(name.into())),
        },
        Some(_) => Err(InvalidTemplate::Unknown(name.chars().take(40).collect())),
    }
}

/// Whether the texts for `count` consecutive numbers differ from each other. Random letters count as different if two of
/// the texts are equal at most once in eight thousand million cases.
pub(super) fn differ(pieces: &[TemplatePiece], count: u32) -> bool {
    let (mut numbers, mut letters) = (1_u64, 0);
    for piece in pieces {
        match piece {
            TemplatePiece::Number(None) => return true,
            // Several ranges repeat together after their least common multiple.
            TemplatePiece::Number(Some((low, high))) => {
                let width = high - low + 1;
                numbers = (numbers / common_divisor(numbers, width)).saturating_mul(width);
            }
            TemplatePiece::Letters(more) => letters += u32::from(*more),
            TemplatePiece::Text(_) | TemplatePiece::Session | TemplatePiece::Run | TemplatePiece::Date => {}
        }
    }
    // A letter has five bits, and `count` texts have fewer pairs than half the square of `count`.
    let bits = u32::BITS - count.saturating_sub(1).leading_zeros();
    numbers >= u64::from(count) || 5 * letters >= 32 + 2 * bits
}

/// Returns the greatest common divisor of two numbers of which the second is not 0.
fn common_divisor(one: u64, other: u64) -> u64 {
    let (mut one, mut other) = (one, other);
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// Returns a text of the longest possible length, with substitutes for values that are not known yet.
pub(super) fn widest(pieces: &[TemplatePiece]) -> String {
    let widest = |piece: &TemplatePiece| match piece {
        TemplatePiece::Text(text) => text.clone(),
        TemplatePiece::Number(None) | TemplatePiece::Session => "9".repeat(20),
        TemplatePiece::Number(Some((_, high))) => high.to_string(),
        TemplatePiece::Run => "r".repeat(RUN_ID),
        TemplatePiece::Date => "Thu, 01 Jan 1970 00:00:00 +0000".to_owned(),
        TemplatePiece::Letters(letters) => "a".repeat(usize::from(*letters)),
    };
    pieces.iter().map(widest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_consecutive_numbers_differ_if_their_numbers_or_enough_letters_do() {
        for (text, most) in [
            ("a@b", 1),
            ("{run}{session}", 1),
            ("{n}", u32::MAX),
            ("{n:1..2}", 2),
            ("{n:1..2}{n:1..3}", 6),
            ("{n:0..3}{n:0..5}", 12),
            ("{n:1..2}{n:1..2}", 2),
            ("{random:1}", 1),
            ("{random:6}", 1),
            ("{random:8}", 16),
            ("{random:4}-{random:4}", 16),
        ] {
            let pieces = parse(text).unwrap();
            assert!(differ(&pieces, most), "{text}");
            assert!(most == u32::MAX || !differ(&pieces, most + 1), "{text}");
        }
    }
}
