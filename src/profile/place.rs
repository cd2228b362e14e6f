//! Where something stands in what the user wrote.

use std::ops::Range;

/// Where something stands: in which text, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPlace {
    /// The file's name, or `--set`, or the flag's name.
    pub origin: String,
    /// The whole text of it.
    pub text: String,
    /// The offending part, in bytes of `text`.
    pub span: Range<usize>,
    /// Where its text begins in the row of all texts of a document; errors are shown in that order.
    pub base: usize,
}

impl TextPlace {
    /// Line and column, both from 1; the column in characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self.text.get(..self.span.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// The offending part cut to whole characters of its first line, so that a table is shown by its first line.
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
