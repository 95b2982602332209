//! Reading the log: pages on pooled connections, each in a read transaction of its own that ends with it.

use rusqlite::Connection;
use std::sync::{Arc, PoisonError, RwLock};

use crate::defaults::{PAGE, PAGE_BYTES};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::message::Message;
use crate::sqlite::connection::{Opener, Purpose};
use crate::sqlite::fault;
use crate::sqlite::filters::Filters;
use crate::sqlite::identity::FileIdentity;
use crate::sqlite::process::Process;
use crate::sqlite::tables::events::{self, Damaged, Page, PageSize};
use crate::sqlite::tables::meta;
use crate::sqlite::tables::peers::{self, PeerRow};
use crate::sqlite::tables::retention::{self, Reader};
use crate::subject::Subject;
use crate::subscribe::StartAt;

type Pool = r2d2::Pool<r2d2_sqlite::SqliteConnectionManager>;

/// Read connections at once: pages are short, and more of them would only share the processors.
const POOL: u32 = 4;

/// Rows that one page looks at, matching or not, so that its transaction stays short.
const ROWS: usize = 16 * PAGE;

pub(crate) const PAGE_SIZE: PageSize = PageSize { messages: PAGE, bytes: PAGE_BYTES, rows: ROWS };

/// The log of a bus, for reading. Every call blocks.
pub(crate) struct Log {
    pool: RwLock<Option<Pool>>,
    identity: FileIdentity,
    process: Process,
    /// Whom to tell of rows that could not be decoded.
    quarantine: Box<dyn Fn(Vec<Damaged>) + Send + Sync>,
}

/// A page, and whether events that it should hold may have been removed.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) page: Page,
    /// Up to here something may be missing; the position that was asked for if nothing is.
    pub(crate) pruned_through: u64,
}

/// Where a stream begins, resolved against the log.
#[derive(Debug)]
pub(crate) enum Start {
    /// Behind this sequence.
    After(u64),
    /// With these events, and then behind this sequence.
    With(Vec<u64>, u64),
}

impl Log {
    pub(crate) fn open(
        opener: &Opener,
        identity: FileIdentity,
        quarantine: impl Fn(Vec<Damaged>) + Send + Sync + 'static,
    ) -> Result<Arc<Self>> {
        let pool = RwLock::new(Some(opener.pool(POOL)?));
        Ok(Arc::new(Self { pool, identity, process: Process::current(), quarantine: Box::new(quarantine) }))
    }

    /// A connection of its own for what reads for long.
    pub(crate) fn connect(&self, opener: &Opener) -> Result<Connection> {
        self.process.check()?;
        self.identity.check()?;
        let conn = opener.open(Purpose::Read);
        self.identity.check()?;
        conn
    }

