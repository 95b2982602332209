//! The chart, as SVG that can be read on light and dark ground, without a font or a script of its own.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::table::grouped;
use crate::compare::Row;
use crate::works::NORMAL;

const WIDTH: usize = 720;
const BAR: usize = 20;
const STEP: usize = 28;
/// Where the bars begin, and how long the longest is: the rest is for names and figures.
const LEFT: usize = 130;
const LONGEST: f64 = 460.0;

const STYLE: &str = "\
  text { font: 14px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 }
  .note { font-size: 12px; fill: #57606a }
  .rowbus { fill: #bc4c00 }
  .limit { fill: #afb8c1 }
  .peer { fill: #6e7781 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .note { fill: #9198a1 }
    .rowbus { fill: #f0883e }
    .limit { fill: #3d444d }
    .peer { fill: #768390 }
  }
";

pub fn write(rows: &[Row], file: &Path) {
    fs::write(file, draw(rows)).unwrap();
}

fn draw(rows: &[Row]) -> String {
    let (mut body, mut y) = (String::new(), 28);
    let deliver = bars(rows, "deliver", |row| row.p50_us);
    panel(
        &mut body,
        &mut y,
        "Publish to delivery between two processes, p50 in µs",
        "shorter is better",
        &deliver,
    );
    let publish = bars(rows, "publish-one", |row| row.per_s);
    panel(&mut body, &mut y, "Publishing one after another, messages a second", "longer is better", &publish);
    let rpc = bars(rows, "rpc", |row| row.p50_us);
    panel(&mut body, &mut y, "Request to reply between two processes, p50 in µs", "shorter is better", &rpc);
    let claims = bars(rows, "claim-one", |row| row.per_s);
    panel(
        &mut body,
        &mut y,
        "Jobs claimed and completed one at a time, 20,000 waiting, jobs a second",
        "longer is better",
        &claims,
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" \
         role=\"img\" aria-label=\"rowbus beside its peers\">\n<style>\n{STYLE}</style>\n{body}</svg>\n"
    )
}

/// Of a work, without what is flushed to the disk, which only two systems do.
fn bars<'a>(rows: &'a [Row], work: &str, of: fn(&Row) -> Option<f64>) -> Vec<(&'a Row, f64)> {
    let rows = rows.iter().filter(|row| row.work == work && row.synchronous != "FULL");
    rows.filter_map(|row| Some((row, of(row)?))).collect()
}

fn panel(body: &mut String, y: &mut usize, title: &str, better: &str, bars: &[(&Row, f64)]) {
    if bars.is_empty() {
        return;
    }
    let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    writeln!(
        body,
        "<text class=\"title\" x=\"16\" y=\"{y}\">{title} <tspan class=\"note\">({better})</tspan></text>"
    )
    .unwrap();
    *y += 16;
    for (row, value) in bars {
        let class = match row.system {
            "rowbus" => "rowbus",
            "raw" | "futex" => "limit",
            _ => "peer",
        };
        let (name_end, text_y, length) = (LEFT - 10, *y + 15, (value / most * LONGEST).max(1.0));
        let (figure_at, figure) = (LEFT as f64 + length + 8.0, grouped(*value));
        let note = if row.synchronous == NORMAL { "" } else { row.synchronous };
        let flushed = if note.is_empty() { String::new() } else { format!(" · flushed: {note}") };
        writeln!(
            body,
            "<text x=\"{name_end}\" y=\"{text_y}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>\
             <text x=\"{figure_at:.1}\" y=\"{text_y}\">{figure}<tspan class=\"note\">{flushed}</tspan></text>",
            row.system
        )
        .unwrap();
        *y += STEP;
    }
    *y += 28;
}
