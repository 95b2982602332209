//! Peers: who has the file open, and is alive.
//!
//! Each bus locks a byte of the sidecar that nobody had before, and writes a row that names it. The kernel lets go of the lock
//! however the process ends, so a row whose byte is free is one of the dead, and whoever notices removes it. As the byte is
//! never used again, no other process can be taken for the dead one.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::publish::Durability;
use crate::sqlite::tables::peers::{self, NewPeer, PeerRow};
use crate::sqlite::writer::{Failure, Operation, Tx};
use crate::sqlite::{boot, byte_lock, sidecar};

/// A bus that has the file open: one of this process or of another. From [`SqliteBus::peers`](crate::SqliteBus::peers).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Never given to another peer of the same file.
    pub id: i64,
    /// As the builder's [`name`](crate::sqlite::SqliteBuilder::name) said; else the program's.
    pub name: String,
    /// The process, as its own system numbers it.
    pub pid: u32,
    /// The version of rowbus that it runs.
    pub version: String,
    /// The subjects whose requests it serves.
    pub serves: Vec<Filter>,
    /// When it opened the bus, by its wall clock.
    pub since: DateTime<Utc>,
    /// It is the bus that was asked.
    pub is_self: bool,
}

/// What says that this bus is there.
pub(crate) struct Presence {
    /// The open file that holds the lock.
    file: File,
    byte: u64,
    name: String,
    registered: std::sync::Arc<AtomicBool>,
}

impl Presence {
    /// `None` where the system has no such locks, or the sidecar cannot be used.
    pub(crate) fn take(database: &Path, name: &str) -> Option<Self> {
        let file = sidecar::open(database).ok()?;
        // At random from a range so large that no byte is taken twice.
        let byte = byte_lock::PEERS + (uuid::Uuid::new_v4().as_u64_pair().0 >> 2);
        let registered = std::sync::Arc::default();
        byte_lock::try_lock(&file, byte).ok()?.then(|| Self { file, byte, name: name.to_owned(), registered })
    }

    /// What writes the row, while there is none.
    pub(crate) fn registration(&self) -> Option<Register> {
        if self.registered.load(Ordering::Relaxed) {
            return None;
        }
        let peer = NewPeer {
            slot: self.byte.cast_signed(),
            name: self.name.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
            boot_id: boot::id(),
        };
        let file = self.file.try_clone().ok()?;
        Some(Register { peer, file, own: self.byte, registered: std::sync::Arc::clone(&self.registered) })
    }

    /// What takes the row away, which may be about to be written.
    pub(crate) fn withdrawal(&self) -> Bury {
        Bury { slots: vec![self.byte.cast_signed()] }
    }

    /// Tells the living from the dead.
    pub(crate) fn sort(&self, rows: Vec<PeerRow>) -> (Vec<Peer>, Option<Bury>) {
        let (living, dead): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| is_alive(&self.file, self.byte, row.slot));
        let slots: Vec<_> = dead.into_iter().map(|row| row.slot).collect();
        let living = living.into_iter().map(|row| self.peer(row)).collect();
        (living, (!slots.is_empty()).then_some(Bury { slots }))
    }

    fn peer(&self, row: PeerRow) -> Peer {
        let serves = row.serves.unwrap_or_default();
        Peer {
            id: row.id,
            name: row.name,
            pid: u32::try_from(row.pid).unwrap_or(0),
            version: row.version,
            serves: serves.lines().filter_map(|line| Filter::new(line).ok()).collect(),
            since: DateTime::from_timestamp_millis(row.started_at).unwrap_or_default(),
            is_self: row.slot == self.byte.cast_signed(),
        }
    }
}

/// Of one that cannot be asked for, nobody is declared dead.
fn is_alive(file: &File, own: u64, slot: i64) -> bool {
    let byte = slot.cast_unsigned();
    byte == own || (slot > 0 && byte_lock::is_locked(file, byte).unwrap_or(true))
}

pub(crate) fn unsupported() -> Error {
    let message = "who has the file open cannot be told here: it takes locks on the sidecar beside the file, \
                   which only Linux has so far";
    Error::new(ErrorKind::Unsupported, message)
}

/// Writes the row of this bus, and removes those of the dead.
pub(crate) struct Register {
    peer: NewPeer,
    file: File,
    own: u64,
    registered: std::sync::Arc<AtomicBool>,
}

impl Operation for Register {
    type Output = ();

    // After a power cut nobody has the file open.
    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for row in peers::list(tx.conn)? {
            if !is_alive(&self.file, self.own, row.slot) {
                peers::remove(tx.conn, row.slot)?;
            }
        }
        // It may be tried a second time.
        peers::remove(tx.conn, self.peer.slot)?;
        peers::add(tx.conn, &self.peer, tx.now)?;
        self.registered.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Removes rows of those who have gone.
pub(crate) struct Bury {
    slots: Vec<i64>,
}

impl Operation for Bury {
    type Output = ();

    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for slot in &self.slots {
            peers::remove(tx.conn, *slot)?;
        }
        Ok(())
    }
}
