//! Consumers of a long log: `cargo bench --bench consumers`, which makes a file of about 3 GB under `target`.
//!
//! `-- --quick` is the same on a small log, to see that it runs. `--events N`, `--rounds N`, `--seconds S` and `--idle N`
//! (consumers) choose otherwise, `--only WORD` measures what has this word in its name. Each figure is the median of the
//! rounds. What is compared is measured in turns, and the ratio is the median of the ratios of each round, since the machine's
//! speed drifts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]
#![allow(unsafe_code)] // it asks for the CPU's time

use std::fmt::Display;
use std::time::{Duration, Instant};

use rowbus::{AckPolicy, Consumer, Delivery, Durability, Durable, Inbox, MessengerExt, SqliteBus};
use tokio::runtime::Runtime;

const SUBJECT: &str = "bench.orders.created";
/// The short log that an acknowledgement in the long one is compared with.
const SHORT: usize = 1_000;
/// What is acknowledged one by one in a round.
const ALONE: usize = 500;
/// What is acknowledged at once otherwise.
const BATCH: usize = 512;

struct Plan {
    events: usize,
    rounds: usize,
    time: Duration,
    idle: usize,
    only: Option<String>,
}

impl Plan {
    fn from_args() -> Self {
        let args: Vec<String> = std::env::args().collect();
        let after = |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1);
        let number =
            |name: &str, default: f64| after(name).map_or(default, |value| value.parse().expect("a number"));
        let quick = args.iter().any(|arg| arg == "--quick");
        let of = |full: f64, small: f64| if quick { small } else { full };
        Self {
            events: number("--events", of(10e6, 20e3)) as usize,
            rounds: number("--rounds", of(5.0, 1.0)) as usize,
            time: Duration::from_secs_f64(number("--seconds", of(2.0, 0.1))),
            idle: number("--idle", of(500.0, 20.0)) as usize,
            only: after("--only").cloned(),
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// The median of the rounds.
    fn median(&self, mut measure: impl FnMut(usize) -> f64) -> f64 {
        median((0..self.rounds).map(&mut measure).collect())
    }

    /// The medians of both, and of the ratio of the second to the first; in turns, and who goes first changes.
    fn compare(&self, mut one: impl FnMut(usize) -> f64, mut other: impl FnMut(usize) -> f64) -> [f64; 3] {
        let (mut ones, mut others, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..self.rounds {
            let (first, second) = if round % 2 == 0 {
                let first = one(round);
                (first, other(round))
            } else {
                let second = other(round);
                (one(round), second)
            };
            ones.push(first);
            others.push(second);
            ratios.push(second / first);
        }
        [median(ones), median(others), median(ratios)]
    }
}

fn main() {
    let plan = Plan::from_args();
    println!(
        "a log of {} events of 128 bytes, synchronous NORMAL; medians of {} rounds",
        plan.events, plan.rounds
    );
    if plan.wants("log") {
        let long = Bench::with(plan.events);
        behind(&plan, &long);
        acks(&plan, &long, &Bench::with(SHORT));
    }
    if plan.wants("idle") {
        idle(&plan);
    }
}

struct Bench {
    runtime: Runtime,
    bus: SqliteBus,
    folder: tempfile::TempDir,
}

impl Bench {
    /// A file with so many events, written by plain SQL, which is a client too.
    fn with(events: usize) -> Self {
        let folder = tempfile::tempdir_in("target").unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let builder = SqliteBus::builder(folder.path().join("bus.db")).durability(Durability::Relaxed);
        let bus = runtime.block_on(builder.open()).unwrap();
        let bench = Self { runtime, bus, folder };
        let (sql, mut left) = (bench.sql(), events);
        while left > 0 {
            let some = left.min(500_000);
            let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                        INSERT INTO bus_events (subject, data) SELECT ?2, zeroblob(128) FROM n";
            sql.execute(fill, rowbus::rusqlite::params![some as i64, SUBJECT]).unwrap();
            left -= some;
        }
        bench
    }

    fn sql(&self) -> rowbus::rusqlite::Connection {
        let sql = rowbus::rusqlite::Connection::open(self.folder.path().join("bus.db")).unwrap();
        sql.busy_timeout(Duration::from_secs(60)).unwrap();
        sql
    }

    /// Opens one that is new, at the beginning of the log.
    fn open(&self, name: impl Display, policy: AckPolicy) -> Inbox {
        let consumer = Consumer::durable(name.to_string()).filter("bench.>").ack_policy(policy);
        self.runtime.block_on(self.bus.consumer(consumer)).unwrap()
    }

    /// Leaves it, and removes it.
    fn remove(&self, inbox: Inbox) {
        let name = inbox.name().to_owned();
        self.runtime.block_on(inbox.leave()).unwrap();
        self.runtime.block_on(self.bus.delete_consumer(&name)).unwrap();
    }
}

/// Starting at the other end of the log, and reading from there.
fn behind(plan: &Plan, long: &Bench) {
    for policy in [AckPolicy::Cumulative, AckPolicy::Explicit] {
        let start = plan.median(|round| {
            let begun = Instant::now();
            let mut inbox = long.open(format_args!("start-{round}"), policy);
            let first = long.runtime.block_on(inbox.next()).unwrap().unwrap();
            let taken = begun.elapsed().as_secs_f64() * 1e3;
            assert_eq!(first.sequence(), 1);
            long.remove(inbox);
            taken
        });
        tell(&format!("log: start of a consumer ({policy}), to its first delivery"), start, "ms", "< 50");
    }
    let rate = plan.median(|round| read(plan, long, &format!("read-{round}"), AckPolicy::Cumulative));
    tell("log: events read, cumulative, every 512th acknowledged", rate, "a second", "> 500,000");
    let rate = plan.median(|round| read(plan, long, &format!("acked-{round}"), AckPolicy::Explicit));
    tell("log: events read and acknowledged in batches, explicit", rate, "a second", "> 50,000");
}

/// Events a second, read and acknowledged in batches.
fn read(plan: &Plan, bench: &Bench, name: &str, policy: AckPolicy) -> f64 {
    let mut inbox = bench.open(name, policy);
    let rate = bench.runtime.block_on(async {
        let (begun, mut done, mut bytes) = (Instant::now(), 0, 0);
        while begun.elapsed() < plan.time && done < plan.events {
            let batch = inbox.batch(BATCH).await.unwrap();
            bytes += batch.iter().map(|delivery| delivery.payload().len()).sum::<usize>();
            match policy {
                AckPolicy::Cumulative => batch.last().unwrap().ack().await.unwrap(),
                _ => Delivery::ack_all(&batch).await.unwrap(),
            }
            done += batch.len();
        }
        assert_eq!(bytes, done * 128);
        done as f64 / begun.elapsed().as_secs_f64()
    });
    bench.remove(inbox);
    rate
}

/// What one acknowledgement takes, in a short log and in a long one.
fn acks(plan: &Plan, long: &Bench, short: &Bench) {
    for policy in [AckPolicy::Cumulative, AckPolicy::Explicit] {
        let alone = |bench: &Bench, round: usize| {
            let mut inbox = bench.open(format_args!("alone-{round}"), policy);
            let mut times = Vec::new();
            bench.runtime.block_on(async {
                for _ in 0..ALONE {
                    let delivery = inbox.next().await.unwrap().unwrap();
                    let begun = Instant::now();
                    delivery.ack().await.unwrap();
                    times.push(begun.elapsed().as_secs_f64() * 1e6);
                }
            });
            bench.remove(inbox);
            median(times)
        };
        let [short, long, ratio] = plan.compare(|round| alone(short, round), |round| alone(long, round));
        tell(&format!("log: one acknowledgement ({policy}) with {SHORT} events"), short, "µs", "");
        tell(&format!("log: one acknowledgement ({policy}) with {} events", plan.events), long, "µs", "");
        tell(&format!("log: one acknowledgement ({policy}), long log : short log"), ratio, "", "1");
    }
}

/// What consumers cost that have nothing to do.
fn idle(plan: &Plan) {
    let (none, many) = (Bench::with(0), Bench::with(0));
    let inboxes: Vec<Inbox> = (0..plan.idle)
        .map(|at| {
            let consumer = Consumer::durable(format!("idle-{at}")).filter(format!("other.{at}.>"));
            many.runtime.block_on(many.bus.consumer(consumer)).unwrap()
        })
        .collect();
    let publish = |bench: &Bench| {
        bench.runtime.block_on(async {
            let (begun, mut done) = (Instant::now(), 0);
            while begun.elapsed() < plan.time {
                bench.bus.publish(SUBJECT, &[b'x'; 128][..]).await.unwrap();
                done += 1;
            }
            done as f64 / begun.elapsed().as_secs_f64()
        })
    };
    let [without, with, ratio] = plan.compare(|_| publish(&none), |_| publish(&many));
    tell("idle: events published with no consumer", without, "a second", "");
    tell(
        &format!("idle: events published with {} consumers of other subjects", plan.idle),
        with,
        "a second",
        "",
    );
    tell("idle: published with consumers : without", ratio, "", "> 0.8");

    drop(none);
    let sql = many.sql();
    let version = || sql.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    // What was published is behind them when nothing is written any more.
    let (mut seen, mut since) = (version(), Instant::now());
    while since.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(50));
        let now = version();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    let watched = plan.time * 10;
    let (cpu, begun) = (cpu(), Instant::now());
    std::thread::sleep(watched);
    let percent = (self::cpu() - cpu).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    tell(&format!("idle: CPU of {} consumers", plan.idle), percent, "% of a core", "< 0.2");
    tell("idle: commits of anybody meanwhile", (version() - seen) as f64, "", "0");
    drop(inboxes);
}

/// What this process has used; nothing where the system is not asked.
#[cfg(not(unix))]
fn cpu() -> Duration {
    Duration::ZERO
}

/// What this process has used.
#[cfg(unix)]
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn tell(what: &str, figure: f64, unit: &str, goal: &str) {
    let decimals = if figure >= 1_000.0 { 0 } else { 3 };
    let goal = if goal.is_empty() { String::new() } else { format!("  (goal {goal})") };
    println!("{what:<68} {figure:>12.decimals$} {unit}{goal}");
}
