//! `bus_retention`: what may be removed from the log, and up to where something was. A row a policy, so scans are short.

use std::time::Duration;

use rusqlite::{Connection, Row};

use crate::filter::Filter;
use crate::retention::{RetentionParts, SetBy};
use crate::retry::millis;
use crate::sqlite::filters::Filters;

/// The table's name.
pub(crate) const TABLE: &str = "bus_retention";

// A scan.
const PRUNED: &str = "SELECT filter, pruned_through FROM bus_retention WHERE pruned_through > ?1";
// What somebody else has removed concerns consumers as well.
const UNACKED: &str =
    "SELECT filter, max(unacked_through, iif(pruned_through > spared_through, pruned_through, 0)) AS missing
    FROM bus_retention WHERE missing > ?1";
const ALL: &str =
    "SELECT filter, max_age, max_messages, max_bytes, max_per_subject, keep_unacked, set_by, pruned_through,
    counted_through, messages, bytes, removed_through, unacked_through, spared_through FROM bus_retention
    ORDER BY filter";
// What was counted and removed for other filters says nothing about these.
const FORGET: &str =
    "UPDATE bus_retention SET counted_through = 0, messages = 0, bytes = 0, removed_through = 0";
// By the primary key, each.
const SET: &str = "INSERT INTO bus_retention (filter, max_age, max_messages, max_bytes, max_per_subject, keep_unacked, set_by)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (filter) DO UPDATE SET max_age = excluded.max_age, max_messages = excluded.max_messages,
        max_bytes = excluded.max_bytes, max_per_subject = excluded.max_per_subject, keep_unacked = excluded.keep_unacked,
        set_by = excluded.set_by, removed_through = 0";
const REMOVE: &str = "DELETE FROM bus_retention WHERE filter = ?1";
const GAP_OF: &str = "UPDATE bus_retention SET pruned_through = max(pruned_through, ?2),
        unacked_through = max(unacked_through, ?3, iif(pruned_through > spared_through, pruned_through, 0)),
        spared_through = max(pruned_through, ?2) WHERE filter = ?1";
const CLAIM: &str = "UPDATE bus_retention SET unacked_through = pruned_through WHERE filter = ?1";
const COUNTED: &str = "UPDATE bus_retention SET messages = messages + ?3, bytes = bytes + ?4, counted_through = ?2 WHERE filter = ?1";
const REMOVED: &str = "UPDATE bus_retention
    SET pruned_through = max(pruned_through, ?2), removed_through = max(removed_through, ?3),
        messages = max(0, messages - ?4), bytes = max(0, bytes - ?5),
        unacked_through = max(unacked_through, ?6, iif(pruned_through > spared_through, pruned_through, 0)),
        spared_through = max(pruned_through, ?2) WHERE filter = ?1";

/// Who reads, as far as it concerns what may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Whatever was removed may have been for it.
    #[default]
    Stream,
    /// For it events are kept, where a policy says so.
    Consumer,
}

/// The last sequence up to which an event that these filters match may be gone; `after` if none beyond it is.
pub(crate) fn pruned_through(
    conn: &Connection,
    filters: &Filters,
    reader: Reader,
    after: u64,
) -> rusqlite::Result<u64> {
    let sql = if reader == Reader::Stream { PRUNED } else { UNACKED };
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([after.cast_signed()])?;
    let mut through = after;
    while let Some(row) = rows.next()? {
        // A filter that a hand wrote wrongly is taken for every subject: a gap too many is no loss.
        let filter_matters = row.get_ref(0)?.as_str().ok().and_then(|text| Filter::new(text).ok());
        if filter_matters.is_none_or(|policy| filters.iter().any(|filter| policy.overlaps(filter))) {
            through = through.max(row.get_ref(1)?.as_i64().unwrap_or(0).max(0).cast_unsigned());
        }
    }
    Ok(through)
}

/// A policy as its row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolicyRow {
    pub(crate) filter: Filter,
    pub(crate) limits: RetentionParts,
    pub(crate) set_by: SetBy,
    pub(crate) pruned_through: u64,
    pub(crate) counted_through: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) removed_through: u64,
    /// Up to where one is gone that concerns consumers.
    pub(crate) unacked_through: u64,
}

