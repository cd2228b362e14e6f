//! Changes of a profile from outside: `--set phase.steady.rate=200/s`, and flags that stand for a key.
//!
//! This module only parses the text of a change. `document` applies it.
//!
//! # Decisions
//! - The order decides the precedence: the change that is applied last wins. The command line applies `--set` first,
//!   then `SMTPRESS_*` variables, then flags ([`apply_in_order`]).

use std::net::Ipv6Addr;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::document::Document;
use super::error::{COMMAND_LINE, ProfileError, ProfileFault, TextPlace};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The origin of the change.
    pub(super) origin: OverrideOrigin,
    /// The text as the user would write it.
    pub(super) text: String,
    /// The positions of the path's segments in `text`; at least one.
    pub(super) path: Vec<Range<usize>>,
    /// The position of the value in `text`.
    pub(super) value: Range<usize>,
}

/// The origin of a change, in order of precedence: the last one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OverrideOrigin {
    /// `--set`.
    Set,
    /// A `SMTPRESS_*` variable.
    Environment,
    /// A flag of its own.
    Flag,
}

impl OverrideOrigin {
    /// Returns the text that stands in place of a file's name in errors.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            OverrideOrigin::Set => "--set",
            OverrideOrigin::Environment => "environment",
            OverrideOrigin::Flag => COMMAND_LINE,
        }
    }
}

impl Override {
    /// Parses the argument of `--set`: a dotted path, `=`, a value. Elements of lists are chosen by name or by number
    /// from 0.
    ///
    /// # Errors
    /// No `=`, or an empty path.
    pub fn set(argument: &str) -> Result<Override, ProfileError> {
        let wrong = |message: &str, span: Range<usize>| -> ProfileError {
            let place = TextPlace { origin: "--set".to_owned(), text: argument.to_owned(), span, base: 0 };
            ProfileFault::new(
                message,
                "write --set key=value, as in --set phase.steady.rate=200/s",
                Some(place),
            )
            .into()
        };
        let Some((path, value)) = argument.split_once('=') else {
            return Err(wrong("--set without a value", 0..argument.len()));
        };
        let segments = segments(path);
        if segments.iter().any(|segment| segment.is_empty()) {
            return Err(wrong("--set without a key", 0..path.len()));
        }
        let start = path.len() + 1 + (value.len() - value.trim_start().len());
        let value = start..start + value.trim().len();
        Ok(Override { origin: OverrideOrigin::Set, text: argument.to_owned(), path: segments, value })
    }

    /// Creates the change of a flag or a variable that stands for a key: `Override::for_key(OverrideOrigin::Flag,
    /// "--rate", "phase.0.rate", "200/s")`.
    ///
    /// # Panics
    /// The path or a part of it is empty. Paths come from this program, not from the user.
    pub fn for_key(origin: OverrideOrigin, name: &str, path: &str, value: &str) -> Override {
        let between = if origin == OverrideOrigin::Flag { ' ' } else { '=' };
        let head = format!("{name}{between}{value}");
        let value = head.len() - value.len()..head.len();
        // The user did not write the path, but an error about it needs a position. So the path is appended to the text.
        let text = format!("{head}  # {path}");
        let base = head.len() + 4;
        let path = segments(path)
            .into_iter()
            .map(|segment| base + segment.start..base + segment.end)
            .collect::<Vec<_>>();
        assert!(path.iter().all(|segment| !segment.is_empty()), "a flag stands for a key");
        Override { origin, text, path, value }
    }

    /// Returns the origin.
    pub fn origin(&self) -> OverrideOrigin {
        self.origin
    }

    /// Returns the value. It is TOML if it begins like a quoted text, a list or a table, or if it is a number or a
    /// boolean. Otherwise it is the text itself (`200/s`, `4KiB`, `ehlo`, `[::1]:25`, `{n}@example.com`). `text` is the
    /// override's own text.
    pub(super) fn parse_value<'t>(&self, text: &'t str) -> Result<Spanned<DeValue<'t>>, toml::de::Error> {
        let value = &text[self.value.clone()];
        match DeValue::parse(value) {
            Ok(parsed) if !parsed.get_ref().is_datetime() => Ok(parsed),
            Err(error) if value.starts_with(['"', '\'', '[', '{']) && !is_text_in_brackets(value) => {
                Err(error)
            }
            _ => Ok(Spanned::new(0..value.len(), DeValue::String(value.into()))),
        }
    }
}

/// Whether the text begins with an IPv6 address in brackets, or with a placeholder of a template.
fn is_text_in_brackets(text: &str) -> bool {
    let ipv6 = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).is_some_and(|(inner, _)| {
        inner.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
    });
    let template = text.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    ipv6 || template.is_some_and(|(inner, rest)| !rest.is_empty() && !inner.contains(['=', '"', '\'']))
}

/// Returns the parts of a dotted path. Names of limits contain dots, so everything behind `limits` is one part.
fn segments(path: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let parts = if path.starts_with("limits.") { 2 } else { usize::MAX };
    path.splitn(parts, '.')
        .map(|segment| {
            let lead = segment.len() - segment.trim_start().len();
            let range = start + lead..start + lead + segment.trim().len();
            start += segment.len() + 1;
            range
        })
        .collect()
}

/// Applies changes by precedence, in whatever order they are given. Changes of one origin keep their order.
///
/// # Errors
/// The first change that cannot be applied.
pub fn apply_in_order(
    document: &mut Document,
    changes: impl IntoIterator<Item = Override>,
) -> Result<(), ProfileError> {
    let mut changes: Vec<_> = changes.into_iter().collect();
    changes.sort_by_key(|change| change.origin);
    changes.into_iter().try_for_each(|change| document.apply(change))
}
