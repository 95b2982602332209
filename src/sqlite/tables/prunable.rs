//! `bus_events` as the pruner sees it: rows without their content, counted, and removed.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

// By the primary key, forward. SQLite tells how long a value is from the head of the record, and loads none.
const SIZES_AFTER: &str =
    "SELECT id, subject, octet_length(data) + ifnull(octet_length(headers), 0) FROM bus_events
    WHERE id > ?1 ORDER BY id LIMIT ?2";
const AGES_AFTER: &str =
    "SELECT id, subject, octet_length(data) + ifnull(octet_length(headers), 0), created_at FROM bus_events
    WHERE id > ?1 ORDER BY id LIMIT ?2";
const TIMES_AFTER: &str = "SELECT id, created_at FROM bus_events WHERE id > ?1 ORDER BY id LIMIT ?2";
// By bus_events_by_subject, whose second column is the id.
const AGES_OF_SUBJECT_AFTER: &str =
    "SELECT id, subject, octet_length(data) + ifnull(octet_length(headers), 0), created_at
    FROM bus_events WHERE subject = ?3 AND id > ?1 ORDER BY id LIMIT ?2";
const NTH_NEWEST: &str =
    "SELECT id FROM bus_events WHERE subject = ?1 AND id <= ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3";
const UP_TO: &str =
    "SELECT id, subject, octet_length(data) + ifnull(octet_length(headers), 0), 0 FROM bus_events
    WHERE subject = ?1 AND id > ?2 AND id <= ?3 ORDER BY id LIMIT ?4";
// By the primary key.
const REMOVE: &str = "DELETE FROM bus_events WHERE id = ?1";
const FIRST: &str = "SELECT ifnull(min(id), 0) FROM bus_events";
const NEWEST_TIME: &str = "SELECT created_at FROM bus_events ORDER BY id DESC LIMIT 1";
const FORGET_REPORT: &str = "DELETE FROM bus_quarantine WHERE source = 'bus_events' AND row_id = ?1";
const HAS_REPORTS: &str = "SELECT EXISTS (SELECT 1 FROM bus_quarantine)";
// Settings of the file.
const AUTO_VACUUM: &str = "PRAGMA auto_vacuum";
const FREE: &str = "PRAGMA freelist_count";
const PAGES: &str = "PRAGMA page_count";

/// A row, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weighed {
    pub(crate) id: u64,
    /// Empty if it is no text.
    pub(crate) subject: String,
    /// Of payload and headers.
    pub(crate) bytes: u64,
    pub(crate) created_at: i64,
}

/// Calls `each` with sequence, subject and size of the rows behind this one; whether there may be more.
pub(crate) fn sizes_after(
    conn: &Connection,
    after: u64,
    most: usize,
    mut each: impl FnMut(u64, &str, u64),
) -> rusqlite::Result<bool> {
    let mut statement = conn.prepare_cached(SIZES_AFTER)?;
    let mut rows = statement.query((id(after), most as i64))?;
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        seen += 1;
        each(row.get::<_, i64>(0)?.cast_unsigned(), text(row.get_ref(1)?), number(row, 2)?);
    }
    Ok(seen == most)
}

/// The rows behind this one, of one subject or of all.
pub(crate) fn ages_after(
    conn: &Connection,
    after: u64,
    subject: Option<&str>,
    most: usize,
) -> rusqlite::Result<Vec<Weighed>> {
    match subject {
        Some(subject) => conn
            .prepare_cached(AGES_OF_SUBJECT_AFTER)?
            .query_map((id(after), most as i64, subject), weighed)?
            .collect(),
        None => conn.prepare_cached(AGES_AFTER)?.query_map((id(after), most as i64), weighed)?.collect(),
    }
}

/// The newest row of a subject, up to `through`, that has so many newer ones.
pub(crate) fn beyond_newest(
    conn: &Connection,
    subject: &str,
    through: u64,
    keep: u64,
) -> rusqlite::Result<Option<u64>> {
    let found: Option<i64> = conn
        .prepare_cached(NTH_NEWEST)?
        .query_row((subject, id(through), id(keep)), |row| row.get(0))
        .optional()?;
    Ok(found.map(i64::cast_unsigned))
}

/// Rows of a subject behind one and up to another.
pub(crate) fn of_subject(
    conn: &Connection,
    subject: &str,
    (after, through): (u64, u64),
    most: usize,
) -> rusqlite::Result<Vec<Weighed>> {
    conn.prepare_cached(UP_TO)?.query_map((subject, id(after), id(through), most as i64), weighed)?.collect()
}

/// Of the rows behind this one, so many at most, the first that was published at such a time, with that; and how far it was
/// looked.
pub(crate) fn first_dated(
    conn: &Connection,
    after: u64,
    most: usize,
    is_such: impl Fn(i64) -> bool,
) -> rusqlite::Result<(Option<(u64, i64)>, u64)> {
    let mut statement = conn.prepare_cached(TIMES_AFTER)?;
    let mut rows = statement.query((id(after), most as i64))?;
    let mut through = after;
    while let Some(row) = rows.next()? {
        through = row.get::<_, i64>(0)?.cast_unsigned();
        if let Some(time) = row.get_ref(1)?.as_i64().ok().filter(|time| is_such(*time)) {
            return Ok((Some((through, time)), through));
        }
    }
    Ok((None, through))
}

