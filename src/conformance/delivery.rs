//! Lines 1, 3 and 4: who gets what.

use super::fixture::Fixture;
use super::support::{message, one_of_many, publish_on, text, texts};
use crate::ext::MessengerExt;
use crate::subject::Subject;

/// Filters, each with a subject that it matches and subjects that it does not.
pub(super) const FILTERS: &[(&str, &str, &[&str])] = &[
    ("orders.eu", "orders.eu", &["orders", "orders.eu.paid", "Orders.eu", "orders.eux", "orders.e"]),
    ("orders.*", "orders.eu", &["orders", "orders.eu.paid", "order.eu"]),
    ("*.eu", "orders.eu", &["eu", "orders.us", "a.orders.eu"]),
    ("*", "orders", &["orders.eu"]),
    ("orders.*.paid", "orders.eu.paid", &["orders.paid", "orders.eu.late.paid", "orders.eu.shipped"]),
    ("orders.>", "orders.eu.paid", &["orders", "ordersx.eu", "order.eu"]),
    ("*.eu.>", "orders.eu.paid", &["orders.eu", "orders.us.paid"]),
    // Nothing in a token is a pattern of the backend's own.
    ("a_b.*", "a_b.c", &["axb.c"]),
    ("100%.>", "100%.c", &["100x.c", "1000.c"]),
    ("[ab].?", "[ab].?", &["a.x", "a.?"]),
    ("it's.\"it\"", "it's.\"it\"", &["its.it"]),
    ("tür.*", "tür.größe", &["tur.größe", "TÜR.größe"]),
    ("a*.>b", "a*.>b", &["ax.xb", "a.b"]),
];

pub(super) async fn a_published_event_reaches_every_live_subscriber_whose_filter_matches(fixture: &Fixture) {
    let mut streams = Vec::new();
    for bus in fixture.handles() {
        for filter in ["orders.eu.paid", "orders.*.paid", "orders.>", "orders.>", "*.eu.*", ">"] {
            streams.push(bus.stream(filter).await.unwrap());
        }
    }
    fixture.bus.publish("orders.eu.paid", "from the first").await.unwrap();
    fixture.second().publish("orders.eu.paid", "from the second").await.unwrap();
    for stream in &mut streams {
        assert_eq!(texts(stream, 2).await, ["from the first", "from the second"]);
    }
}

pub(super) async fn a_published_event_reaches_no_subscriber_whose_filter_does_not_match(fixture: &Fixture) {
    for (filter, matching, others) in FILTERS {
        let mut streams = Vec::new();
        for bus in fixture.handles() {
            streams.push(bus.stream(*filter).await.unwrap());
        }
        for other in *others {
            fixture.bus.send(one_of_many(other, "not for this filter")).await.unwrap();
        }
        fixture.bus.publish(*matching, "for this filter").await.unwrap();
        for stream in &mut streams {
            let message = message(stream).await;
            assert_eq!(
                (message.subject().as_str(), message.text()),
                (*matching, Some("for this filter")),
                "{filter}"
            );
        }
    }
}

pub(super) async fn an_event_reaches_a_subscriber_once_for_each_of_its_subscriptions(fixture: &Fixture) {
    let mut one = fixture.bus.stream("a.*").await.unwrap();
    let mut other = fixture.bus.stream("a.*").await.unwrap();
    publish_on(fixture.handles(), "a.b", "twice").await;
    fixture.bus.publish("a.b", "end").await.unwrap();
    for stream in [&mut one, &mut other] {
        assert_eq!(texts(stream, 3).await, ["twice", "twice", "end"]);
    }
}

pub(super) async fn publishing_with_nobody_listening_succeeds(fixture: &Fixture) {
    publish_on(fixture.handles(), "nobody.listens", "here").await;
    let mut elsewhere = fixture.bus.stream("elsewhere").await.unwrap();
    publish_on(fixture.handles(), "nobody.listens", "here either").await;
    fixture.bus.publish("elsewhere", "heard").await.unwrap();
    assert_eq!(text(&mut elsewhere).await, "heard");
}

pub(super) async fn when_subscribe_has_returned_an_event_published_after_is_delivered(fixture: &Fixture) {
    for round in 0..100 {
        // Each way round between the handles; the first event of a subject as well as a later one.
        let [reader, writer] = match round % 4 {
            0 => [&fixture.bus, fixture.second()],
            1 => [fixture.second(), &fixture.bus],
            2 => [&fixture.bus, &fixture.bus],
            _ => [fixture.second(), fixture.second()],
        };
        let subject = Subject::new(&format!("round.{}", round % 10)).unwrap();
        let mut stream = reader.stream("round.>").await.unwrap();
        writer.send(one_of_many(&subject, round.to_string())).await.unwrap();
        assert_eq!(text(&mut stream).await, round.to_string());
    }
}

pub(super) async fn when_subscribe_has_returned_amid_other_publishing_an_event_published_after_is_delivered(
    fixture: &Fixture,
) {
    let writer = fixture.second().clone();
    let noise = tokio::spawn(async move {
        for number in 0..2_000 {
            writer.send(one_of_many("noise", number.to_string())).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for round in 0..50 {
        let mut stream = fixture.bus.stream("signal.*").await.unwrap();
        fixture.bus.send(one_of_many("signal.x", round.to_string())).await.unwrap();
        assert_eq!(text(&mut stream).await, round.to_string());
    }
    noise.await.unwrap();
}
