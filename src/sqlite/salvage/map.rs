//! What each page of a file is for: from the trees that begin at known roots, and from the map that a file with auto-vacuum
//! keeps of every page and what points to it.

use std::collections::HashMap;

use crate::sqlite::salvage::btree::{Kind, Node};
use crate::sqlite::salvage::pages::{Pages, word};
use crate::sqlite::salvage::record::{Value, decode};

/// What a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A page of the tree of this number.
    Tree(u16),
    /// A page of some tree.
    SomeTree,
    /// Content that did not fit into a row's own page.
    Overflow,
    /// Nothing of it counts.
    Free,
    Unknown,
}

/// A table or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) name: String,
    root: u32,
    /// A page that counts says so.
    is_sure: bool,
}

/// An entry of the file's own map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    kind: u8,
    parent: u32,
}

impl Entry {
    /// Whether this page is the first, or a further one, of content behind that page.
    pub(super) fn follows(self, page: u32, is_first: bool) -> bool {
        self.kind == if is_first { 3 } else { 4 } && self.parent == page
    }
}

pub(super) struct Map {
    uses: Vec<Use>,
    entries: HashMap<u32, Option<Vec<Entry>>>,
    has_entries: bool,
    pub(super) trees: Vec<Tree>,
    /// Pages that should be of a tree, and are none.
    pub(super) damaged: Vec<u32>,
}

impl Map {
    pub(super) fn make(pages: &Pages) -> Self {
        let mut map = Self {
            uses: vec![Use::Unknown; pages.count as usize + 1],
            entries: HashMap::new(),
            has_entries: true,
            trees: vec![Tree { name: "sqlite_schema".to_owned(), root: 1, is_sure: true }],
            damaged: Vec::new(),
        };
        map.has_entries = match pages.header {
            Some(header) => header.has_map,
            None => map.looks_mapped(pages),
        };
        map.walk(pages, 0);
        map.mark(pages);
        // Also where the schema's own tree is broken.
        let schema: Vec<_> = (1..=pages.count).flat_map(|page| map.roots_in(pages, page)).collect();
        for tree in schema {
            if !map.trees.contains(&tree) && map.trees.len() < usize::from(u16::MAX) {
                map.trees.push(tree);
                map.walk(pages, map.trees.len() - 1);
            }
        }
        for page in 1..=pages.count {
            map.climb(pages, page);
        }
        map.damaged.sort_unstable();
        map.damaged.dedup();
        map
    }

    pub(super) fn of(&self, page: u32) -> Use {
        self.uses.get(page as usize).copied().unwrap_or(Use::Unknown)
    }

    /// The name of the table or index that a page belongs to.
    pub(super) fn name_of(&self, page: u32) -> Option<&str> {
        match self.of(page) {
            Use::Tree(tree) => self.trees.get(usize::from(tree)).map(|tree| &*tree.name),
            _ => None,
        }
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.trees.iter().any(|tree| tree.name == name)
    }

    /// The same, of pages of the schema that nobody has given up.
    pub(super) fn is_sure_of(&self, name: &str) -> bool {
        self.trees.iter().any(|tree| tree.name == name && tree.is_sure)
    }

    pub(super) fn set_overflow(&mut self, page: u32) {
        if self.of(page) == Use::Unknown {
            self.uses[page as usize] = Use::Overflow;
        }
    }

    /// From the root down. What is damaged on the way hides what is below.
    fn walk(&mut self, pages: &Pages, tree: usize) {
        let number = Use::Tree(tree as u16);
        let mut next = vec![self.trees[tree].root];
        while let Some(page) = next.pop() {
            if page == 0 || page > pages.count || matches!(self.of(page), Use::Tree(_)) {
                continue;
            }
            self.uses[page as usize] = number;
            match Node::read(pages, page) {
                Some(node) => next.extend(node.children()),
                None => self.damaged.push(page),
            }
        }
    }

    /// What the lists of free pages and the file's map say of pages that no walk has come to.
    fn mark(&mut self, pages: &Pages) {
        let (mut trunk, mut steps) = (pages.header.map_or(0, |header| header.first_free), 0);
        while trunk > 0 && trunk <= pages.count && steps < pages.count {
            let Some(page) = pages.read(trunk) else { break };
            let leaves = word(&page, 4) as usize;
            if leaves > pages.usable / 4 - 2 || word(&page, 0) > pages.count {
                break;
            }
            for free in (0..leaves).map(|at| word(&page, 8 + 4 * at)).chain([trunk]) {
                if self.of(free) == Use::Unknown && free <= pages.count {
                    self.uses[free as usize] = Use::Free;
                }
            }
            (trunk, steps) = (word(&page, 0), steps + 1);
        }
        for page in 1..=pages.count {
            if page == pages.lock_page() || (self.has_entries && map_page(pages, page) == page) {
                self.uses[page as usize] = Use::Free;
                continue;
            }
            let said = match self.entry(pages, page).map(|entry| entry.kind) {
                Some(1 | 5) => Use::SomeTree,
                Some(2) => Use::Free,
                Some(3 | 4) => Use::Overflow,
                _ => continue,
            };
            if self.of(page) == Use::Unknown {
                self.uses[page as usize] = said;
            }
        }
    }

