//! A file on which something happens: a shop with an app in the tray, a mailer, an index and an analysis that cannot keep up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rowbus::{
    AckPolicy, Call, Consumer, Durable, DurableExt, HandlerError, Job, Messenger, MessengerExt, OnFailure,
    Publish, Serve, SqliteBus, handler_fn,
};

/// Subjects, their rates a second in the mean, how much they swing, how fast in seconds, and the bytes of a payload.
const SUBJECTS: [(&str, f64, f64, f64, usize); 8] = [
    ("telemetry.cpu", 420.0, 0.5, 9.0, 96),
    ("orders.created", 96.0, 0.9, 7.0, 380),
    ("orders.paid", 64.0, 0.9, 7.5, 210),
    ("inventory.moved", 37.0, 0.6, 4.0, 150),
    ("mail.delivered", 18.0, 1.0, 5.0, 640),
    ("chat.support.message", 9.0, 1.0, 3.0, 300),
    ("orders.refunded", 2.5, 1.0, 6.0, 250),
    ("files.synced", 1.2, 1.0, 2.5, 4_000),
];

/// Between two batches.
const STEP: Duration = Duration::from_millis(25);

/// A thread that does all of it, until it is told to stop.
pub struct Demo {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Demo {
    pub fn start(db: &Path) -> Self {
        let (is_over, db) = (Arc::new(AtomicBool::new(false)), db.to_owned());
        let ends = Arc::clone(&is_over);
        let (ready, begun) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(play(db, ends, ready));
        });
        begun.recv().unwrap();
        Self { is_over, thread }
    }

    pub fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

async fn open(db: &Path, name: &str) -> SqliteBus {
    let builder = SqliteBus::builder(db).name(name).durability(rowbus::Durability::Relaxed);
    builder.open().await.unwrap()
}

async fn play(db: PathBuf, is_over: Arc<AtomicBool>, ready: std::sync::mpsc::Sender<()>) {
    let shop = open(&db, "shop").await;
    let (tray, mailer, analytics) =
        (open(&db, "tray").await, open(&db, "mailer").await, open(&db, "analytics").await);

    // What was there before: a consumer that nobody reads, one that stopped, and what was given up on.
    let search = Consumer::durable("search").filter("files.>").filter("chat.>");
    shop.consumer(search).await.unwrap().leave().await.unwrap();
    stop_a_consumer(&shop).await;
    bury(&shop).await;
    enqueue(&shop).await;
    let slow = |_: Call| async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        Ok("done")
    };
    let three_at_once = Serve::on("images.render").concurrency(3);
    let renders = tray.serve_with(three_at_once, Arc::new(handler_fn(slow))).await.unwrap();

    let reads = [
        tokio::spawn(read(mailer.clone(), "mailer", "orders.>", Duration::ZERO, is_over.clone())),
        tokio::spawn(read(
            analytics.clone(),
            "analytics",
            "telemetry.>",
            Duration::from_millis(4),
            is_over.clone(),
        )),
    ];
    ready.send(()).unwrap();
    publish(&shop, &is_over).await;
    for read in reads {
        read.await.unwrap();
    }
    drop(renders);
    for bus in [tray, mailer, analytics, shop] {
        bus.close().await.unwrap();
    }
}

/// Waves that meet, so that no curve is straight.
async fn publish(bus: &SqliteBus, is_over: &AtomicBool) {
    let began = Instant::now();
    let mut due = SUBJECTS.map(|_| 0.0);
    while !is_over.load(Ordering::Relaxed) {
        let time = began.elapsed().as_secs_f64();
        let mut batch = Vec::new();
        for (due, (subject, mean, swing, period, bytes)) in due.iter_mut().zip(SUBJECTS) {
            let phase = time * std::f64::consts::TAU / period;
            let wave = (phase.sin() + 0.4 * (phase * 2.7).sin() + 0.3 * (phase * 0.31).cos()) / 1.3;
            *due += mean * (1.0 + swing * wave).max(0.0) * STEP.as_secs_f64();
            while *due >= 1.0 {
                batch.push(Publish::new(subject, vec![b'x'; bytes]));
                *due -= 1.0;
            }
        }
        if !batch.is_empty() {
            bus.publish_all(batch).await.unwrap();
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Reads as a member of a consumer, and rests after each message.
async fn read(bus: SqliteBus, name: &str, filter: &str, rest: Duration, is_over: Arc<AtomicBool>) {
    let mut inbox = bus.consumer(Consumer::durable(name).filter(filter)).await.unwrap();
    while !is_over.load(Ordering::Relaxed) {
        if let Ok(Some(delivery)) = tokio::time::timeout(STEP, inbox.next()).await {
            delivery.unwrap().ack().await.unwrap();
            tokio::time::sleep(rest).await;
        }
    }
    inbox.leave().await.unwrap();
}

async fn stop_a_consumer(bus: &SqliteBus) {
    let ledger = Consumer::durable("ledger").filter("orders.refunded").ack_policy(AckPolicy::Cumulative);
    let mut inbox = bus.consumer(ledger.on_failure(OnFailure::Stop)).await.unwrap();
    bus.publish("orders.refunded", "{}").await.unwrap();
    let delivery = inbox.next().await.unwrap().unwrap();
    delivery.term("no such account").await.unwrap();
    inbox.leave().await.unwrap();
}

async fn bury(bus: &SqliteBus) {
    for (subject, why) in [
        ("mail.send", "550 no such mailbox"),
        ("mail.send", "timed out after 30s"),
        ("images.scale", "unexpected end of file"),
        ("mail.send", "550 no such mailbox"),
    ] {
        let fail = move |_: Call| async move { Err::<String, _>(HandlerError::new(why)) };
        let service = bus.serve(subject, fail).await.unwrap();
        let job = bus.enqueue(Job::new(subject, "to: nobody").max_attempts(1)).await.unwrap();
        assert!(job.reply().await.is_err());
        service.stop().await.unwrap();
    }
}

async fn enqueue(bus: &SqliteBus) {
    let later = Duration::from_secs(3_600);
    bus.enqueue_all((0..260).map(|_| Job::new("images.render", "{}"))).await.unwrap();
    bus.enqueue_all((0..38).map(|_| Job::new("report.build", "{}").delay(later))).await.unwrap();
    bus.enqueue_all((0..7).map(|_| Job::new("images.render", "{}").key("album-7"))).await.unwrap();
}
