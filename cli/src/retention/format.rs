//! Policies on standard output.

use std::io::{self, Write};

use rowbus::RetentionInfo;

use crate::colour;
use crate::duration::written;
use crate::json;
use crate::retention::change::Keep;
use crate::size;

const COLUMNS: [&str; 10] = [
    "FILTER",
    "AGE",
    "MESSAGES",
    "BYTES",
    "PER SUBJECT",
    "UNACKED",
    "SET BY",
    "HAS MESSAGES",
    "HAS BYTES",
    "PRUNED THROUGH",
];

/// The limits and what there is; `-` is no limit.
pub(super) fn write_table(out: &mut dyn Write, policies: &[RetentionInfo], dead: &Keep) -> io::Result<()> {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(policies.iter().map(row));
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    for (at, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        match at {
            0 => writeln!(out, "{}", colour::head(line.trim_end()))?,
            _ => writeln!(out, "{}", line.trim_end())?,
        }
    }
    writeln!(out, "dead letters are kept {dead}")
}

fn row(info: &RetentionInfo) -> [String; COLUMNS.len()] {
    let limit = |limit: Option<String>| limit.unwrap_or_else(|| "-".to_owned());
    let limits = &info.retention;
    [
        info.filter.to_string(),
        limit(limits.max_age.map(written)),
        limit(limits.max_messages.map(|most| most.to_string())),
        limit(limits.max_bytes.map(size::written)),
        limit(limits.max_per_subject.map(|most| most.to_string())),
        limit(limits.keep_unacked.map(size::written)),
        info.set_by.as_str().to_owned(),
        info.messages.to_string(),
        info.bytes.to_string(),
        info.pruned_through.to_string(),
    ]
}

/// One object a policy, its fields in one order, and one of dead letters; what is not limited is `null`.
pub(super) fn write_json(out: &mut dyn Write, policies: &[RetentionInfo], dead: &Keep) -> io::Result<()> {
    let number = |number: Option<u128>| number.map_or_else(|| "null".to_owned(), |number| number.to_string());
    let mut out = out;
    for info in policies {
        let limits = &info.retention;
        out.write_all(b"{\"filter\":")?;
        json::string(&mut out, info.filter.as_str())?;
        write!(out, ",\"max_age_ms\":{}", number(limits.max_age.map(|age| age.as_millis())))?;
        write!(out, ",\"max_messages\":{}", number(limits.max_messages.map(u128::from)))?;
        write!(out, ",\"max_bytes\":{}", number(limits.max_bytes.map(u128::from)))?;
        write!(out, ",\"max_per_subject\":{}", number(limits.max_per_subject.map(u128::from)))?;
        write!(out, ",\"keep_unacked\":{}", number(limits.keep_unacked.map(u128::from)))?;
        write!(out, ",\"set_by\":\"{}\"", info.set_by.as_str())?;
        write!(out, ",\"messages\":{},\"bytes\":{}", info.messages, info.bytes)?;
        write!(out, ",\"counted_through\":{}", info.counted_through)?;
        writeln!(out, ",\"pruned_through\":{}}}", info.pruned_through)?;
    }
    writeln!(out, "{{\"dead_letters_max_age_ms\":{}}}", number(dead.0.map(|age| age.as_millis())))
}
