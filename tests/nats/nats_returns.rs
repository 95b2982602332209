//! A server that dies and comes back: everything goes on, and what may be missing is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rowbus::testing::NatsServer;
use rowbus::{Call, ErrorKind, Messenger, MessengerExt, NatsBus, Request};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::{PATIENCE, assert_works, connect, kind, within};

#[tokio::test]
async fn streams_and_services_go_on_and_streams_are_told_where_something_may_be_missing() {
    let Some(mut server) = NatsServer::start() else { return };
    let (bus, other) = (connect(&server).await, connect(&server).await);
    let mut streams = Vec::new();
    for filter in ["a", "a.*", ">"] {
        streams.push(bus.stream(filter).await.unwrap());
    }
    let service =
        bus.serve("twice", |call: Call| async move { Ok(call.text().unwrap().repeat(2)) }).await.unwrap();
    for round in 0..3 {
        server.kill();
        server.restart();
        let ask = || other.call(Request::to("twice", "ha").timeout(Duration::from_millis(500)));
        let reply = within(async {
            loop {
                match ask().await {
                    Ok(reply) => return reply,
                    // The service is not there again yet, or the stream of everything is and the service is not.
                    Err(error) => {
                        assert!(matches!(error.kind(), ErrorKind::NoResponders | ErrorKind::RequestTimeout));
                    }
                }
            }
        });
        assert_eq!(reply.await.text(), Some("haha"));
        for stream in &mut streams {
            assert_eq!(kind(within(stream.next()).await.unwrap()), ErrorKind::Disconnected);
        }
        for (subject, stream) in ["a", "a.b", "c"].into_iter().zip(&mut streams) {
            other.publish(subject, round.to_string()).await.unwrap();
            let text = within(stream.next()).await.unwrap().unwrap();
            assert_eq!(text.text(), Some(&*round.to_string()));
        }
        // The widest filter meets the others' subjects as well.
        for _ in 0..2 {
            within(streams[2].next()).await.unwrap().unwrap();
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_publish_without_a_connection_waits_for_one() {
    let Some(mut server) = NatsServer::start() else { return };
    let bus = NatsBus::builder(&server.url()).wait(PATIENCE).connect().await.unwrap();
    server.kill();
    // It may notice only when it sends.
    let publishing = tokio::spawn({
        let bus = bus.clone();
        async move {
            loop {
                match bus.publish("a", "").await {
                    Err(error) if error.kind() == ErrorKind::Indeterminate => {}
                    other => return other,
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!publishing.is_finished());
    server.restart();
    within(publishing).await.unwrap().unwrap();
    assert_works(&bus).await;
}

/// Cuts the line of the reader alone, in the middle of steady publishing: what a stream has between two tellings is what was
/// acknowledged, whole and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_two_tellings_a_stream_lacks_nothing() {
    const ROUNDS: usize = 5;
    let Some(server) = NatsServer::start() else { return };
    let line = Line::to(&server).await;
    let bus = NatsBus::connect(&format!("nats://{}", line.address)).await.unwrap();
    let other = connect(&server).await;
    let mut stream = bus.stream("a").await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let publishing = tokio::spawn(async move {
        for number in 0_u64.. {
            if *stopped.borrow() {
                break;
            }
            other.publish("a", number.to_string()).await.unwrap();
        }
        other.publish("a", "end").await.unwrap();
    });
    let mut last: Option<u64> = None;
    for round in 0..=ROUNDS {
        let (mut seen, mut is_told) = (0, round == 0);
        while seen < 200 || !is_told {
            match within(stream.next()).await.unwrap() {
                Ok(message) => {
                    let number: u64 = message.text().unwrap().parse().unwrap();
                    // Behind a telling it may begin anywhere.
                    assert!(last.is_none_or(|last| number == last + 1), "{number} behind {last:?}");
                    (last, seen) = (Some(number), seen + 1);
                }
                Err(error) => {
                    assert_eq!((error.kind(), is_told), (ErrorKind::Disconnected, false));
                    (is_told, last, seen) = (true, None, 0);
                }
            }
        }
        if round < ROUNDS {
            line.cut();
        }
    }
    stop.send(true).unwrap();
    while within(stream.next()).await.unwrap().unwrap().text() != Some("end") {}
    publishing.await.unwrap();
}

#[tokio::test]
async fn of_several_servers_one_that_is_there_is_taken() {
    let (Some(mut one), Some(mut other)) = (NatsServer::start(), NatsServer::start()) else { return };
    let bus = NatsBus::connect(&format!("nats://{},{}", one.address(), other.address())).await.unwrap();
    let mut stream = bus.stream("a").await.unwrap();
    // The client takes them in any order.
    if !is_on_the_first(&one, &other, &bus).await {
        std::mem::swap(&mut one, &mut other);
    }
    one.kill();
    assert_eq!(kind(within(stream.next()).await.unwrap()), ErrorKind::Disconnected);
    one.restart();
    assert!(is_on_the_first(&other, &one, &bus).await);
}

/// Whether what the bus publishes is heard on the first of these, and not on the second.
async fn is_on_the_first(first: &NatsServer, second: &NatsServer, bus: &NatsBus) -> bool {
    let (first, second) = (connect(first).await, connect(second).await);
    let (mut on_first, mut on_second) =
        (first.stream("where").await.unwrap(), second.stream("where").await.unwrap());
    within(async { while bus.publish("where", "here").await.is_err() {} }).await;
    let heard = async {
        tokio::select! {
            heard = on_first.next() => heard.unwrap().map(|_| true),
            heard = on_second.next() => heard.unwrap().map(|_| false),
        }
    };
    within(heard).await.unwrap()
}

/// A line to a server that can be cut while the server goes on; the next one is made as soon as a client asks for it.
struct Line {
    address: SocketAddr,
    cut: Arc<Notify>,
}

impl Line {
    async fn to(server: &NatsServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, server) = (listener.local_addr().unwrap(), server.address());
        let cut = Arc::new(Notify::new());
        let cuts = Arc::clone(&cut);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut server = TcpStream::connect(&server).await.unwrap();
                let cuts = Arc::clone(&cuts);
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        () = cuts.notified() => {}
                    }
                });
            }
        });
        Self { address, cut }
    }

    fn cut(&self) {
        self.cut.notify_waiters();
    }
}
