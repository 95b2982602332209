//! The lists of the overview.

use std::time::Duration;

use chrono::{DateTime, Utc};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use rowbus::{ConsumerInfo, DeadLetter, DeadSource};

use crate::escape::Escaped;
use crate::top::numbers::{bytes, count, rate, time};
use crate::top::snapshot::Counted;
use crate::top::state::{Pane, State};
use crate::top::subjects::SubjectLine;
use crate::top::view::grid::{Column, Grid};
use crate::top::view::shapes::{curve, share};
use crate::top::view::theme::{Concern, Theme};
use crate::top::view::{bar_line, text};

/// From these widths on a list has more than its two first columns, and all of them.
const MIDDLING: u16 = 40;
const WIDE: u16 = 72;

/// The name of a list, and how it is sorted and filtered.
pub(super) fn title(state: &State, pane: Pane, theme: Theme) -> Line<'static> {
    let latest = state.latest.as_ref();
    let (name, all) = match pane {
        Pane::Subjects => ("Subjects", String::new()),
        Pane::Consumers => {
            ("Consumers", latest.map_or_else(String::new, |latest| count(latest.consumers.len() as u64)))
        }
        Pane::Dead => ("Dead letters", latest.map_or_else(String::new, |latest| latest.dead.to_string())),
    };
    let mut spans = vec![Span::styled(format!(" {name} "), theme.strong())];
    match pane {
        Pane::Subjects => {
            let direction = if state.is_reversed { "▲" } else { "▼" };
            spans.push(Span::styled(format!("by {} {direction} ", state.sort.name()), theme.faint()));
        }
        _ => spans.push(Span::styled(format!("{all} "), theme.faint())),
    }
    if !state.wanted.text().is_empty() {
        let text = format!("like {} ", Escaped(state.wanted.text().as_bytes()));
        spans.push(Span::styled(text, theme.total()));
    }
    Line::from(spans)
}

pub(super) fn draw(state: &State, pane: Pane, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    match pane {
        Pane::Subjects => draw_subjects(state, theme, frame, area),
        Pane::Consumers => draw_consumers(state, theme, frame, area),
        Pane::Dead => draw_dead(state, theme, frame, area),
    }
}

fn empty(state: &State, nothing: &'static str, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let why = match (&state.latest, state.wanted.text()) {
        (None, _) => "looking at the file …",
        (Some(_), "") => nothing,
        (Some(_), _) => "nothing like that",
    };
    frame.render_widget(text(vec![Line::styled(why, theme.faint())]), area);
}

/// How many columns there are in a narrow, a middling and a wide list.
fn fitting(area: Rect, columns: [usize; 3]) -> usize {
    match area.width {
        WIDE.. => columns[2],
        MIDDLING.. => columns[1],
        _ => columns[0],
    }
}

fn grid<'a>(state: &State, pane: Pane, columns: &'a [Column], rows: usize, theme: Theme) -> Grid<'a> {
    Grid { columns, rows, chosen: state.chosen(pane), has_keys: state.pane == pane, theme }
}

fn draw_subjects(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let lines = state.subject_lines();
    if lines.is_empty() {
        return empty(state, "nothing was published yet", theme, frame, area);
    }
    let mut columns = vec![
        Column::text("SUBJECT", Constraint::Fill(5)),
        Column::number("EVENTS/S", 8),
        Column::shape("TREND", Constraint::Fill(4)),
        Column::number("BYTES/S", 9),
        Column::number("SEEN", 9),
    ];
    columns.truncate(fitting(area, [2, 3, 5]));
    let cell = |row: usize, column: usize, width: usize| {
        let line: &SubjectLine = lines[row];
        let is_still = line.rates.last() <= 0.0;
        let span = match column {
            0 => Span::raw(Escaped(line.subject.as_bytes()).to_string()),
            1 => Span::styled(rate(line.rates.last()), if is_still { theme.faint() } else { theme.strong() }),
            2 => {
                let values: Vec<_> = line.rates.tail(width).collect();
                Span::styled(curve(values.into_iter(), width), theme.curve())
            }
            3 => Span::styled(bytes(line.bytes), theme.faint()),
            _ => Span::styled(count(line.seen.round() as u64), theme.faint()),
        };
        span.into()
    };
    grid(state, Pane::Subjects, &columns, lines.len(), theme).draw(area, frame.buffer_mut(), cell);
}

