//! `bus_consumers`: named readers, their settings and positions.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::consumer::{AckPolicy, OnFailure};
use crate::consumer_settings::ConsumerSettings;
use crate::error::{Error, ErrorKind};
use crate::filter::Filter;
use crate::retry::{Backoff, millis};
use crate::subscribe::StartAt;

macro_rules! columns {
    () => {
        "id, name, filters, start, ack_policy, on_failure, ack_wait, backoff, backoff_max, max_deliver, max_ack_pending,
        inactive_threshold, position, last_through, revision, epoch, member, member_id, member_token, member_until, failed, failed_times,
        retry_at, errors, stopped, paused_at, created_at"
    };
}

// By the unique name.
const BY_NAME: &str = concat!("SELECT ", columns!(), " FROM bus_consumers WHERE name = ?1");
const NEXT_NAME: &str = "SELECT name FROM bus_consumers WHERE name > ?1 ORDER BY name LIMIT 1";
// By the primary key.
const BY_ID: &str = concat!("SELECT ", columns!(), " FROM bus_consumers WHERE id = ?1");
const STATE: &str = "SELECT position, epoch, revision, full, paused_at IS NOT NULL, member IS NOT NULL,
    member_token FROM bus_consumers WHERE id = ?1";
const INSERT: &str = "INSERT INTO bus_consumers (name, filters, start, ack_policy, on_failure, ack_wait, backoff, backoff_max,
        max_deliver, max_ack_pending, inactive_threshold, position, last_through, revision, created_at, active_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?15)";
const CHANGE: &str =
    "UPDATE bus_consumers SET filters = ?2, on_failure = ?3, ack_wait = ?4, backoff = ?5, backoff_max = ?6,
        max_deliver = ?7, max_ack_pending = ?8, inactive_threshold = ?9, revision = ?10, epoch = epoch + ?11 WHERE id = ?1";
const ADVANCE: &str = "UPDATE bus_consumers SET position = ?2 WHERE id = ?1 AND position < ?2";
const HANDLED: &str = "UPDATE bus_consumers
    SET position = ?2, failed = NULL, failed_times = 0, retry_at = NULL, errors = NULL WHERE id = ?1 AND position < ?2";
const SEEK: &str =
    "UPDATE bus_consumers SET position = ?2, last_through = ?3, revision = ?4, epoch = epoch + 1, full = 0, failed = NULL,
        failed_times = 0, retry_at = NULL, errors = NULL, stopped = NULL WHERE id = ?1";
const SET_FULL: &str = "UPDATE bus_consumers SET full = ?2 WHERE id = ?1 AND full != ?2";
const PAUSE: &str = "UPDATE bus_consumers SET paused_at = ifnull(paused_at, ?2), revision = ?3 WHERE id = ?1";
const LIMITS: &str = "SELECT name, max_deliver FROM bus_consumers WHERE id = ?1";
const REVISION: &str = "SELECT revision FROM bus_consumers WHERE id = ?1";
const RESUME: &str =
    "UPDATE bus_consumers SET paused_at = NULL, failed_times = CASE WHEN stopped IS NULL THEN failed_times ELSE 0 END,
        stopped = NULL, retry_at = NULL, revision = ?2 WHERE id = ?1";
const TAKE: &str = "UPDATE bus_consumers SET member = ?2, member_id = ?3, member_token = member_token + 1, member_until = ?4 WHERE id = ?1";
const KEEP: &str = "UPDATE bus_consumers SET member_until = ?3 WHERE id = ?1 AND member_token = ?2";
const LEAVE: &str =
    "UPDATE bus_consumers SET member = NULL, member_until = NULL WHERE id = ?1 AND member_token = ?2";
const FAIL: &str =
    "UPDATE bus_consumers SET failed_times = CASE WHEN failed IS ?2 THEN failed_times + 1 ELSE 1 END,
        errors = CASE WHEN failed IS ?2 THEN ifnull(errors, '') ELSE '' END || ?4, failed = ?2, retry_at = ?3,
        member_token = member_token + 1 WHERE id = ?1";
const STOP: &str = "UPDATE bus_consumers SET stopped = ?2, retry_at = NULL, member = NULL, member_until = NULL WHERE id = ?1";
const GO_ON: &str =
    "UPDATE bus_consumers SET stopped = NULL, failed_times = 0 WHERE id = ?1 AND stopped IS NOT NULL";