    /// Closes the connections as soon as the pages that are being read are done.
    pub(crate) fn close(&self) {
        if self.process.check().is_ok() {
            self.pool.write().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// The page behind `after`.
    pub(crate) fn page(&self, after: u64, filters: &Filters, gaps: Gaps) -> Result<Reading> {
        let reading = self.read("reading a page of the log", |conn| read_page(conn, after, filters, gaps))?;
        self.report(&reading.page.damaged);
        Ok(reading)
    }

    /// The newest sequence that was given out.
    pub(crate) fn newest(&self) -> Result<u64> {
        self.read("reading the newest sequence", events::newest)
    }

    /// What tells the file from any copy of it.
    pub(crate) fn incarnation(&self) -> Result<String> {
        self.read("reading the incarnation", |conn| {
            Ok(meta::get(conn, meta::INCARNATION)?.unwrap_or_default())
        })
    }

    /// Those who say that they have the file open.
    pub(crate) fn peers(&self) -> Result<Vec<PeerRow>> {
        self.read("reading the peers", peers::list)
    }

    /// The newest event of a subject.
    pub(crate) fn last(&self, subject: &Subject) -> Result<Option<Message>> {
        match self.read("reading the last event", |conn| events::last(conn, subject))? {
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(damaged)) => {
                self.report(std::slice::from_ref(&damaged));
                let message = format!(
                    "the newest event of {subject:?}, row {}, cannot be read: {}",
                    damaged.row, damaged.reason
                );
                Err(Error::new(ErrorKind::Corrupt, message))
            }
            None => Ok(None),
        }
    }

    /// The events of the first of these sequences, as many as fit into a page and are still there; and how many sequences
    /// were looked up.
    pub(crate) fn get(&self, sequences: &[u64]) -> Result<(Vec<Message>, usize)> {
        let (found, looked_up) = self.get_each(sequences)?;
        let (mut messages, mut damaged) = (Vec::new(), Vec::new());
        for found in found {
            match found {
                Ok(message) => messages.push(message),
                Err(row) => damaged.push(row),
            }
        }
        self.report(&damaged);
        Ok((messages, looked_up))
    }

    /// The same, with those that cannot be read in their places.
    pub(crate) fn get_each(
        &self,
        sequences: &[u64],
    ) -> Result<(Vec<std::result::Result<Message, Damaged>>, usize)> {
        let (mut each, mut looked_up) = (Vec::new(), 0);
        self.read("reading events", |conn| {
            let mut bytes = 0;
            for sequence in sequences.iter().take(PAGE) {
                looked_up += 1;
                let found = events::get(conn, *sequence)?;
                bytes += found.as_ref().and_then(|found| found.as_ref().ok()).map_or(0, Message::weight);
                each.extend(found);
                if bytes >= PAGE_BYTES {
                    break;
                }
            }
            Ok(())
        })?;
        Ok((each, looked_up))
    }

    /// Resolves where a stream begins.
    pub(crate) fn start(&self, filters: &Filters, start: StartAt) -> Result<Start> {
        match start {
            StartAt::New => self.newest().map(Start::After),
            StartAt::Oldest => Ok(Start::After(0)),
            StartAt::Sequence(sequence) => {
                let newest = self.newest()?;
                if sequence > newest.saturating_add(1) {
                    return Err(Error::cursor_ahead(sequence, newest));
                }
                Ok(Start::After(sequence.saturating_sub(1)))
            }
            StartAt::Time(time) => self
                .read("finding a time in the log", |conn| events::first_since(conn, time.timestamp_millis()))
                .map(|first| Start::After(first - 1)),
            StartAt::LastPerSubject => {
                let newest = self.newest()?;
                self.last_per_subject(filters, newest).map(|sequences| Start::With(sequences, newest))
            }
        }
    }

    /// What is removed up to now concerns no stream that begins now.
    pub(crate) fn pruned_through(&self, filters: &Filters) -> Result<u64> {
        self.read("reading the retention", |conn| retention::pruned_through(conn, filters, Reader::Stream, 0))
    }

    /// The newest event of each matching subject up to `newest`, in sequence order. A transaction a page of subjects.
    pub(crate) fn last_per_subject(&self, filters: &Filters, newest: u64) -> Result<Vec<u64>> {
        let mut sequences = Vec::new();
        for filter in filters.iter() {
            self.last_of_subjects(filter, newest, &mut sequences)?;
        }
        sequences.sort_unstable();
        Ok(sequences)
    }

    fn last_of_subjects(&self, filter: &Filter, newest: u64, sequences: &mut Vec<u64>) -> Result<()> {
        let doing = "finding the last event of each subject";
        if let Some(subject) = filter.as_subject() {
            let last = self.read(doing, |conn| events::last_sequence(conn, &subject, newest))?;
            sequences.extend((last > 0).then_some(last));
            return Ok(());
        }
        // Empty, or ends with a dot: what begins with it sorts behind the same text without the dot.
        let prefix = filter.literal_prefix().as_bytes();
        let mut after = prefix.strip_suffix(b".").unwrap_or(prefix).to_vec();
        loop {
            let more = self.read(doing, |conn| {
                for _ in 0..PAGE {
                    let Some(subject) = events::next_subject(conn, &after)? else { return Ok(false) };
                    if subject.as_slice() > prefix && !subject.starts_with(prefix) {
                        return Ok(false);
                    }
                    if let Ok(text) = std::str::from_utf8(&subject)
                        && filter.matches(text)
                    {
                        let last = events::last_sequence(conn, text, newest)?;
                        sequences.extend((last > 0).then_some(last));
                    }
                    after = subject;
                }
                Ok(true)
            })?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Reads on one snapshot.
    pub(crate) fn read<T>(
        &self,
        doing: &str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.process.check()?;
        let pool =
            self.pool.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(Error::closed)?;
        self.identity.check()?;
        let conn = pool.get();
        // The pool may have opened by the path what is not the bus's file any more.
        self.identity.check()?;
        let conn =
            conn.map_err(|e| Error::with_source(ErrorKind::Database, "waiting for a read connection", e))?;
        in_transaction(&conn, read)
            .map_err(|e| self.identity.check().err().unwrap_or_else(|| fault::error(doing, e)))
    }

    fn report(&self, damaged: &[Damaged]) {
        if !damaged.is_empty() {
            (self.quarantine)(damaged.to_vec());
        }
    }
}

/// Runs `read` on one snapshot, and lets go of it, whatever happens.
pub(crate) fn in_transaction<T>(
    conn: &Connection,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let snapshot = conn.unchecked_transaction()?;
    let result = read(&snapshot);
    // Dropping it rolls back; a failure to is found by whoever uses the connection next.
    drop(snapshot);
    result
}

/// Of which missing events somebody is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gaps {
    pub(crate) reader: Reader,
    /// Of what is missing up to here nothing is said.
    pub(crate) known: u64,
}

/// One page, with what was pruned, both of one snapshot.
pub(crate) fn read_page(
    conn: &Connection,
    after: u64,
    filters: &Filters,
    gaps: Gaps,
) -> rusqlite::Result<Reading> {
    let page = events::page(conn, after, filters, PAGE_SIZE)?;
    // A hand may have written more than there ever was.
    let pruned_through =
        retention::pruned_through(conn, filters, gaps.reader, after.max(gaps.known))?.min(page.newest);
    Ok(Reading { page, pruned_through })
}
