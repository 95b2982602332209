//! Peers: who has the file open, and is alive.
//!
//! Each bus locks a byte of the sidecar that nobody had before, and writes a row that names it. The kernel lets go of the lock
//! however the process ends, so a row whose byte is free is one of the dead, and whoever notices removes it. As the byte is
//! never used again, no other process can be taken for the dead one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    database: PathBuf,
    name: String,
    byte: u64,
    /// A filter a line.
    serves: Arc<Mutex<String>>,
    held: Mutex<Arc<Held>>,
}

/// The lock, in the sidecar that was there when it was taken.
struct Held {
    file: File,
    byte: u64,
    registered: AtomicBool,
}

impl Presence {
    /// `None` where the system has no such locks, or the sidecar cannot be used.
    pub(crate) fn take(database: &Path, name: &str) -> Option<Self> {
        // At random from a range so large that no byte is taken twice.
        let byte = byte_lock::FIRST_PEER + (uuid::Uuid::new_v4().as_u64_pair().0 >> 2);
        let held = Mutex::new(Held::take(database, byte)?);
        let (database, name) = (database.to_owned(), name.to_owned());
        Some(Self { database, name, byte, serves: Arc::default(), held })
    }

    /// What writes the row, while there is none. Where the sidecar was deleted or replaced, others take this bus for dead;
    /// it locks the new one and says again that it is there.
    pub(crate) fn registration(&self) -> Option<Register> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !sidecar::is_at(&held.file, &self.database)
            && let Some(anew) = Held::take(&self.database, self.byte)
        {
            *held = anew;
        }
        if held.registered.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.register(&held))
    }

    /// What tells others which subjects are served here, a filter a line; `None` if they were told.
    pub(crate) fn serving(&self, filters: String) -> Option<Register> {
        {
            let mut serves = self.serves.lock().unwrap_or_else(PoisonError::into_inner);
            if *serves == filters {
                return None;
            }
            *serves = filters;
        }
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Until it is written, every registration says it again.
        held.registered.store(false, Ordering::Relaxed);
        Some(self.register(&held))
    }

    /// The byte that stands for this peer, as rows have it.
    pub(crate) fn slot(&self) -> i64 {
        self.byte.cast_signed()
    }

    pub(crate) fn is_self(&self, slot: i64) -> bool {
        slot == self.slot()
    }

    pub(crate) fn is_alive(&self, slot: i64) -> bool {
        self.held().is_alive(slot)
    }

    /// Whether the sidecar is that of the others: else nobody can be told to be dead.
    pub(crate) fn is_sure(&self) -> bool {
        sidecar::is_at(&self.held().file, &self.database)
    }

    fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn register(&self, held: &Arc<Held>) -> Register {
        let peer = NewPeer {
            slot: self.byte.cast_signed(),
            name: self.name.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
            boot_id: boot::id(),
        };
        let serves = Arc::clone(&self.serves);
        Register { peer, serves, held: Arc::clone(held), database: self.database.clone() }
    }

    /// What takes the row away, which may be about to be written.
    pub(crate) fn withdrawal(&self) -> Bury {
        Bury { slots: vec![self.byte.cast_signed()] }
    }

    /// Tells the living from the dead.
    pub(crate) fn sort(&self, rows: Vec<PeerRow>) -> (Vec<Peer>, Option<Bury>) {
        let held = self.held();
        let (living, dead): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| held.is_alive(row.slot));
        let slots: Vec<_> = dead.into_iter().map(|row| row.slot).collect();
        let own = self.slot();
        let living = living.into_iter().map(|row| peer(row, Some(own))).collect();
        // In a sidecar that is not that of the others nobody can be told to be dead for good.
        let sure = !slots.is_empty() && sidecar::is_at(&held.file, &self.database);
        (living, sure.then_some(Bury { slots }))
    }
}

/// A row as what it says.
pub(crate) fn peer(row: PeerRow, own: Option<i64>) -> Peer {
    let serves = row.serves.unwrap_or_default();
    Peer {
        id: row.id,
        name: row.name,
        pid: u32::try_from(row.pid).unwrap_or(0),
        version: row.version,
        serves: serves.lines().filter_map(|line| Filter::new(line).ok()).collect(),
        since: DateTime::from_timestamp_millis(row.started_at).unwrap_or_default(),
        is_self: Some(row.slot) == own,
    }
}

impl Held {
    fn take(database: &Path, byte: u64) -> Option<Arc<Self>> {
        let file = sidecar::open(database).ok()?;
        let locked = byte_lock::try_lock(&file, byte).ok()?;
        locked.then(|| Arc::new(Self { file, byte, registered: AtomicBool::new(false) }))
    }

    /// Of one that cannot be asked for, nobody is declared dead.
    fn is_alive(&self, slot: i64) -> bool {
        let byte = slot.cast_unsigned();
        byte == self.byte || (slot > 0 && byte_lock::is_locked(&self.file, byte).unwrap_or(true))
    }
}

pub(crate) fn unsupported() -> Error {
    let message = "who has the file open cannot be told here: it takes a sidecar beside the file that can be used, and locks \
                   on its bytes, which this library has on Linux only so far";
    Error::new(ErrorKind::Unsupported, message)
}

/// Writes the row of this bus, and removes those of the dead.
pub(crate) struct Register {
    peer: NewPeer,
    /// As it is when it is written: of two that are on their way, the later one may be written first.
    serves: Arc<Mutex<String>>,
    held: Arc<Held>,
    database: PathBuf,
}

impl Operation for Register {
    type Output = ();

    // After a power cut nobody has the file open.
    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let rows = peers::list(tx.conn)?;
        if sidecar::is_at(&self.held.file, &self.database) {
            for row in rows.iter().filter(|row| !self.held.is_alive(row.slot)) {
                peers::remove(tx.conn, row.slot)?;
            }
        }
        // It may be there already, or be tried a second time.
        let serves = self.serves.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let serves = Some(serves.as_str()).filter(|serves| !serves.is_empty());
        if peers::update(tx.conn, self.peer.slot, serves)? == 0 {
            peers::add(tx.conn, &self.peer, serves, tx.now)?;
        }
        Ok(())
    }

    fn committed(&self, _: &Self::Output) {
        self.held.registered.store(true, Ordering::Relaxed);
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
