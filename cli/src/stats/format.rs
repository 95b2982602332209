//! How a file fares, on standard output.

use std::io::{self, Write};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rowbus::sqlite::{Count, FileStats};

use crate::colour;
use crate::consumer;
use crate::duration::written;
use crate::escape::Escaped;
use crate::json;
use crate::start::rfc3339;
use crate::stats::watch::Rates;

/// What the names of lines take in front of what they say.
const WIDTH: usize = 16;

pub(super) fn count(count: Count) -> String {
    format!("{}{}", count.count, if count.is_exact { "" } else { "+" })
}

/// Bytes for people: three digits or so.
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A line for each fact, and a table of consumers.
pub(super) fn write_table(out: &mut impl Write, stats: &FileStats, rates: Option<&Rates>) -> io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(out, "{:<WIDTH$}{value}", colour::faint(name));
    let free = stats.free_pages * stats.page_bytes;
    line("file", &format!("{}, {} of it free", bytes(stats.file_bytes), bytes(free)))?;
    line("wal", &bytes(stats.wal_bytes))?;
    if let Some(available) = stats.disk_available {
        line("disk left", &bytes(available))?;
    }
    line("events", &events(stats))?;
    if let Some(rates) = rates {
        line("published", &format!("{:.0} a second", rates.published))?;
    }
    if let Some(requests) = &stats.requests {
        let states = requests.by_state();
        let states: Vec<_> = states.iter().map(|(name, found)| format!("{} {name}", count(*found))).collect();
        line("requests, jobs", &states.join(", "))?;
    }
    line("dead letters", &count(stats.dead_letters))?;
    line("quarantined", &count(stats.quarantined))?;
    if let Some(peers) = &stats.peers {
        let names: Vec<_> =
            peers.iter().map(|peer| format!("{} ({})", Escaped(peer.name.as_bytes()), peer.pid)).collect();
        line("peers", &if names.is_empty() { "none".to_owned() } else { names.join(", ") })?;
    }
    line("schema", &stats.schema_version.to_string())?;
    if let Some(incarnation) = &stats.incarnation {
        line("incarnation", &Escaped(incarnation.as_bytes()).to_string())?;
    }
    line("SQLite", stats.sqlite_version)?;
    match &stats.consumers {
        Some(consumers) if !consumers.is_empty() => {
            out.write_all(b"\n")?;
            consumer::write_table(out, consumers)
        }
        _ => Ok(()),
    }
}

fn events(stats: &FileStats) -> String {
    let end = |(sequence, time): (u64, DateTime<Utc>)| format!("{sequence} of {}", rfc3339(time));
    match (stats.oldest, stats.newest) {
        (Some(oldest), Some(newest)) => {
            format!("{}, from {} to {}", count(stats.events), end(oldest), end(newest))
        }
        _ => format!("none; the last was {}", stats.last_sequence),
    }
}

/// A line for each look, for logs.
pub(super) fn write_line(
    out: &mut impl Write,
    stats: &FileStats,
    rates: Option<&Rates>,
    now: DateTime<Utc>,
) -> io::Result<()> {
    let published = rates.map_or_else(|| "-".to_owned(), |rates| format!("{:.0}/s", rates.published));
    write!(out, "{}  events {}  published {published}", rfc3339(now), count(stats.events))?;
    write!(out, "  file {}  wal {}", bytes(stats.file_bytes), bytes(stats.wal_bytes))?;
    if let Some(requests) = &stats.requests {
        write!(out, "  ready {}  leased {}", count(requests.ready), count(requests.leased))?;
    }
    write!(out, "  dead {}", count(stats.dead_letters))?;
    if let Some(behind) = stats.consumers.iter().flatten().max_by_key(|consumer| consumer.lag) {
        let age = match behind.lag_millis {
            0 => String::new(),
            millis => format!(", {}", written(Duration::from_millis(millis))),
        };
        write!(out, "  most behind {} ({}{age})", Escaped(behind.name.as_bytes()), behind.lag)?;
    }
    out.write_all(b"\n")
}

/// One object, its fields in one order, with units in their names; what is not known, or the file does not have, is `null`.
pub(super) fn write_json(out: &mut impl Write, stats: &FileStats) -> io::Result<()> {
    write!(out, "{{\"file_bytes\":{},\"wal_bytes\":{}", stats.file_bytes, stats.wal_bytes)?;
    write!(out, ",\"disk_available_bytes\":{}", or_null(stats.disk_available))?;
    write!(out, ",\"page_bytes\":{},\"pages\":{}", stats.page_bytes, stats.pages)?;
    write!(out, ",\"free_pages\":{}", stats.free_pages)?;
    for (name, end) in [("oldest", stats.oldest), ("newest", stats.newest)] {
        match end {
            Some((sequence, time)) => {
                write!(out, ",\"{name}\":{{\"sequence\":{sequence},\"time\":\"{}\"}}", rfc3339(time))?;
            }
            None => write!(out, ",\"{name}\":null")?,
        }
    }
    write!(out, ",\"last_sequence\":{}", stats.last_sequence)?;
    write_count(out, "events", stats.events)?;
    out.write_all(b",\"requests\":")?;
    match &stats.requests {
        Some(requests) => {
            let mut separator = "{";
            for (state, count) in requests.by_state() {
                write!(
                    out,
                    "{separator}\"{state}\":{},\"{state}_is_exact\":{}",
                    count.count, count.is_exact
                )?;
                separator = ",";
            }
            out.write_all(b"}")?;
        }
        None => out.write_all(b"null")?,
    }
    write_count(out, "dead_letters", stats.dead_letters)?;
    write_count(out, "quarantined", stats.quarantined)?;
    out.write_all(b",\"consumers\":")?;
    write_list(out, stats.consumers.as_deref(), |out, info| consumer::write_json_object(out, info))?;
    out.write_all(b",\"peers\":")?;
    write_list(out, stats.peers.as_deref(), |out, peer| {
        write!(out, "{{\"name\":")?;
        json::string(out, &peer.name)?;
        write!(out, ",\"pid\":{},\"version\":", peer.pid)?;
        json::string(out, &peer.version)?;
        out.write_all(b"}")
    })?;
    write!(out, ",\"schema_version\":{},\"incarnation\":", stats.schema_version)?;
    match &stats.incarnation {
        Some(incarnation) => json::string(out, incarnation)?,
        None => out.write_all(b"null")?,
    }
    writeln!(out, ",\"sqlite_version\":\"{}\"}}", stats.sqlite_version)
}

fn write_count(out: &mut impl Write, name: &str, count: Count) -> io::Result<()> {
    write!(out, ",\"{name}\":{},\"{name}_is_exact\":{}", count.count, count.is_exact)
}

fn write_list<W: Write, T>(
    out: &mut W,
    list: Option<&[T]>,
    write: impl Fn(&mut W, &T) -> io::Result<()>,
) -> io::Result<()> {
    let Some(list) = list else { return out.write_all(b"null") };
    out.write_all(b"[")?;
    for (at, item) in list.iter().enumerate() {
        out.write_all(if at == 0 { b"" } else { b"," })?;
        write(out, item)?;
    }
    out.write_all(b"]")
}

fn or_null(number: Option<u64>) -> String {
    number.map_or_else(|| "null".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_with_a_unit_that_fits() {
        assert_eq!([0, 1023, 1536, 5 << 20].map(bytes), ["0 bytes", "1023 bytes", "1.5 KiB", "5.0 MiB"]);
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }
}
