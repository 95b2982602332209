//! What there is to know of the file, the jobs and who is there.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::escape::Escaped;
use crate::top::numbers::{bytes, count, time};
use crate::top::snapshot::Snapshot;
use crate::top::state::State;
use crate::top::view::shapes::share;
use crate::top::view::theme::{Concern, Theme};
use crate::top::view::{bar_line, framed, text};

/// What the names of facts take in front of what they say.
const NAME: usize = 11;
const BAR: usize = 10;
/// A WAL that is longer does not get into the file as it should.
const LONG_WAL: u64 = 64 << 20;

pub(super) fn draw_side(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let Some(latest) = &state.latest else { return };
    let (file, jobs) = (file(state, latest, theme), jobs(latest, theme));
    let [first, second, third] = Layout::vertical([
        Constraint::Length(file.len() as u16 + 2),
        Constraint::Length(jobs.len() as u16 + 2),
        Constraint::Min(3),
    ])
    .areas(area);
    let peers = match &latest.peers {
        Some(peers) => (format!(" Peers {} ", peers.len()), peers_of(latest, theme)),
        None => (" Peers ".to_owned(), vec![Line::styled("cannot be told here", theme.faint())]),
    };
    let boxes = [(" File ".to_owned(), file), (" Jobs ".to_owned(), jobs), peers];
    for ((title, lines), place) in boxes.into_iter().zip([first, second, third]) {
        let block = framed(Span::styled(title, theme.strong()), false, theme);
        let inside = block.inner(place);
        frame.render_widget(block, place);
        frame.render_widget(text(lines), inside);
    }
}

fn fact(name: &str, value: impl Into<String>, style: Style, theme: Theme) -> Line<'static> {
    Line::from(vec![Span::styled(format!("{name:<NAME$}"), theme.faint()), Span::styled(value.into(), style)])
}

fn file(state: &State, latest: &Snapshot, theme: Theme) -> Vec<Line<'static>> {
    let plain = Style::new();
    let size = |number: u64| bytes(number as f64);
    let free = match latest.free_bytes {
        0 => String::new(),
        free => format!(" ({} free)", size(free)),
    };
    let wal = if latest.wal_bytes > LONG_WAL { theme.concern(Concern::Some) } else { plain };
    let mut lines = vec![
        fact("events", latest.events.to_string(), theme.strong(), theme),
        fact("size", format!("{}{free}", size(latest.file_bytes)), plain, theme),
        fact("WAL", size(latest.wal_bytes), wal, theme),
    ];
    if let Some(available) = latest.disk_available {
        lines.push(fact("disk left", size(available), plain, theme));
    }
    let wakes = state.wakes.percentiles();
    let at_most = |wake: Option<_>| wake.map_or_else(|| "-".to_owned(), |wake| format!("≤ {}", time(wake)));
    lines.push(fact("wake p50", at_most(wakes.map(|(half, _)| half)), plain, theme));
    lines.push(fact("wake p99", at_most(wakes.map(|(_, nearly_all)| nearly_all)), plain, theme));
    if latest.quarantined.count > 0 {
        lines.push(fact("quarantine", latest.quarantined.to_string(), theme.concern(Concern::Much), theme));
    }
    lines
}

fn jobs(latest: &Snapshot, theme: Theme) -> Vec<Line<'static>> {
    if latest.jobs.is_empty() {
        return vec![Line::styled("the file is older than jobs", theme.faint())];
    }
    let most = latest.jobs.iter().map(|(_, found)| found.count).max().unwrap_or_default();
    let line = |(name, found): &(&'static str, _)| {
        let found: &crate::top::snapshot::Counted = found;
        let style = if *name == "leased" { theme.total() } else { theme.curve() };
        let mut line = Line::from(vec![
            Span::styled(format!("{name:<NAME$}"), theme.faint()),
            Span::styled(format!("{:>8} ", found.to_string()), theme.strong()),
        ]);
        line.extend(bar_line(share(found.count, most), BAR, style, theme));
        line
    };
    latest.jobs.iter().map(line).collect()
}

fn peers_of(latest: &Snapshot, theme: Theme) -> Vec<Line<'static>> {
    let peers = latest.peers.iter().flatten();
    let line = |peer: &crate::top::snapshot::PeerLine| {
        let mut spans = vec![
            Span::raw(Escaped(peer.name.as_bytes()).to_string()),
            Span::styled(format!("  {}", peer.pid), theme.faint()),
        ];
        if peer.serves > 0 {
            spans.push(Span::styled("  serves", theme.curve()));
        }
        Line::from(spans)
    };
    peers.map(line).collect()
}

/// The same in two lines.
pub(super) fn draw_summary(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let Some(latest) = &state.latest else { return };
    let mut facts = vec![
        format!("{} events", latest.events),
        bytes(latest.file_bytes as f64),
        format!("WAL {}", bytes(latest.wal_bytes as f64)),
    ];
    if let Some((half, _)) = state.wakes.percentiles() {
        facts.push(format!("wake ≤ {}", time(half)));
    }
    if let Some(peers) = &latest.peers {
        facts.push(format!("{} peers", count(peers.len() as u64)));
    }
    let jobs: Vec<_> = latest.jobs.iter().map(|(name, found)| format!("{found} {name}")).collect();
    let lines = [facts, jobs].map(|parts| Line::styled(format!(" {}", parts.join("  ")), theme.faint()));
    frame.render_widget(text(lines.to_vec()), area);
}
