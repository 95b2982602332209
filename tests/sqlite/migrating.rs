//! Migrating at another time than when a bus is opened.

use rowbus::rusqlite::{Connection, TransactionBehavior::Immediate};
use rowbus::sqlite::{Migrate, MigrationState, Migrator, migrate_in, migration_sql, migrations};
use rowbus::{ErrorKind, Messenger, MessengerExt, SqliteBus};

use crate::Place;

/// A file that a released version has made.
fn fixture(schema: u32) -> Place {
    let place = Place::new();
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::copy(fixtures.join(format!("schema-{schema}.db")), place.path()).unwrap();
    place
}

/// A file of the host's, with a table of its own.
fn host() -> (Place, Connection) {
    let place = Place::new();
    let conn = place.sql();
    conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE orders (item TEXT)").unwrap();
    (place, conn)
}

/// A bus on it that migrates nothing, and works.
async fn opens(place: &Place) -> SqliteBus {
    let bus = SqliteBus::builder(place.path()).migrate(Migrate::Manual).open().await.unwrap();
    bus.publish("after.migrating", "1").await.unwrap();
    bus
}

fn names(applied: &[&rowbus::sqlite::Migration]) -> Vec<String> {
    applied.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_is_pending_is_told_rehearsed_and_applied() {
    let all: Vec<_> = migrations().iter().map(ToString::to_string).collect();
    for schema in 1..=all.len() {
        let (place, pending) = (fixture(schema as u32), &all[schema..]);
        let migrator = Migrator::of(place.path());
        let before = std::fs::read(place.path()).unwrap();
        let status = migrator.status().unwrap();
        assert_eq!((status.version() as usize, status.pending().count()), (schema, pending.len()));
        assert!(status.migrations[0].applied_on.as_ref().unwrap().starts_with("20"));
        assert_eq!(status.is_current(), pending.is_empty());
        assert_eq!(names(&migrator.dry_run().unwrap()), pending);
        assert_eq!(std::fs::read(place.path()).unwrap(), before, "it was a rehearsal");
        let verified = migrator.verify().map(|status| status.version() as usize);
        match pending {
            [] => assert_eq!(verified.unwrap(), schema),
            _ => assert_eq!(verified.unwrap_err().kind(), ErrorKind::SchemaTooOld),
        }
        assert_eq!(names(&migrator.up().unwrap()), pending);
        assert!(migrator.up().unwrap().is_empty());
        assert!(migrator.verify().unwrap().is_current());
        opens(&place).await;
    }
}

#[tokio::test]
async fn a_new_file_is_made_only_where_the_builder_allows_it() {
    let place = Place::new();
    let refused = SqliteBus::builder(place.path()).create(false).migrator().up().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidPath);
    let migrator = Migrator::of(place.path());
    assert_eq!(migrator.dry_run().unwrap_err().kind(), ErrorKind::InvalidPath);
    assert_eq!(migrator.status().unwrap_err().kind(), ErrorKind::InvalidPath);
    assert!(!place.path().exists());
    assert_eq!(migrator.up().unwrap().len(), migrations().len());
    opens(&place).await;
}

#[test]
fn a_rehearsal_leaves_an_empty_file_empty() {
    let place = Place::new();
    std::fs::write(place.path(), "").unwrap();
    assert_eq!(Migrator::of(place.path()).dry_run().unwrap().len(), migrations().len());
    assert_eq!(std::fs::read(place.path()).unwrap(), b"");
}

#[test]
fn a_rehearsal_finds_what_would_fail() {
    let place = fixture(2);
    place.sql().execute_batch("CREATE TABLE bus_members (mine)").unwrap();
    let migrator = Migrator::of(place.path());
    for refused in [migrator.dry_run(), migrator.up()] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NameTaken);
        assert!(error.to_string().contains("bus_members"), "{error}");
    }
    assert_eq!(migrator.status().unwrap().version(), 2);
}

#[test]
fn a_file_in_rollback_mode_is_migrated_only_with_the_conversion() {
    let place = Place::new();
    place.sql().execute_batch("CREATE TABLE orders (item)").unwrap();
    let migrator = Migrator::of(place.path());
    for refused in [migrator.dry_run(), migrator.up()] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotWal);
    }
    let status = migrator.status().unwrap();
    assert_eq!(status.refusal.as_ref().map(rowbus::Error::kind), Some(ErrorKind::NotWal));
    assert!(!status.is_current());
    let migrator = SqliteBus::builder(place.path()).convert_to_wal(true).migrator();
    assert!(migrator.status().unwrap().refusal.is_none());
    assert_eq!(migrator.up().unwrap().len(), migrations().len());
}

#[tokio::test]
async fn a_chain_of_the_hosts_own_takes_the_sql_at_once_or_step_by_step() {
    let whole = || vec![migration_sql(0).unwrap()];
    let steps = || migrations().iter().map(rowbus::sqlite::Migration::sql).collect::<Vec<_>>();
    for chain in [whole(), steps()] {
        let (place, conn) = host();
        for step in chain {
            conn.execute_batch(&format!("BEGIN IMMEDIATE; {step} COMMIT")).unwrap();
        }
        let migrator = Migrator::of(place.path());
        let status = migrator.verify().unwrap();
        assert!(status.migrations.iter().all(|migration| {
            let on = migration.applied_on.as_ref().unwrap();
            on.len() == "2026-11-23T07:05:00.123Z".len() && on.ends_with('Z')
        }));
        let bus = opens(&place).await;
        let last = bus.last("after.migrating".try_into().unwrap()).await.unwrap().unwrap();
        assert_eq!(last.sequence(), 1, "ids begin at the beginning");
        let incarnation = "SELECT length(value) FROM bus_meta WHERE key = 'incarnation'";
        assert_eq!(conn.query_row(incarnation, [], |row| row.get::<_, i64>(0)).unwrap(), 36);
    }
}

