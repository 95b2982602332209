//! A screen as an SVG picture. What terminals draw themselves, frames and blocks, is drawn here as well: fonts leave gaps.

use std::fmt::Write;

use vt100::{Cell, Color, Screen};

/// Pixels of a character.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 18.0;
/// Around the screen, and above it for the title.
const EDGE: f64 = 16.0;
const TITLE: f64 = 36.0;

const GROUND: &str = "#11151c";
const LETTERS: &str = "#d7dae0";
/// The colours of a terminal that are used: red, green, yellow, blue, magenta, cyan.
const COLOURS: [&str; 6] = ["#f07178", "#8fd16f", "#e6c463", "#6aa9f7", "#c792ea", "#5ccfe6"];

/// How the cells of a run look.
#[derive(Clone, PartialEq)]
struct Look {
    letters: &'static str,
    ground: Option<&'static str>,
    is_bold: bool,
    is_dim: bool,
}

impl Look {
    fn of(cell: &Cell) -> Self {
        let (letters, ground) = (colour(cell.fgcolor(), LETTERS), colour(cell.bgcolor(), GROUND));
        let (letters, ground) = if cell.inverse() { (ground, letters) } else { (letters, ground) };
        let ground = (ground != GROUND).then_some(ground);
        Self { letters, ground, is_bold: cell.bold(), is_dim: cell.dim() }
    }

    fn attributes(&self) -> String {
        let mut text = format!("fill=\"{}\"", self.letters);
        if self.is_bold {
            text += " font-weight=\"bold\"";
        }
        if self.is_dim {
            text += " opacity=\"0.55\"";
        }
        text
    }
}

fn colour(colour: Color, other: &'static str) -> &'static str {
    match colour {
        Color::Idx(index @ 1..=6) => COLOURS[usize::from(index) - 1],
        Color::Idx(index @ 9..=14) => COLOURS[usize::from(index) - 9],
        _ => other,
    }
}

/// The picture of a screen in a window with this title.
pub fn of(screen: &Screen, title: &str) -> String {
    let (rows, columns) = screen.size();
    let (width, height) = (f64::from(columns.get()) * WIDTH, f64::from(rows.get()) * HEIGHT);
    let (whole_width, whole_height) = (width + 2.0 * EDGE, height + EDGE + TITLE);
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole_width:.0} {whole_height:.0}\" \
         font-family=\"ui-monospace, 'JetBrains Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"10\" fill=\"{GROUND}\"/>\n"
    );
    for (at, colour) in ["#f07178", "#e6c463", "#8fd16f"].into_iter().enumerate() {
        let _ = writeln!(svg, "<circle cx=\"{}\" cy=\"18\" r=\"6\" fill=\"{colour}\"/>", 22 + 20 * at);
    }
    let _ = writeln!(svg, "<g transform=\"translate({EDGE} {TITLE})\" xml:space=\"preserve\">");
    for row in 0..rows.get() {
        write_row(&mut svg, screen, row, columns.get());
    }
    svg + "</g>\n</svg>\n"
}

fn write_row(svg: &mut String, screen: &Screen, row: u16, columns: u16) {
    let cells: Vec<_> = (0..columns).filter_map(|column| screen.cell(row, column)).collect();
    let y = f64::from(row) * HEIGHT;
    let mut from = 0;
    while let Some(cell) = cells.get(from) {
        let look = Look::of(cell);
        let same = cells[from..].iter().take_while(|other| Look::of(other) == look).count();
        let x = from as f64 * WIDTH;
        if let Some(ground) = look.ground {
            let width = same as f64 * WIDTH;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{HEIGHT}\" fill=\"{ground}\"/>"
            );
        }
        write_run(svg, &cells[from..from + same], &look, x, y);
        from += same;
    }
}

