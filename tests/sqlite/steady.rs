//! A file in use for a long time: publishers at a pace, readers that are quick, slow and stuck, processes that are killed, and a
//! limit on the number of events. It stays as large as what it holds, its WAL within its limit, and whoever has it open as well.
//!
//! `scripts/steady` runs it for ten minutes at full size.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rowbus::{Consumer, Durability, Durable, Messenger, MessengerExt, Retention, SqliteBus};
use rowbus::{defaults, rusqlite::Connection};

use crate::child::{Process, say};
use crate::{Place, from_oldest};

/// How long it goes on, and how many events are kept at most: so many are published in a quarter of that time, at least.
struct Size {
    length: Duration,
    keep: u64,
}

impl Size {
    fn read() -> Self {
        match std::env::var("ROWBUS_STEADY_SECONDS") {
            Ok(seconds) => Self {
                length: Duration::from_secs(seconds.parse().expect("seconds")),
                keep: std::env::var("ROWBUS_STEADY_KEEP")
                    .map_or(100_000, |keep| keep.parse().expect("a number")),
            },
            Err(_) => Self { length: Duration::from_secs(16), keep: 8_000 },
        }
    }
}

/// Events a second, over all publishers.
const RATE: u32 = 2_000;

/// What a child process does in one of these roles; `None` if it is none of them.
pub(crate) async fn role(words: &[&str]) -> Option<()> {
    let open = |path: &str| SqliteBus::builder(path).durability(Durability::Relaxed).open();
    match words {
        ["steady-publish", path, rate] => publish(&open(path).await.unwrap(), rate.parse().unwrap()).await,
        ["steady-read", path, pace] => read(&open(path).await.unwrap(), pace.parse().unwrap()).await,
        ["steady-stuck", path] => stuck(&open(path).await.unwrap()).await,
        ["steady-consume", path] => consume(&open(path).await.unwrap()).await,
        _ => return None,
    }
    Some(())
}

async fn publish(bus: &SqliteBus, rate: u32) {
    say("ready");
    let start = Instant::now();
    for number in 0_u32.. {
        tokio::time::sleep_until((start + Duration::from_secs(1) / rate * number).into()).await;
        bus.publish(format!("load.s{}", number % 50).as_str(), vec![7_u8; 128]).await.unwrap();
    }
}

/// Reads all there is and goes on, so many events a second at most.
async fn read(bus: &SqliteBus, pace: u32) {
    let mut stream = from_oldest(bus, "load.>").await;
    say("ready");
    let start = Instant::now();
    let mut number = 0;
    while let Some(item) = stream.next().await {
        // Whoever is slower than the log's limit is told so.
        assert!(matches!(
            item.as_ref().map_err(|error| error.kind()),
            Ok(_) | Err(rowbus::ErrorKind::Gap { .. })
        ));
        number += 1;
        tokio::time::sleep_until((start + Duration::from_secs(1) / pace * number).into()).await;
    }
}

async fn stuck(bus: &SqliteBus) {
    let _stream = from_oldest(bus, "load.>").await;
    let _live = bus.stream("load.>").await.unwrap();
    say("ready");
    std::future::pending::<()>().await;
}

async fn consume(bus: &SqliteBus) {
    let mut inbox = bus.consumer(Consumer::durable("steady").filter("load.>")).await.unwrap();
    say("ready");
    while let Some(item) = inbox.next().await {
        if let Ok(delivery) = item {
            // Its lease may have ended while the process was held up.
            let _ = delivery.ack().await;
        }
    }
}

/// Who stays for all of the time, and whose memory is looked at.
const LASTING: [(&str, &[&str]); 4] = [
    ("publisher", &["steady-publish", "1000"]),
    ("quick reader", &["steady-read", "1000000"]),
    ("slow reader", &["steady-read", "100"]),
    ("stuck reader", &["steady-stuck"]),
];
/// Who is killed and started again.
const MORTAL: [&[&str]; 3] = [&["steady-publish", "1000"], &["steady-consume"], &["steady-read", "1000000"]];

fn start(role: &[&str], path: &Path) -> Process {
    let mut args = vec![path.to_str().unwrap()];
    args.extend(&role[1..]);
    let mut process = Process::start(role[0], &args);
    assert_eq!(process.hear(), "ready");
    process
}

