//! What a bus counts, through the `metrics` facade: histograms where they happen, the rest at most once a second while the bus
//! does something. Buses of a process share the names, and their numbers are added up.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::publish::Durability;
use crate::sqlite::disk;
use crate::sqlite::stats::{BusStats, Counters, FileStats};

pub(super) fn committed(operations: usize, durability: Durability, took: Duration) {
    let flushed = if durability == Durability::Full { "true" } else { "false" };
    histogram!("rowbus_commit_seconds", "flushed" => flushed).record(took);
    histogram!("rowbus_commit_operations").record(operations as f64);
}

pub(super) fn checkpointed(took: Duration) {
    histogram!("rowbus_checkpoint_seconds").record(took);
}

/// What was exported last: counters of the facade are told what has come since.
#[derive(Debug, Default)]
pub(super) struct Exporter(Mutex<Option<BusStats>>);

impl Exporter {
    pub(super) fn export(&self, counters: &Counters, database: &Path) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = counters.read();
        let before = last.as_ref().map_or([0; NUMBERS], |last| numbers(last).map(|(_, _, value)| value));
        for ((name, label, value), before) in numbers(&now).into_iter().zip(before) {
            match label {
                Some(label) => counter!(name, "kind" => label).increment(value - before),
                None => counter!(name).increment(value - before),
            }
        }
        *last = Some(now);
        gauge!("rowbus_wal_bytes").set(disk::wal(database).0 as f64);
        gauge!("rowbus_file_bytes").set(disk::length(database) as f64);
    }
}

/// What only a look into the file can tell.
pub(super) fn export_file(file: &FileStats) {
    let set = |name: &'static str, value: u64| gauge!(name).set(value as f64);
    set("rowbus_events", file.events.count);
    set("rowbus_last_sequence", file.last_sequence);
    set("rowbus_free_bytes", file.free_pages * file.page_bytes);
    set("rowbus_dead_letters", file.dead_letters.count);
    set("rowbus_quarantined_rows", file.quarantined.count);
    if let Some(available) = file.disk_available {
        set("rowbus_disk_available_bytes", available);
    }
    if let Some(peers) = &file.peers {
        set("rowbus_peers", peers.len() as u64);
    }
    if let Some(requests) = &file.requests {
        for (state, count) in requests.by_state() {
            gauge!("rowbus_requests", "state" => state).set(count.count as f64);
        }
    }
    for consumer in file.consumers.iter().flatten() {
        let name = || consumer.name.clone();
        gauge!("rowbus_consumer_lag", "consumer" => name()).set(consumer.lag as f64);
        gauge!("rowbus_consumer_lag_seconds", "consumer" => name()).set(consumer.lag_millis as f64 / 1e3);
        gauge!("rowbus_consumer_pending", "consumer" => name()).set(consumer.num_pending as f64);
    }
}

/// How many there are.
const NUMBERS: usize = 15;

type Number = (&'static str, Option<&'static str>, u64);

fn numbers(stats: &BusStats) -> [Number; NUMBERS] {
    let wake = |kind, count| ("rowbus_wakes_total", Some(kind), count);
    [
        ("rowbus_commits_total", None, stats.commits),
        ("rowbus_published_total", None, stats.published),
        ("rowbus_delivered_total", None, stats.delivered),
        ("rowbus_busy_waits_total", None, stats.busy_waits),
        ("rowbus_stood_back_total", None, stats.stood_back),
        ("rowbus_disk_full_total", None, stats.disk_full),
        wake("bell", stats.wakes.bell),
        wake("floor", stats.wakes.floor),
        wake("watch", stats.wakes.watch),
        wake("own", stats.wakes.own),
        ("rowbus_needless_wakes_total", None, stats.wakes.needless),
        ("rowbus_checkpoints_total", None, stats.checkpoints.count),
        ("rowbus_checkpointed_pages_total", None, stats.checkpoints.pages),
        ("rowbus_wal_restarts_total", None, stats.checkpoints.restarts),
        ("rowbus_wal_truncations_total", None, stats.checkpoints.truncations),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata};
    use metrics::{Recorder, SharedString, Unit};

    use super::*;
    use crate::Messenger;

    /// What a program's recorder is told.
    #[derive(Debug, Default)]
    struct Seen(Mutex<BTreeMap<String, f64>>);

    struct Cell(Arc<Seen>, String);

    impl Cell {
        fn add(&self, value: f64) {
            *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
        }
    }

    impl CounterFn for Cell {
        fn increment(&self, value: u64) {
            self.add(value as f64);
        }
        fn absolute(&self, _: u64) {}
    }

    impl GaugeFn for Cell {
        fn increment(&self, _: f64) {}
        fn decrement(&self, _: f64) {}
        fn set(&self, value: f64) {
            self.0.0.lock().unwrap().insert(self.1.clone(), value);
        }
    }

    impl HistogramFn for Cell {
        fn record(&self, _: f64) {
            self.add(1.0);
        }
    }

    struct Told(Arc<Seen>);

    impl Told {
        fn cell(&self, key: &Key) -> Arc<Cell> {
            let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
            Arc::new(Cell(Arc::clone(&self.0), key.name().to_owned() + &labels.collect::<String>()))
        }
    }

    impl Recorder for Told {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.cell(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.cell(key))
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.cell(key))
        }
    }

    #[test]
    fn counters_are_told_what_has_come_since_and_histograms_each_commit() {
        let seen = Arc::new(Seen::default());
        let (counters, exporter) = (Counters::default(), Exporter::default());
        metrics::with_local_recorder(&Told(Arc::clone(&seen)), || {
            for _ in 0..3 {
                counters.committed(2, 1, Durability::Full, Duration::from_millis(1));
                counters.bell.one();
                exporter.export(&counters, Path::new("/nowhere"));
            }
        });
        let seen = seen.0.lock().unwrap();
        let of = |name: &str| seen.get(name).copied();
        assert_eq!((of("rowbus_commits_total"), of("rowbus_published_total")), (Some(3.0), Some(3.0)));
        assert_eq!((of("rowbus_wakes_total kind=bell"), of("rowbus_wal_bytes")), (Some(3.0), Some(0.0)));
        assert_eq!(of("rowbus_commit_seconds flushed=true"), Some(3.0));
    }

    #[tokio::test]
    async fn what_is_in_the_file_is_exported_by_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let bus = crate::SqliteBus::open(folder.path().join("a.db")).await.unwrap();
        crate::MessengerExt::publish(&bus, "a", "x").await.unwrap();
        let stats = bus.stats().await.unwrap();
        let seen = Arc::new(Seen::default());
        metrics::with_local_recorder(&Told(Arc::clone(&seen)), || export_file(&stats.file));
        let names: Vec<_> = seen.0.lock().unwrap().keys().cloned().collect();
        assert!(names.contains(&"rowbus_requests state=ready".to_owned()), "{names:?}");
        assert_eq!(seen.0.lock().unwrap()["rowbus_events"], 1.0);
        bus.close().await.unwrap();
    }
}
