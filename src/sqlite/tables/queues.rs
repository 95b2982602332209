//! `bus_queues`: subjects whose requests are held back.

use rusqlite::Connection;

// By the primary key.
const IS_PAUSED: &str = "SELECT 1 FROM bus_queues WHERE subject = ?1 AND paused_at IS NOT NULL";
const PAUSE: &str = "INSERT INTO bus_queues (subject, paused_at) VALUES (?1, ?2)
    ON CONFLICT (subject) DO UPDATE SET paused_at = ifnull(paused_at, excluded.paused_at)";
const RESUME: &str = "DELETE FROM bus_queues WHERE subject = ?1";

pub(crate) fn is_paused(conn: &Connection, subject: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached(IS_PAUSED)?.exists([subject])
}

pub(crate) fn pause(conn: &Connection, subject: &str, now: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(PAUSE)?.execute((subject, now))
}

pub(crate) fn resume(conn: &Connection, subject: &str) -> rusqlite::Result<usize> {
    conn.prepare_cached(RESUME)?.execute([subject])
}
