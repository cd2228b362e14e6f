//! Places in the user's input.

use std::ops::Range;

/// A place: the text that contains it, and the bytes within the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPlace {
    /// The name of the file, or `--set`, or the name of the flag.
    pub origin: String,
    /// The whole text.
    pub text: String,
    /// The offending part, in bytes of `text`.
    pub span: Range<usize>,
    /// Where this text begins in the range that all texts of a document share. Errors are shown in this order.
    pub base: usize,
}

impl TextPlace {
    /// Returns line and column, both from 1. The column counts characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self.text.get(..self.span.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// Returns the offending part within its first line, cut to whole characters, so that a table is shown by its first
    /// line.
    pub(super) fn first_line(&self) -> Range<usize> {
        let mut start = self.span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let rest = &self.text[start..];
        let line = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let mut end = self.span.end.clamp(start, start + line);
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        start..end
    }
}