fn draw_consumers(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let consumers = state.consumers();
    if consumers.is_empty() {
        return empty(state, "no consumers", theme, frame, area);
    }
    let mut columns = vec![
        Column::text("CONSUMER", Constraint::Fill(5)),
        Column::number("PENDING", 9),
        Column::shape("LAG", Constraint::Fill(4)),
        Column::text("STATE", Constraint::Length(10)),
        Column::number("BEHIND", 7),
        Column::number("IN FLIGHT", 9),
    ];
    columns.truncate(fitting(area, [2, 4, 6]));
    let most = consumers.iter().map(|consumer| consumer.num_pending).max().unwrap_or_default();
    let cell = |row: usize, column: usize, width: usize| {
        let consumer: &ConsumerInfo = consumers[row];
        let style = theme.concern(concern(consumer));
        let span = match column {
            0 => Span::raw(Escaped(consumer.name.as_bytes()).to_string()),
            1 => Span::styled(pending(consumer), theme.strong()),
            2 => return bar_line(share(consumer.num_pending, most), width, style, theme),
            3 => Span::styled(state_of(consumer), style),
            4 if consumer.lag_millis == 0 => Span::styled("-", theme.faint()),
            4 => Span::styled(time(Duration::from_millis(consumer.lag_millis)), theme.faint()),
            _ => Span::styled(count(consumer.num_ack_pending), theme.faint()),
        };
        span.into()
    };
    grid(state, Pane::Consumers, &columns, consumers.len(), theme).draw(area, frame.buffer_mut(), cell);
}

/// Messages that wait to be delivered, of which only so many are counted.
fn pending(consumer: &ConsumerInfo) -> String {
    Counted { count: consumer.num_pending, is_exact: consumer.num_pending_is_exact }.to_string()
}

fn concern(consumer: &ConsumerInfo) -> Concern {
    match consumer.lag_millis {
        _ if consumer.stopped.is_some() => Concern::Much,
        60_000.. => Concern::Much,
        5_000.. => Concern::Some,
        _ if consumer.paused => Concern::Some,
        _ => Concern::None,
    }
}

fn state_of(consumer: &ConsumerInfo) -> String {
    match (consumer.stopped.is_some(), consumer.paused, consumer.members) {
        (true, ..) => "stopped".to_owned(),
        (_, true, _) => "paused".to_owned(),
        (_, _, None) => "-".to_owned(),
        (_, _, Some(0)) => "idle".to_owned(),
        (_, _, Some(1)) => "1 member".to_owned(),
        (_, _, Some(members)) => format!("{members} members"),
    }
}

fn draw_dead(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let letters = state.letters();
    if letters.is_empty() {
        return empty(state, "no dead letters", theme, frame, area);
    }
    let mut columns = vec![
        Column::number("ID", 6),
        Column::text("SUBJECT", Constraint::Fill(2)),
        Column::text("WHY", Constraint::Fill(4)),
        Column::number("AGE", 7),
    ];
    columns.truncate(fitting(area, [2, 3, 4]));
    let now = state.latest.as_ref().map_or_else(Utc::now, |latest| latest.time);
    let cell = |row: usize, column: usize, _: usize| {
        let letter: &DeadLetter = letters[row];
        let span = match column {
            0 => Span::styled(letter.id.to_string(), theme.strong()),
            1 => Span::raw(Escaped(letter.subject.as_bytes()).to_string()),
            2 => Span::styled(why(letter), theme.concern(Concern::Much)),
            _ => Span::styled(age(letter.died_at, now), theme.faint()),
        };
        span.into()
    };
    grid(state, Pane::Dead, &columns, letters.len(), theme).draw(area, frame.buffer_mut(), cell);
}

/// How long ago that was.
fn age(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    // A clock that was set back makes nothing younger than now.
    let seconds = (now - then).num_seconds().max(0).cast_unsigned();
    time(Duration::from_secs(seconds.max(1)))
}

/// Why it was given up on, in a few words.
fn why(letter: &DeadLetter) -> String {
    let last = letter.failures.last().map_or(String::new(), |failure| format!(": {}", failure.message));
    let whose = match &letter.source {
        DeadSource::Event { consumer, .. } => format!("{consumer}, "),
        _ => String::new(),
    };
    Escaped(format!("{whose}{}{last}", letter.reason).as_bytes()).to_string()
}
