//! What comes out of damaged files: judged by what SQLite itself says of each page before the damage.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use rowbus::rusqlite::{Connection, types::Value};
use rowbus::sqlite::{Salvage, Salvaged};
use rowbus::{Consumer, Durable, DurableExt, ErrorKind, Job, Messenger, Publish, SqliteBus};
use rowbus::{Retention, RetentionInfo, SetBy, StartAt, Subscribe};

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

fn overwrite(path: &Path, (pages, size): (&BTreeSet<u32>, u32), numbers: &mut Numbers) {
    use std::io::{Seek, SeekFrom, Write};
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    for page in pages {
        file.seek(SeekFrom::Start(u64::from(page - 1) * u64::from(size))).unwrap();
        file.write_all(&numbers.bytes(size as usize)).unwrap();
    }
}

fn page_size(path: &Path) -> u32 {
    Connection::open(path).unwrap().query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap()
}

fn count(path: &Path) -> u32 {
    u32::try_from(std::fs::metadata(path).unwrap().len() / u64::from(page_size(path))).unwrap()
}

/// Whether the file says of each page whose it is, and this is one that says so.
fn is_of_the_map(path: &Path, page: u32) -> bool {
    let conn = Connection::open(path).unwrap();
    let has_one: bool = conn.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0)).unwrap() > 0;
    // An entry has five bytes.
    !has_one || page.wrapping_sub(2).is_multiple_of(page_size(path) / 5 + 1)
}

/// The jobs of the one file that are dead letters of the other since they may have been done.
fn doubtful(before: &Path, after: &Path) -> BTreeSet<i64> {
    let read = |path: &Path, sql: &str| -> Vec<(i64, String, Value)> {
        let conn = Connection::open(path).unwrap();
        let mut statement = conn.prepare(sql).unwrap();
        let row = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        row.unwrap().map(Result::unwrap).collect()
    };
    let letters: HashMap<_, _> =
        read(after, "SELECT id, source_id, data FROM bus_dead_letters WHERE reason = 'salvaged'")
            .into_iter()
            .map(|(_, id, data)| (id, data))
            .collect();
    let jobs = read(before, "SELECT sequence, id, data FROM bus_requests").into_iter();
    jobs.filter(|(_, id, data)| letters.get(id) == Some(data)).map(|(sequence, ..)| sequence).collect()
}

