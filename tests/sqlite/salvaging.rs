//! What comes out of damaged files: judged by what SQLite itself says of each page before the damage.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use rowbus::rusqlite::{Connection, types::Value};
use rowbus::sqlite::{Salvage, Salvaged};
use rowbus::{Consumer, Durable, DurableExt, ErrorKind, Job, Messenger, Publish, SqliteBus};

use crate::Place;

/// Tables with what makes a row of them.
const TABLES: [(&str, &str); 5] = [
    ("bus_events", "id"),
    ("bus_requests", "sequence"),
    ("bus_dead_letters", "id"),
    ("bus_consumers", "id"),
    ("bus_deliveries", "sequence"),
];

/// The same numbers at every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 24) as u8).collect()
    }
}

type Rows = BTreeMap<i64, Vec<Value>>;

fn rows(path: &Path, table: &str, key: &str) -> Rows {
    let conn = Connection::open(path).unwrap();
    let mut statement = conn.prepare(&format!("SELECT {key}, * FROM {table}")).unwrap();
    let columns: Vec<usize> = (1..statement.column_count()).collect();
    // What only the living may say of themselves does not come along.
    let names: Vec<String> = statement.column_names().iter().map(|name| (*name).to_owned()).collect();
    let kept = |at: &&usize| {
        !["state", "ready", "lease_peer", "lease_until", "member", "member_until"].contains(&&*names[**at])
    };
    let columns: Vec<usize> = columns.iter().filter(kept).copied().collect();
    let read = statement.query_map([], |row| {
        Ok((row.get(0)?, columns.iter().map(|at| row.get(*at)).collect::<Result<_, _>>()?))
    });
    read.unwrap().map(Result::unwrap).collect()
}

/// A file with all that there is, closed, and with pages that were given up but hold rows of before.
async fn file(place: &Place, numbers: &mut Numbers) {
    let bus = place.open().await;
    let size = |numbers: &mut Numbers| match numbers.next() % 20 {
        0 => 3000 + (numbers.next() % 30_000) as usize,
        1 => 0,
        _ => (numbers.next() % 600) as usize,
    };
    for batch in 0..24 {
        let events = (0..100).map(|n| {
            let (subject, body) = (format!("s{}.{}", n % 7, batch % 3), size(numbers));
            Publish::new(&*subject, numbers.bytes(body))
                .header("Trace", &format!("{n}"))
                .message_id(format!("{batch}-{n}"))
        });
        bus.send_all(events.collect()).await.unwrap();
        let jobs = (0..20).map(|n| {
            let body = size(numbers);
            Job::new(&*format!("job.{n}"), numbers.bytes(body)).header("A", "b")
        });
        bus.enqueue_all(jobs).await.unwrap();
    }
    let mut inbox = bus.consumer(Consumer::durable("indexer").filter("s1.*")).await.unwrap();
    let _held = inbox.next().await.unwrap().unwrap();
    let _ = bus.as_durable().unwrap().consumer_info("indexer").await.unwrap();
    bus.close().await.unwrap();
    let conn = place.sql();
    conn.execute_batch(
        "INSERT INTO bus_dead_letters (source, source_id, subject, data, reason, attempts, created_at, died_at)
            SELECT 'event', id, subject, data, 'not today', 1, created_at, created_at FROM bus_events WHERE id % 5 = 0;
        DELETE FROM bus_events WHERE id BETWEEN 300 AND 700; DELETE FROM bus_events WHERE id % 11 = 0;
        DELETE FROM bus_requests WHERE sequence BETWEEN 100 AND 200;
        PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .unwrap();
}

/// Which pages each row of a table needs, as SQLite's dbstat says: its leaf, and what of it is elsewhere.
fn pages_of(path: &Path) -> HashMap<&'static str, BTreeMap<i64, BTreeSet<u32>>> {
    let conn = Connection::open(path).unwrap();
    let mut all = HashMap::new();
    for (table, key) in TABLES {
        let mut statement = conn
            .prepare("SELECT path, pageno, pagetype, ncell FROM dbstat WHERE name = ?1 ORDER BY path")
            .unwrap();
        let found = statement.query_map([table], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, u32>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, i64>(3)?,
            ))
        });
        let found: Vec<_> = found.unwrap().map(Result::unwrap).collect();
        let by_rowid = table != "bus_deliveries";
        assert!(by_rowid || found.len() == 1, "the deliveries fit into one page");
        let keys: Vec<i64> = rows(path, table, key).into_keys().collect();
        // Leaves in the order of their paths hold the rows in the order of their keys.
        let (mut rows, mut next) = (BTreeMap::new(), 0);
        for (leaf, page, _, cells) in found.iter().filter(|(_, _, kind, _)| kind == "leaf") {
            for cell in 0..*cells {
                let prefix = format!("{leaf}{cell:03x}+");
                let chain =
                    found.iter().filter(|(path, ..)| path.starts_with(&prefix)).map(|(_, page, ..)| *page);
                rows.insert(keys[next], chain.chain([*page]).collect::<BTreeSet<u32>>());
                next += 1;
            }
        }
        assert_eq!(next, keys.len(), "{table}");
        all.insert(table, rows);
    }
    all
}

