//! `bus_events`: the log.

use bytes::Bytes;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use crate::defaults::MAX_ROW;
use crate::headers::Headers;
use crate::message::Message;
use crate::publish::PublishParts;
use crate::sql::INSERT_EVENT;
use crate::sqlite::filters::Filters;
use crate::subject::Subject;

/// The table's name, as the quarantine knows it.
pub(crate) const TABLE: &str = "bus_events";

// By the primary key, forward.
const AFTER: &str =
    "SELECT id, subject, data, headers, created_at, message_id FROM bus_events WHERE id > ?1 ORDER BY id";
// By bus_events_by_subject, whose second column is the id.
const OF_SUBJECT_AFTER: &str = "SELECT id, subject, data, headers, created_at, message_id FROM bus_events
    WHERE subject = ?2 AND id > ?1 ORDER BY id";
const LAST_OF_SUBJECT: &str = "SELECT id, subject, data, headers, created_at, message_id FROM bus_events
    WHERE subject = ?1 ORDER BY id DESC LIMIT 1";
const LAST_ID_OF_SUBJECT: &str = "SELECT max(id) FROM bus_events WHERE subject = ?1 AND id <= ?2";
// One step in the index a distinct subject, however many events it has.
const NEXT_SUBJECT: &str = "SELECT subject FROM bus_events WHERE subject > ?1 ORDER BY subject LIMIT 1";
// By the primary key.
const BY_ID: &str = "SELECT id, subject, data, headers, created_at, message_id FROM bus_events WHERE id = ?1";
const FIRST_FROM: &str = "SELECT id, created_at FROM bus_events WHERE id >= ?1 ORDER BY id LIMIT 1";
// A row a table with AUTOINCREMENT; it also counts events that have been removed.
const NEWEST: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'bus_events'";
// A scan, of the smallest index.
const ALL: &str = "SELECT count(*) FROM bus_events";
const SKIP_IDS: &str = "UPDATE sqlite_sequence SET seq = seq + ?2 WHERE name = ?1";
const BEGIN_IDS: &str = "INSERT INTO sqlite_sequence (name, seq)
    SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)";

/// Appends events to the log. The statement is looked up once a transaction: the look-up costs a tenth of a row.
pub(crate) struct Appender<'c> {
    conn: &'c Connection,
    insert: Option<CachedStatement<'c>>,
}

impl<'c> Appender<'c> {
    pub(crate) fn new(conn: &'c Connection) -> Self {
        Self { conn, insert: None }
    }

    /// Appends an event and gives its sequence.
    pub(crate) fn append(&mut self, event: &PublishParts, now: i64) -> rusqlite::Result<u64> {
        let insert = match &mut self.insert {
            Some(insert) => insert,
            none => none.insert(self.conn.prepare_cached(INSERT_EVENT)?),
        };
        let headers = event.headers.encode();
        insert.execute((
            event.subject.as_str(),
            &event.payload[..],
            headers,
            now,
            event.message_id.as_deref(),
        ))?;
        Ok(self.conn.last_insert_rowid().cast_unsigned())
    }
}

/// The newest sequence that was ever given out; 0 in a new file.
pub(crate) fn newest(conn: &Connection) -> rusqlite::Result<u64> {
    let seq: Option<i64> = conn.prepare_cached(NEWEST)?.query_row([], |row| row.get(0)).optional()?;
    Ok(seq.unwrap_or(0).max(0).cast_unsigned())
}

