//! From pages to rows of the new file.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, ErrorCode};

use crate::defaults::{MAX_ROW, PAGE_BYTES};
use crate::sqlite::salvage::btree::{Cell, Kind, Node};
use crate::sqlite::salvage::map::{Map, Use};
use crate::sqlite::salvage::pages::{Pages, word};
use crate::sqlite::salvage::record::{Value, decode};
use crate::sqlite::salvage::report::SalvagedTable;
use crate::sqlite::tables::retention;
use crate::sqlite::tables::salvaged::{self, Salvaged, TABLES};

pub(super) const EVENTS: usize = 0;
pub(super) const REQUESTS: usize = 1;
const EVENTS_INDEX: &str = "bus_events_by_subject";
const SETTINGS: &str = "bus_meta";
const COUNTERS: &str = "sqlite_sequence";

/// No table has given an id beyond this, and the next one has to be possible.
const NEWEST_ID: i64 = i64::MAX >> 1;

/// Bytes that tell whether a page size is the right one: the same ones for each size, since every second page of that size can
/// be one of twice the size.
const SAMPLE: usize = 8 << 20;

pub(super) struct Rescue<'a> {
    pub(super) conn: &'a Connection,
    pub(super) pages: &'a Pages,
    /// What is rescued is not wanted any more.
    stop: &'a AtomicBool,
    pub(super) map: Map,
    pub(super) tables: Vec<SalvagedTable>,
    /// Of each table, the ids that came out, and those of rows whose content is gone.
    pub(super) ids: Vec<(Vec<i64>, Vec<i64>)>,
    /// The events that the index knows.
    pub(super) indexed: Vec<i64>,
    /// Cells of pages in a tree of this name that are none.
    broken: HashMap<String, u64>,
    pub(super) counters: HashMap<String, i64>,
    /// What `bus_meta` says.
    pub(super) settings: HashMap<String, String>,
    /// Jobs that may have been done and removed long ago.
    pub(super) doubtful: Vec<i64>,
    bytes: usize,
}

impl<'a> Rescue<'a> {
    pub(super) fn begin(
        conn: &'a Connection,
        pages: &'a Pages,
        stop: &'a AtomicBool,
    ) -> rusqlite::Result<Self> {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let tables = TABLES.iter().map(|table| SalvagedTable {
            name: table.name,
            rows: 0,
            unsure: 0,
            damaged: 0,
            lost: 0,
            lost_ids: Vec::new(),
            is_certain: true,
            missing_ids: Vec::new(),
            refused: 0,
        });
        Ok(Self {
            conn,
            pages,
            stop,
            map: Map::make(pages),
            tables: tables.collect(),
            ids: TABLES.iter().map(|_| Default::default()).collect(),
            indexed: Vec::new(),
            broken: HashMap::new(),
            counters: HashMap::new(),
            settings: HashMap::new(),
            doubtful: Vec::new(),
            bytes: 0,
        })
    }