/// All policies whose filter is one. A limit that is no number from 1 on is none.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<PolicyRow>> {
    let mut statement = conn.prepare_cached(ALL)?;
    let mut rows = statement.query([])?;
    let mut policies = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(filter) = row.get_ref(0)?.as_str().ok().and_then(|text| Filter::new(text).ok()) {
            policies.push(decode(row, filter)?);
        }
    }
    Ok(policies)
}

fn decode(row: &Row<'_>, filter: Filter) -> rusqlite::Result<PolicyRow> {
    let number =
        |at| -> rusqlite::Result<u64> { Ok(row.get_ref(at)?.as_i64().unwrap_or(0).max(0).cast_unsigned()) };
    let limit = |at| number(at).map(|number| Some(number).filter(|number| *number > 0));
    let limits = RetentionParts {
        max_age: limit(1)?.map(Duration::from_millis),
        max_messages: limit(2)?,
        max_bytes: limit(3)?,
        max_per_subject: limit(4)?,
        keep_unacked: limit(5)?,
    };
    let set_by = match row.get_ref(6)?.as_str() {
        Ok("default") => SetBy::Default,
        Ok("builder") => SetBy::Builder,
        _ => SetBy::Operator,
    };
    Ok(PolicyRow {
        filter,
        limits,
        set_by,
        pruned_through: number(7)?,
        counted_through: number(8)?,
        messages: number(9)?,
        bytes: number(10)?,
        removed_through: number(11)?,
        unacked_through: if number(7)? > number(13)? { number(7)?.max(number(12)?) } else { number(12)? },
    })
}

/// Sets a policy, whatever there was.
pub(crate) fn set(
    conn: &Connection,
    filter: &Filter,
    limits: &RetentionParts,
    set_by: SetBy,
) -> rusqlite::Result<usize> {
    let number = |limit: Option<u64>| limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
    conn.prepare_cached(SET)?.execute(rusqlite::params![
        filter.as_str(),
        limits.max_age.map(millis),
        number(limits.max_messages),
        number(limits.max_bytes),
        number(limits.max_per_subject),
        number(limits.keep_unacked),
        set_by.as_str(),
    ])
}

pub(crate) fn remove(conn: &Connection, filter: &Filter) -> rusqlite::Result<usize> {
    conn.prepare_cached(REMOVE)?.execute([filter.as_str()])
}

/// How far events may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Any of them.
    pub(crate) any: u64,
    /// Those that a consumer had not acknowledged.
    pub(crate) unacked: u64,
}

/// Events of this policy may be gone.
pub(crate) fn gap_of(conn: &Connection, filter: &Filter, gone: Gone) -> rusqlite::Result<usize> {
    let (any, unacked) = (gone.any.cast_signed(), gone.unacked.cast_signed());
    conn.prepare_cached(GAP_OF)?.execute((filter.as_str(), any, unacked))
}

/// A consumer lays claim to what these filters match from here on: what is gone already is missing to it.
pub(crate) fn claim(conn: &Connection, filters: &[Filter], after: u64) -> rusqlite::Result<()> {
    for policy in all(conn)? {
        let concerns = filters.is_empty() || filters.iter().any(|filter| filter.overlaps(&policy.filter));
        if concerns && policy.pruned_through > after && policy.pruned_through > policy.unacked_through {
            conn.prepare_cached(CLAIM)?.execute([policy.filter.as_str()])?;
        }
    }
    Ok(())
}

/// Everything is counted anew, and looked at anew.
pub(crate) fn forget(conn: &Connection) -> rusqlite::Result<()> {
    conn.prepare_cached(FORGET)?.execute([]).map(|_| ())
}

/// The log was counted up to there, with these of the policy.
pub(crate) fn counted(
    conn: &Connection,
    filter: &Filter,
    through: u64,
    (messages, bytes): (u64, u64),
) -> rusqlite::Result<usize> {
    let (messages, bytes) = (messages.cast_signed(), bytes.cast_signed());
    conn.prepare_cached(COUNTED)?.execute((filter.as_str(), through.cast_signed(), messages, bytes))
}

/// What was removed of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// The highest that was.
    pub(crate) highest: u64,
    /// None is left up to here.
    pub(crate) through: u64,
    /// The highest that a consumer may have wanted.
    pub(crate) unacked: u64,
    /// Those that had been counted.
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