    /// From a page up to one whose tree is known.
    fn climb(&mut self, pages: &Pages, page: u32) {
        if self.of(page) != Use::SomeTree {
            return;
        }
        let (mut path, mut at) = (vec![page], page);
        while path.len() < 64 {
            match self.entry(pages, at) {
                Some(Entry { kind: 5, parent }) if parent != at => at = parent,
                _ => break,
            }
            if let known @ Use::Tree(_) = self.of(at) {
                for page in &path {
                    self.uses[*page as usize] = known;
                }
                break;
            }
            path.push(at);
        }
        if Node::read(pages, page).is_none() {
            self.damaged.push(page);
        }
    }

    /// What the file's map says of a page; `None` without a map, or where this part of it is damaged.
    pub(super) fn entry(&mut self, pages: &Pages, page: u32) -> Option<Entry> {
        if !self.has_entries || page < 3 {
            return None;
        }
        let at = map_page(pages, page);
        let entries = self.entries.entry(at).or_insert_with(|| entries(pages, at)).as_ref()?;
        // The map does not tell of the page that holds the locks.
        entries.get(page.checked_sub(at)?.checked_sub(1)? as usize).copied()
    }

    /// Whether the file has a map, where its first page cannot say so: the first part of it that is there looks like one.
    fn looks_mapped(&self, pages: &Pages) -> bool {
        let step = (pages.usable / 5 + 1) as u32;
        (0..8)
            .map(|at| 2 + at * step)
            .filter(|at| at + 4 <= pages.count)
            .any(|at| entries(pages, at).is_some())
    }

    /// Tables and indexes of which a page of the schema tells.
    fn roots_in(&self, pages: &Pages, page: u32) -> Vec<Tree> {
        if !matches!(self.of(page), Use::Tree(0) | Use::SomeTree | Use::Unknown) {
            return Vec::new();
        }
        let Some(node) = Node::read(pages, page).filter(|node| node.kind == Kind::TableLeaf) else {
            return Vec::new();
        };
        let is_sure = self.of(page) != Use::Unknown;
        let mut trees = Vec::new();
        for cell in node.cells().flatten() {
            // The columns wanted are in front of the SQL, which may be long.
            let Some(values) = front(cell.local, pages) else { continue };
            if let [kind, name, _, root, ..] = &*values
                && matches!(kind.as_str(), Some("table" | "index"))
                && let (Some(name), Some(root)) = (name.as_str(), root.as_int())
                && let Ok(root) = u32::try_from(root)
                && root > 1
                && root <= pages.count
            {
                trees.push(Tree { name: name.to_owned(), root, is_sure });
            }
        }
        trees
    }
}

/// The values of a record of five, though the last may go on elsewhere.
fn front(local: &[u8], pages: &Pages) -> Option<Vec<Value>> {
    use crate::sqlite::salvage::record::varint;
    let (length, mut at) = varint(local)?;
    let header = local.get(..usize::try_from(length).ok()?)?;
    let mut kinds = Vec::new();
    while at < header.len() {
        let (_, length) = varint(&header[at..])?;
        kinds.push(at..at + length);
        at += length;
    }
    if kinds.len() != 5 {
        return None;
    }
    // The same record without its last column.
    let kept = &header[kinds[0].start..kinds[3].end];
    let mut record = vec![u8::try_from(kept.len() + 1).ok().filter(|length| *length < 0x80)?];
    record.extend_from_slice(kept);
    let mut end = header.len();
    for kind in &kinds[..4] {
        let size = match varint(&header[kind.clone()])?.0 {
            kind @ 1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            kind if kind >= 12 => usize::try_from((kind - 12) / 2).ok()?,
            _ => 0,
        };
        end = end.checked_add(size)?;
    }
    record.extend_from_slice(local.get(header.len()..end)?);
    decode(&record, pages.encoding)
}

/// The page of the map that tells of this page.
fn map_page(pages: &Pages, page: u32) -> u32 {
    if page < 2 {
        return 0;
    }
    let step = (pages.usable / 5 + 1) as u32;
    let at = (page - 2) / step * step + 2;
    if at == pages.lock_page() { at + 1 } else { at }
}

/// A part of the map, if all of it can be true.
fn entries(pages: &Pages, at: u32) -> Option<Vec<Entry>> {
    let bytes = pages.read(at)?;
    let count = (pages.usable / 5).min((pages.count - at.min(pages.count)) as usize);
    let entry =
        |index: usize| Some(Entry { kind: *bytes.get(5 * index)?, parent: word(&bytes, 5 * index + 1) });
    let entries: Vec<Entry> = (0..count).filter_map(entry).collect();
    let can_be = |(index, entry): (usize, &Entry)| {
        let page = at + 1 + index as u32;
        match entry.kind {
            1 | 2 => entry.parent == 0,
            3..=5 => entry.parent > 0 && entry.parent <= pages.count,
            _ => page == pages.lock_page(),
        }
    };
    (!entries.is_empty() && entries.iter().enumerate().all(can_be)).then_some(entries)
}