/// Resident memory in KiB, and open descriptors.
fn looked_at(process: &Process) -> (u64, u64) {
    let folder = format!("/proc/{}", process.id());
    let status = std::fs::read_to_string(format!("{folder}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let resident = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (resident, std::fs::read_dir(format!("{folder}/fd")).unwrap().count() as u64)
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// The file's size as a multiple of a copy without any free space.
fn beside_a_vacuumed_copy(place: &Place) -> f64 {
    let copy = place.join("copy.db");
    place.sql().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    let ratio = size(&place.path()) as f64 / size(&copy) as f64;
    std::fs::remove_file(copy).unwrap();
    ratio
}

fn newest(sql: &Connection) -> u64 {
    sql.query_row("SELECT coalesce(max(id), 0) FROM bus_events", [], |row| row.get::<_, i64>(0))
        .unwrap()
        .cast_unsigned()
}

/// What was seen at one moment.
struct Sample {
    wal: u64,
    file: u64,
    /// Of each of the lasting processes.
    processes: Vec<(u64, u64)>,
}

fn middle(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_use_stays_as_large_as_what_it_holds() {
    let Size { length, keep } = Size::read();
    let place = Place::new();
    let path = place.path();
    let bus = place.open().await;
    bus.set_retention(">", Retention::new().max_messages(keep)).await.unwrap();
    bus.close().await.unwrap();

    let lasting: Vec<_> = LASTING.iter().map(|(_, role)| start(role, &path)).collect();
    let mut mortal: Vec<_> = MORTAL.iter().map(|role| start(role, &path)).collect();
    let (began, sql) = (Instant::now(), place.sql());
    let (mut samples, mut ratios, mut kills, mut longest) = (Vec::new(), BTreeMap::new(), 0_usize, 0);
    // Half of the time is for the file to become full, at most.
    let settled = (Duration::from_secs(1) * u32::try_from(2 * keep).unwrap() / RATE).min(length / 2);
    while began.elapsed() < length {
        tokio::time::sleep(Duration::from_millis(500)).await;
        longest = longest.max(size(&place.join("bus.db-wal")));
        let wal = size(&place.join("bus.db-wal"));
        let processes = lasting.iter().map(looked_at).collect();
        if began.elapsed() >= settled {
            samples.push(Sample { wal, file: size(&path), processes });
            let part = (began.elapsed() - settled).as_millis() * 10 / (length - settled).as_millis().max(1);
            ratios.entry(part).or_insert_with(|| beside_a_vacuumed_copy(&place));
        }
        // One after the other, at every moment of what they do.
        let victim = kills % mortal.len();
        mortal[victim].kill();
        mortal[victim] = start(MORTAL[victim], &path);
        kills += 1;
    }
    let published = newest(&sql);
    drop(mortal);

    let quarter = (samples.len() / 4).max(1);
    let (first, last) = (&samples[..quarter], &samples[samples.len() - quarter..]);
    let mut report = String::new();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    writeln!(report, "{published} events in {:?}, {kills} kills, {keep} kept", began.elapsed()).unwrap();
    let (file, ratio) = (
        samples.iter().map(|sample| sample.file).max().unwrap(),
        ratios.values().copied().fold(0.0, f64::max),
    );
    writeln!(report, "file: {:.1} MiB at most, {ratio:.2} of a vacuumed copy at most", mib(file)).unwrap();
    let wals = samples.iter().map(|sample| sample.wal).collect();
    writeln!(report, "WAL: {:.1} MiB at most, {:.1} in the middle", mib(longest), mib(middle(wals))).unwrap();
    let of = |samples: &[Sample], at: usize| {
        let (resident, open) = samples.iter().map(|sample| sample.processes[at]).unzip();
        (middle(resident), middle(open))
    };
    for (at, (name, _)) in LASTING.iter().enumerate() {
        let (before, after) = (of(first, at), of(last, at));
        writeln!(
            report,
            "{name}: {:.1} MiB resident in the first quarter, {:.1} in the last; {} and {} descriptors",
            before.0 as f64 / 1024.0,
            after.0 as f64 / 1024.0,
            before.1,
            after.1
        )
        .unwrap();
    }
    println!("{report}");

    assert!(published >= length.as_secs() * u64::from(RATE) / 4, "{report}");
    assert!(ratio <= 1.5, "{report}");
    assert!(longest <= 2 * defaults::WAL_LIMIT, "{report}");
    for at in 0..LASTING.len() {
        let (before, after) = (of(first, at), of(last, at));
        assert!(after.0 <= before.0 * 13 / 10 + 8 * 1024, "{report}");
        assert!(after.1 <= before.1 + 4, "{report}");
    }
}