pub(crate) fn removed(conn: &Connection, filter: &Filter, removed: Removed) -> rusqlite::Result<usize> {
    let Removed { highest, through, unacked, messages, bytes } = removed;
    conn.prepare_cached(REMOVED)?.execute((
        filter.as_str(),
        highest.cast_signed(),
        through.cast_signed(),
        messages.cast_signed(),
        bytes.cast_signed(),
        unacked.cast_signed(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::{log, plan};

    #[test]
    fn each_step_is_by_the_key_but_for_the_short_scans() {
        let conn = log();
        for (sql, params) in [(REMOVE, 1), (GAP_OF, 3), (CLAIM, 1), (COUNTED, 4), (REMOVED, 6)] {
            assert!(plan(&conn, sql, params).contains("SEARCH bus_retention USING PRIMARY KEY"), "{sql}");
        }
        assert!(!plan(&conn, ALL, 0).contains("TEMP"));
        for sql in [PRUNED, UNACKED] {
            assert!(plan(&conn, sql, 1).contains("SCAN bus_retention"));
        }
        assert!(plan(&conn, FORGET, 0).contains("SCAN bus_retention"));
    }

    #[test]
    fn a_new_file_keeps_what_the_defaults_say() {
        let policies = all(&log()).unwrap();
        assert_eq!(policies.len(), 1);
        assert_eq!((policies[0].filter.as_str(), policies[0].set_by), (">", SetBy::Default));
        assert_eq!(policies[0].limits.max_age, Some(crate::defaults::RETENTION_AGE));
    }

    #[test]
    fn counters_never_go_below_nothing_and_places_never_back() {
        let conn = log();
        let everything = Filter::everything();
        counted(&conn, &everything, 9, (3, 30)).unwrap();
        let one = Removed { highest: 7, through: 5, unacked: 4, messages: 2, bytes: 20 };
        removed(&conn, &everything, one).unwrap();
        removed(&conn, &everything, Removed { highest: 2, through: 1, unacked: 1, messages: 9, bytes: 90 })
            .unwrap();
        let policy = &all(&conn).unwrap()[0];
        assert_eq!((policy.pruned_through, policy.removed_through, policy.counted_through), (7, 5, 9));
        assert_eq!((policy.messages, policy.bytes, policy.unacked_through), (0, 0, 4));
    }

    #[test]
    fn what_was_kept_for_consumers_is_no_gap_to_them_and_what_others_removed_is() {
        let conn = log();
        let (everything, filters) = (Filter::everything(), Filters::everything());
        let missing = |reader| pruned_through(&conn, &filters, reader, 0).unwrap();
        removed(&conn, &everything, Removed { highest: 7, unacked: 3, ..Removed::default() }).unwrap();
        assert_eq!((missing(Reader::Stream), missing(Reader::Consumer)), (7, 3));
        // By hand, or by a library that knows nothing of this.
        conn.execute_batch("UPDATE bus_retention SET pruned_through = 9").unwrap();
        assert_eq!((missing(Reader::Stream), missing(Reader::Consumer)), (9, 9));
        removed(&conn, &everything, Removed { highest: 12, ..Removed::default() }).unwrap();
        assert_eq!((missing(Reader::Stream), missing(Reader::Consumer)), (12, 9));
        claim(&conn, &[Filter::new("b").unwrap()], 12).unwrap();
        assert_eq!(missing(Reader::Consumer), 9, "it begins behind");
        claim(&conn, &[Filter::new("b").unwrap()], 11).unwrap();
        assert_eq!(missing(Reader::Consumer), 12);
    }

    #[test]
    fn limits_that_a_hand_wrote_wrongly_are_none() {
        let conn = log();
        conn.execute_batch(
            "UPDATE bus_retention SET max_age = -1, max_messages = 'many', max_bytes = 0, pruned_through = -4;
             INSERT INTO bus_retention (filter, max_age) VALUES ('a..b', 1), ('a', 5)",
        )
        .unwrap();
        let policies = all(&conn).unwrap();
        assert_eq!(policies.iter().map(|policy| policy.filter.as_str()).collect::<Vec<_>>(), [">", "a"]);
        assert!(!policies[0].limits.is_limited());
    }
}