/// Damages a copy, and compares what comes out with what has to.
fn check(place: &Place, pages: &BTreeSet<u32>, numbers: &mut Numbers, what: &str) -> Salvaged {
    let (damaged, new) = (place.join("damaged.db"), place.join("new.db"));
    for old in [&damaged, &new] {
        let _ = std::fs::remove_file(old);
    }
    let truth = pages_of(&place.path());
    std::fs::copy(place.path(), &damaged).unwrap();
    overwrite(&damaged, (pages, page_size(&place.path())), numbers);
    let salvaged = Salvage::of(&damaged).into_new(&new).unwrap_or_else(|error| panic!("{what}: {error}"));
    let sound: String =
        Connection::open(&new).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok", "{what}");
    for (table, key) in TABLES {
        let (before, after) = (rows(&place.path(), table, key), rows(&new, table, key));
        let intact = |id: &&i64| truth[table][id].is_disjoint(pages);
        // What may have been done is put aside, where nothing tells.
        let put_aside = if table == "bus_requests" { doubtful(&place.path(), &new) } else { BTreeSet::new() };
        for id in before.keys().filter(intact).filter(|id| !put_aside.contains(id)) {
            assert_eq!(after.get(id), Some(&before[id]), "{what}: row {id} of {table}");
        }
        assert!(put_aside.len() as u64 <= salvaged.doubtful_jobs, "{what}: {}", salvaged.doubtful_jobs);
        // And nothing that was not there, or is no longer what it was, unless nothing is left that could tell.
        let told = salvaged.tables.iter().find(|found| found.name == table).unwrap();
        let gone_before = after.iter().filter(|(id, row)| before.get(*id) != Some(row)).count() as u64;
        assert!(gone_before <= told.unsure, "{what}: {gone_before} rows of {table} that had gone: {told:?}");
        assert!(
            told.unsure == 0 || pages.iter().any(|page| is_of_the_map(&place.path(), *page)),
            "{what}: {told:?}"
        );
        assert_eq!(told.rows, after.len() as u64, "{what}: {table}");
        let is_there = |id: &&i64| after.contains_key(id) || put_aside.contains(id);
        let gone: Vec<_> = before.keys().filter(|id| !is_there(id)).collect();
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
async fn a_file_that_its_host_made_otherwise_is_read_as_it_was_made() {
    for made in [
        "PRAGMA auto_vacuum = NONE",
        "PRAGMA auto_vacuum = NONE; PRAGMA encoding = 'UTF-16le'",
        "PRAGMA auto_vacuum = FULL; PRAGMA encoding = 'UTF-16be'",
        "PRAGMA auto_vacuum = NONE; PRAGMA page_size = 1024",
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA page_size = 65536",
    ] {
        let place = Place::without_disk();
        place
            .sql()
            .execute_batch(&format!(
                "{made}; PRAGMA journal_mode = WAL; CREATE TABLE notes (id INTEGER PRIMARY KEY, text)"
            ))
            .unwrap();
        let mut numbers = Numbers(11);
        file(&place, &mut numbers).await;
        let all = count(&place.path());
        for many in [0, 1, 3, 10] {
            let mut numbers = Numbers(100 + many);
            let pages: BTreeSet<u32> =
                (0..many).map(|_| 1 + (numbers.next() % u64::from(all)) as u32).collect();
            let salvaged = check(&place, &pages, &mut numbers, &format!("{made}: {pages:?} of {all}"));
            assert!(many > 0 || salvaged.is_whole(), "{made}: {salvaged:?}");
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
    overwrite(&damaged, (&BTreeSet::from([1]), 4096), &mut Numbers(3));
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

/// The pages of a table or an index.
fn pages_named(path: &Path, name: &str) -> BTreeSet<u32> {
    let conn = Connection::open(path).unwrap();
    let mut statement = conn.prepare("SELECT pageno FROM dbstat WHERE name = ?1").unwrap();
    statement.query_map([name], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Salvages a copy in which these pages are noise.
fn salvaged_without(place: &Place, pages: &BTreeSet<u32>, new: &str) -> Salvaged {
    let damaged = place.join(&format!("damaged-for-{new}"));
    std::fs::copy(place.path(), &damaged).unwrap();
    overwrite(&damaged, (pages, page_size(&damaged)), &mut Numbers(17));
    Salvage::of(&damaged).into_new(place.join(new)).unwrap()
}

#[tokio::test]
async fn how_long_things_are_kept_comes_along_and_where_it_is_lost_everything_is_kept() {
    let place = Place::without_disk();
    let bus = place.open().await;
    let (day, year) = (Duration::from_secs(86_400), Duration::from_secs(365 * 86_400));
    bus.keep_dead_letters(Some(year)).await.unwrap();
    bus.set_retention("a.>", Retention::new().max_age(day)).await.unwrap();
    bus.send(Publish::new("a.b", "x")).await.unwrap();
    bus.close().await.unwrap();

    let salvaged = salvaged_without(&place, &BTreeSet::new(), "whole.db");
    assert!(salvaged.is_whole() && !salvaged.policies_lost && !salvaged.dead_letter_age_lost);
    let whole = SqliteBus::open(place.join("whole.db")).await.unwrap();
    assert_eq!(whole.dead_letter_age().await.unwrap(), Some(year));
    let filters = |policies: &[RetentionInfo]| {
        policies
            .iter()
            .map(|policy| (policy.filter.to_string(), policy.retention.max_age))
            .collect::<Vec<_>>()
    };
    let policies = whole.retention().await.unwrap();
    let expected = [(">".to_owned(), Some(7 * day)), ("a.>".to_owned(), Some(day))];
    assert_eq!(filters(&policies), expected);

    let pages = &pages_named(&place.path(), "bus_meta") | &pages_named(&place.path(), "bus_retention");
    let salvaged = salvaged_without(&place, &pages, "lost.db");
    assert!(!salvaged.is_whole() && salvaged.policies_lost && salvaged.dead_letter_age_lost, "{salvaged:?}");
    let lost = SqliteBus::builder(place.join("lost.db")).keep_dead_letters(Some(day)).open().await.unwrap();
    assert_eq!(lost.dead_letter_age().await.unwrap(), None, "a builder does not change it");
    let policies = lost.retention().await.unwrap();
    assert_eq!(filters(&policies), [(">".to_owned(), None)]);
    assert_eq!(policies[0].set_by, SetBy::Operator);
    assert_eq!(lost.prune().await.unwrap().events, 0);
}

#[tokio::test]
async fn a_salvaged_file_is_counted_anew_and_loses_exactly_what_its_policy_says() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_messages(60)).await.unwrap();
    let publish = |many: usize| (0..many).map(|_| Publish::new("a", vec![7; 900])).collect::<Vec<_>>();
    bus.send_all(publish(60)).await.unwrap();
    assert_eq!(bus.prune().await.unwrap().events, 0);
    bus.close().await.unwrap();
    let truth = &pages_of(&place.path())["bus_events"];
    let pages = [20, 30, 40].iter().flat_map(|id| truth[id].clone()).collect();
    let salvaged = salvaged_without(&place, &pages, "new.db");
    let lost = salvaged.tables[0].lost;
    assert!((3..20).contains(&lost), "{salvaged:?}");

    let bus = SqliteBus::open(place.join("new.db")).await.unwrap();
    // Not by `prune`, which counts anew in any case.
    let kept = || {
        let conn = Connection::open(place.join("new.db")).unwrap();
        conn.query_row("SELECT count(*) FROM bus_events", [], |row| row.get::<_, i64>(0))
            .unwrap()
            .unsigned_abs()
    };
    let counted = |newest: u64| {
        let bus = bus.clone();
        async move {
            let start = std::time::Instant::now();
            while bus.retention().await.unwrap()[0].counted_through < newest {
                assert!(start.elapsed() < crate::PATIENCE, "it is never counted");
                // Long enough for nothing to be written that would be thrown away.
                bus.set_retention(">", Retention::new().max_messages(60)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            bus.retention().await.unwrap()[0].messages
        }
    };
    let newest = bus.send_all(publish(2)).await.unwrap()[1].sequence;
    assert_eq!(counted(newest).await, 62 - lost, "no more than there are");
    assert_eq!(kept(), 62 - lost);
    bus.send_all(publish(lost as usize + 5)).await.unwrap();
    crate::until("what is too much has gone", || kept() == 60).await;
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_reader_of_a_salvaged_file_is_told_what_it_misses() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.send_all((0..60).map(|_| Publish::new("a", vec![7; 900])).collect()).await.unwrap();
    bus.close().await.unwrap();
    let truth = &pages_of(&place.path())["bus_events"];
    let salvaged = salvaged_without(&place, &truth[&30], "new.db");
    let last = u64::try_from(salvaged.tables[0].lost_ids.last().unwrap().1).unwrap();
    assert!((30..60).contains(&last), "{salvaged:?}");
    let first_item = |path: std::path::PathBuf| async move {
        let bus = SqliteBus::open(path).await.unwrap();
        let from = Subscribe::to("a").from(StartAt::Sequence(2));
        let mut stream = bus.subscribe(from).await.unwrap();
        crate::next(&mut stream).await.map(|message| message.sequence()).map_err(|error| error.kind())
    };
    let told = first_item(place.join("new.db")).await;
    assert!(matches!(told, Err(ErrorKind::Gap { last: through, .. }) if through == last), "{told:?}");
    // Nothing is missing where nothing was lost.
    salvaged_without(&place, &BTreeSet::new(), "whole.db");
    assert_eq!(first_item(place.join("whole.db")).await, Ok(2));
    // What was removed before is known by the policies alone.
    place
        .sql()
        .execute_batch("DELETE FROM bus_events WHERE id = 4; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    salvaged_without(&place, &pages_named(&place.path(), "bus_retention"), "lost.db");
    let told = first_item(place.join("lost.db")).await;
    assert!(matches!(told, Err(ErrorKind::Gap { last: 4, .. })), "{told:?}");
}

#[tokio::test]
async fn a_job_that_may_have_been_done_is_put_aside_and_not_run_again() {
    let place = Place::without_disk();
    let bus = place.open().await;
    let job = |n: usize| Job::new(&*format!("job.{n}"), vec![n as u8; 700]).unique(format!("u{}", n % 30));
    bus.enqueue_all((0..30).map(job)).await.unwrap();
    bus.close().await.unwrap();
    // As when they are done, and their replies are kept no longer.
    place
        .sql()
        .execute_batch(
            "PRAGMA secure_delete = OFF; DELETE FROM bus_requests; PRAGMA wal_checkpoint(TRUNCATE)",
        )
        .unwrap();
    let bus = place.open().await;
    bus.enqueue(Job::new("waits", "x").unique("u7")).await.unwrap();
    bus.close().await.unwrap();
    place.sql().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    // The first page, which says what is free, and the map.
    let salvaged = salvaged_without(&place, &BTreeSet::from([1, 2]), "new.db");
    let conn = Connection::open(place.join("new.db")).unwrap();
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
    assert_eq!(
        number("SELECT count(*) FROM bus_requests WHERE finished_at IS NULL AND subject LIKE 'job.%'"),
        0
    );
    let waits = "SELECT (SELECT count(*) FROM bus_requests WHERE subject = 'waits')
        + (SELECT count(*) FROM bus_dead_letters WHERE subject = 'waits')";
    assert_eq!(number(waits), 1, "{salvaged:?}");
    assert!(salvaged.doubtful_jobs > 0, "{salvaged:?}");
    let letters = number("SELECT count(*) FROM bus_dead_letters WHERE reason = 'salvaged'");
    assert_eq!(letters, salvaged.doubtful_jobs);
}
