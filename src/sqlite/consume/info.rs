//! How consumers fare.

use chrono::DateTime;
use rusqlite::Connection;

use crate::consumer::AckPolicy;
use crate::consumer_info::ConsumerInfo;
use crate::defaults::PENDING_COUNTED;
use crate::sqlite::consume::Consumers;
use crate::sqlite::filters::Filters;
use crate::sqlite::tables::consumers::ConsumerRow;
use crate::sqlite::tables::events::{self, PageSize};
use crate::sqlite::tables::{deliveries, members};
use crate::sqlite::work::jobs::failures;

/// Rows that are looked at for the count of what is pending, matching or not.
const ROWS: usize = 1_000_000;

impl Consumers {
    /// On one snapshot.
    pub(crate) fn info(&self, conn: &Connection, row: ConsumerRow) -> rusqlite::Result<ConsumerInfo> {
        let presence = self.links.presence.as_ref();
        let is_alive = presence.map(|presence| |peer| presence.is_alive(peer));
        let is_alive = is_alive.as_ref().map(|is_alive| is_alive as &dyn Fn(i64) -> bool);
        info(conn, row, &Look { now: self.unix_millis(), is_alive, rows: ROWS })
    }
}

/// How it is looked at.
pub(crate) struct Look<'a> {
    /// Unix milliseconds.
    pub(crate) now: i64,
    /// Whether a peer lives, if that can be told.
    pub(crate) is_alive: Option<&'a dyn Fn(i64) -> bool>,
    /// Rows that are looked at for the count of what is pending.
    pub(crate) rows: usize,
}

/// How a consumer fares, on one snapshot.
pub(crate) fn info(conn: &Connection, row: ConsumerRow, look: &Look<'_>) -> rusqlite::Result<ConsumerInfo> {
    let (id, position) = (row.id, row.position);
    let filters = Filters::new(&row.settings.filters);
    let created_at = DateTime::from_timestamp_millis(row.created_at).unwrap_or_default();
    let mut info = ConsumerInfo::new(&*row.name, row.settings.clone(), created_at);
    info.delivered = position;
    info.ack_floor = position;
    if row.settings.ack_policy == AckPolicy::Explicit {
        if let Some(first) = deliveries::first(conn, id)? {
            info.ack_floor = (first - 1).max(0).cast_unsigned().min(position);
        }
        info.num_ack_pending = deliveries::held(conn, id, usize::MAX)? as u64;
        info.num_redelivered = deliveries::redelivered(conn, id)?.max(0).cast_unsigned();
        info.num_backing_off = deliveries::waiting(conn, id, look.now)?.max(0).cast_unsigned();
    } else if row.failed.is_some() {
        info.num_redelivered = 1;
        info.num_backing_off = u64::from(row.retry_at.is_some_and(|at| at > look.now));
    }
    let untried = deliveries::untried(conn, id, look.now)?.max(0).cast_unsigned();
    let newest = events::newest(conn)?;
    info.lag = newest.saturating_sub(info.ack_floor);
    let counted = events::count(conn, position, &filters, (PENDING_COUNTED, look.rows))?;
    (info.num_pending, info.num_pending_is_exact) = (counted.matching + untried, counted.is_all);
    info.lag_millis = oldest(conn, &row, &info, &filters, look)?;
    if let Some(is_alive) = look.is_alive {
        info.members = Some(members::peers(conn, id)?.into_iter().filter(|peer| is_alive(*peer)).count());
    }
    info.paused = row.is_paused;
    info.failures = failures(&row.errors);
    info.stopped = row.stopped;
    Ok(info)
}

/// How long the first event that is not done with has been there.
fn oldest(
    conn: &Connection,
    row: &ConsumerRow,
    info: &ConsumerInfo,
    filters: &Filters,
    look: &Look<'_>,
) -> rusqlite::Result<u64> {
    let created_at = if info.ack_floor < row.position {
        // It is in flight.
        let message = events::get(conn, info.ack_floor + 1)?;
        message.and_then(Result::ok).map(|message| message.unix_millis())
    } else {
        let size = PageSize { messages: 1, bytes: usize::MAX, rows: look.rows };
        let page = events::page(conn, row.position, filters, size)?;
        page.messages.first().map(|message| message.unix_millis())
    };
    let age = created_at.map_or(0, |created_at| look.now.saturating_sub(created_at));
    Ok(age.max(0).cast_unsigned())
}
