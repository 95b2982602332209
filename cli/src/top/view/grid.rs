//! A list in columns, with one line chosen.

use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::top::view::theme::Theme;

pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) width: Constraint,
    pub(super) is_number: bool,
    /// A curve or a bar, which stays as it is when its line is chosen.
    pub(super) is_shape: bool,
}

impl Column {
    pub(super) fn text(title: &'static str, width: Constraint) -> Self {
        Self { title, width, is_number: false, is_shape: false }
    }

    pub(super) fn number(title: &'static str, width: u16) -> Self {
        Self { is_number: true, ..Self::text(title, Constraint::Length(width)) }
    }

    pub(super) fn shape(title: &'static str, width: Constraint) -> Self {
        Self { is_shape: true, ..Self::text(title, width) }
    }
}

pub(super) struct Grid<'a> {
    pub(super) columns: &'a [Column],
    pub(super) rows: usize,
    /// The line that is chosen, and stays in view.
    pub(super) chosen: usize,
    /// Whether it is told apart from the others.
    pub(super) has_keys: bool,
    pub(super) theme: Theme,
}

/// Where a list begins, so that the chosen line is in view, and in the middle if it can be.
pub(super) fn offset(chosen: usize, rows: usize, height: usize) -> usize {
    chosen.saturating_sub(height / 2).min(rows.saturating_sub(height))
}

impl Grid<'_> {
    /// Draws the titles, and below them the lines that have room; `cell` gives what is in a row and a column of this width.
    pub(super) fn draw(
        &self,
        area: Rect,
        buffer: &mut Buffer,
        cell: impl Fn(usize, usize, usize) -> Line<'static>,
    ) {
        if area.is_empty() {
            return;
        }
        let widths = self.columns.iter().map(|column| column.width);
        let places = Layout::horizontal(widths).spacing(2).split(area);
        let has_titles = area.height > 1;
        if has_titles {
            for (column, place) in self.columns.iter().zip(places.iter()) {
                let title = Span::styled(column.title, self.theme.faint());
                write(buffer, column, Rect { height: 1, ..*place }, title.into());
            }
        }
        let top = area.y + u16::from(has_titles);
        let height = usize::from(area.bottom() - top);
        let first = offset(self.chosen, self.rows, height);
        for (y, row) in (top..area.bottom()).zip(first..self.rows) {
            let is_chosen = self.has_keys && row == self.chosen;
            if is_chosen {
                buffer.set_style(Rect { y, height: 1, ..area }, self.theme.chosen());
            }
            for (at, (column, place)) in self.columns.iter().zip(places.iter()).enumerate() {
                let place = Rect { y, height: 1, ..*place };
                if is_chosen && column.is_shape {
                    buffer.set_style(place, Style::reset());
                }
                write(buffer, column, place, cell(row, at, usize::from(place.width)));
                if is_chosen && !column.is_shape {
                    buffer.set_style(place, self.theme.chosen());
                }
            }
        }
    }
}

fn write(buffer: &mut Buffer, column: &Column, place: Rect, line: Line<'static>) {
    let side = if column.is_number { Alignment::Right } else { Alignment::Left };
    ratatui::widgets::Widget::render(line.alignment(side), place, buffer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_line_is_in_view() {
        assert_eq!(offset(0, 100, 10), 0);
        assert_eq!(offset(50, 100, 10), 45);
        assert_eq!(offset(99, 100, 10), 90);
        assert_eq!((offset(2, 3, 10), offset(0, 0, 10), offset(5, 10, 0)), (0, 0, 5));
    }

    #[test]
    fn titles_give_way_where_there_is_one_line() {
        let columns = [Column::text("NAME", Constraint::Fill(1)), Column::number("N", 3)];
        let grid = Grid {
            columns: &columns,
            rows: 2,
            chosen: 1,
            has_keys: true,
            theme: Theme { has_colours: true },
        };
        let drawn = |height| {
            let area = Rect::new(0, 0, 10, height);
            let mut buffer = Buffer::empty(area);
            let cell = |row: usize, column: usize, _| Line::raw(["a", "b"][row].repeat(column + 1));
            grid.draw(area, &mut buffer, cell);
            buffer
                .content
                .chunks(10)
                .map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>())
                .collect()
        };
        let lines: Vec<String> = drawn(3);
        assert_eq!(lines, ["NAME     N", "a       aa", "b       bb"]);
        let lines: Vec<String> = drawn(1);
        assert_eq!(lines, ["b       bb"]);
        let lines: Vec<String> = drawn(0);
        assert!(lines.is_empty());
    }
}
