//! Servers in other processes: killed, stopped and continued.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rowbus::{
    Call, Durability, DurableExt, ErrorKind, Job, Messenger, MessengerExt, Request, Serve, SqliteBus,
    handler_fn,
};

use crate::child::{Process, hear, say};
use crate::{PATIENCE, Place};

/// Answers `echo` at once. On `slow` it says that it began, waits for a word, and says what became of its answer.
pub(crate) async fn serve(path: &str, lease: u64) {
    let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await.unwrap();
    let echo = bus.serve("echo", |call: Call| async move { Ok(call.payload().clone()) }).await.unwrap();
    let slow = handler_fn(|call: Call| async move {
        say(format!("began {}", call.attempt()));
        tokio::task::spawn_blocking(hear).await?;
        match call.reply(format!("answer {}", std::process::id())).await {
            Ok(()) => say("counted"),
            Err(error) => say(format!("{:?}", error.kind())),
        }
        Ok(())
    });
    let serve = Serve::on("slow").lease(Duration::from_millis(lease));
    let mut slow = bus.serve_with(serve, Arc::new(slow)).await.unwrap();
    say("ready");
    slow.ended().await.unwrap();
    echo.stop().await.unwrap();
}

const LONG: &str = "30000";

fn server(place: &Place, lease: &str) -> Process {
    let mut server = Process::start("serve", &[place.path().to_str().unwrap(), lease]);
    assert_eq!(server.hear(), "ready");
    server
}

fn signal(process: &Process, signal: libc::c_int) {
    // SAFETY: a plain system call; the process is a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(i32::try_from(process.id()).unwrap(), signal) }, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_by_another_process() {
    let place = Place::new();
    let bus = place.open().await;
    let _server = server(&place, LONG);
    for at in 0..200 {
        let reply = bus.request("echo", at.to_string()).await.unwrap();
        assert_eq!(reply.text(), Some(at.to_string().as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_server_is_killed_another_takes_over_at_once_and_not_when_the_lease_would_end() {
    let place = Place::new();
    let bus = place.open().await;
    let mut first = server(&place, LONG);
    let job = bus.enqueue(Job::new("slow", "")).await.unwrap();
    let asking = bus.clone();
    assert_eq!(first.hear(), "began 1");
    let asked = tokio::spawn(async move { asking.call(Request::to("slow", "").timeout(PATIENCE)).await });
    assert_eq!(first.hear(), "began 1");
    let mut second = server(&place, LONG);
    let start = Instant::now();
    first.kill();
    for _ in 0..2 {
        assert_eq!(second.hear(), "began 2");
    }
    assert!(start.elapsed() < Duration::from_secs(15), "half of its lease: {:?}", start.elapsed());
    for _ in 0..2 {
        second.tell("go");
        assert_eq!(second.hear(), "counted");
    }
    let answer = format!("answer {}", second.id());
    assert_eq!(job.reply().await.unwrap().text(), Some(answer.as_str()));
    assert_eq!(asked.await.unwrap().unwrap().text(), Some(answer.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_stopped_past_its_lease_and_continued_changes_nothing() {
    let place = Place::new();
    let bus = place.open().await;
    let mut first = server(&place, "300");
    let job = bus.enqueue(Job::new("slow", "")).await.unwrap();
    assert_eq!(first.hear(), "began 1");
    signal(&first, libc::SIGSTOP);
    let mut second = server(&place, LONG);
    assert_eq!(second.hear(), "began 2");
    second.tell("go");
    assert_eq!(second.hear(), "counted");
    let answer = job.reply().await.unwrap();
    assert_eq!(answer.text(), Some(format!("answer {}", second.id()).as_str()));
    signal(&first, libc::SIGCONT);
    first.tell("go");
    assert_eq!(first.hear(), "LeaseLost");
    assert_eq!(job.reply().await.unwrap(), answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_to_be_redelivered_tells_that_its_server_died() {
    let place = Place::new();
    let bus = place.open().await;
    let mut first = server(&place, LONG);
    let asking = bus.clone();
    let request = Request::to("slow", "").timeout(PATIENCE).redeliver(false);
    let asked = tokio::spawn(async move { asking.call(request).await });
    assert_eq!(first.hear(), "began 1");
    // Somebody who sees to it; who serves another subject will do.
    let other = bus.serve("other", |_: Call| async { Ok(()) }).await.unwrap();
    first.kill();
    assert_eq!(asked.await.unwrap().unwrap_err().kind(), ErrorKind::ServerLost);
    other.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_killed_has_its_request_run_by_nobody_after_its_deadline() {
    let place = Place::new();
    let bus = place.open().await;
    // What a caller leaves behind that had no time to take it back.
    place
        .sql()
        .execute_batch("INSERT INTO bus_requests (subject, kind, deadline) VALUES ('echo', 'request', 1)")
        .unwrap();
    let _server = server(&place, LONG);
    bus.request("echo", "").await.unwrap();
    let left: i64 = place
        .sql()
        .query_row("SELECT count(*) FROM bus_requests WHERE deadline = 1", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_subject_that_a_living_process_serves_is_served() {
    let place = Place::new();
    let bus = place.open().await;
    let ask = || bus.call(Request::to("echo", "").if_served());
    assert_eq!(ask().await.unwrap_err().kind(), ErrorKind::NoResponders);
    let mut server = server(&place, LONG);
    ask().await.unwrap();
    let peers = bus.peers().await.unwrap();
    assert!(peers.iter().any(|peer| peer.serves.iter().any(|filter| filter.as_str() == "slow")), "{peers:?}");
    server.kill();
    assert_eq!(ask().await.unwrap_err().kind(), ErrorKind::NoResponders);
}