fn overwrite(path: &Path, pages: &BTreeSet<u32>, numbers: &mut Numbers) {
    use std::io::{Seek, SeekFrom, Write};
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    for page in pages {
        file.seek(SeekFrom::Start(u64::from(page - 1) * 4096)).unwrap();
        file.write_all(&numbers.bytes(4096)).unwrap();
    }
}

fn count(path: &Path) -> u32 {
    u32::try_from(std::fs::metadata(path).unwrap().len() / 4096).unwrap()
}

/// Damages a copy, and compares what comes out with what has to.
fn check(place: &Place, pages: &BTreeSet<u32>, numbers: &mut Numbers, what: &str) -> Salvaged {
    let (damaged, new) = (place.join("damaged.db"), place.join("new.db"));
    for old in [&damaged, &new] {
        let _ = std::fs::remove_file(old);
    }
    let truth = pages_of(&place.path());
    std::fs::copy(place.path(), &damaged).unwrap();
    overwrite(&damaged, pages, numbers);
    let salvaged = Salvage::of(&damaged).into_new(&new).unwrap_or_else(|error| panic!("{what}: {error}"));
    let sound: String =
        Connection::open(&new).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok", "{what}");
    for (table, key) in TABLES {
        let (before, after) = (rows(&place.path(), table, key), rows(&new, table, key));
        let intact = |id: &&i64| truth[table][id].is_disjoint(pages);
        for id in before.keys().filter(intact) {
            assert_eq!(after.get(id), Some(&before[id]), "{what}: row {id} of {table}");
        }
        // And nothing that was not there, or is no longer what it was, unless nothing is left that could tell.
        let told = salvaged.tables.iter().find(|found| found.name == table).unwrap();
        let gone_before = after.iter().filter(|(id, row)| before.get(*id) != Some(row)).count() as u64;
        assert!(gone_before <= told.unsure, "{what}: {gone_before} rows of {table} that had gone: {told:?}");
        assert!(
            told.unsure == 0 || pages.iter().any(|page| page.wrapping_sub(2) % 820 == 0),
            "{what}: {told:?}"
        );
        assert_eq!(told.rows, after.len() as u64, "{what}: {table}");
        let gone: Vec<_> = before.keys().filter(|id| !after.contains_key(id)).collect();
        let lost = gone.len() as u64;
        assert!(told.lost == lost || !told.is_certain, "{what}: {table} lost {gone:?}: {told:?}");
        assert!(told.lost <= lost, "{what}: {table} lost {gone:?}: {told:?}");
    }
    salvaged
}

#[tokio::test]
async fn every_row_whose_pages_are_intact_comes_out_of_a_damaged_file() {
    let place = Place::without_disk();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    file(&place, &mut numbers).await;
    let all = count(&place.path());
    assert!(all > 800, "{all}");
    let rounds = std::env::var("ROWBUS_SALVAGE_ROUNDS").map_or(8, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        for many in [1, 10, 100] {
            let mut numbers = Numbers(1 + round * 1000 + many);
            let pages: BTreeSet<u32> =
                (0..many).map(|_| 1 + (numbers.next() % u64::from(all)) as u32).collect();
            check(&place, &pages, &mut numbers, &format!("round {round}, {pages:?}"));
        }
    }
}

