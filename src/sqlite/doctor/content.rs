//! What is in a file.

use rusqlite::Connection;

use crate::clock::{Clock, SystemClock};
use crate::consumer_info::ConsumerInfo;
use crate::error::ErrorKind;
use crate::sqlite::doctor::place::mib;
use crate::sqlite::doctor::{Depth, Findings, Severity, retention};
use crate::sqlite::stats::{self, FileStats, Opened};
use crate::sqlite::tables::requests::recover;
use crate::sqlite::tables::{deliveries, file, health, history, meta, peers};
use crate::sqlite::{boot, fault, schema};

/// Free pages that are worth to be told of: half of a file that is not small.
const MUCH_FREE: u64 = 16 << 20;
/// Clocks of one machine differ by nothing, but a hand may set them.
const FUTURE_MILLIS: i64 = 60_000;
/// What the service of a file does now and then may be late by this.
const LATE_MILLIS: i64 = 120_000;
/// Rows in quarantine that are told of one by one.
const QUARANTINED: u64 = 5;

const SALVAGE: &str = "restore a backup, or save what can be read: rowbus salvage";

pub(super) fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Corrupt => SALVAGE,
        ErrorKind::NotADatabase => {
            "check the path; an encrypted file needs its key, which this command has not"
        }
        ErrorKind::ReadOnly => "run it as the file's owner",
        ErrorKind::SchemaTooNew => "update rowbus",
        _ => "try again; if it stays, look at what has the file open",
    }
}

/// Whether SQLite can read it at all.
pub(super) fn is_database(opened: &Opened, findings: &mut Findings) -> bool {
    match history::is_schema_empty(&opened.conn) {
        Ok(_) => {
            findings.ok("database", "it is an SQLite database");
            true
        }
        Err(error) => {
            let error = fault::error(&format!("reading {}", opened.path.display()), error);
            findings.add("database", Severity::Error, error.to_string(), remedy(error.kind()));
            false
        }
    }
}

pub(super) fn look(opened: &Opened, depth: Depth, findings: &mut Findings) {
    let conn = &opened.conn;
    integrity(conn, depth, findings);
    if !is_bus(conn, findings) {
        return;
    }
    // What cannot be read is told, and the other checks are made none the less.
    let check = |findings: &mut Findings, name, look: &dyn Fn(&mut Findings) -> rusqlite::Result<()>| {
        if let Err(error) = look(findings) {
            findings.add(name, Severity::Error, format!("it cannot be looked at: {error}"), SALVAGE);
        }
    };
    check(findings, "space", &|findings| space(conn, findings));
    check(findings, "clock", &|findings| clock(conn, findings));
    check(findings, "quarantine", &|findings| quarantine(conn, findings));
    check(findings, "peers", &|findings| dead_peers(opened, findings));
    check(findings, "leases", &|findings| leases(opened, findings));
    check(findings, "requests", &|findings| requests(conn, findings));
    match stats::file_stats(opened) {
        Ok(stats) => {
            dead_letters(&stats, findings);
            consumers(&stats, findings);
            check(findings, "retention", &|findings| retention::examine(conn, &stats, findings));
        }
        Err(error) => findings.add("content", Severity::Error, error.to_string(), SALVAGE),
    }
}

fn integrity(conn: &Connection, depth: Depth, findings: &mut Findings) {
    match file::check(conn, depth == Depth::Full) {
        Ok(found) if found.is_empty() => findings.ok("integrity", "all pages can be read and hang together"),
        Ok(found) => {
            for line in found {
                findings.add("integrity", Severity::Error, line, SALVAGE);
            }
        }
        Err(error) => findings.add("integrity", Severity::Error, error.to_string(), SALVAGE),
    }
}