/// How many events there are. A scan: for files that nobody waits for.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<u64> {
    conn.query_row(ALL, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// The sequence of a subject's newest event up to `through`; 0 if there is none.
pub(crate) fn last_sequence(conn: &Connection, subject: &str, through: u64) -> rusqlite::Result<u64> {
    let through = i64::try_from(through).unwrap_or(i64::MAX);
    let id: Option<i64> =
        conn.prepare_cached(LAST_ID_OF_SUBJECT)?.query_row((subject, through), |row| row.get(0))?;
    Ok(id.unwrap_or(0).max(0).cast_unsigned())
}

/// A subject's newest event.
pub(crate) fn last(conn: &Connection, subject: &Subject) -> rusqlite::Result<Option<Decoded>> {
    conn.prepare_cached(LAST_OF_SUBJECT)?.query_row([subject.as_str()], |row| decode(row, None)).optional()
}

/// The event of this sequence.
pub(crate) fn get(conn: &Connection, sequence: u64) -> rusqlite::Result<Option<Decoded>> {
    conn.prepare_cached(BY_ID)?.query_row([sequence.cast_signed()], |row| decode(row, None)).optional()
}

/// The distinct subject that follows this text; neither need be UTF-8.
pub(crate) fn next_subject(conn: &Connection, after: &[u8]) -> rusqlite::Result<Option<Vec<u8>>> {
    let after = ToSqlOutput::Borrowed(ValueRef::Text(after));
    let read = |row: &Row<'_>| match row.get_ref(0)? {
        ValueRef::Text(bytes) => Ok(Some(bytes.to_vec())),
        // Blobs sort behind all text, and none of them is a subject.
        _ => Ok(None),
    };
    Ok(conn.prepare_cached(NEXT_SUBJECT)?.query_row([after], read).optional()?.flatten())
}

/// The first sequence, from 1, whose event is not older than this; one beyond the newest if all are.
pub(crate) fn first_since(conn: &Connection, unix_millis: i64) -> rusqlite::Result<u64> {
    let mut statement = conn.prepare_cached(FIRST_FROM)?;
    // Invariant: everything below `low` is older, `high` or the first event after it is not.
    let (mut low, mut high) = (1, newest(conn)?.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        let found = statement.query_row([middle.cast_signed()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get_ref(1)?.as_i64().unwrap_or(i64::MIN)))
        });
        match found.optional()? {
            Some((id, created_at)) if created_at < unix_millis => low = id.cast_unsigned() + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Goes on `by` ids later, so that none that was lost with power is given again.
pub(crate) fn skip_ids(conn: &Connection, table: &str, by: i64) -> rusqlite::Result<()> {
    conn.execute(SKIP_IDS, (table, by))?;
    conn.execute(BEGIN_IDS, (table, by)).map(|_| ())
}

/// Events in sequence order, as many as fit into one page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) messages: Vec<Message>,
    /// What the messages weigh.
    pub(crate) bytes: usize,
    /// Rows that could not be decoded, and why.
    pub(crate) damaged: Vec<Damaged>,
    /// Everything up to here has been looked at.
    pub(crate) through: u64,
    /// The newest sequence that had been given out when it was read.
    pub(crate) newest: u64,
    /// The log held no more when it was read.
    pub(crate) end: bool,
}

/// A row that cannot be a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damaged {
    pub(crate) row: i64,
    pub(crate) reason: &'static str,
}

/// A row as a message, or why it is none.
pub(crate) type Decoded = Result<Message, Damaged>;

/// What bounds a page: messages found, their bytes, and rows looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSize {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) rows: usize,
}

/// Reads the page behind `after`. To be called inside a read transaction, so that `through` is exact.
pub(crate) fn page(
    conn: &Connection,
    after: u64,
    filters: &Filters,
    size: PageSize,
) -> rusqlite::Result<Page> {
    let newest = newest(conn)?;
    let subject = filters.as_subject();
    let all = filters.are_everything();
    let mut statement = conn.prepare_cached(if subject.is_some() { OF_SUBJECT_AFTER } else { AFTER })?;
    let after_id = i64::try_from(after).unwrap_or(i64::MAX);
    let mut rows = match &subject {
        Some(subject) => statement.query((after_id, subject.as_str()))?,
        None => statement.query([after_id])?,
    };
    let mut page = Page { through: after, newest, ..Page::default() };
    let mut looked_at = 0;
    let mut same = None;
    while let Some(row) = rows.next()? {
        looked_at += 1;
        page.through = row.get::<_, i64>(0)?.cast_unsigned();
        // The other columns of a row that does not match are never loaded.
        let matches = all
            || subject.is_some()
            || row.get_ref(1)?.as_str().map_or(true, |text| {
                // Most often the subject is that of the last match, and need not be looked at token by token.
                same.as_ref().is_some_and(|same: &Subject| same == text) || filters.matches(text)
            });
        if matches {
            match decode(row, same.as_ref())? {
                Ok(message) => {
                    page.bytes += message.weight();
                    same = Some(message.subject().clone());
                    page.messages.push(message);
                }
                Err(damaged) => page.damaged.push(damaged),
            }
        }
        if page.messages.len() >= size.messages || page.bytes >= size.bytes || looked_at >= size.rows {
            return Ok(page);
        }
    }
    page.end = true;
    page.through = page.through.max(newest);
    Ok(page)
}