#[tokio::test]
async fn the_pages_on_which_all_others_depend_are_no_loss() {
    let place = Place::without_disk();
    let mut numbers = Numbers(7);
    file(&place, &mut numbers).await;
    let conn = place.sql();
    let pages = |sql: &str| -> BTreeSet<u32> {
        let mut statement = conn.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let schema = pages("SELECT pageno FROM dbstat WHERE name = 'sqlite_schema'");
    let inner = pages("SELECT pageno FROM dbstat WHERE name LIKE 'bus_%' AND pagetype = 'internal'");
    let index = pages("SELECT pageno FROM dbstat WHERE name = 'bus_events_by_subject'");
    let roots = pages(
        "SELECT rootpage FROM sqlite_schema WHERE name IN ('bus_events', 'bus_requests', 'bus_dead_letters')",
    );
    drop(conn);
    check(&place, &BTreeSet::from([1]), &mut numbers, "the first page");
    check(&place, &BTreeSet::from([2]), &mut numbers, "the map");
    check(&place, &schema, &mut numbers, "the schema");
    let salvaged = check(&place, &roots, &mut numbers, "the roots");
    assert!(salvaged.tables[0].is_whole(), "the index knows all events: {:?}", salvaged.tables[0]);
    check(&place, &inner, &mut numbers, "all inner pages");
    assert!(check(&place, &index, &mut numbers, "an index").is_whole());
    check(&place, &(&index | &roots), &mut numbers, "roots and index");
    check(&place, &(&schema | &roots), &mut numbers, "schema and roots");
    assert!(check(&place, &BTreeSet::new(), &mut numbers, "nothing").is_whole());
}

#[tokio::test]
async fn what_was_committed_and_is_still_in_the_log_counts() {
    let place = Place::new();
    let bus = place.open().await;
    bus.send_all((0..300).map(|n| Publish::new("a", vec![n as u8; 500])).collect()).await.unwrap();
    bus.send(Publish::new("a", "last")).await.unwrap();
    // As after a kill: the files as they are, while none is written.
    let damaged = place.join("damaged.db");
    for end in ["", "-wal"] {
        std::fs::copy(place.join(&format!("bus.db{end}")), place.join(&format!("damaged.db{end}"))).unwrap();
    }
    assert!(std::fs::metadata(place.join("damaged.db-wal")).unwrap().len() > 4096);
    overwrite(&damaged, &BTreeSet::from([1]), &mut Numbers(3));
    let new = place.join("new.db");
    let salvaged = Salvage::of(&damaged).into_new(&new).unwrap();
    assert!(salvaged.is_whole() && salvaged.tables[0].rows == 301, "{salvaged:?}");
    let copy = SqliteBus::open(&new).await.unwrap();
    let last = copy.last("a".try_into().unwrap()).await.unwrap().unwrap();
    assert_eq!((last.sequence(), last.text()), (301, Some("last")));
    // The counter goes on.
    assert_eq!(copy.send(Publish::new("a", "")).await.unwrap().sequence, 302);
}

#[tokio::test]
async fn a_file_that_somebody_has_open_is_left_alone() {
    let place = Place::new();
    let bus = place.open().await;
    bus.send(Publish::new("a", "x")).await.unwrap();
    if cfg!(target_os = "linux") {
        let error = Salvage::of(place.path()).into_new(place.join("new.db")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(!place.join("new.db").exists());
    }
    bus.close().await.unwrap();
    assert!(Salvage::of(place.path()).into_new(place.join("new.db")).unwrap().is_whole());
    std::fs::write(place.join("noise"), Numbers(5).bytes(100_000)).unwrap();
    let error = Salvage::of(place.join("noise")).into_new(place.join("other.db")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotADatabase);
    assert!(!place.join("other.db").exists());
}