// By the primary key of bus_members and of this table, a scan of the former.
const ACTIVE_UNTIL_NOW: &str = "UPDATE bus_consumers SET active_at = ?2
    WHERE id IN (SELECT consumer FROM bus_members WHERE peer = ?1 OR ?1 IS NULL)";
const ACTIVE: &str = "UPDATE bus_consumers SET active_at = ?2 WHERE id = ?1";
const DELETE: &str = "DELETE FROM bus_consumers WHERE id = ?1";
// A scan: a row a consumer, and looked at once a minute.
const INACTIVE: &str = "SELECT id, name FROM bus_consumers
    WHERE inactive_threshold IS NOT NULL AND active_at + inactive_threshold <= ?1
        AND NOT EXISTS (SELECT 1 FROM bus_members WHERE consumer = bus_consumers.id)";
// A scan, after a restart of the machine.
const FORGET_MEMBERS: &str =
    "UPDATE bus_consumers SET member = NULL, member_until = NULL WHERE member IS NOT NULL";

/// A consumer as its row has it.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) settings: ConsumerSettings,
    pub(crate) position: u64,
    pub(crate) last_through: u64,
    pub(crate) revision: i64,
    pub(crate) epoch: i64,
    /// Of the active member: its peer, and its fencing token.
    pub(crate) member: Option<i64>,
    /// Which of that peer's.
    pub(crate) member_id: Option<u64>,
    pub(crate) member_token: i64,
    pub(crate) member_until: Option<i64>,
    /// The event that could not be handled, and how often.
    pub(crate) failed: Option<u64>,
    pub(crate) failed_times: i64,
    pub(crate) retry_at: Option<i64>,
    pub(crate) errors: String,
    pub(crate) stopped: Option<String>,
    pub(crate) is_paused: bool,
    pub(crate) created_at: i64,
}

impl ConsumerRow {
    /// How often this event has failed.
    pub(crate) fn failures_of(&self, sequence: u64) -> i64 {
        if self.failed == Some(sequence) { self.failed_times } else { 0 }
    }
}

/// What a step of an explicit consumer has to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) position: i64,
    pub(crate) epoch: i64,
    pub(crate) revision: i64,
    pub(crate) is_full: bool,
    pub(crate) is_paused: bool,
    pub(crate) has_member: bool,
    pub(crate) member_token: i64,
}

pub(crate) fn by_name(conn: &Connection, name: &str) -> rusqlite::Result<Option<ConsumerRow>> {
    conn.prepare_cached(BY_NAME)?.query_row([name], decode).optional()
}

pub(crate) fn by_id(conn: &Connection, id: i64) -> rusqlite::Result<Option<ConsumerRow>> {
    conn.prepare_cached(BY_ID)?.query_row([id], decode).optional()
}

/// The name that follows this one.
pub(crate) fn next_name(conn: &Connection, after: &str) -> rusqlite::Result<Option<String>> {
    conn.prepare_cached(NEXT_NAME)?.query_row([after], |row| row.get(0)).optional()
}

/// The name of a consumer, and how often it delivers an event: what there is to read even of a row that a hand has spoilt.
pub(crate) fn limits(conn: &Connection, id: i64) -> rusqlite::Result<Option<(String, i64)>> {
    let limits = |row: &Row<'_>| {
        let name = row.get_ref(0)?.as_str().unwrap_or_default().to_owned();
        Ok((name, row.get_ref(1)?.as_i64().unwrap_or(i64::MAX)))
    };
    conn.prepare_cached(LIMITS)?.query_row([id], limits).optional()
}

pub(crate) fn state(conn: &Connection, id: i64) -> rusqlite::Result<Option<State>> {
    let state = |row: &Row<'_>| {
        Ok(State {
            position: row.get(0)?,
            epoch: row.get(1)?,
            revision: row.get(2)?,
            is_full: row.get(3)?,
            is_paused: row.get(4)?,
            has_member: row.get(5)?,
            member_token: row.get(6)?,
        })
    };
    conn.prepare_cached(STATE)?.query_row([id], state).optional()
}