/// Removes a row; `false` if it was gone.
pub(crate) fn remove(conn: &Connection, sequence: u64) -> rusqlite::Result<bool> {
    Ok(conn.prepare_cached(REMOVE)?.execute([id(sequence)])? > 0)
}

/// The first sequence that is there; 0 if none is.
pub(crate) fn first(conn: &Connection) -> rusqlite::Result<u64> {
    conn.prepare_cached(FIRST)?.query_row([], |row| number(row, 0))
}

/// When the newest event was published.
pub(crate) fn newest_time(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    let time = |row: &Row<'_>| Ok(row.get_ref(0)?.as_i64().ok());
    Ok(conn.prepare_cached(NEWEST_TIME)?.query_row([], time).optional()?.flatten())
}

/// Whether any row was reported as unreadable.
pub(crate) fn has_reports(conn: &Connection) -> rusqlite::Result<bool> {
    conn.prepare_cached(HAS_REPORTS)?.query_row([], |row| row.get(0))
}

/// What was reported of a row goes with it.
pub(crate) fn forget_report(conn: &Connection, sequence: u64) -> rusqlite::Result<usize> {
    conn.prepare_cached(FORGET_REPORT)?.execute([id(sequence)])
}

/// Pages of the file, and those of them that are free; `None` where free pages are not given back, as the file was made so.
pub(crate) fn space(conn: &Connection) -> rusqlite::Result<Option<(u64, u64)>> {
    let ask = |sql| conn.prepare_cached(sql)?.query_row([], |row| number(row, 0));
    // 2 is INCREMENTAL.
    if ask(AUTO_VACUUM)? != 2 {
        return Ok(None);
    }
    Ok(Some((ask(PAGES)?, ask(FREE)?)))
}

/// Gives back so many free pages.
pub(crate) fn give_back(conn: &Connection, pages: u64) -> rusqlite::Result<()> {
    // A step a page; a PRAGMA takes no parameters.
    let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn weighed(row: &Row<'_>) -> rusqlite::Result<Weighed> {
    Ok(Weighed {
        id: row.get::<_, i64>(0)?.cast_unsigned(),
        subject: text(row.get_ref(1)?).to_owned(),
        bytes: number(row, 2)?,
        created_at: row.get_ref(3)?.as_i64().unwrap_or(0),
    })
}

fn text(value: ValueRef<'_>) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(row.get_ref(at)?.as_i64().unwrap_or(0).max(0).cast_unsigned())
}

fn id(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::{log, plan};

    #[test]
    fn every_step_is_by_an_index_and_sorts_nothing() {
        let conn = log();
        let (by_key, by_subject) = ("USING INTEGER PRIMARY KEY", "bus_events_by_subject");
        for (sql, params, index) in [
            (SIZES_AFTER, 2, by_key),
            (AGES_AFTER, 2, by_key),
            (AGES_OF_SUBJECT_AFTER, 3, by_subject),
            (NTH_NEWEST, 3, by_subject),
            (UP_TO, 4, by_subject),
            (REMOVE, 1, by_key),
            (FORGET_REPORT, 1, "SEARCH bus_quarantine USING PRIMARY KEY"),
        ] {
            let plan = plan(&conn, sql, params);
            assert!(
                plan.contains(index) && !plan.contains("SCAN") && !plan.contains("TEMP"),
                "{sql}: {plan}"
            );
        }
        // One step from either end.
        assert!(plan(&conn, FIRST, 0).contains("SEARCH bus_events"));
        assert!(plan(&conn, NEWEST_TIME, 0).contains("SCAN bus_events"));
    }

    #[test]
    fn sizes_are_those_of_payload_and_headers_in_bytes_whoever_wrote_them() {
        let conn = log();
        conn.execute_batch(
            "INSERT INTO bus_events (subject, data, headers) VALUES ('a', x'0102', NULL), ('b', 'übel', 'A: ü' || char(10))",
        )
        .unwrap();
        let mut sizes = Vec::new();
        assert!(
            !sizes_after(&conn, 0, 9, |id, subject, bytes| sizes.push((id, subject.to_owned(), bytes)))
                .unwrap()
        );
        assert_eq!(sizes, [(1, "a".to_owned(), 2), (2, "b".to_owned(), 11)]);
        assert_eq!(ages_after(&conn, 1, Some("b"), 9).unwrap()[0].bytes, 11);
    }

    #[test]
    fn of_a_subject_all_but_the_newest_are_found() {
        let conn = log();
        for _ in 0..5 {
            conn.execute_batch("INSERT INTO bus_events (subject) VALUES ('a'), ('b')").unwrap();
        }
        assert_eq!(beyond_newest(&conn, "a", 9, 2).unwrap(), Some(5));
        assert_eq!(beyond_newest(&conn, "a", 9, 5).unwrap(), None);
        let ids: Vec<_> = of_subject(&conn, "a", (1, 5), 9).unwrap().into_iter().map(|row| row.id).collect();
        assert_eq!(ids, [3, 5]);
    }
}
