//! What lies over the picture: help, a question; and the line below it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Clear;

use crate::escape::Escaped;
use crate::top::state::{Overlay, State, View};
use crate::top::view::theme::Theme;
use crate::top::view::{framed, text};

const KEYS: [(&str, &str); 13] = [
    ("↑ ↓  j k", "another line; PgUp PgDn, g and G go further"),
    ("Tab", "another list"),
    ("Enter", "look into: messages, a dead letter"),
    ("Esc", "back; in a list, without its filter"),
    ("/", "filter: a part of a name, or orders.*.>"),
    ("s  S", "sort by rate, bytes, seen, name; turn around"),
    ("p  Space", "pause, and go on"),
    ("x", "a payload as text, or as bytes"),
    ("r", "requeue a dead letter, after a question"),
    ("q", "quit; Ctrl-C does so too"),
    ("", ""),
    ("wake", "from a publish to this process, at most;"),
    ("", "half of them, and 99 of 100"),
];

pub(super) fn draw(overlay: &Overlay, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let (title, lines) = match overlay {
        Overlay::Help => (" Keys ", KEYS.map(|(key, what)| help(key, what, theme)).to_vec()),
        Overlay::Requeue(id, subject) => (" Requeue ", question(*id, subject, theme)),
    };
    let width = lines.iter().map(Line::width).max().unwrap_or_default() as u16 + 4;
    let [place] =
        Layout::vertical([Constraint::Length(lines.len() as u16 + 2)]).flex(Flex::Center).areas(area);
    let [place] = Layout::horizontal([Constraint::Length(width)]).flex(Flex::Center).areas(place);
    frame.render_widget(Clear, place);
    let block = framed(Span::styled(title, theme.strong()), true, theme);
    let inside = block.inner(place);
    frame.render_widget(block, place);
    frame.render_widget(text(lines), inside);
}

fn help(key: &str, what: &str, theme: Theme) -> Line<'static> {
    Line::from(vec![Span::styled(format!("{key:<10}"), theme.accent()), Span::raw(what.to_owned())])
}

fn question(id: u64, subject: &str, theme: Theme) -> Vec<Line<'static>> {
    let subject = Escaped(subject.as_bytes()).to_string();
    vec![
        Line::raw(format!("Have dead letter {id} on {subject} tried again?")),
        Line::default(),
        Line::from(vec![
            Span::styled("y", theme.accent()),
            Span::raw(" yes   "),
            Span::styled("n", theme.accent()),
            Span::raw(" no"),
        ]),
    ]
}

/// What is being typed, or was done just now, or which keys there are.
pub(super) fn footer(state: &State, theme: Theme) -> Line<'static> {
    if state.is_typing {
        let text = Escaped(state.wanted.text().as_bytes()).to_string();
        return Line::from(vec![
            Span::styled(" / ", theme.accent()),
            Span::raw(text),
            Span::styled("▏", theme.accent()),
        ]);
    }
    if let Some(said) = state.said() {
        return Line::styled(format!(" {}", Escaped(said.as_bytes())), theme.strong());
    }
    let keys: &[(&str, &str)] = match state.view {
        View::Overview => &[
            ("?", "help"),
            ("/", "filter"),
            ("s", "sort"),
            ("p", "pause"),
            ("Tab", "list"),
            ("Enter", "look into"),
            ("r", "requeue"),
            ("q", "quit"),
        ],
        View::Messages(_) => {
            &[("Esc", "back"), ("↑↓", "message"), ("PgDn", "scroll"), ("x", "bytes"), ("q", "quit")]
        }
        View::Letter(_) => {
            &[("Esc", "back"), ("r", "requeue"), ("↑↓", "scroll"), ("x", "bytes"), ("q", "quit")]
        }
    };
    let spans = keys.iter().flat_map(|(key, what)| {
        [Span::styled(format!(" {key}"), theme.accent()), Span::styled(format!(" {what} "), theme.faint())]
    });
    Line::from(spans.collect::<Vec<_>>())
}