/// The revision of a consumer; `None` if there is none.
pub(crate) fn revision(conn: &Connection, id: i64) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(REVISION)?.query_row([id], |row| row.get(0)).optional()
}

/// Adds a consumer that begins behind this position, and gives its id.
pub(crate) fn insert(
    conn: &Connection,
    name: &str,
    settings: &ConsumerSettings,
    (position, last_through): (u64, u64),
    (revision, now): (i64, i64),
) -> rusqlite::Result<i64> {
    conn.prepare_cached(INSERT)?.execute(rusqlite::params![
        name,
        filters_of(settings),
        start_of(settings.start),
        settings.ack_policy.as_str(),
        settings.on_failure.as_str(),
        millis(settings.ack_wait),
        settings.backoff.first_millis(),
        settings.backoff.longest_millis(),
        settings.max_deliver,
        count(settings.max_ack_pending),
        settings.inactive_threshold.map(millis),
        position.cast_signed(),
        last_through.cast_signed(),
        revision,
        now,
    ])?;
    Ok(conn.last_insert_rowid())
}

/// Changes the settings; if it is another consumer by them, what was delivered before is nobody's any more.
pub(crate) fn change(
    conn: &Connection,
    id: i64,
    settings: &ConsumerSettings,
    revision: i64,
    is_other: bool,
) -> rusqlite::Result<usize> {
    conn.prepare_cached(CHANGE)?.execute(rusqlite::params![
        id,
        filters_of(settings),
        settings.on_failure.as_str(),
        millis(settings.ack_wait),
        settings.backoff.first_millis(),
        settings.backoff.longest_millis(),
        settings.max_deliver,
        count(settings.max_ack_pending),
        settings.inactive_threshold.map(millis),
        revision,
        is_other,
    ])
}

/// Moves the position of an explicit consumer on.
pub(crate) fn advance(conn: &Connection, id: i64, position: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(ADVANCE)?.execute((id, position))
}

/// Moves the position of a cumulative consumer on: what stood in its way is done with.
pub(crate) fn handled(conn: &Connection, id: i64, position: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(HANDLED)?.execute((id, position))
}

pub(crate) fn seek(
    conn: &Connection,
    id: i64,
    (position, last_through): (u64, u64),
    revision: i64,
) -> rusqlite::Result<usize> {
    conn.prepare_cached(SEEK)?.execute((id, position.cast_signed(), last_through.cast_signed(), revision))
}

/// Notes whether a member waits for fewer to be held; whether that is news.
pub(crate) fn set_full(conn: &Connection, id: i64, full: bool) -> rusqlite::Result<bool> {
    Ok(conn.prepare_cached(SET_FULL)?.execute((id, full))? > 0)
}

pub(crate) fn pause(conn: &Connection, id: i64, now: i64, revision: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(PAUSE)?.execute((id, now, revision))
}

pub(crate) fn resume(conn: &Connection, id: i64, revision: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(RESUME)?.execute((id, revision))
}

/// Makes this peer the active member; its fencing token is the next one.
pub(crate) fn take(
    conn: &Connection,
    id: i64,
    (peer, member): (i64, u64),
    until: Option<i64>,
) -> rusqlite::Result<usize> {
    conn.prepare_cached(TAKE)?.execute((id, peer, member.cast_signed(), until))
}

/// The active member keeps its place until then.
pub(crate) fn keep(conn: &Connection, id: i64, token: i64, until: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(KEEP)?.execute((id, token, until))
}

/// The active member leaves its place to others.
pub(crate) fn leave(conn: &Connection, id: i64, token: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(LEAVE)?.execute((id, token))
}

/// Notes that this event could not be handled. What was delivered behind it comes again, and the fencing token is the next one.
pub(crate) fn fail(
    conn: &Connection,
    id: i64,
    sequence: i64,
    retry_at: Option<i64>,
    line: &str,
) -> rusqlite::Result<usize> {
    conn.prepare_cached(FAIL)?.execute((id, sequence, retry_at, line))
}

/// Nobody goes on, and nobody has the place.
pub(crate) fn stop(conn: &Connection, id: i64, reason: &str) -> rusqlite::Result<usize> {
    conn.prepare_cached(STOP)?.execute((id, reason))
}

/// Ends a stop; whether there was one.
pub(crate) fn go_on(conn: &Connection, id: i64) -> rusqlite::Result<bool> {
    Ok(conn.prepare_cached(GO_ON)?.execute([id])? > 0)
}

