//! `bus_peers`: who has the file open. Whether a row's process lives is not in it, but in a lock that dies with the process.

use rusqlite::Connection;

// Scans: the table has a row a process.
const LIST: &str = "SELECT id, slot, name, pid, version, serves, started_at FROM bus_peers ORDER BY id";
const ADD: &str = "INSERT INTO bus_peers (slot, name, pid, version, serves, boot_id, started_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
// By bus_peers_by_slot.
const UPDATE: &str = "UPDATE bus_peers SET serves = ?2 WHERE slot = ?1";
const REMOVE: &str = "DELETE FROM bus_peers WHERE slot = ?1";
const REMOVE_ALL: &str = "DELETE FROM bus_peers";

/// A row, as anybody may have written it.
#[derive(Clone, Debug)]
pub(crate) struct PeerRow {
    pub(crate) id: i64,
    /// The byte of the sidecar that its process has locked.
    pub(crate) slot: i64,
    pub(crate) name: String,
    pub(crate) pid: i64,
    pub(crate) version: String,
    /// A filter a line.
    pub(crate) serves: Option<String>,
    pub(crate) started_at: i64,
}

/// What a process says of itself.
#[derive(Clone, Debug)]
pub(crate) struct NewPeer {
    pub(crate) slot: i64,
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) version: &'static str,
    pub(crate) boot_id: Option<String>,
}

/// All rows that can be read as one.
pub(crate) fn list(conn: &Connection) -> rusqlite::Result<Vec<PeerRow>> {
    let mut statement = conn.prepare_cached(LIST)?;
    let rows = statement.query_map([], |row| {
        Ok(PeerRow {
            id: row.get(0)?,
            slot: row.get(1)?,
            name: row.get(2)?,
            pid: row.get(3)?,
            version: row.get(4)?,
            serves: row.get(5)?,
            started_at: row.get(6)?,
        })
    })?;
    // A row that a hand wrote wrongly is no process.
    Ok(rows.filter_map(rusqlite::Result::ok).collect())
}

pub(crate) fn add(conn: &Connection, peer: &NewPeer, serves: Option<&str>, now: i64) -> rusqlite::Result<()> {
    let NewPeer { slot, name, pid, version, boot_id } = peer;
    conn.prepare_cached(ADD)?.execute((slot, name, pid, version, serves, boot_id, now)).map(|_| ())
}

/// Says anew what is served; 0 if there is no row.
pub(crate) fn update(conn: &Connection, slot: i64, serves: Option<&str>) -> rusqlite::Result<usize> {
    conn.prepare_cached(UPDATE)?.execute((slot, serves))
}

pub(crate) fn remove(conn: &Connection, slot: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(REMOVE)?.execute([slot]).map(|_| ())
}

/// A file that was copied is nobody's yet.
pub(crate) fn remove_all(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute(REMOVE_ALL, []).map(|_| ())
}