/// Whether there is a bus to be looked at.
fn is_bus(conn: &Connection, findings: &mut Findings) -> bool {
    let has_history = history::exists(conn).unwrap_or(false);
    match schema::examine(conn) {
        Ok(_) if !has_history => {
            let message = "there is no bus in this file";
            findings.add(
                "schema",
                Severity::Error,
                message,
                "check the path; a program that opens a bus on it makes the tables",
            );
        }
        Ok(missing) => {
            if let Err(error) = schema::examine_shape(conn) {
                let remedy = "rowbus export and import into a new file: what is missing is not made again";
                findings.add("schema", Severity::Error, error.to_string(), remedy);
            }
            if missing.is_empty() {
                findings.ok_unless_found("schema", "it is that of this version");
                return has_history;
            }
            let message = format!("it is older than this version: {} is missing", missing.join(", "));
            findings.add(
                "schema",
                Severity::Notice,
                message,
                "nothing: the program that it belongs to migrates it when it is updated, or rowbus migrate up does",
            );
        }
        Err(error) => {
            let remedy = match error.kind() {
                ErrorKind::NameTaken => "rename the table of the host, or put the bus into another file",
                ErrorKind::SchemaTooNew => "update this command",
                _ => "restore a backup; a schema that was changed by hand is not one of rowbus",
            };
            findings.add("schema", Severity::Error, error.to_string(), remedy);
        }
    }
    has_history
}

fn space(conn: &Connection, findings: &mut Findings) -> rusqlite::Result<()> {
    let (pages, free, size) = (file::pages(conn)?, file::free_pages(conn)?, file::page_size(conn)?);
    let message = format!("{free} of {pages} pages are free ({})", mib(free * size));
    if free * 2 > pages && free * size >= MUCH_FREE {
        let remedy =
            "nothing: new messages use them first; sqlite3 FILE 'PRAGMA incremental_vacuum' gives them back";
        findings.add("space", Severity::Notice, message, remedy);
    } else {
        findings.ok("space", message);
    }
    Ok(())
}

fn clock(conn: &Connection, findings: &mut Findings) -> rusqlite::Result<()> {
    let now = SystemClock.unix_millis();
    match health::latest(conn)? {
        Some((id, time)) if time > now.saturating_add(FUTURE_MILLIS) => {
            let message = format!(
                "event {id} is from {} s in the future: a clock was wrong then, or is now",
                (time - now) / 1000
            );
            let remedy = "check the clock; events of the future are kept for longer than others, and a start at a time may miss some";
            findings.add("clock", Severity::Warning, message, remedy);
        }
        _ => findings.ok("clock", "no event is from the future"),
    }
    Ok(())
}

fn quarantine(conn: &Connection, findings: &mut Findings) -> rusqlite::Result<()> {
    for (table, row, reason) in file::quarantine(conn, QUARANTINED)? {
        let message = format!("row {row} of {table} is no message: {reason}");
        let remedy = "readers pass it over; correct what writes it, then delete the row and its line in bus_quarantine";
        findings.add("quarantine", Severity::Warning, message, remedy);
    }
    let (count, is_exact) = file::quarantined(conn, 10_000)?;
    if count > QUARANTINED {
        let more = format!("{}{} more rows", if is_exact { "" } else { "at least " }, count - QUARANTINED);
        findings.add(
            "quarantine",
            Severity::Warning,
            more,
            "sqlite3 -readonly FILE 'SELECT * FROM bus_quarantine'",
        );
    }
    findings.ok_unless_found("quarantine", "every row that was read is a message");
    Ok(())
}

fn dead_peers(opened: &Opened, findings: &mut Findings) -> rusqlite::Result<()> {
    for row in peers::list(&opened.conn)? {
        if opened.is_alive(row.slot) == Some(false) {
            let message = format!("{:?} (process {}) has died, and is still listed", row.name, row.pid);
            findings.add(
                "peers",
                Severity::Notice,
                message,
                "nothing: the next bus that opens the file removes it",
            );
        }
    }
    findings.ok_unless_found("peers", "everybody who is listed is alive, as far as can be told");
    Ok(())
}