/// Those that this peer was a member of, or any peer, have been in use until now, as far as anybody knows.
pub(crate) fn active_until_now(conn: &Connection, peer: Option<i64>, now: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(ACTIVE_UNTIL_NOW)?.execute((peer, now))
}

/// A member came or went.
pub(crate) fn active(conn: &Connection, id: i64, now: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(ACTIVE)?.execute((id, now))
}

pub(crate) fn delete(conn: &Connection, id: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(DELETE)?.execute([id])
}

/// Those that have had no member for as long as they may.
pub(crate) fn inactive(conn: &Connection, now: i64) -> rusqlite::Result<Vec<(i64, String)>> {
    conn.prepare_cached(INACTIVE)?.query_map([now], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// After a restart of the machine nobody is active.
pub(crate) fn new_boot(conn: &Connection, now: i64) -> rusqlite::Result<()> {
    active_until_now(conn, None, now)?;
    conn.execute(FORGET_MEMBERS, []).map(|_| ())
}

fn filters_of(settings: &ConsumerSettings) -> String {
    settings.filters.iter().map(Filter::as_str).collect::<Vec<_>>().join("\n")
}

fn start_of(start: StartAt) -> String {
    match start {
        StartAt::New => "new".to_owned(),
        StartAt::Oldest => "oldest".to_owned(),
        StartAt::Sequence(sequence) => format!("sequence {sequence}"),
        StartAt::Time(time) => format!("time {}", time.timestamp_millis()),
        StartAt::LastPerSubject => "last_per_subject".to_owned(),
    }
}

fn start(text: &str) -> Option<StartAt> {
    Some(match text.split_once(' ').unwrap_or((text, "")) {
        ("new", "") => StartAt::New,
        ("oldest", "") => StartAt::Oldest,
        ("last_per_subject", "") => StartAt::LastPerSubject,
        ("sequence", number) => StartAt::Sequence(number.parse().ok()?),
        ("time", time) => StartAt::Time(DateTime::<Utc>::from_timestamp_millis(time.parse().ok()?)?),
        _ => return None,
    })
}

/// A row that a hand has spoilt is an error, and no panic.
fn decode(row: &Row<'_>) -> rusqlite::Result<ConsumerRow> {
    let name: String = row.get(1)?;
    let spoilt = |column: usize, what: &str| {
        let error = Error::new(ErrorKind::Corrupt, format!("consumer {name:?}: its {what} cannot be read"));
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    };
    let time = |column| -> rusqlite::Result<Duration> {
        Ok(Duration::from_millis(row.get::<_, i64>(column)?.max(0).cast_unsigned()))
    };
    let text: String = row.get(2)?;
    let filters: Vec<Filter> =
        text.lines().map(Filter::new).collect::<Result<_, _>>().map_err(|_| spoilt(2, "filters"))?;
    if filters.is_empty() {
        return Err(spoilt(2, "filters"));
    }
    let ack_policy = match row.get_ref(4)?.as_str()? {
        "cumulative" => AckPolicy::Cumulative,
        _ => AckPolicy::Explicit,
    };
    let on_failure = match row.get_ref(5)?.as_str()? {
        "stop" => OnFailure::Stop,
        _ => OnFailure::DeadLetter,
    };
    let settings = ConsumerSettings {
        filters,
        start: start(&row.get::<_, String>(3)?).ok_or_else(|| spoilt(3, "start"))?,
        ack_policy,
        on_failure,
        ack_wait: time(6)?,
        backoff: Backoff::exponential(time(7)?, time(8)?),
        max_deliver: u32::try_from(row.get::<_, i64>(9)?.max(1)).unwrap_or(u32::MAX),
        max_ack_pending: usize::try_from(row.get::<_, i64>(10)?.max(1)).unwrap_or(usize::MAX),
        inactive_threshold: row.get::<_, Option<i64>>(11)?.map(|_| time(11)).transpose()?,
    };
    let sequence =
        |column| -> rusqlite::Result<u64> { Ok(row.get::<_, i64>(column)?.max(0).cast_unsigned()) };
    Ok(ConsumerRow {
        id: row.get(0)?,
        settings,
        position: sequence(12)?,
        last_through: sequence(13)?,
        revision: row.get(14)?,
        epoch: row.get(15)?,
        member: row.get(16)?,
        member_id: row.get::<_, Option<i64>>(17)?.map(i64::cast_unsigned),
        member_token: row.get(18)?,
        member_until: row.get(19)?,
        failed: row.get::<_, Option<i64>>(20)?.map(i64::cast_unsigned),
        failed_times: row.get(21)?,
        retry_at: row.get(22)?,
        errors: row.get::<_, Option<String>>(23)?.unwrap_or_default(),
        stopped: row.get(24)?,
        is_paused: row.get::<_, Option<i64>>(25)?.is_some(),
        created_at: row.get(26)?,
        name,
    })
}

fn count(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::{log, plan};

    #[test]
    fn every_step_is_by_an_index_and_sorts_nothing() {
        let conn = log();
        let by_key = "USING INTEGER PRIMARY KEY";
        for (sql, params) in [
            (BY_ID, 1),
            (STATE, 1),
            (REVISION, 1),
            (LIMITS, 1),
            (CHANGE, 11),
            (ADVANCE, 2),
            (HANDLED, 2),
            (SEEK, 4),
            (SET_FULL, 2),
            (PAUSE, 3),
            (RESUME, 2),
            (TAKE, 4),
            (KEEP, 3),
            (LEAVE, 2),
            (FAIL, 4),
            (STOP, 2),
            (GO_ON, 1),
            (ACTIVE, 2),
            (DELETE, 1),
        ] {
            let plan = plan(&conn, sql, params);
            assert!(plan.contains(by_key) && !plan.contains("TEMP"), "{sql}: {plan}");
        }
        for sql in [BY_NAME, NEXT_NAME] {
            let plan = plan(&conn, sql, 1);
            assert!(plan.contains("sqlite_autoindex_bus_consumers_1") && !plan.contains("TEMP"), "{plan}");
        }
    }

    #[test]
    fn settings_are_read_as_they_were_written_and_rubbish_is_told() {
        let conn = log();
        let mut settings = ConsumerSettings {
            filters: ["a.*", "b"].map(|text| Filter::new(text).unwrap()).to_vec(),
            inactive_threshold: Some(Duration::from_secs(9)),
            ..ConsumerSettings::default()
        };
        let starts = [
            StartAt::New,
            StartAt::Oldest,
            StartAt::Sequence(7),
            StartAt::Time(DateTime::from_timestamp_millis(-5).unwrap()),
            StartAt::LastPerSubject,
        ];
        for (at, start) in starts.into_iter().enumerate() {
            settings.start = start;
            let id = insert(&conn, &format!("c{at}"), &settings, (3, 2), (1, 9)).unwrap();
            let row = by_id(&conn, id).unwrap().unwrap();
            assert_eq!((row.settings, row.position, row.last_through), (settings.clone(), 3, 2));
        }
        let mut names = Vec::new();
        while let Some(name) = next_name(&conn, names.last().map_or("", String::as_str)).unwrap() {
            names.push(name);
        }
        assert_eq!(names, ["c0", "c1", "c2", "c3", "c4"]);
        conn.execute("UPDATE bus_consumers SET filters = 'a..b' WHERE name = 'c1'", []).unwrap();
        let error = by_name(&conn, "c1").unwrap_err();
        assert!(error.to_string().contains("its filters cannot be read"), "{error}");
    }

    #[test]
    fn a_failure_counts_on_for_the_same_event_and_anew_for_another() {
        let conn = log();
        let id = insert(&conn, "c", &ConsumerSettings::default(), (0, 0), (1, 9)).unwrap();
        for (sequence, times, lines) in [(4, 1, "x\n"), (4, 2, "x\nx\n"), (5, 1, "x\n")] {
            fail(&conn, id, sequence, Some(3), "x\n").unwrap();
            let row = by_id(&conn, id).unwrap().unwrap();
            assert_eq!((row.failures_of(sequence.cast_unsigned()), row.errors.as_str()), (times, lines));
        }
        handled(&conn, id, 5).unwrap();
        let row = by_id(&conn, id).unwrap().unwrap();
        assert_eq!((row.failed, row.errors.as_str(), row.position), (None, "", 5));
    }
}
