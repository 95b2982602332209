//! `bus_members`: who has a consumer open.

use rusqlite::Connection;

// By the primary key.
const ADD: &str = "INSERT OR IGNORE INTO bus_members (consumer, peer, member) VALUES (?1, ?2, ?3)";
const REMOVE: &str = "DELETE FROM bus_members WHERE consumer = ?1 AND peer = ?2 AND member = ?3";
const REMOVE_ALL: &str = "DELETE FROM bus_members WHERE consumer = ?1";
const PEERS: &str = "SELECT peer FROM bus_members WHERE consumer = ?1";
// A scan: the table has a row an inbox.
const REMOVE_PEER: &str = "DELETE FROM bus_members WHERE peer = ?1";
const ALL: &str = "SELECT DISTINCT consumer, peer FROM bus_members";
const FORGET: &str = "DELETE FROM bus_members";

pub(crate) fn add(conn: &Connection, consumer: i64, peer: i64, member: u64) -> rusqlite::Result<usize> {
    conn.prepare_cached(ADD)?.execute((consumer, peer, member.cast_signed()))
}

pub(crate) fn remove(conn: &Connection, consumer: i64, peer: i64, member: u64) -> rusqlite::Result<usize> {
    conn.prepare_cached(REMOVE)?.execute((consumer, peer, member.cast_signed()))
}

pub(crate) fn remove_all(conn: &Connection, consumer: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(REMOVE_ALL)?.execute([consumer])
}

/// Those of a peer that has died.
pub(crate) fn remove_peer(conn: &Connection, peer: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached(REMOVE_PEER)?.execute([peer])
}

/// The peers that have this consumer open, one an inbox.
pub(crate) fn peers(conn: &Connection, consumer: i64) -> rusqlite::Result<Vec<i64>> {
    conn.prepare_cached(PEERS)?.query_map([consumer], |row| row.get(0))?.collect()
}

/// Consumers and the peers that have them open.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<(i64, i64)>> {
    conn.prepare_cached(ALL)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// After a restart of the machine nobody has anything open.
pub(crate) fn new_boot(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute(FORGET, []).map(|_| ())
}
