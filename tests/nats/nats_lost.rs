//! What is told while there is no connection, and when there will be none any more.

use std::process::Command;
use std::time::{Duration, Instant};

use rowbus::testing::NatsServer;
use rowbus::{Call, ErrorKind, Messenger, MessengerExt, NatsBus, Request};

use crate::{PATIENCE, assert_works, connect, kind, within};

fn signal(server: &NatsServer, name: &str) {
    let pid = server.pid().unwrap().to_string();
    assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
}

/// Returns when the server does nothing more: a thread that is at work stops some time after the signal was sent.
fn halt(server: &NatsServer) {
    signal(server, "STOP");
    let start = Instant::now();
    while !is_halted(server.pid().unwrap()) {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_halted(pid: u32) -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.all(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        // Behind the name, which may have anything in it.
        stat.rsplit(") ").next().unwrap().starts_with('T')
    })
}

#[tokio::test]
async fn without_a_connection_each_verb_is_disconnected_after_its_wait_and_nothing_was_sent() {
    let Some(mut server) = NatsServer::start() else { return };
    let bus = NatsBus::builder(&server.url()).wait(Duration::from_millis(200)).connect().await.unwrap();
    let witness = connect(&server).await;
    let mut heard = witness.stream("a").await.unwrap();
    server.kill();
    // What is sent before the client has noticed may have arrived, for all that it knows.
    within(async { while kind(bus.publish("a", "lost").await) == ErrorKind::Indeterminate {} }).await;
    assert_eq!(kind(within(bus.publish("a", "lost")).await), ErrorKind::Disconnected);
    assert_eq!(kind(within(bus.stream("a")).await), ErrorKind::Disconnected);
    assert_eq!(kind(within(bus.request("a", "")).await), ErrorKind::Disconnected);
    let served = within(bus.serve("a", |_: Call| async { Ok("") })).await;
    assert_eq!(served.map(drop).unwrap_err().kind(), ErrorKind::Disconnected);
    server.restart();
    within(async { while witness.publish("a", "found").await.is_err() {} }).await;
    within(async { while bus.publish("a", "found").await.is_err() {} }).await;
    let told = within(heard.next()).await.unwrap().unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Disconnected);
    for _ in 0..2 {
        assert_eq!(within(heard.next()).await.unwrap().unwrap().text(), Some("found"));
    }
}

/// The server is stopped before it reads, and killed then: what lies in its socket is gone.
#[tokio::test]
async fn what_was_handed_over_and_not_confirmed_is_indeterminate_when_the_server_dies() {
    let Some(mut server) = NatsServer::start() else { return };
    let bus = connect(&server).await;
    halt(&server);
    let sends: Vec<_> = (0..100)
        .map(|number| {
            let bus = bus.clone();
            tokio::spawn(async move { bus.publish("a", number.to_string()).await })
        })
        .collect();
    // They have nobody to be confirmed by.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(sends.iter().all(|send| !send.is_finished()));
    server.kill();
    for send in sends {
        assert_eq!(kind(within(send).await.unwrap()), ErrorKind::Indeterminate);
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_confirms_nothing() {
    let Some(server) = NatsServer::start() else { return };
    let bus = NatsBus::builder(&server.url()).wait(Duration::from_millis(300)).connect().await.unwrap();
    halt(&server);
    assert_eq!(kind(within(bus.publish("a", "")).await), ErrorKind::Indeterminate);
    signal(&server, "CONT");
    within(async { while bus.publish("a", "").await.is_err() {} }).await;
}

#[tokio::test]
async fn a_request_whose_server_is_gone_ends_with_its_deadline() {
    let Some(mut server) = NatsServer::start() else { return };
    let (bus, other) = (connect(&server).await, connect(&server).await);
    let (tell, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let service = other.serve("a", move |_: Call| {
        tell.send(()).unwrap();
        std::future::pending::<Result<&'static str, rowbus::HandlerError>>()
    });
    let _service = service.await.unwrap();
    let asking = tokio::spawn({
        let bus = bus.clone();
        async move { bus.call(Request::to("a", "").timeout(Duration::from_secs(1))).await }
    });
    within(begun.recv()).await.unwrap();
    server.kill();
    assert_eq!(kind(within(asking).await.unwrap()), ErrorKind::RequestTimeout);
}

#[tokio::test]
async fn after_the_last_attempt_streams_services_and_verbs_end_with_disconnected() {
    let Some(mut server) = NatsServer::start() else { return };
    let bus = NatsBus::builder(&server.url()).max_reconnects(1).connect().await.unwrap();
    let mut stream = bus.stream("a").await.unwrap();
    let mut service = bus.serve("b", |_: Call| async { Ok("") }).await.unwrap();
    let (tell, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let slow = bus.serve("c", move |_: Call| {
        tell.send(()).unwrap();
        std::future::pending::<Result<&'static str, rowbus::HandlerError>>()
    });
    let _slow = slow.await.unwrap();
    let asking = tokio::spawn({
        let bus = bus.clone();
        async move { bus.call(Request::to("c", "").timeout(PATIENCE)).await }
    });
    within(begun.recv()).await.unwrap();
    server.kill();
    assert_eq!(kind(within(asking).await.unwrap()), ErrorKind::Disconnected);
    assert_eq!(kind(within(stream.next()).await.unwrap()), ErrorKind::Disconnected);
    assert!(within(stream.next()).await.is_none());
    assert_eq!(kind(within(service.ended()).await), ErrorKind::Disconnected);
    assert_eq!(kind(within(bus.publish("a", "")).await), ErrorKind::Disconnected);
    within(bus.close()).await.unwrap();
}

#[tokio::test]
async fn closing_a_bus_without_a_connection_does_not_wait_for_one() {
    let Some(mut server) = NatsServer::start() else { return };
    let bus = connect(&server).await;
    let mut stream = bus.stream("a").await.unwrap();
    server.kill();
    within(bus.close()).await.unwrap();
    let rest = within(async {
        loop {
            match stream.next().await {
                // It may have noticed before it was closed.
                Some(Err(_)) => {}
                rest => return rest,
            }
        }
    });
    assert!(rest.await.is_none());
    assert_eq!(kind(bus.publish("a", "").await), ErrorKind::Closed);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_disconnected_unless_it_may_come_later() {
    let Some(mut server) = NatsServer::start() else { return };
    server.stop();
    assert_eq!(kind(within(NatsBus::connect(&server.url())).await), ErrorKind::Disconnected);
    let url = format!("{}?retry_first_connect=true&wait=200ms", server.url());
    let bus = within(NatsBus::connect(&url)).await.unwrap();
    assert_eq!(kind(bus.publish("a", "").await), ErrorKind::Disconnected);
    server.restart();
    within(async { while bus.publish("a", "").await.is_err() {} }).await;
    assert_works(&bus).await;
}
