//! From pages to rows of the new file.

use std::collections::HashMap;

use rusqlite::{Connection, ErrorCode};

use crate::defaults::{MAX_ROW, PAGE_BYTES};
use crate::sqlite::salvage::btree::{Cell, Kind, Node};
use crate::sqlite::salvage::map::{Map, Use};
use crate::sqlite::salvage::pages::{Pages, word};
use crate::sqlite::salvage::record::{Value, decode};
use crate::sqlite::salvage::report::{self, SalvagedTable};
use crate::sqlite::schema::LOST_IDS_AT_MOST;
use crate::sqlite::tables::salvaged::{self, Salvaged, TABLES};
use crate::sqlite::tables::{events, meta};

const EVENTS: usize = 0;
const EVENTS_INDEX: &str = "bus_events_by_subject";
const POLICIES: &str = "bus_retention";
const COUNTERS: &str = "sqlite_sequence";

/// Bytes that tell whether a page size is the right one: the same ones for each size, since every second page of that size can
/// be one of twice the size.
const SAMPLE: usize = 8 << 20;

pub(super) struct Rescue<'a> {
    conn: &'a Connection,
    pages: &'a Pages,
    map: Map,
    tables: Vec<SalvagedTable>,
    /// Of each table, the ids that came out, and those of rows whose content is gone.
    ids: Vec<(Vec<i64>, Vec<i64>)>,
    /// The events that the index knows.
    indexed: Vec<i64>,
    /// Cells of pages in a tree of this name that are none.
    broken: HashMap<String, u64>,
    counters: HashMap<String, i64>,
    bytes: usize,
}

impl<'a> Rescue<'a> {
    pub(super) fn begin(conn: &'a Connection, pages: &'a Pages) -> rusqlite::Result<Self> {
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
            map: Map::make(pages),
            tables: tables.collect(),
            ids: TABLES.iter().map(|_| Default::default()).collect(),
            indexed: Vec::new(),
            broken: HashMap::new(),
            counters: HashMap::new(),
            bytes: 0,
        })
    }

    /// Rows of pages whose tree is known.
    pub(super) fn read_known(&mut self) -> rusqlite::Result<()> {
        for page in 1..=self.pages.count {
            let Some(name) = self.map.name_of(page).map(str::to_owned) else { continue };
            let table = TABLES.iter().position(|table| table.name == name);
            if table.is_none() && name != EVENTS_INDEX && name != COUNTERS {
                continue;
            }
            let Some(node) = Node::read(self.pages, page) else { continue };
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
                    (Some(table), None) if TABLES[table].has_rowid => self.ids[table].1.push(cell.rowid),
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
        for page in 1..=self.pages.count {
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
                // It may be a page that was given up long ago.
                if table == EVENTS && index_is_whole && self.indexed.binary_search(&cell.rowid).is_err() {
                    continue;
                }
                let before = self.tables[table].rows;
                self.keep(table, cell.rowid, row)?;
                // The file's map knows what counts, and so does an index that is whole.
                if !is_live && (table != EVENTS || !index_is_whole) {
                    self.tables[table].unsure += self.tables[table].rows - before;
                }
            }
        }
        Ok(())
    }

    /// Every event is in it.
    fn index_is_whole(&self) -> bool {
        self.map.knows(EVENTS_INDEX) && self.damaged_of(EVENTS_INDEX) == 0
    }

    fn damaged_of(&self, name: &str) -> u64 {
        let pages = self.map.damaged.iter().filter(|page| self.map.name_of(**page) == Some(name)).count();
        pages as u64 + self.broken.get(name).copied().unwrap_or(0)
    }

    fn learn(&mut self, name: &str, row: &[Value]) {
        match (name, row) {
            // The id is a column of it, and stands behind its columns as in every index.
            (EVENTS_INDEX, [_, .., id]) => self.indexed.extend(id.as_int()),
            (COUNTERS, [table, newest]) => {
                if let (Some(table), Some(newest)) = (table.as_str(), newest.as_int()) {
                    let counter = self.counters.entry(table.to_owned()).or_default();
                    *counter = newest.max(*counter);
                }
            }
            _ => {}
        }
    }

    fn keep(&mut self, table: usize, rowid: i64, mut row: Vec<Value>) -> rusqlite::Result<()> {
        let spec = &TABLES[table];
        if row.len() < spec.least || row.len() > spec.columns.len() {
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
        if spec.name == POLICIES && self.tables[table].rows == 0 {
            salvaged::forget_default_policy(self.conn)?;
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

    pub(super) fn finish(mut self) -> rusqlite::Result<report::Salvaged> {
        let unknown = (1..=self.pages.count)
            .filter(|page| self.map.of(*page) == Use::Unknown && Node::read(self.pages, *page).is_none())
            .count() as u64;
        let nameless = self.map.damaged.iter().any(|page| self.map.name_of(*page).is_none());
        self.set_counters()?;
        let index_is_whole = self.index_is_whole();
        for (at, spec) in TABLES.iter().enumerate() {
            let damaged = self.damaged_of(spec.name);
            let (mut ids, mut lost) = std::mem::take(&mut self.ids[at]);
            ids.sort_unstable();
            if at == EVENTS {
                lost.append(&mut self.indexed);
            }
            lost.sort_unstable();
            lost.dedup();
            lost.retain(|id| ids.binary_search(id).is_err());
            let table = &mut self.tables[at];
            table.damaged = damaged;
            table.lost += lost.len() as u64;
            table.lost_ids = report::ranges(&lost);
            table.is_certain =
                (damaged == 0 && unknown == 0 && !nameless) || (at == EVENTS && index_is_whole);
            if at == EVENTS && !table.is_certain {
                let newest = self.counters.get(spec.name).copied().unwrap_or(0);
                table.missing_ids = report::gaps(&ids, newest.max(ids.last().copied().unwrap_or(0)));
            }
        }
        meta::set(self.conn, meta::CONSUMERS, &salvaged::newest_revision(self.conn)?.to_string())?;
        self.conn.execute_batch("COMMIT")?;
        let (pages, damaged) = (u64::from(self.pages.count), self.map.damaged);
        Ok(report::Salvaged { path: Default::default(), pages, damaged, unknown, tables: self.tables })
    }

    /// No id is given again that anybody may know of.
    fn set_counters(&self) -> rusqlite::Result<()> {
        for (at, spec) in TABLES.iter().enumerate().filter(|(_, spec)| spec.has_rowid) {
            let (ids, lost) = &self.ids[at];
            let there = ids.iter().max().copied().unwrap_or(0);
            let known = lost.iter().chain(if at == EVENTS { &*self.indexed } else { &[] }).max().copied();
            let newest = match self.counters.get(spec.name) {
                Some(newest) => *newest,
                // An empty table need not have one.
                None if there == 0
                    && known.is_none()
                    && self.damaged_of(spec.name) == 0
                    && self.map.damaged.is_empty() =>
                {
                    0
                }
                None => there.max(known.unwrap_or(0)).saturating_add(LOST_IDS_AT_MOST),
            };
            let more = newest.max(known.unwrap_or(0)) - there;
            if more > 0 {
                events::skip_ids(self.conn, spec.name, more)?;
            }
        }
        Ok(())
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
