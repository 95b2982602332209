//! The picture: a function of what is known, and of nothing else.

mod detail;
mod facts;
mod grid;
mod lists;
mod overlay;
mod shapes;
#[cfg(test)]
mod tests;
pub(crate) mod theme;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Padding, Paragraph, Sparkline};

use crate::escape::Escaped;
use crate::top::numbers::{bytes, rate};
use crate::top::state::{Pane, State, View};
use crate::top::view::theme::Theme;

/// From this width on there is a column of facts at the side, and this wide it is.
const SIDE_FROM: u16 = 100;
const SIDE: u16 = 34;
/// From this height on there is a curve of all that is published.
const CURVE_FROM: u16 = 28;
/// From this height on lists have frames, and stand together.
const FRAMES_FROM: u16 = 14;
/// From this width on there is more than the one list that has the keys.
const FRAMES_FROM_WIDTH: u16 = 50;

pub(super) fn draw(state: &State, theme: Theme, frame: &mut Frame<'_>) {
    let area = frame.area();
    let trouble = u16::from(state.trouble.is_some());
    let [header, alarm, body, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(trouble),
        Constraint::Fill(1),
        Constraint::Length(u16::from(area.height > 3)),
    ])
    .areas(area);
    frame.render_widget(title(state, theme), header);
    if let Some(trouble) = &state.trouble {
        let text = format!(" ! {} ", Escaped(trouble.as_bytes()));
        frame.render_widget(Line::styled(text, theme.alarm()), alarm);
    }
    match &state.view {
        View::Overview => draw_overview(state, theme, frame, body),
        View::Messages(view) => detail::draw_messages(view, state.show, theme, frame, body),
        View::Letter(view) => detail::draw_letter(view, state.show, theme, frame, body),
    }
    frame.render_widget(overlay::footer(state, theme), footer);
    if let Some(overlay) = &state.overlay {
        overlay::draw(overlay, theme, frame, area);
    }
}

/// Whose file it is, and how it goes.
fn title(state: &State, theme: Theme) -> Line<'static> {
    let mut spans = vec![
        Span::styled(" rowbus top ", theme.chosen().patch(theme.accent())),
        Span::raw(format!("  {}  ", Escaped(state.file.as_bytes()))),
    ];
    if state.is_paused {
        spans.push(Span::styled(" PAUSED ", theme.alarm()));
        spans.push(Span::raw("  "));
    }
    spans.push(Span::styled(format!("{}/s", rate(state.published.last())), theme.strong()));
    if let Some(latest) = &state.latest {
        spans.push(Span::styled(latest.time.format("  %H:%M:%S UTC").to_string(), theme.faint()));
    }
    Line::from(spans)
}

fn draw_overview(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    if area.height < FRAMES_FROM || area.width < FRAMES_FROM_WIDTH {
        return lists::draw(state, state.pane, theme, frame, area);
    }
    let has_curve = area.height >= CURVE_FROM;
    let has_side = area.width >= SIDE_FROM;
    let [curve, summary, rest] = Layout::vertical([
        Constraint::Length(if has_curve { 7 } else { 0 }),
        Constraint::Length(if has_side { 0 } else { 2 }),
        Constraint::Fill(1),
    ])
    .areas(area);
    if has_curve {
        draw_curve(state, theme, frame, curve);
    }
    if !has_side {
        facts::draw_summary(state, theme, frame, summary);
    }
    let [main, side] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(if has_side { SIDE } else { 0 })])
            .areas(rest);
    draw_lists(state, theme, frame, main);
    if has_side {
        facts::draw_side(state, theme, frame, side);
    }
}

/// The three lists, each with as much room as it can use.
fn draw_lists(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    // A frame and titles take three lines.
    let wants = |pane: Pane, least: usize| (state.names(pane).len().max(least) + 3) as u16;
    let third = area.height / 3;
    let consumers = wants(Pane::Consumers, 1).min(third);
    let dead = wants(Pane::Dead, 1).min(third);
    let places =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(consumers), Constraint::Length(dead)])
            .split(area);
    for (pane, place) in [Pane::Subjects, Pane::Consumers, Pane::Dead].into_iter().zip(places.iter()) {
        let block = framed(lists::title(state, pane, theme), pane == state.pane, theme);
        let inside = block.inner(*place);
        frame.render_widget(block, *place);
        lists::draw(state, pane, theme, frame, inside);
    }
}

fn draw_curve(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let title = Line::from(vec![
        Span::styled(" Published ", theme.strong()),
        Span::styled(format!("{}/s", rate(state.published.last())), theme.total().patch(theme.strong())),
        Span::styled(
            format!("  {}/s  peak {}/s ", bytes(state.subjects.bytes()), rate(state.published.peak())),
            theme.faint(),
        ),
    ]);
    let block = framed(title, false, theme);
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let width = usize::from(inside.width);
    let mut values: Vec<u64> = state.published.tail(width).map(|value| value.ceil() as u64).collect();
    // The newest is at the right end, also of a short curve.
    let missing = width - values.len();
    values.splice(0..0, std::iter::repeat_n(0, missing));
    frame.render_widget(Sparkline::default().data(&values).style(theme.total()), inside);
}

/// The title is no part of the frame, whose colours would shine through.
fn framed(title: impl Into<Line<'static>>, has_keys: bool, theme: Theme) -> Block<'static> {
    let style = if has_keys { theme.accent() } else { theme.faint() };
    let block = Block::bordered().border_type(BorderType::Rounded).padding(Padding::horizontal(1));
    block.border_style(style).title(title.into().style(Style::reset()))
}

/// A text that is cut off where it does not fit.
fn text(lines: Vec<Line<'static>>) -> Paragraph<'static> {
    Paragraph::new(lines)
}

/// A bar that is filled by this share.
fn bar_line(share: f64, width: usize, style: Style, theme: Theme) -> Line<'static> {
    let (filled, track) = shapes::bar(share, width);
    Line::from(vec![Span::styled(filled, style), Span::styled(track, theme.faint())])
}
