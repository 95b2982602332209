//! A list of consumers for people.

use std::io::{self, Write};

use rowbus::ConsumerInfo;

use crate::colour;
use crate::consumer::format::{pending, state};
use crate::escape::Escaped;

const COLUMNS: [&str; 9] =
    ["NAME", "POLICY", "FILTERS", "ACK FLOOR", "PENDING", "IN FLIGHT", "REDELIVERED", "LAG", "STATE"];

/// Those that are numbers, whose ends stand below each other.
const NUMBERS: std::ops::Range<usize> = 3..8;

/// Filters that are listed; a consumer may have dozens.
const FILTERS: usize = 3;

pub(crate) fn write_table(out: &mut impl Write, consumers: &[ConsumerInfo]) -> io::Result<()> {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(consumers.iter().map(row));
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    for (at, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if NUMBERS.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        match at {
            0 => writeln!(out, "{}", colour::head(line.trim_end()))?,
            _ => writeln!(out, "{}", line.trim_end())?,
        }
    }
    Ok(())
}

fn row(info: &ConsumerInfo) -> [String; COLUMNS.len()] {
    let all = &info.settings.filters;
    let mut filters: Vec<_> = all.iter().take(FILTERS).map(|filter| filter.to_string()).collect();
    if all.len() > FILTERS {
        filters.push(format!("+{}", all.len() - FILTERS));
    }
    [
        Escaped(info.name.as_bytes()).to_string(),
        info.settings.ack_policy.to_string(),
        filters.join(" "),
        info.ack_floor.to_string(),
        pending(info),
        info.num_ack_pending.to_string(),
        info.num_redelivered.to_string(),
        info.lag.to_string(),
        state(info),
    ]
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use rowbus::{AckPolicy, Consumer};

    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let filters = |filters: &[&str]| {
            let consumer = Consumer::durable("x");
            let consumer = filters.iter().fold(consumer, |consumer, filter| consumer.filter(*filter));
            consumer.into_parts().unwrap().resolve(None).unwrap()
        };
        let mut mailer =
            ConsumerInfo::new("mailer", filters(&["a", "b", "c.>", "d", "e"]), DateTime::default());
        (mailer.ack_floor, mailer.num_pending, mailer.num_pending_is_exact) = (1_234_567_890, 10_000, false);
        (mailer.num_ack_pending, mailer.num_redelivered, mailer.lag) = (3, 1, 20_000);
        mailer.members = Some(2);
        let mut index = ConsumerInfo::new("ünd\x1bex", filters(&[]), DateTime::default());
        index.settings.ack_policy = AckPolicy::Cumulative;
        (index.paused, index.stopped) = (true, Some("no".to_owned()));
        let mut out = Vec::new();
        write_table(&mut out, &[mailer, index]).unwrap();
        let expected = "\
NAME         POLICY      FILTERS      ACK FLOOR  PENDING  IN FLIGHT  REDELIVERED    LAG  STATE
mailer       explicit    a b c.> +2  1234567890   10000+          3            1  20000  active
ünd\\u{1b}ex  cumulative  >                    0        0          0            0      0  stopped, paused
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
