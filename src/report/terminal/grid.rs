//! Writes rows of cells in aligned columns, and shortens them on a narrow page.

use std::io;

use super::lines::{INDENT, StyledText, TextPage};
use crate::report::view::Column;

/// The blanks between two columns; one on a narrow page.
const GAP: usize = 2;
/// The largest and the least width of a column of words on a narrow page.
const MOST_WORDS: usize = 32;
const LEAST_WORDS: usize = 8;

/// Rows of cells; the titles are the first row.
#[derive(Clone, Debug)]
pub struct Grid<'a> {
    columns: Vec<&'a Column>,
    rows: Vec<Vec<StyledText>>,
}

impl<'a> Grid<'a> {
    /// Returns a grid with these columns and no rows.
    pub fn new(columns: impl IntoIterator<Item = &'a Column>) -> Grid<'a> {
        Grid { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = StyledText>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether a page of this width has room for a column.
    pub fn shows(&self, column: usize, width: usize) -> bool {
        self.fit(width).0.iter().any(|(i, _)| *i == column)
    }

    /// Whether a page of this width has room for the whole grid.
    pub fn fits(&self, width: usize) -> bool {
        total(&self.natural(), GAP) <= width
    }

    /// Writes the grid.
    ///
    /// # Errors
    /// Those of the page.
    pub fn write(&self, page: &mut TextPage<'_>) -> io::Result<()> {
        let (columns, gap) = self.fit(page.width());
        for row in &self.rows {
            let mut line = vec![StyledText::blank(INDENT)];
            for (place, &(i, width)) in columns.iter().enumerate() {
                let cell = row[i].cut(width);
                let fill = StyledText::blank(width.saturating_sub(cell.columns()));
                if place > 0 {
                    line.push(StyledText::blank(gap));
                }
                match self.columns[i].is_number {
                    true => line.extend([fill, cell]),
                    false => line.extend([cell, fill]),
                }
            }
            page.line(&line)?;
        }
        Ok(())
    }

    /// Returns the non-empty columns, each as wide as its widest cell.
    fn natural(&self) -> Vec<(usize, usize)> {
        let width = |i: usize| self.rows.iter().map(|row| row[i].columns()).max().unwrap_or(0);
        (0..self.columns.len()).map(|i| (i, width(i))).filter(|(_, width)| *width > 0).collect()
    }

    /// Returns the columns that a page of this width shows, their widths, and the blanks between them. On a narrow page
    /// long words are cut first, then columns are left out in the order of [`Column::yields`], and then words are cut
    /// further. Numbers are never cut.
    fn fit(&self, width: usize) -> (Vec<(usize, usize)>, usize) {
        let is_words = |column: usize| !self.columns[column].is_number;
        let mut shown = self.natural();
        if total(&shown, GAP) > width {
            shown.iter_mut().filter(|(i, _)| is_words(*i)).for_each(|(_, own)| *own = (*own).min(MOST_WORDS));
        }
        while total(&shown, GAP) > width {
            let first_to_go = shown.iter().map(|(i, _)| *i).max_by_key(|&i| self.columns[i].yields);
            match first_to_go.filter(|&i| self.columns[i].yields > 0) {
                Some(gone) => shown.retain(|(i, _)| *i != gone),
                None => break,
            }
        }
        let gap = if total(&shown, GAP) > width { 1 } else { GAP };
        while total(&shown, gap) > width {
            let widest = shown.iter_mut().filter(|(i, _)| is_words(*i)).max_by_key(|(_, own)| *own);
            match widest.filter(|(_, own)| *own > LEAST_WORDS) {
                Some((_, own)) => *own -= 1,
                None => break,
            }
        }
        // A cut number would be wrong, so the last columns are left out instead.
        while total(&shown, gap) > width && shown.len() > 1 {
            shown.pop();
        }
        (shown, gap)
    }
}

/// Returns the number of columns of a line with cells of these widths.
fn total(columns: &[(usize, usize)], gap: usize) -> usize {
    INDENT + columns.iter().map(|(_, width)| width + gap).sum::<usize>().saturating_sub(gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(width: usize, rows: &[[&str; 4]]) -> String {
        let columns = [
            Column::words("name"),
            Column::number("wide").yields(2),
            Column::number("p99").yields(1),
            Column::number("max"),
        ];
        let mut grid = Grid::new(&columns);
        rows.iter().for_each(|row| grid.row(row.map(StyledText::from)));
        let mut out = Vec::new();
        grid.write(&mut TextPage::new(&mut out, width, false)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_align_and_give_way_in_order() {
        let rows = [["name", "twenty-columns-wide-", "p99", "max"], ["a", "1", "22", "3"]];
        let wide = written(80, &rows);
        assert_eq!(wide, "  name  twenty-columns-wide-  p99  max\n  a                        1   22    3\n");
        let narrow = written(40, &[rows[0], rows[1], ["a name that is rather long", "1", "22", "3"]]);
        assert_eq!(narrow.lines().next().unwrap(), "  name                        p99  max");
    }
}
