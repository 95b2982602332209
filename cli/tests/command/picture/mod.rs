//! The picture of `rowbus top` in the README: what the real program shows of a lively file.

mod demo;
mod svg;

use std::path::Path;
use std::time::Duration;

use crate::picture::demo::Demo;
use crate::support::Folder;
use crate::terminal::Terminal;

const COLUMNS: u16 = 124;
const ROWS: u16 = 38;
/// Between two looks; the curve is as wide as the terminal after so many of them.
const INTERVAL: Duration = Duration::from_millis(250);

/// Run by scripts/picture: it takes a while, and writes into docs/.
#[test]
#[ignore = "it makes docs/top.svg, which scripts/picture does"]
fn of_top_is_drawn_into_the_documents() {
    let folder = Folder::new();
    let demo = Demo::start(&folder.db());
    let interval = format!("{}ms", INTERVAL.as_millis());
    let mut terminal = Terminal::start(&folder, &["top", "--interval", &interval], COLUMNS, ROWS);
    terminal.until_it_has(&["orders.created", "analytics", "Dead letters 4", "leased"]);
    std::thread::sleep(INTERVAL * u32::from(COLUMNS));
    let screen = terminal.screen();
    let text = screen.contents();
    for part in ["telemetry.cpu", "mailer", "search", "stopped", "wake p99   ≤", "Peers 5"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/top.svg");
    std::fs::write(file, svg::of(&screen, "rowbus top")).unwrap();
    terminal.press("q");
    assert_eq!(terminal.finish(), 0);
    demo.stop();
}
