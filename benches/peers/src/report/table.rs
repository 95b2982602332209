//! The table.

use crate::compare::Row;

const HEADS: [&str; 9] =
    ["work", "system", "synchronous", "p50 µs", "p99 µs", "a second", "CPU %", "wakeups/s", "rowbus ÷ it"];
/// From here on columns are figures, and lean to the right.
const FIGURES: usize = 3;

pub fn print(rows: &[Row]) {
    let lines: Vec<[String; 9]> =
        [HEADS.map(str::to_owned)].into_iter().chain(rows.iter().map(line)).collect();
    let widths: [usize; 9] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
    });
    for line in lines {
        let cells: Vec<String> = (line.iter().zip(widths).enumerate())
            .map(
                |(at, (cell, width))| {
                    if at < FIGURES { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
    println!(
        "\nrowbus ÷ it: of the messages a second, where more is better; of the p50 of a delivery or a request and of \
         the CPU time when idle, where less is.\nCPU % is of one core, over all processes that take part, a server included."
    );
}

fn line(row: &Row) -> [String; 9] {
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
    };
    let unit = match row.ratio_of {
        Some("p50_us") => " p50",
        Some("cpu_pct") => " CPU",
        _ => "",
    };
    let ratio = row.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}{unit}"));
    [
        row.work.to_owned(),
        row.system.to_owned(),
        row.synchronous.to_owned(),
        figure(row.p50_us, 1),
        figure(row.p99_us, 1),
        row.per_s.map_or("–".to_owned(), grouped),
        format!("{:.2}", row.cpu_pct),
        format!("{:.1}", row.wakeups_per_s),
        ratio,
    ]
}

/// 1,234,567
pub fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