    fn pages_to_read(&self) -> impl Iterator<Item = u32> + use<'a> {
        let stop = self.stop;
        (1..=self.pages.count).take_while(|_| !stop.load(Ordering::Relaxed))
    }

    /// Rows of pages whose tree is known.
    pub(super) fn read_known(&mut self) -> rusqlite::Result<()> {
        for page in self.pages_to_read() {
            let Some(name) = self.map.name_of(page).map(str::to_owned) else { continue };
            let table = TABLES.iter().position(|table| table.name == name);
            let Some(node) = Node::read(self.pages, page) else { continue };
            if table.is_none() && ![EVENTS_INDEX, COUNTERS, SETTINGS].contains(&&*name) {
                node.cells().flatten().for_each(|cell| self.pass_over(&cell));
                continue;
            }
            let mut broken = 0;
            for cell in node.cells() {
                let Some(cell) = cell else {
                    broken += 1;
                    continue;
                };
                let payload = self.payload(&cell, page);
                let row = payload.and_then(|payload| decode(&payload, self.pages.encoding));
                match (table, row) {
                    (Some(table), Some(row)) => self.keep(table, cell.rowid, row)?,
                    (Some(table), None) if TABLES[table].has_rowid && is_id(cell.rowid) => {
                        self.ids[table].1.push(cell.rowid);
                    }
                    (Some(table), None) => self.tables[table].lost += 1,
                    (None, Some(row)) => self.learn(&name, &row),
                    (None, None) => broken += 1,
                }
            }
            *self.broken.entry(name).or_default() += broken;
        }
        Ok(())
    }

    /// Rows of pages of which nothing is known, by what they look like.
    pub(super) fn read_unknown(&mut self) -> rusqlite::Result<()> {
        self.indexed.sort_unstable();
        let index_is_whole = self.index_is_whole();
        for page in self.pages_to_read() {
            if !matches!(self.map.of(page), Use::Unknown | Use::SomeTree) {
                continue;
            }
            let is_live = self.map.of(page) == Use::SomeTree;
            let Some(node) = Node::read(self.pages, page) else { continue };
            for cell in node.cells().flatten() {
                let row = self.payload(&cell, page).and_then(|payload| decode(&payload, self.pages.encoding));
                let Some(row) = row else { continue };
                if node.kind == Kind::TableLeaf && is_counter(&row) {
                    self.learn(COUNTERS, &row);
                }
                let Some(table) = table_of(&row, node.kind == Kind::TableLeaf) else { continue };
                // It is a page that was given up long ago, or may be one.
                if self.is_whole(TABLES[table].name)
                    || (table == EVENTS && index_is_whole && self.indexed.binary_search(&cell.rowid).is_err())
                {
                    continue;
                }
                // The file's map knows what counts, and so does an index that is whole.
                if is_live || (table == EVENTS && index_is_whole) {
                    self.keep(table, cell.rowid, row)?;
                } else {
                    self.keep_unsure(table, cell.rowid, row)?;
                }
            }
        }
        Ok(())
    }

    /// Every event is in it.
    pub(super) fn index_is_whole(&self) -> bool {
        self.map.knows(EVENTS_INDEX) && self.damaged_of(EVENTS_INDEX) == 0
    }

    /// Each page of this tree was come to from a root that a page which counts has named, and can be read: there are no
    /// others.
    pub(super) fn is_whole(&self, name: &str) -> bool {
        self.map.is_sure_of(name) && self.damaged_of(name) == 0
    }

    /// Whether the policies of retention are known, all of them.
    pub(super) fn knows_policies(&self) -> bool {
        let whole = |table: &SalvagedTable| table.lost == 0 && table.refused == 0 && table.unsure == 0;
        self.is_whole(retention::TABLE)
            && self.tables.iter().filter(|table| table.name == retention::TABLE).all(whole)
    }

    /// Whether what `bus_meta` says is known, all of it.
    pub(super) fn knows_settings(&self) -> bool {
        self.is_whole(SETTINGS)
    }

    pub(super) fn damaged_of(&self, name: &str) -> u64 {
        let pages = self.map.damaged.iter().filter(|page| self.map.name_of(**page) == Some(name)).count();
        pages as u64 + self.broken.get(name).copied().unwrap_or(0)
    }

    fn learn(&mut self, name: &str, row: &[Value]) {
        match (name, row) {
            // The id is a column of it, and stands behind its columns as in every index.
            (EVENTS_INDEX, [_, .., id]) => self.indexed.extend(id.as_int().filter(|id| is_id(*id))),
            (SETTINGS, [key, value]) => {
                if let (Some(key), Some(value)) = (key.as_str(), value.as_str()) {
                    self.settings.insert(key.to_owned(), value.to_owned());
                }
            }
            (COUNTERS, [table, newest]) => {
                let newest = newest.as_int().filter(|newest| *newest == 0 || is_id(*newest));
                if let (Some(table), Some(newest)) = (table.as_str(), newest) {
                    let counter = self.counters.entry(table.to_owned()).or_default();
                    *counter = newest.max(*counter);
                }
            }
            _ => {}
        }
    }

    /// A row that may have been removed before. A job would be run once more, so it is put aside.
    fn keep_unsure(&mut self, table: usize, rowid: i64, mut row: Vec<Value>) -> rusqlite::Result<()> {
        let spec = &TABLES[table];
        let newest = self.counters.get(spec.name).filter(|_| spec.has_rowid);
        if newest.is_some_and(|newest| rowid > *newest) {
            return Ok(());
        }
        let waits = table == REQUESTS && is_unfinished_job(&row);
        if waits {
            // It holds up none that is sure.
            forget_unique_key(&mut row);
        }
        let before = self.tables[table].rows;
        self.keep(table, rowid, row)?;
        let kept = self.tables[table].rows - before;
        self.tables[table].unsure += kept;
        if waits && kept > 0 {
            self.doubtful.push(rowid);
        }
        Ok(())
    }

    fn keep(&mut self, table: usize, rowid: i64, mut row: Vec<Value>) -> rusqlite::Result<()> {
        let spec = &TABLES[table];
        let is_row = (spec.least..=spec.columns.len()).contains(&row.len());
        if !is_row || (spec.has_rowid && !is_id(rowid)) {
            self.tables[table].refused += 1;
            return Ok(());
        }
        if spec.has_rowid {
            row[0] = Value::Int(rowid);
        }
        self.bytes += row
            .iter()
            .map(|value| if let Value::Blob(b) | Value::Text(b) = value { b.len() } else { 8 })
            .sum::<usize>();
        if spec.name == retention::TABLE && self.tables[table].rows == 0 {
            salvaged::forget_policies(self.conn)?;
        }
        match salvaged::insert(self.conn, spec, &row) {
            Ok(()) => {
                self.tables[table].rows += 1;
                self.ids[table].0.push(if spec.has_rowid { rowid } else { 0 });
            }
            Err(error) if is_there(&error) => {}
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                self.tables[table].refused += 1;
            }
            Err(error) => return Err(error),
        }
        if self.bytes > PAGE_BYTES {
            self.bytes = 0;
            self.conn.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
        }
        Ok(())
    }

    /// The payload of a cell with what of it is on other pages, if all of these are its own.
    fn payload(&mut self, cell: &Cell<'_>, page: u32) -> Option<Vec<u8>> {
        // What is longer is no row of the bus.
        if cell.length > 3 * MAX_ROW {
            return None;
        }
        let mut payload = Vec::with_capacity(cell.length);
        payload.extend_from_slice(cell.local);
        let (mut next, mut before, mut chain) = (cell.overflow, page, Vec::new());
        while payload.len() < cell.length {
            // They go round in a circle.
            if chain.len() >= self.pages.count as usize {
                return None;
            }
            if self.map.entry(self.pages, next).is_some_and(|entry| !entry.follows(before, before == page)) {
                return None;
            }
            let bytes = self.pages.read(next)?;
            let wanted = (cell.length - payload.len()).min(self.pages.usable - 4);
            payload.extend_from_slice(bytes.get(4..4 + wanted)?);
            chain.push(next);
            (before, next) = (next, word(&bytes, 0));
        }
        if next != 0 {
            return None;
        }
        chain.into_iter().for_each(|page| self.map.set_overflow(page));
        Some(payload)
    }

    /// What of another tree's cell is on other pages is none of ours, and no loss if nobody reads it. A page that looks like rows
    /// is not taken for that, since the cell may be damaged.
    fn pass_over(&mut self, cell: &Cell<'_>) {
        let (mut next, mut left) = (cell.overflow, cell.length.saturating_sub(cell.local.len()));
        while next != 0 && left > 0 && self.map.of(next) == Use::Unknown {
            let Some(bytes) = self.pages.read(next).filter(|_| Node::read(self.pages, next).is_none()) else {
                return;
            };
            self.map.set_overflow(next);
            left = left.saturating_sub(self.pages.usable - 4);
            next = word(&bytes, 0);
        }
    }
}

