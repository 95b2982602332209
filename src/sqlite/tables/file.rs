//! What SQLite says of the file itself, and counts that stop at a bound.

use rusqlite::{Connection, OptionalExtension, Row};

// Pragmas without a table behind them.
const PAGES: &str = "PRAGMA page_count";
const FREE: &str = "PRAGMA freelist_count";
const PAGE_SIZE: &str = "PRAGMA page_size";
const JOURNAL_MODE: &str = "PRAGMA journal_mode";
const QUICK_CHECK: &str = "PRAGMA quick_check(20)";
const INTEGRITY_CHECK: &str = "PRAGMA integrity_check(20)";
// By the primary key, from either end.
const OLDEST: &str = "SELECT id, created_at FROM bus_events ORDER BY id LIMIT 1";
const NEWEST: &str = "SELECT id, created_at FROM bus_events ORDER BY id DESC LIMIT 1";
// By the primary key, as many steps as the bound.
const EVENTS_AFTER: &str =
    "SELECT count(*) FROM (SELECT 1 FROM bus_events WHERE id > ?1 ORDER BY id LIMIT ?2)";
// By the index that holds only such rows, as many steps as the bound.
const READY: &str = "SELECT count(*) FROM (SELECT 1 FROM bus_requests WHERE ready IS NOT NULL LIMIT ?1)";
const SCHEDULED: &str = "SELECT count(*) FROM (SELECT 1 FROM bus_requests WHERE run_at IS NOT NULL LIMIT ?1)";
const LEASED: &str =
    "SELECT count(*) FROM (SELECT 1 FROM bus_requests WHERE lease_until IS NOT NULL LIMIT ?1)";
const KEPT: &str = "SELECT count(*) FROM (SELECT 1 FROM bus_requests WHERE keep_until IS NOT NULL LIMIT ?1)";
// By bus_requests_by_key: jobs that wait are those with a key that are in no other state.
const WAITING: &str = "SELECT ifnull(sum(waits), 0), count(*) FROM (
    SELECT ready IS NULL AND lease_until IS NULL AND run_at IS NULL AS waits
    FROM bus_requests WHERE key IS NOT NULL AND finished_at IS NULL LIMIT ?1)";
// A scan up to the bound, each.
const DEAD: &str = "SELECT count(*) FROM (SELECT 1 FROM bus_dead_letters LIMIT ?1)";
const QUARANTINED: &str = "SELECT count(*) FROM (SELECT 1 FROM bus_quarantine LIMIT ?1)";
const QUARANTINE: &str = "SELECT source, row_id, reason FROM bus_quarantine ORDER BY source, row_id LIMIT ?1";

pub(crate) fn number(conn: &Connection, sql: &'static str) -> rusqlite::Result<u64> {
    conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|number| number.max(0).cast_unsigned())
}

/// Pages of the database as the snapshot has it, in the WAL or not.
pub(crate) fn pages(conn: &Connection) -> rusqlite::Result<u64> {
    number(conn, PAGES)
}

pub(crate) fn free_pages(conn: &Connection) -> rusqlite::Result<u64> {
    number(conn, FREE)
}

pub(crate) fn page_size(conn: &Connection) -> rusqlite::Result<u64> {
    number(conn, PAGE_SIZE)
}

pub(crate) fn journal_mode(conn: &Connection) -> rusqlite::Result<String> {
    conn.query_row(JOURNAL_MODE, [], |row| row.get(0))
}

/// What SQLite finds wrong with the file; `full` compares the indexes with their tables as well.
pub(crate) fn check(conn: &Connection, full: bool) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare(if full { INTEGRITY_CHECK } else { QUICK_CHECK })?;
    let found =
        statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

/// A sequence and its time.
pub(crate) type End = Option<(u64, i64)>;

/// The oldest and the newest event that the log has.
pub(crate) fn ends(conn: &Connection) -> rusqlite::Result<(End, End)> {
    let end = |row: &Row<'_>| {
        Ok((row.get::<_, i64>(0)?.max(0).cast_unsigned(), row.get_ref(1)?.as_i64().unwrap_or(0)))
    };
    let oldest = conn.query_row(OLDEST, [], end).optional()?;
    Ok((oldest, conn.query_row(NEWEST, [], end).optional()?))
}

