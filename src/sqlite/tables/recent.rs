//! The newest rows, from the end backward: as many steps as are asked for, however large the file.

use rusqlite::Connection;

use crate::message::Message;
use crate::sqlite::tables::events::decode;
use crate::subject::Subject;

// By the primary key, backward. The length of a payload is in the header of its row, so that none is loaded.
const PUBLISHED: &str =
    "SELECT id, subject, octet_length(data) FROM bus_events WHERE id > ?1 ORDER BY id DESC LIMIT ?2";
// By bus_events_by_subject, backward.
const OF_SUBJECT: &str = "SELECT id, subject, data, headers, created_at, message_id FROM bus_events
    WHERE subject = ?1 ORDER BY id DESC LIMIT ?2";
// By the primary key, backward.
const DEAD: &str = "SELECT id FROM bus_dead_letters ORDER BY id DESC LIMIT ?1";

/// Calls `each` with the subject and the payload's bytes of the newest so many events behind `after`.
pub(crate) fn published(
    conn: &Connection,
    after: u64,
    most: u64,
    mut each: impl FnMut(&str, u64),
) -> rusqlite::Result<()> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(PUBLISHED)?;
    let mut rows = statement.query([after, most.cast_signed()])?;
    while let Some(row) = rows.next()? {
        // A subject that a hand has spoilt is none.
        let Ok(subject) = row.get_ref(1)?.as_str() else { continue };
        each(subject, row.get_ref(2)?.as_i64().unwrap_or(0).max(0).cast_unsigned());
    }
    Ok(())
}

/// The newest events of a subject that can be read, the newest first: at most so many rows, and no further once these bytes
/// are exceeded.
pub(crate) fn of_subject(
    conn: &Connection,
    subject: &Subject,
    (most, most_bytes): (usize, usize),
) -> rusqlite::Result<Vec<Message>> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    let mut statement = conn.prepare_cached(OF_SUBJECT)?;
    let mut rows = statement.query((subject.as_str(), i64::try_from(most).unwrap_or(i64::MAX)))?;
    while bytes < most_bytes
        && let Some(row) = rows.next()?
    {
        if let Ok(message) = decode(row, Some(subject))? {
            bytes += message.weight();
            found.push(message);
        }
    }
    Ok(found)
}

/// The ids of the newest dead letters, the newest first.
pub(crate) fn dead(conn: &Connection, most: usize) -> rusqlite::Result<Vec<i64>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    conn.prepare_cached(DEAD)?.query_map([most], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::{log, plan};

    #[test]
    fn the_newest_are_found_by_a_key_and_nothing_is_sorted() {
        let conn = log();
        for (sql, params, index) in [
            (PUBLISHED, 2, "INTEGER PRIMARY KEY"),
            (OF_SUBJECT, 2, "INDEX bus_events_by_subject"),
            (DEAD, 1, "SCAN bus_dead_letters"),
        ] {
            let plan = plan(&conn, sql, params);
            assert!(plan.contains(index) && !plan.contains("TEMP"), "{sql}: {plan}");
        }
    }

    #[test]
    fn the_length_of_a_payload_is_in_bytes_whether_it_is_text_or_not() {
        let conn = log();
        conn.execute_batch(
            "INSERT INTO bus_events (subject, data) VALUES ('a', 'ä'), ('b', x'ffff'), ('c', '')",
        )
        .unwrap();
        let mut seen = Vec::new();
        published(&conn, 0, 10, |subject, bytes| seen.push((subject.to_owned(), bytes))).unwrap();
        assert_eq!(seen, [("c".to_owned(), 0), ("b".to_owned(), 2), ("a".to_owned(), 2)]);
    }
}
