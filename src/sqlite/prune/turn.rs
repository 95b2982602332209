//! Whose turn it is to prune: one process at a time, by a kernel lock that goes with its process.
//!
//! It saves work, and nothing depends on it: each step looks in its own transaction at what it relies on.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use rusqlite::Connection;

use crate::publish::Durability;
use crate::sqlite::tables::meta;
use crate::sqlite::writer::{Failure, Operation, Tx};
use crate::sqlite::{byte_lock, sidecar};

/// How long a lease in the file is good for, in milliseconds.
const LEASE: i64 = 120_000;

pub(super) struct Turn {
    database: PathBuf,
    held: Option<File>,
    /// Who this is where there are no locks.
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Mine,
    Anothers,
    /// There are no locks: a lease says it, which is taken before something is written.
    Unknown,
}

impl Turn {
    pub(super) fn new(database: PathBuf) -> Self {
        Self { database, held: None, name: uuid::Uuid::new_v4().to_string() }
    }

    /// Takes the turn, if nobody has it.
    pub(super) fn take(&mut self) -> Whose {
        if self.held.as_ref().is_some_and(|file| sidecar::is_at(file, &self.database)) {
            return Whose::Mine;
        }
        self.held = None;
        let locked = sidecar::open(&self.database)
            .and_then(|file| Ok(byte_lock::try_lock(&file, byte_lock::PRUNER)?.then_some(file)));
        match locked {
            Ok(Some(file)) => {
                self.held = Some(file);
                Whose::Mine
            }
            Ok(None) => Whose::Anothers,
            Err(error) => {
                if error.kind() != io::ErrorKind::Unsupported {
                    tracing::debug!(%error, "who prunes is told by a lease in the file");
                }
                Whose::Unknown
            }
        }
    }

    pub(super) fn leave(&mut self) {
        self.held = None;
    }

    pub(super) fn lease(&self) -> Lease {
        Lease { name: self.name.clone() }
    }
}

/// Takes or renews the lease; `false` if another has it.
pub(super) struct Lease {
    name: String,
}

impl Operation for Lease {
    type Output = bool;

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        Ok(take_lease(tx.conn, &self.name, tx.now)?)
    }
}

fn take_lease(conn: &Connection, name: &str, now: i64) -> rusqlite::Result<bool> {
    let held = meta::get(conn, meta::PRUNER)?;
    let held = held.as_deref().and_then(|held| held.split_once(' '));
    // One that ends later than any can was given while the clock was wrong.
    let is_good =
        |until: &str| until.parse().is_ok_and(|until: i64| until > now && until <= now.saturating_add(LEASE));
    if held.is_some_and(|(holder, until)| holder != name && is_good(until)) {
        return Ok(false);
    }
    meta::set(conn, meta::PRUNER, &format!("{name} {}", now.saturating_add(LEASE)))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::log;

    #[cfg(target_os = "linux")]
    #[test]
    fn one_has_the_turn_until_it_leaves_or_the_sidecar_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let (mut first, mut second) = (Turn::new(database.clone()), Turn::new(database.clone()));
        assert_eq!((first.take(), first.take(), second.take()), (Whose::Mine, Whose::Mine, Whose::Anothers));
        first.leave();
        assert_eq!((second.take(), first.take()), (Whose::Mine, Whose::Anothers));
        std::fs::remove_file(sidecar::path(&database)).unwrap();
        assert_eq!((first.take(), second.take()), (Whose::Mine, Whose::Anothers));
    }

    #[test]
    fn a_lease_is_anothers_until_it_ends_and_none_is_for_ever() {
        let conn = log();
        assert!(take_lease(&conn, "a", 1_000).unwrap() && !take_lease(&conn, "b", 2_000).unwrap());
        assert!(take_lease(&conn, "a", 50_000).unwrap() && !take_lease(&conn, "b", 130_000).unwrap());
        assert!(take_lease(&conn, "b", 170_000).unwrap());
        assert!(take_lease(&conn, "a", 10).unwrap(), "the clock was far ahead");
    }
}