/// What lies behind a place, counted up to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) matching: u64,
    /// There is no more than was counted.
    pub(crate) is_all: bool,
}

/// Counts what these filters match behind `after`, up to so many, and looks at so many rows at most; loads none of them.
pub(crate) fn count(
    conn: &Connection,
    after: u64,
    filters: &Filters,
    (most, most_rows): (usize, usize),
) -> rusqlite::Result<Counted> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let all = filters.are_everything();
    let (mut matching, mut looked_at) = (0, 0);
    let mut count = |mut rows: rusqlite::Rows<'_>, of_subject: bool| -> rusqlite::Result<bool> {
        while let Some(row) = rows.next()? {
            looked_at += 1;
            if all || of_subject || row.get_ref(1)?.as_str().is_ok_and(|text| filters.matches(text)) {
                matching += 1;
            }
            if matching > most || looked_at >= most_rows {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let is_all = match filters.as_subject() {
        Some(subject) => {
            count(conn.prepare_cached(OF_SUBJECT_AFTER)?.query((after, subject.as_str()))?, true)?
        }
        None => count(conn.prepare_cached(AFTER)?.query([after])?, false)?,
    };
    Ok(Counted { matching: matching.min(most) as u64, is_all })
}

/// Events that follow a place without a gap, and what the reader has to know of the rest.
#[derive(Debug)]
pub(crate) struct Adjoining {
    pub(crate) messages: Vec<Message>,
    /// The log held no more when it was read.
    pub(crate) end: bool,
}

/// Reads what follows `after` in one statement, without a transaction around it: as long as sequence follows on sequence
/// nothing can be missing. (What was pruned behind them is told of by the next whole look.) `None` where something else is there, which takes a whole look. `seen` is called on the same
/// snapshot.
pub(crate) fn adjoining(
    conn: &Connection,
    after: u64,
    size: PageSize,
    seen: impl FnOnce() -> rusqlite::Result<()>,
) -> rusqlite::Result<Option<Adjoining>> {
    let mut statement = conn.prepare_cached(AFTER)?;
    let mut rows = statement.query([i64::try_from(after).unwrap_or(i64::MAX)])?;
    let Some(mut row) = rows.next()? else {
        return Ok(Some(Adjoining { messages: Vec::new(), end: true }));
    };
    seen()?;
    let (mut messages, mut bytes) = (Vec::<Message>::new(), 0);
    loop {
        let same = messages.last().map(Message::subject);
        let Ok(message) = decode(row, same)? else { return Ok(None) };
        if message.sequence() != after + 1 + messages.len() as u64 {
            return Ok(None);
        }
        bytes += message.weight();
        messages.push(message);
        if messages.len() >= size.messages || bytes >= size.bytes {
            return Ok(Some(Adjoining { messages, end: false }));
        }
        match rows.next()? {
            Some(next) => row = next,
            None => return Ok(Some(Adjoining { messages, end: true })),
        }
    }
}

/// `same` is the subject of the row before: most often it is this one's as well, and need not be parsed again.
pub(super) fn decode(row: &Row<'_>, same: Option<&Subject>) -> rusqlite::Result<Decoded> {
    let id = row.get_ref(0)?.as_i64().unwrap_or(0);
    let damaged = |reason| Ok(Err(Damaged { row: id, reason }));
    let Ok(text) = row.get_ref(1)?.as_str() else { return damaged("the subject is no UTF-8 text") };
    let subject = match same {
        Some(same) if same == text => same.clone(),
        _ => match Subject::new(text) {
            Ok(subject) => subject,
            Err(_) => return damaged("the subject breaks the grammar"),
        },
    };
    let payload = match row.get_ref(2)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) if bytes.len() <= MAX_ROW => {
            Bytes::copy_from_slice(bytes)
        }
        ValueRef::Blob(_) | ValueRef::Text(_) => return damaged("the data is larger than 64 MiB"),
        _ => return damaged("the data is neither text nor blob"),
    };
    let headers = match row.get_ref(3)? {
        ValueRef::Null => Headers::new(),
        ValueRef::Text(bytes) => {
            match std::str::from_utf8(bytes).ok().and_then(|text| Headers::decode(text).ok()) {
                Some(headers) => headers,
                None => return damaged("the headers are no lines of \"Name: value\""),
            }
        }
        _ => return damaged("the headers are no text"),
    };
    let Ok(created_at) = row.get_ref(4)?.as_i64() else { return damaged("created_at is no integer") };
    let message_id = match row.get_ref(5)? {
        ValueRef::Null => None,
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok().map(Box::from),
        _ => return damaged("the message_id is no text"),
    };
    Ok(
        Ok(Message::new(subject, payload, headers, id.cast_unsigned(), created_at)
            .with_message_id(message_id)),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::publish::Publish;

    pub(crate) fn log() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../../../migrations/V1__bus.sql")).unwrap();
        conn.execute_batch(include_str!("../../../migrations/V2__requests.sql")).unwrap();
        conn.execute_batch(include_str!("../../../migrations/V3__consumers.sql")).unwrap();
        conn.execute_batch(include_str!("../../../migrations/V4__unacked.sql")).unwrap();
        conn
    }

    /// The query plan of a statement with that many parameters, in one line.
    pub(crate) fn plan(conn: &Connection, sql: &str, params: usize) -> String {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let params = rusqlite::params_from_iter(std::iter::repeat_n(1, params));
        let rows = statement.query_map(params, |row| row.get::<_, String>(3)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    fn publish(conn: &Connection, subject: &str, now: i64) -> u64 {
        let event = Publish::new(subject, "body").into_parts().unwrap();
        Appender::new(conn).append(&event, now).unwrap()
    }

    const SMALL: PageSize = PageSize { messages: 2, bytes: 1 << 20, rows: 100 };

    fn filters(text: &str) -> Filters {
        Filter::new(text).unwrap().into()
    }

    fn sequences(page: &Page) -> Vec<u64> {
        page.messages.iter().map(Message::sequence).collect()
    }

    #[test]
    fn every_read_is_by_an_index_and_sorts_nothing() {
        let conn = log();
        let by_key = "SEARCH bus_events USING INTEGER PRIMARY KEY";
        let by_subject = "bus_events_by_subject";
        for (sql, params, index) in [
            (AFTER, 1, by_key),
            (BY_ID, 1, by_key),
            (FIRST_FROM, 1, by_key),
            (OF_SUBJECT_AFTER, 2, by_subject),
            (LAST_OF_SUBJECT, 1, by_subject),
            (LAST_ID_OF_SUBJECT, 2, by_subject),
            (NEXT_SUBJECT, 1, by_subject),
        ] {
            let plan = plan(&conn, sql, params);
            assert!(
                plan.contains(index) && !plan.contains("SCAN") && !plan.contains("TEMP"),
                "{sql}: {plan}"
            );
        }
    }

    #[test]
    fn a_page_ends_at_its_size_and_tells_how_far_it_looked() {
        let conn = log();
        for at in 0..5 {
            publish(&conn, if at % 2 == 0 { "a" } else { "b" }, at);
        }
        let filter = filters("*");
        let first = page(&conn, 0, &filter, SMALL).unwrap();
        assert_eq!((sequences(&first), first.through, first.end), (vec![1, 2], 2, false));
        let only_b = page(&conn, 0, &filters("b"), SMALL).unwrap();
        assert_eq!(sequences(&only_b), [2, 4]);
        let rest = page(&conn, 4, &filter, SMALL).unwrap();
        assert_eq!((sequences(&rest), rest.through, rest.end), (vec![5], 5, true));
        let few_rows = PageSize { rows: 1, ..SMALL };
        let none = page(&conn, 0, &filters("b.>"), few_rows).unwrap();
        assert_eq!((none.messages.len(), none.through, none.end), (0, 1, false));
        let few_bytes = PageSize { bytes: 1, ..SMALL };
        assert_eq!(sequences(&page(&conn, 0, &filter, few_bytes).unwrap()), [1]);
    }

    #[test]
    fn at_the_end_a_page_has_looked_at_everything_given_out_even_if_it_was_removed() {
        let conn = log();
        for at in 0..3 {
            publish(&conn, "a", at);
        }
        conn.execute("DELETE FROM bus_events WHERE id > 1", []).unwrap();
        let page = page(&conn, 0, &filters("b"), SMALL).unwrap();
        assert_eq!((page.through, page.end), (3, true));
        assert_eq!(publish(&conn, "a", 9), 4);
    }

    #[test]
    fn a_time_is_found_by_bisection_across_removed_rows() {
        let conn = log();
        assert_eq!(first_since(&conn, 5).unwrap(), 1);
        for at in [10, 20, 20, 30, 40] {
            publish(&conn, "a", at);
        }
        conn.execute("DELETE FROM bus_events WHERE id = 4", []).unwrap();
        for (time, first) in [(0, 1), (10, 1), (11, 2), (20, 2), (21, 4), (30, 4), (31, 4), (40, 4), (41, 6)]
        {
            let found = first_since(&conn, time).unwrap();
            let page = page(&conn, found - 1, &filters(">"), SMALL).unwrap();
            let oldest = page.messages.first().map(Message::unix_millis);
            assert!(oldest.is_none_or(|oldest| oldest >= time), "{time}: {found}");
            assert_eq!(found, first, "{time}");
        }
    }

    #[test]
    fn rows_that_no_constraint_stopped_are_told_apart_and_passed_over() {
        let conn = log();
        conn.execute_batch("PRAGMA ignore_check_constraints = on").unwrap();
        for values in [
            "(1, 'a', x'00', NULL, 1, NULL)",
            "(2, 'a..b', x'00', NULL, 1, NULL)",
            "(3, CAST(x'ff' AS TEXT), x'00', NULL, 1, NULL)",
            "(4, x'61', x'00', NULL, 1, NULL)",
            "(5, 'a', 12, NULL, 1, NULL)",
            "(6, 'a', x'00', 'no colon', 1, NULL)",
            "(7, 'a', x'00', x'00', 1, NULL)",
            "(8, 'a', x'00', NULL, 'soon', NULL)",
            "(9, 'a', 'text', 'A: 1', -5, 'id')",
            "(10, 'a.*', x'00', NULL, 1, NULL)",
            "(11, 'a', zeroblob(67108865), NULL, 1, NULL)",
        ] {
            let sql = format!(
                "INSERT INTO bus_events (id, subject, data, headers, created_at, message_id) VALUES {values}"
            );
            conn.execute(&sql, []).unwrap();
        }
        let size = PageSize { messages: 100, bytes: 1 << 30, rows: 100 };
        let page = page(&conn, 0, &filters(">"), size).unwrap();
        assert_eq!(sequences(&page), [1, 9]);
        assert_eq!(
            page.damaged.iter().map(|damaged| damaged.row).collect::<Vec<_>>(),
            [2, 3, 4, 5, 6, 7, 8, 10, 11]
        );
        assert_eq!((page.messages[1].text(), page.messages[1].unix_millis()), (Some("text"), -5));
    }

    #[test]
    fn skipped_ids_are_not_given_out_even_in_an_empty_log() {
        let conn = log();
        skip_ids(&conn, TABLE, 1000).unwrap();
        assert_eq!(publish(&conn, "a", 1), 1001);
        skip_ids(&conn, TABLE, 1000).unwrap();
        assert_eq!(publish(&conn, "a", 1), 2002);
    }
}
