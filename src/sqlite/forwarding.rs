//! What a bridge asks of the file beyond what every consumer may: to have what it reads flushed, to note how far it was, and
//! who the file was when an event was written.

use std::sync::Arc;

use crate::error::Result;
use crate::message::Message;
use crate::publish::Durability;
use crate::sqlite::lineage::Lineage;
use crate::sqlite::tables::{events, meta};
use crate::sqlite::writer::{Failure, Operation, Tx};
use crate::sqlite::{SqliteBus, off_runtime};
use crate::subscribe::StartAt;

/// Notes how far a bridge was; and, if it is to flush, takes with it whatever was committed before, by whichever process. A commit
/// that changes no page writes nothing and so flushes nothing: it counts.
struct Mark {
    /// What is noted, under which key.
    note: Option<(String, String)>,
    flush: bool,
}

impl Operation for Mark {
    type Output = ();

    fn durability(&self) -> Durability {
        if self.flush { Durability::Full } else { Durability::Relaxed }
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        if self.flush {
            meta::count(tx.conn, meta::FLUSHES)?;
        }
        if let Some((key, value)) = &self.note {
            meta::set(tx.conn, key, value)?;
        }
        tx.wrote(64);
        Ok(())
    }
}

impl SqliteBus {
    /// When this returns, an fsync covers every row that could be read when it was called, and the note.
    pub(crate) async fn flush(&self, note: Option<(String, String)>) -> Result<()> {
        self.checked_core()?.writer().run(Mark { note, flush: true }).await
    }

    /// The same without the fsync: an older note is as true.
    pub(crate) async fn note(&self, note: Option<(String, String)>) -> Result<()> {
        match note {
            Some(_) => self.checked_core()?.writer().run(Mark { note, flush: false }).await,
            None => Ok(()),
        }
    }

    /// Moves a bridge's consumer back right behind this sequence, with a note that no longer says why: both or neither, whatever fails.
    pub(crate) async fn move_back(&self, consumer: &str, behind: u64, note: (String, String)) -> Result<()> {
        let to = StartAt::Sequence(behind + 1);
        self.checked_core()?.consumers().seek_noting(consumer, to, note).await
    }

    /// What was noted under this key.
    pub(crate) async fn noted(&self, key: String) -> Result<Option<String>> {
        let log = Arc::clone(&self.checked_core()?.readers().log);
        off_runtime(move || log.read("reading a bridge's note", |conn| meta::get(conn, &key))).await
    }

    /// Who the file is, and was.
    pub(crate) async fn lineage(&self) -> Result<Lineage> {
        let log = Arc::clone(&self.checked_core()?.readers().log);
        off_runtime(move || log.read("reading the incarnation", Lineage::read)).await
    }

    /// The newest sequence that was given out.
    pub(crate) async fn newest(&self) -> Result<u64> {
        let log = Arc::clone(&self.checked_core()?.readers().log);
        off_runtime(move || log.newest()).await
    }

    /// The event of this sequence, if the log has it.
    pub(crate) async fn event(&self, sequence: u64) -> Result<Option<Message>> {
        let log = Arc::clone(&self.checked_core()?.readers().log);
        let get = move || log.read("reading an event", |conn| events::get(conn, sequence));
        Ok(off_runtime(get).await?.and_then(std::result::Result::ok))
    }

    /// Whether a member that this bus has is the active one of a cumulative consumer.
    pub(crate) fn has_place(&self, consumer: &str) -> bool {
        self.core().consumers().is_active(consumer)
    }
}
