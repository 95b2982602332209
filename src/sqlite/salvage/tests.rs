//! Files that are noise, or nearly whole: whatever they hold, reading them ends, and what comes out is a sound file.

use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use rusqlite::Connection;

use crate::error::Result;
use crate::sqlite::connection::Opener;
use crate::sqlite::open::{create_private, create_tables};
use crate::sqlite::salvage::btree::Node;
use crate::sqlite::salvage::pages::Pages;
use crate::sqlite::salvage::record::decode;
use crate::sqlite::salvage::rescue::looks_like_ours;
use crate::sqlite::salvage::{Salvage, Salvaged};

/// A file with a few of everything, of pages of each kind.
fn sound() -> &'static [u8] {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    SOUND.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        create_private(&path).unwrap();
        let opener = Opener::new(path.clone(), None);
        let conn = opener.open_bare().unwrap();
        create_tables(&opener, &conn).unwrap();
        conn.execute_batch(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 120)
                INSERT INTO bus_events (subject, data, message_id)
                SELECT 'a.' || n % 5, zeroblob(n * 37 % 900 + n / 40 * 3000), 'id' || n FROM n;
             INSERT INTO bus_requests (subject, data, unique_key) SELECT 'job', data, id FROM bus_events WHERE id % 3 = 0;
             INSERT INTO bus_dead_letters (source, source_id, subject, data, reason, attempts, created_at, died_at)
                SELECT 'event', id, subject, data, 'failed', 1, 0, 0 FROM bus_events WHERE id % 4 = 0;
             DELETE FROM bus_events WHERE id BETWEEN 30 AND 60; DELETE FROM bus_requests WHERE sequence < 9;
             PRAGMA wal_checkpoint(TRUNCATE)",
        )
        .unwrap();
        drop(conn);
        std::fs::read(path).unwrap()
    })
}

/// Salvages a file of these bytes, with this log beside it.
fn salvage(bytes: &[u8], wal: Option<&[u8]>) -> Result<Salvaged> {
    let folder = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." }).unwrap();
    let path = folder.path().join("damaged.db");
    std::fs::write(&path, bytes).unwrap();
    if let Some(wal) = wal {
        std::fs::write(folder.path().join("damaged.db-wal"), wal).unwrap();
    }
    let new = folder.path().join("new.db");
    let salvaged = Salvage::of(&path).into_new(&new)?;
    let conn = Connection::open(&new).unwrap();
    let sound: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    // And one can go on with it.
    conn.execute_batch(
        "INSERT INTO bus_events (subject) VALUES ('a'); INSERT INTO bus_requests (subject) VALUES ('a')",
    )
    .unwrap();
    Ok(salvaged)
}

#[test]
fn a_sound_file_comes_out_whole() {
    let salvaged = salvage(sound(), None).unwrap();
    assert!(salvaged.is_whole(), "{salvaged:?}");
}

#[test]
fn ids_beyond_all_reason_are_refused_and_the_next_one_is_possible() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    std::fs::write(&path, sound()).unwrap();
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "INSERT INTO bus_dead_letters (id, source, source_id, subject, data, reason, attempts, created_at, died_at)
            VALUES (-9223372036854775808, 'job', 'x', 'a', '', 'failed', 1, 0, 0),
                (9223372036854775807, 'job', 'y', 'a', '', 'failed', 1, 0, 0);
         INSERT INTO bus_events (id, subject) VALUES (9223372036854775807, 'a');
         UPDATE sqlite_sequence SET seq = -9223372036854775808 WHERE name = 'bus_requests';
         PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .unwrap();
    drop(conn);
    let salvaged = salvage(&std::fs::read(&path).unwrap(), None).unwrap();
    let refused = |name| salvaged.tables.iter().find(|table| table.name == name).unwrap().refused;
    assert_eq!((refused("bus_dead_letters"), refused("bus_events")), (2, 1));
}

/// The last of a record is not read, so its size may be anything: here that of all four before it is beyond any number.
#[test]
fn sizes_of_a_schema_row_that_no_file_has_are_no_row() {
    let mut bytes = sound().to_vec();
    let page = bytes.len() / 4096 - 1;
    let leaf = &mut bytes[page * 4096..][..4096];
    leaf.fill(0);
    // One cell on a leaf, of a record whose columns have 2^63 bytes each.
    leaf[..8].copy_from_slice(&[13, 0, 0, 0, 1, 0x0f, 0x00, 0]);
    leaf[8..10].copy_from_slice(&0x0f00_u16.to_be_bytes());
    let kinds = [[0xff; 9]; 4].concat();
    let cell = [&[60, 1, 38][..], &kinds, &[1], &[0; 22]].concat();
    leaf[0x0f00..0x0f00 + cell.len()].copy_from_slice(&cell);
    // Neither the schema nor the map says that it is another's.
    bytes[..8192].fill(0xa5);
    let _ = salvage(&bytes, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_read_to_its_end(
        bytes in prop::collection::vec(any::<u8>(), 0..40_000),
        with_magic in any::<bool>(),
        kinds in prop::collection::vec((0_usize..10, prop::sample::select(vec![2_u8, 5, 10, 13])), 0..8),
    ) {
        let mut bytes = bytes;
        if with_magic && bytes.len() > 100 {
            bytes[..16].copy_from_slice(b"SQLite format 3\0");
        }
        // Pages that begin as those of a tree, with few cells.
        for (page, kind) in kinds {
            if let Some(start) = bytes.get_mut(page * 4096..page * 4096 + 8) {
                let (cells, content, low) = (start[4] % 40, start[5] % 16, start[6]);
                start.copy_from_slice(&[kind, 0, 0, 0, cells, content, low, 0]);
            }
        }
        let _ = salvage(&bytes, Some(&bytes));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        let pages = Pages::open(file.reopen().unwrap(), file.path(), looks_like_ours).unwrap();
        for page in 0..=pages.count.min(100) {
            let Some(node) = Node::read(&pages, page) else { continue };
            for cell in node.cells().flatten() {
                let _ = decode(cell.local, pages.encoding);
            }
        }
    }

    #[test]
    fn a_file_that_was_written_over_here_and_there_is_read_to_its_end(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
        heads in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..24, any::<u8>()), 0..40),
        pages in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4),
    ) {
        let mut bytes = sound().to_vec();
        let count = bytes.len() / 4096;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // What says what a page is.
        for (page, at, byte) in heads {
            bytes[page.index(count) * 4096 + at] = byte;
        }
        // One page in the place of another.
        for (from, to) in pages {
            let from = from.index(count) * 4096;
            bytes.copy_within(from..from + 4096, to.index(count) * 4096);
        }
        let _ = salvage(&bytes, None);
    }
}
