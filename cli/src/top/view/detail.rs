//! What is looked into: the messages of a subject, and a dead letter.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use rowbus::{DeadLetter, DeadSource, Headers, Message};

use crate::escape::Escaped;
use crate::start::rfc3339;
use crate::time::write_time;
use crate::top::numbers::{bytes, count};
use crate::top::payload::{Show, preview};
use crate::top::state::{Letter, Messages, sequences};
use crate::top::view::grid::{Column, Grid};
use crate::top::view::theme::{Concern, Theme};
use crate::top::view::{framed, text};

/// What the names of facts take in front of what they say.
const NAME: usize = 10;

pub(super) fn draw_messages(view: &Messages, show: Show, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let messages = view.messages.as_deref().unwrap_or_default();
    let [list, body] = Layout::vertical([Constraint::Fill(2), Constraint::Fill(3)]).areas(area);
    let title = Line::from(vec![
        Span::styled(format!(" {} ", Escaped(view.subject.as_bytes())), theme.strong()),
        Span::styled("the newest first ", theme.faint()),
    ]);
    let block = framed(title, true, theme);
    let inside = block.inner(list);
    frame.render_widget(block, list);
    if messages.is_empty() {
        let why = if view.messages.is_some() { "no messages" } else { "reading …" };
        return frame.render_widget(text(vec![Line::styled(why, theme.faint())]), inside);
    }
    let names = sequences(messages);
    let chosen = view.cursor.place(names.iter().map(String::as_str));
    let columns = [
        Column::number("SEQUENCE", 10),
        Column::text("TIME", Constraint::Length(12)),
        Column::number("SIZE", 9),
        Column::text("PAYLOAD", Constraint::Fill(1)),
    ];
    let grid = Grid { columns: &columns, rows: messages.len(), chosen, has_keys: true, theme };
    grid.draw(inside, frame.buffer_mut(), |row, column, width| {
        let message = &messages[row];
        let span = match column {
            0 => Span::styled(count(message.sequence()), theme.strong()),
            1 => Span::styled(clock(message), theme.faint()),
            2 => Span::styled(bytes(message.payload().len() as f64), theme.faint()),
            _ => Span::raw(preview(message.payload(), width)),
        };
        span.into()
    });
    if let Some(message) = messages.get(chosen) {
        draw_message(message, view.scroll, show, theme, frame, body);
    }
}

/// The time of day; the whole of it stands below.
fn clock(message: &Message) -> String {
    let time = chrono::DateTime::from_timestamp_millis(message.unix_millis());
    time.map_or_else(|| "?".to_owned(), |time| time.format("%H:%M:%S%.3f").to_string())
}

fn draw_message(
    message: &Message,
    scroll: usize,
    show: Show,
    theme: Theme,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let mut time = Vec::new();
    // The words of JSON, of which the value is taken: it also knows what to do with times that are none.
    let _ = write_time(&mut time, message);
    let time =
        String::from_utf8_lossy(&time).rsplit_once("\":").map(|(_, time)| time.trim_matches('"').to_owned());
    let mut lines = vec![fact("time", time.unwrap_or_default(), theme)];
    if let Some(id) = message.message_id() {
        lines.push(fact("id", id, theme));
    }
    let title = format!(" Message {} ", count(message.sequence()));
    let body = Body { lines, headers: message.headers(), payload: message.payload(), scroll };
    body.draw(title, show, theme, frame, area);
}

pub(super) fn draw_letter(view: &Letter, show: Show, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let letter = &view.letter;
    let mut lines = vec![fact("subject", &letter.subject, theme)];
    lines.extend(source(letter, theme));
    lines.push(fact("reason", letter.reason.as_str(), theme));
    lines.push(fact("attempts", letter.attempts.to_string(), theme));
    lines.push(fact("created", rfc3339(letter.created_at), theme));
    lines.push(fact("died", rfc3339(letter.died_at), theme));
    for failure in &letter.failures {
        let said = format!("attempt {}: {}", failure.attempt, failure.message);
        lines.push(styled_fact("failed", &said, theme.concern(Concern::Much), theme));
    }
    let body = Body { lines, headers: &letter.headers, payload: &letter.payload, scroll: view.scroll };
    body.draw(format!(" Dead letter {} ", letter.id), show, theme, frame, area);
}

fn source(letter: &DeadLetter, theme: Theme) -> Vec<Line<'static>> {
    match &letter.source {
        DeadSource::Job(job) => vec![fact("job", job.as_str(), theme)],
        DeadSource::Event { consumer, sequence, .. } => {
            vec![fact("consumer", consumer.as_str(), theme), fact("sequence", sequence.to_string(), theme)]
        }
        // What later versions of the library give up on.
        _ => Vec::new(),
    }
}

fn fact(name: &str, value: impl AsRef<str>, theme: Theme) -> Line<'static> {
    styled_fact(name, value.as_ref(), Style::new(), theme)
}

fn styled_fact(name: &str, value: &str, style: Style, theme: Theme) -> Line<'static> {
    let value = Escaped(value.as_bytes()).to_string();
    Line::from(vec![Span::styled(format!("{name:<NAME$}"), theme.faint()), Span::styled(value, style)])
}

/// Facts, headers and payload below each other, from a line on.
struct Body<'a> {
    lines: Vec<Line<'static>>,
    headers: &'a Headers,
    payload: &'a [u8],
    scroll: usize,
}

impl Body<'_> {
    fn draw(self, title: String, show: Show, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
        let size = format!(
            "{} of {} ",
            bytes(self.payload.len() as f64),
            if self.is_text(show) { "text" } else { "bytes" }
        );
        let title = Line::from(vec![Span::styled(title, theme.strong()), Span::styled(size, theme.faint())]);
        let block = framed(title, false, theme);
        let inside = block.inner(area);
        frame.render_widget(block, area);
        let mut lines = self.lines;
        for (name, value) in self.headers.iter() {
            let value = Escaped(value.as_bytes()).to_string();
            lines.push(Line::from(vec![
                Span::styled(format!("{}: ", Escaped(name.as_bytes())), theme.total()),
                Span::raw(value),
            ]));
        }
        lines.push(Line::default());
        lines.extend(show.lines(self.payload, usize::from(inside.width)).into_iter().map(Line::raw));
        // The last line stays in view, however far somebody has scrolled.
        let first = self.scroll.min(lines.len().saturating_sub(usize::from(inside.height)));
        frame.render_widget(text(lines.split_off(first)), inside);
    }

    fn is_text(&self, show: Show) -> bool {
        show == Show::Text && std::str::from_utf8(self.payload).is_ok()
    }
}
