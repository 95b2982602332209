//! How a file fares, on one snapshot.

use std::path::Path;

use chrono::{DateTime, Utc};
use rusqlite::Connection;

use crate::consumer_info::ConsumerInfo;
use crate::defaults::STATS_COUNTED;
use crate::sqlite::consume::info;
use crate::sqlite::peers::{self, Peer};
use crate::sqlite::tables::file::{self, Bounded};
use crate::sqlite::tables::{consumers, events, history, meta, peers as rows};
use crate::sqlite::{disk, fault, prune};

/// A number of rows, counted up to a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// How many there are, or at least this many.
    pub count: u64,
    /// Whether these are all.
    pub is_exact: bool,
}

impl From<Bounded> for Count {
    fn from((count, is_exact): Bounded) -> Self {
        Self { count, is_exact }
    }
}

/// Requests and jobs by their state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestCounts {
    /// To be taken by the next server.
    pub ready: Count,
    /// Jobs that are not to be begun before their time, and those that wait out a backoff.
    pub scheduled: Count,
    /// Jobs behind an unfinished one of the same key.
    pub waiting: Count,
    /// Held by a server.
    pub leased: Count,
    /// Jobs that have ended, and whose reply is kept for a while.
    pub finished: Count,
}

impl RequestCounts {
    /// Each state by its name.
    pub fn by_state(&self) -> [(&'static str, Count); 5] {
        let Self { ready, scheduled, waiting, leased, finished } = *self;
        [
            ("ready", ready),
            ("scheduled", scheduled),
            ("waiting", waiting),
            ("leased", leased),
            ("finished", finished),
        ]
    }
}

/// What is in a file, as of one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileStats {
    /// The database file on the disk, in bytes.
    pub file_bytes: u64,
    /// Its write-ahead log, in bytes. It does not shrink with each checkpoint, but is written anew from its beginning.
    pub wal_bytes: u64,
    /// Bytes on the file system of the file that its user may still take, if the system tells.
    pub disk_available: Option<u64>,
    /// The size of a page, in bytes.
    pub page_bytes: u64,
    /// Pages of the database, whether they have reached its file or are in the WAL.
    pub pages: u64,
    /// Of these, those that hold nothing, and are used before the file grows.
    pub free_pages: u64,
    /// The oldest event in the log: its sequence, and when it was published.
    pub oldest: Option<(u64, DateTime<Utc>)>,
    /// The newest event in the log.
    pub newest: Option<(u64, DateTime<Utc>)>,
    /// The newest sequence that was given out, whether its event is still there or not; 0 in a new file.
    pub last_sequence: u64,
    /// Events in the log.
    pub events: Count,
    /// Requests and jobs; `None` of a file whose schema is older than 2.
    pub requests: Option<RequestCounts>,
    /// What was given up on.
    pub dead_letters: Count,
    /// Rows that no reader could decode.
    pub quarantined: Count,
    /// Consumers by name, and how they fare; `None` of a file whose schema is older than 3.
    pub consumers: Option<Vec<ConsumerInfo>>,
    /// Who has the file open. `None` where it cannot be told who of those in the file is alive.
    pub peers: Option<Vec<Peer>>,
    /// The newest migration that was applied.
    pub schema_version: i64,
    /// Tells this file from its copies; it changes when one of them is restored.
    pub incarnation: Option<String>,
    /// The SQLite that looked.
    pub sqlite_version: &'static str,
}

/// How it is looked at.
pub(super) struct Look<'a> {
    pub(super) path: &'a Path,
    /// Unix milliseconds.
    pub(super) now: i64,
    /// Whether the peer of this slot lives, if that can be told.
    pub(super) is_alive: Option<&'a dyn Fn(i64) -> bool>,
    pub(super) own: Option<i64>,
}

/// Rows that are looked at to count what is pending for a consumer.
const ROWS: usize = 20_000;

/// To be called on one snapshot. What the file's schema does not have is left out.
pub(super) fn read(conn: &Connection, look: &Look<'_>) -> rusqlite::Result<FileStats> {
    let schema_version = history::applied(conn)?.iter().map(|applied| applied.version).max().unwrap_or(0);
    let (oldest, newest) = file::ends(conn)?;
    let time = |end: (u64, i64)| (end.0, DateTime::from_timestamp_millis(end.1).unwrap_or_default());
    let requests = || {
        file::requests(conn, STATS_COUNTED).map(|counts| {
            let [ready, scheduled, waiting, leased, finished] = counts.map(Count::from);
            RequestCounts { ready, scheduled, waiting, leased, finished }
        })
    };
    let peers = look.is_alive.map(|is_alive| {
        let rows = rows::list(conn)?.into_iter().filter(|row| is_alive(row.slot));
        Ok::<_, rusqlite::Error>(rows.map(|row| peers::peer(row, look.own)).collect())
    });
    Ok(FileStats {
        file_bytes: disk::length(look.path),
        wal_bytes: disk::wal(look.path).0,
        disk_available: disk::space(look.path).map(|space| space.available),
        page_bytes: file::page_size(conn)?,
        pages: file::pages(conn)?,
        free_pages: file::free_pages(conn)?,
        oldest: oldest.map(time),
        newest: newest.map(time),
        last_sequence: events::newest(conn)?,
        events: file::events(conn, counted(conn, schema_version)?, STATS_COUNTED)?.into(),
        requests: (schema_version >= 2).then(requests).transpose()?,
        dead_letters: file::dead_letters(conn, STATS_COUNTED)?.into(),
        quarantined: file::quarantined(conn, STATS_COUNTED)?.into(),
        consumers: (schema_version >= 3).then(|| consumers(conn, look)).transpose()?,
        peers: peers.transpose()?,
        schema_version,
        incarnation: meta::get(conn, meta::INCARNATION)?,
        sqlite_version: rusqlite::version(),
    })
}

/// What the pruner has counted. Older files and spoilt policies are counted here, up to the bound.
fn counted(conn: &Connection, schema_version: i64) -> rusqlite::Result<(u64, u64)> {
    if schema_version < 4 {
        return Ok((0, 0));
    }
    match prune::counted(conn) {
        Err(error) if fault::is_value(&error) => Ok((0, 0)),
        counted => counted,
    }
}

fn consumers(conn: &Connection, look: &Look<'_>) -> rusqlite::Result<Vec<ConsumerInfo>> {
    let look = info::Look { now: look.now, is_alive: look.is_alive, rows: ROWS };
    let (mut found, mut after) = (Vec::<ConsumerInfo>::new(), String::new());
    while let Some(name) = consumers::next_name(conn, &after)? {
        match consumers::by_name(conn, &name) {
            Ok(row) => found.extend(row.map(|row| info::info(conn, row, &look)).transpose()?),
            // One that a hand has spoilt hides none of the others.
            Err(error) if fault::is_value(&error) => {}
            Err(error) => return Err(error),
        }
        after = name;
    }
    Ok(found)
}