/// A number, and whether it was counted up to the end.
pub(crate) type Bounded = (u64, bool);

fn bounded(conn: &Connection, sql: &'static str, most: u64) -> rusqlite::Result<Bounded> {
    let counted: i64 = conn.query_row(sql, [most.saturating_add(1).cast_signed()], |row| row.get(0))?;
    let counted = counted.max(0).cast_unsigned();
    Ok((counted.min(most), counted <= most))
}

/// How many events there are: what was counted, as a number up to a sequence, and behind that up to the bound.
pub(crate) fn events(conn: &Connection, counted: (u64, u64), most: u64) -> rusqlite::Result<Bounded> {
    let (counted, through) = (counted.0, counted.1.cast_signed());
    let bound = most.saturating_add(1).cast_signed();
    let behind: i64 = conn.query_row(EVENTS_AFTER, [through, bound], |row| row.get(0))?;
    let behind = behind.max(0).cast_unsigned();
    Ok((counted.saturating_add(behind.min(most)), behind <= most))
}

/// Requests and jobs by state: ready, scheduled, waiting, leased, and finished ones whose reply is kept.
pub(crate) fn requests(conn: &Connection, most: u64) -> rusqlite::Result<[Bounded; 5]> {
    let bound = most.saturating_add(1).cast_signed();
    let waiting = conn.query_row(WAITING, [bound], |row| {
        let (waiting, seen): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok((waiting.max(0).cast_unsigned(), seen < bound))
    })?;
    Ok([
        bounded(conn, READY, most)?,
        bounded(conn, SCHEDULED, most)?,
        waiting,
        bounded(conn, LEASED, most)?,
        bounded(conn, KEPT, most)?,
    ])
}

pub(crate) fn dead_letters(conn: &Connection, most: u64) -> rusqlite::Result<Bounded> {
    bounded(conn, DEAD, most)
}

pub(crate) fn quarantined(conn: &Connection, most: u64) -> rusqlite::Result<Bounded> {
    bounded(conn, QUARANTINED, most)
}

/// Rows in quarantine: table, row, and why.
pub(crate) fn quarantine(conn: &Connection, most: u64) -> rusqlite::Result<Vec<(String, i64, String)>> {
    let mut statement = conn.prepare(QUARANTINE)?;
    let rows =
        statement.query_map([most.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::{log, plan};

    #[test]
    fn every_count_is_by_an_index_that_holds_little_else() {
        let conn = log();
        for (sql, params, index) in [
            (READY, 1, "INDEX bus_requests_ready"),
            (SCHEDULED, 1, "INDEX bus_requests_scheduled"),
            (LEASED, 1, "INDEX bus_requests_leased"),
            (KEPT, 1, "INDEX bus_requests_kept"),
            (WAITING, 1, "INDEX bus_requests_by_key"),
            (EVENTS_AFTER, 2, "INTEGER PRIMARY KEY"),
        ] {
            let plan = plan(&conn, sql, params);
            assert!(plan.contains(index) && !plan.contains("TEMP"), "{sql}: {plan}");
        }
        for sql in [OLDEST, NEWEST] {
            assert!(!plan(&conn, sql, 0).contains("TEMP"));
        }
    }

    #[test]
    fn a_count_says_whether_it_is_all_and_begins_behind_what_was_counted() {
        let conn = log();
        for _ in 0..5 {
            conn.execute("INSERT INTO bus_events (subject) VALUES ('a')", []).unwrap();
        }
        let none = (0, 0);
        assert_eq!(
            (events(&conn, none, 5).unwrap(), events(&conn, none, 4).unwrap()),
            ((5, true), (4, false))
        );
        assert_eq!(events(&conn, (2, 3), 2).unwrap(), (4, true));
        conn.execute_batch(
            "INSERT INTO bus_requests (subject) VALUES ('j'), ('j');
             INSERT INTO bus_requests (subject, ready, key) VALUES ('j', NULL, 'k');
             INSERT INTO bus_requests (subject, ready, lease_until) VALUES ('j', NULL, 5);",
        )
        .unwrap();
        let [ready, scheduled, waiting, leased, kept] = requests(&conn, 1).unwrap();
        assert_eq!([ready, scheduled, waiting], [(1, false), (0, true), (1, true)]);
        assert_eq!([leased, kept], [(1, true), (0, true)]);
    }
}
