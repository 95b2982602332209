//! Pages of b-trees: what is in one, and whether it can be one at all.

use crate::sqlite::salvage::pages::{Pages, word};
use crate::sqlite::salvage::record::varint;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    TableLeaf,
    TableInterior,
    IndexLeaf,
    IndexInterior,
}

/// A page that can be one of a b-tree.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    bytes: Vec<u8>,
    usable: usize,
    cells: Vec<usize>,
    right: u32,
}

/// A row of a leaf, or an entry of an index.
#[derive(Debug)]
pub(super) struct Cell<'a> {
    pub(super) rowid: i64,
    /// Bytes of the whole payload.
    pub(super) length: usize,
    pub(super) local: &'a [u8],
    /// Where the rest of it begins; 0 if there is none.
    pub(super) overflow: u32,
}

impl Node {
    pub(super) fn read(pages: &Pages, number: u32) -> Option<Self> {
        let bytes = pages.read(number)?;
        let (start, usable) = (if number == 1 { 100 } else { 0 }, pages.usable);
        let kind = match *bytes.get(start)? {
            2 => Kind::IndexInterior,
            5 => Kind::TableInterior,
            10 => Kind::IndexLeaf,
            13 => Kind::TableLeaf,
            _ => return None,
        };
        let interior = matches!(kind, Kind::IndexInterior | Kind::TableInterior);
        let half =
            |at: usize| bytes.get(at..at + 2).map(|half| usize::from(u16::from_be_bytes([half[0], half[1]])));
        let (first, count) = (start + if interior { 12 } else { 8 }, half(start + 3)?);
        let content = match half(start + 5)? {
            0 => 65536,
            content => content,
        };
        if bytes.get(start + 7)? > &60 || first + 2 * count > content.min(usable) || content > usable {
            return None;
        }
        let cells: Vec<usize> = (0..count).filter_map(|at| half(first + 2 * at)).collect();
        if cells.iter().any(|cell| *cell < content || cell + 4 > usable) {
            return None;
        }
        let right = if interior { word(&bytes, start + 8) } else { 0 };
        if interior && (right == 0 || right > pages.count) {
            return None;
        }
        let node = Self { kind, bytes, usable, cells, right };
        // Children that cannot be are not followed, and are a sign that nothing else here is to be believed.
        let sound = node.children().iter().all(|child| *child > 0 && *child <= pages.count);
        sound.then_some(node)
    }

    /// The pages below.
    pub(super) fn children(&self) -> Vec<u32> {
        if matches!(self.kind, Kind::TableLeaf | Kind::IndexLeaf) {
            return Vec::new();
        }
        self.cells.iter().map(|at| word(&self.bytes, *at)).chain([self.right]).collect()
    }

    /// How many cells there should be.
    pub(super) fn len(&self) -> usize {
        if self.kind == Kind::TableInterior { 0 } else { self.cells.len() }
    }

    /// The cells with a payload that can be read.
    pub(super) fn cells(&self) -> impl Iterator<Item = Option<Cell<'_>>> {
        let count = self.len();
        self.cells.iter().take(count).map(|at| self.cell(*at))
    }

    fn cell(&self, at: usize) -> Option<Cell<'_>> {
        let mut at = if self.kind == Kind::IndexInterior { at + 4 } else { at };
        let (length, bytes) = varint(self.bytes.get(at..self.usable)?)?;
        at += bytes;
        let mut rowid = 0;
        if self.kind == Kind::TableLeaf {
            let (id, bytes) = varint(self.bytes.get(at..self.usable)?)?;
            (rowid, at) = (id.cast_signed(), at + bytes);
        }
        let length = usize::try_from(length).ok()?;
        let usable = self.usable;
        let most = if self.kind == Kind::TableLeaf { usable - 35 } else { (usable - 12) * 64 / 255 - 23 };
        if length <= most {
            return Some(Cell { rowid, length, local: self.bytes.get(at..at + length)?, overflow: 0 });
        }
        let least = (usable - 12) * 32 / 255 - 23;
        let here = least + (length - least) % (usable - 4);
        let here = if here <= most { here } else { least };
        let local = self.bytes.get(at..at + here)?;
        if at + here + 4 > usable {
            return None;
        }
        Some(Cell { rowid, length, local, overflow: word(&self.bytes, at + here) })
    }
}