/// The pages at the beginning of a file that look like some of a bus.
pub(super) fn looks_like_ours(pages: &Pages) -> usize {
    let numbers = 1..=pages.count.min((SAMPLE / pages.size) as u32);
    let nodes =
        numbers.filter_map(|page| Node::read(pages, page)).filter(|node| node.kind == Kind::TableLeaf);
    let ours = |node: &Node| {
        let whole = |cell: Cell<'_>| decode(cell.local, pages.encoding).filter(|_| cell.overflow == 0);
        node.cells().flatten().filter_map(whole).any(|row| table_of(&row, true).is_some())
    };
    nodes.filter(ours).count()
}

/// The table of which this can be a row.
fn table_of(row: &[Value], has_rowid: bool) -> Option<usize> {
    TABLES.iter().position(|table| {
        let fits = |(kind, value): (char, &Value)| match value {
            Value::Null => kind == 'n' || kind.is_ascii_uppercase(),
            Value::Int(_) => kind.eq_ignore_ascii_case(&'i'),
            Value::Text(_) => kind.eq_ignore_ascii_case(&'t') || kind.eq_ignore_ascii_case(&'b'),
            Value::Blob(_) => kind.eq_ignore_ascii_case(&'b'),
            Value::Real(_) => false,
        };
        let is_length = (table.least..=table.columns.len()).contains(&row.len());
        !table.shape.is_empty()
            && table.has_rowid == has_rowid
            && is_length
            && table.shape.chars().zip(row).all(fits)
            && can_be(table, row)
    })
}

/// What the shape alone does not say.
fn can_be(table: &Salvaged, row: &[Value]) -> bool {
    let word = |at: usize| row.get(at).and_then(Value::as_str).unwrap_or_default();
    match table.name {
        "bus_events" => crate::subject::Subject::new(word(1)).is_ok(),
        "bus_requests" => matches!(word(2), "job" | "request"),
        "bus_dead_letters" => matches!(word(1), "job" | "event"),
        "bus_consumers" => matches!(word(4), "explicit" | "cumulative"),
        _ => true,
    }
}

/// Whether a table can have given this id.
fn is_id(id: i64) -> bool {
    (1..=NEWEST_ID).contains(&id)
}

/// The column of this name in a row of requests.
fn column(name: &str) -> usize {
    TABLES[REQUESTS].columns.iter().position(|column| *column == name).unwrap_or(usize::MAX)
}

fn is_unfinished_job(row: &[Value]) -> bool {
    row.get(column("kind")).and_then(Value::as_str) == Some("job")
        && row.get(column("finished_at")) == Some(&Value::Null)
}

fn forget_unique_key(row: &mut [Value]) {
    if let Some(key) = row.get_mut(column("unique_key")) {
        *key = Value::Null;
    }
}

fn is_counter(row: &[Value]) -> bool {
    matches!(row, [name, Value::Int(_)] if TABLES.iter().any(|table| table.has_rowid && Some(table.name) == name.as_str()))
}

/// The row is in the new file already, from a page of which more is known.
fn is_there(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi;
    let code = match error {
        rusqlite::Error::SqliteFailure(failure, _) => failure.extended_code,
        _ => 0,
    };
    [ffi::SQLITE_CONSTRAINT_PRIMARYKEY, ffi::SQLITE_CONSTRAINT_ROWID, ffi::SQLITE_CONSTRAINT_UNIQUE]
        .contains(&code)
}
