//! Applying migrations, inside of a transaction that somebody else begins and ends.

use chrono::{SecondsFormat, Utc};
use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::sqlite::schema::LOST_IDS_AT_MOST;
use crate::sqlite::schema::embedded::Migration;
use crate::sqlite::schema::state::{State, name_taken};
use crate::sqlite::tables::history;
use crate::sqlite::tables::{consumers, dead_letters, deliveries, events, members, meta, replies, requests};
use crate::sqlite::{boot, fault};

/// Tables whose ids are never to be given twice.
const NUMBERED: [&str; 3] = [events::TABLE, requests::TABLE, dead_letters::TABLE];

/// Applies and records these.
pub(super) fn all(conn: &Connection, state: &State, missing: &[&Migration]) -> Result<()> {
    if !state.has_history {
        history::create(conn).map_err(failed)?;
    }
    for migration in missing {
        conn.execute_batch(migration.statements())
            .map_err(|e| if fault::is_name_taken(&e) { name_taken(&e.to_string()) } else { failed(e) })?;
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        history::record(conn, migration.version, &migration.name, &now, &migration.checksum)
            .map_err(failed)?;
        tracing::info!(version = migration.version, name = migration.name, "migrated");
    }
    Ok(())
}

/// What the file needs besides its tables: an incarnation of its own, and what another boot asks for.
pub(super) fn settle(conn: &Connection, state: &State, boot: Option<&str>) -> Result<()> {
    if !state.has_incarnation {
        meta::set(conn, meta::INCARNATION, &uuid::Uuid::new_v4().to_string()).map_err(failed)?;
    }
    // Where the system does not tell its boots apart (Windows), this is never known, and nothing is done about it.
    let Some(boot) = boot.filter(|boot| state.boot.as_deref() != Some(boot)) else { return Ok(()) };
    // A file on which no bus was opened yet, be it new or migrated by its host, has given out nothing.
    if state.has_incarnation {
        // A copy was flushed as a whole. Moving its ids on would hide that a position of before lies beyond its log.
        if state.boot.as_deref() != Some(boot::COPIED) {
            for table in NUMBERED {
                events::skip_ids(conn, table, LOST_IDS_AT_MOST).map_err(failed)?;
            }
        }
        requests::recover::new_boot(conn).map_err(failed)?;
        consumers::new_boot(conn, Utc::now().timestamp_millis()).map_err(failed)?;
        deliveries::new_boot(conn).map_err(failed)?;
        members::new_boot(conn).map_err(failed)?;
        replies::remove_orphans(conn).map_err(failed)?;
    }
    meta::set(conn, meta::BOOT_ID, boot).map_err(failed)
}

fn failed(error: rusqlite::Error) -> Error {
    fault::error("migrating the schema", error)
}