/// Leases of the dead, and those that have run out without anybody seeing to it.
fn leases(opened: &Opened, findings: &mut Findings) -> rusqlite::Result<()> {
    let conn = &opened.conn;
    let version = newest_migration(conn)?;
    let mut stuck = |what: &str, of: Option<i64>, until: Option<i64>, remedy: &str| {
        let until = until.unwrap_or(i64::MAX);
        let is_dead = of.is_some_and(|of| opened.is_alive(of) == Some(false));
        let late = SystemClock.awake_millis().saturating_sub(until);
        if is_dead {
            let message = format!("{what} held by a process that has died (slot {})", of.unwrap_or(0));
            findings.add("leases", Severity::Warning, message, remedy);
        } else if late > LATE_MILLIS && of_this_boot(conn) {
            let message = format!("{what} held whose lease ended {} s ago", late / 1000);
            findings.add("leases", Severity::Warning, message, remedy);
        }
    };
    if version >= 2 {
        let remedy = "start a server of their subjects: it takes them over at once";
        for of in recover::holders(conn)?.into_iter().map(Some).chain([None]) {
            let until = recover::first_lease(conn, of)?;
            if until.is_some() {
                stuck("requests or jobs are", of, until, remedy);
            }
        }
    }
    if version >= 3 {
        let remedy = "open the consumer, as with rowbus sub --durable: the next member goes on with them";
        for held in deliveries::holders(conn)? {
            stuck(
                &format!("deliveries of consumer {} are", held.consumer),
                Some(held.peer),
                Some(held.first_until),
                remedy,
            );
        }
    }
    findings.ok_unless_found("leases", "none is stuck, as far as can be told");
    Ok(())
}

/// Whether awake times in the file are those of this machine since it was started.
fn of_this_boot(conn: &Connection) -> bool {
    boot::id().is_some_and(|boot| meta::get(conn, meta::BOOT_ID).ok().flatten() == Some(boot))
}

fn newest_migration(conn: &Connection) -> rusqlite::Result<i64> {
    Ok(history::applied(conn)?.iter().map(|applied| applied.version).max().unwrap_or(0))
}

fn requests(conn: &Connection, findings: &mut Findings) -> rusqlite::Result<()> {
    if newest_migration(conn)? < 2 {
        return Ok(());
    }
    let remedy = "start a server of any subject: it tidies up within a minute";
    let awake = SystemClock.awake_millis().saturating_sub(LATE_MILLIS);
    let overdue = if of_this_boot(conn) { health::overdue_requests(conn, awake)? } else { 0 };
    if overdue > 0 {
        let message = format!("{overdue} requests are left over whose callers have given up");
        findings.add("requests", Severity::Notice, message, remedy);
    }
    let expired = health::expired_jobs(conn, SystemClock.unix_millis().saturating_sub(LATE_MILLIS))?;
    if expired > 0 {
        let message = format!("{expired} jobs have expired with no server awake to say so");
        findings.add("requests", Severity::Warning, message, remedy);
    }
    findings.ok_unless_found("requests", "none is overdue");
    Ok(())
}

fn dead_letters(stats: &FileStats, findings: &mut Findings) {
    let dead = stats.dead_letters;
    if dead.count == 0 {
        return findings.ok("dead letters", "there are none");
    }
    let message = format!(
        "{}{} jobs or events were given up on",
        if dead.is_exact { "" } else { "at least " },
        dead.count
    );
    findings.add(
        "dead letters",
        Severity::Warning,
        message,
        "rowbus dead ls, and then rowbus dead requeue or purge",
    );
}

fn consumers(stats: &FileStats, findings: &mut Findings) {
    for info in stats.consumers.iter().flatten() {
        consumer(info, findings);
    }
    findings.ok_unless_found("consumers", "none is held up");
}

fn consumer(info: &ConsumerInfo, findings: &mut Findings) {
    let name = &info.name;
    let pending = format!("{}{}", info.num_pending, if info.num_pending_is_exact { "" } else { " or more" });
    let mut add =
        |severity, message: String, remedy: &str| findings.add("consumers", severity, message, remedy);
    if let Some(reason) = &info.stopped {
        let message = format!(
            "{name:?} stands in front of event {}, which could not be handled: {reason}",
            info.ack_floor + 1
        );
        add(Severity::Error, message, &format!("correct what fails, and then rowbus consumer resume {name}"));
    } else if info.paused {
        let remedy = format!("rowbus consumer resume {name}");
        add(Severity::Notice, format!("{name:?} is paused, and {pending} events wait"), &remedy);
    } else if !info.num_pending_is_exact {
        let remedy = "add members to it, or see what holds them up: rowbus consumer info";
        add(
            Severity::Warning,
            format!("{name:?} is {} sequences behind, and {pending} events wait", info.lag),
            remedy,
        );
    } else if info.members == Some(0) && info.num_pending > 0 {
        let remedy = format!("start its program, or have it gone: rowbus consumer rm {name}");
        add(Severity::Notice, format!("{name:?} has no members, and {pending} events wait"), &remedy);
    }
}