/// Words each at their place, so that columns stand below each other in whichever font; blocks and frames as shapes.
fn write_run(svg: &mut String, cells: &[&Cell], look: &Look, x: f64, y: f64) {
    let (mut blocks, mut lines) = (String::new(), String::new());
    let mut at = 0;
    while at < cells.len() {
        let (text, left) = (cells[at].contents(), x + at as f64 * WIDTH);
        let (block, line) = (block(text, left, y), line(text, left, y));
        if block.is_some() || line.is_some() {
            blocks += &block.unwrap_or_default();
            lines += &line.unwrap_or_default();
            at += 1;
            continue;
        }
        let word: String =
            cells[at..].iter().map(|cell| cell.contents()).take_while(|text| is_letter(text)).collect();
        let length = word.chars().count();
        if length > 0 {
            let (attributes, width, base) = (look.attributes(), length as f64 * WIDTH, y + 13.5);
            let word = word.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let _ = writeln!(
                svg,
                "<text x=\"{left:.1}\" y=\"{base:.1}\" textLength=\"{width:.1}\" {attributes}>{word}</text>"
            );
        }
        at += length.max(1);
    }
    let opacity = if look.is_dim { " opacity=\"0.35\"" } else { "" };
    let colour = look.letters;
    if !blocks.is_empty() {
        let _ = writeln!(svg, "<path d=\"{blocks}\" fill=\"{colour}\"{opacity}/>");
    }
    if !lines.is_empty() {
        let width = if lines.contains(HEAVY) { 3.0 } else { 1.2 };
        let lines = lines.replace(HEAVY, "");
        let _ = writeln!(
            svg,
            "<path d=\"{lines}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{opacity}/>"
        );
    }
}

fn is_letter(text: &str) -> bool {
    !text.trim().is_empty() && block(text, 0.0, 0.0).is_none() && line(text, 0.0, 0.0).is_none()
}

/// A part of a curve: so many eighths of the character, from below.
fn block(text: &str, x: f64, y: f64) -> Option<String> {
    let character = text.chars().next().filter(|character| ('▁'..='█').contains(character))?;
    let height = f64::from(character as u32 - '▁' as u32 + 1) / 8.0 * HEIGHT;
    // A little more than it is, or there would be gaps.
    Some(format!(
        "M{x:.2} {:.2}h{:.2}v{:.2}h-{:.2}z",
        y + HEIGHT - height,
        WIDTH + 0.1,
        height + 0.3,
        WIDTH + 0.1
    ))
}

/// Marks the lines of bars among those of frames.
const HEAVY: &str = "!";

/// A part of a frame or a bar.
fn line(text: &str, x: f64, y: f64) -> Option<String> {
    let (middle_x, middle_y, right, bottom) = (x + WIDTH / 2.0, y + HEIGHT / 2.0, x + WIDTH, y + HEIGHT);
    let corner = |from: (f64, f64), to: (f64, f64)| {
        format!("M{:.2} {:.2}Q{middle_x:.2} {middle_y:.2} {:.2} {:.2}", from.0, from.1, to.0, to.1)
    };
    Some(match text {
        "─" => format!("M{x:.2} {middle_y:.2}H{right:.2}"),
        "━" => format!("{HEAVY}M{x:.2} {middle_y:.2}H{:.2}", right + 0.1),
        "╸" => format!("{HEAVY}M{x:.2} {middle_y:.2}H{middle_x:.2}"),
        "│" => format!("M{middle_x:.2} {y:.2}V{:.2}", bottom + 0.1),
        "╭" => corner((right, middle_y), (middle_x, bottom)),
        "╮" => corner((x, middle_y), (middle_x, bottom)),
        "╰" => corner((right, middle_y), (middle_x, y)),
        "╯" => corner((x, middle_y), (middle_x, y)),
        _ => return None,
    })
}

#[test]
fn a_screen_becomes_words_at_their_places_and_shapes() {
    let number = |number| std::num::NonZeroU16::new(number).unwrap();
    let mut parser = vt100::Parser::new(number(2), number(10), 0);
    parser.process("\x1b[1;31ma<b  cd\x1b[0m\r\n│\x1b[7mx\x1b[0m▄".as_bytes());
    let svg = of(parser.screen(), "a title");
    assert!(
        svg.contains(
            "x=\"0.0\" y=\"13.5\" textLength=\"25.2\" fill=\"#f07178\" font-weight=\"bold\">a&lt;b</text>"
        ),
        "{svg}"
    );
    assert!(svg.contains("x=\"42.0\" y=\"13.5\" textLength=\"16.8\""), "{svg}");
    assert!(
        svg.contains(&format!(
            "fill=\"{LETTERS}\"/>\n<text x=\"8.4\" y=\"31.5\" textLength=\"8.4\" fill=\"{GROUND}\">x"
        )),
        "{svg}"
    );
    assert_eq!(svg.matches("<path").count(), 2, "{svg}");
}