#[test]
fn the_sql_behind_the_newest_migration_is_empty_and_behind_none_refused() {
    let newest = migrations().last().unwrap().version;
    assert_eq!(migration_sql(newest).unwrap(), "");
    let error = migration_sql(newest + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(migration_sql(newest - 1).unwrap().starts_with(&format!("-- V{newest}__")));
}

#[tokio::test]
async fn in_the_hosts_transaction_migrations_are_there_with_its_own_or_not_at_all() {
    let (place, mut conn) = host();
    assert_eq!(migrate_in(&conn).unwrap_err().kind(), ErrorKind::InvalidOption);
    let bus_names = |conn: &Connection| {
        let names = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'bus%'";
        conn.query_row(names, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let tx = conn.transaction_with_behavior(Immediate).unwrap();
    assert_eq!(migrate_in(&tx).unwrap().len(), migrations().len());
    tx.rollback().unwrap();
    assert_eq!(bus_names(&conn), 0);
    let tx = conn.transaction_with_behavior(Immediate).unwrap();
    tx.execute("INSERT INTO orders VALUES ('pizza')", []).unwrap();
    migrate_in(&tx).unwrap();
    assert!(migrate_in(&tx).unwrap().is_empty());
    tx.commit().unwrap();
    opens(&place).await;
}

#[test]
fn a_migration_that_fails_leaves_the_hosts_transaction_as_it_was() {
    let place = fixture(2);
    let mut conn = place.sql();
    conn.execute_batch("CREATE TABLE mine (x); CREATE TABLE bus_members (mine)").unwrap();
    let tx = conn.transaction_with_behavior(Immediate).unwrap();
    tx.execute("INSERT INTO mine VALUES (1)", []).unwrap();
    assert_eq!(migrate_in(&tx).unwrap_err().kind(), ErrorKind::NameTaken);
    tx.commit().unwrap();
    assert_eq!(place.sql().query_row("SELECT x FROM mine", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    assert_eq!(Migrator::of(place.path()).status().unwrap().version(), 2);
}

#[tokio::test]
async fn what_a_hand_has_changed_in_the_schema_is_found() {
    for (sql, told) in [
        ("DROP INDEX bus_deliveries_due", "bus_deliveries_due is missing"),
        ("ALTER TABLE bus_events ADD COLUMN mine", "bus_events was changed"),
        ("CREATE INDEX bus_mine ON bus_events (created_at)", "bus_mine is none of the bus"),
    ] {
        let place = Place::new();
        place.open().await.close().await.unwrap();
        let migrator = Migrator::of(place.path());
        migrator.verify().unwrap();
        place.sql().execute_batch(sql).unwrap();
        let error = migrator.verify().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[tokio::test]
async fn a_hosts_own_index_under_a_name_of_its_own_is_no_difference() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    place.sql().execute_batch("CREATE INDEX mine ON bus_events (created_at)").unwrap();
    Migrator::of(place.path()).verify().unwrap();
}

#[tokio::test]
async fn a_newer_file_and_a_changed_one_are_told_by_the_state_of_their_migrations() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    let conn = place.sql();
    conn.execute("INSERT INTO bus_schema_history VALUES (99, 'later', '2030-01-01T00:00:00Z', '5')", [])
        .unwrap();
    let migrator = Migrator::of(place.path());
    let newer = migrator.status().unwrap();
    assert_eq!((newer.version(), newer.is_current()), (99, true));
    assert_eq!(newer.migrations.last().unwrap().state, MigrationState::Newer);
    conn.execute("UPDATE bus_meta SET value = '99' WHERE key = 'min_writer'", []).unwrap();
    let refused = migrator.status().unwrap();
    assert_eq!(refused.refusal.as_ref().unwrap().kind(), ErrorKind::SchemaTooNew);
    assert_eq!((refused.min_reader, refused.min_writer, refused.is_current()), (Some(1), Some(99), false));
    conn.execute("UPDATE bus_schema_history SET checksum = '7' WHERE version = 1", []).unwrap();
    let changed = migrator.status().unwrap();
    assert_eq!(changed.migrations[0].state, MigrationState::Changed);
    assert_eq!(changed.refusal.unwrap().kind(), ErrorKind::SchemaMismatch);
}

#[tokio::test]
async fn a_file_that_needs_a_key_is_looked_at_with_it() {
    let place = Place::new();
    let builder =
        || SqliteBus::builder(place.path()).on_connect(|conn| conn.pragma_update(None, "cache_size", 77));
    builder().migrator().up().unwrap();
    assert!(builder().migrator().status().unwrap().is_current());
    let fails = SqliteBus::builder(place.path()).on_connect(|conn| conn.execute_batch("not SQL"));
    assert!(fails.migrator().status().unwrap_err().to_string().contains("on_connect"));
}
