//! Line 6: the end of a subscription.

use super::fixture::Fixture;
use super::support::{assert_end, from, numbers, publish_numbers, text, texts};
use crate::ext::MessengerExt;
use crate::subscribe::{StartAt, Subscribe};

pub(super) async fn unsubscribing_stops_delivery_and_ends_the_stream(fixture: &Fixture) {
    let mut stays = fixture.bus.stream("a").await.unwrap();
    for bus in fixture.handles() {
        let mut leaves = bus.stream("a").await.unwrap();
        fixture.bus.publish("a", "before").await.unwrap();
        assert_eq!(text(&mut leaves).await, "before");
        leaves.unsubscribe().await.unwrap();
        fixture.bus.publish("a", "after").await.unwrap();
        // When another subscriber has it, it would be here as well.
        assert_eq!(texts(&mut stays, 2).await, ["before", "after"]);
        assert_end(&mut leaves).await;
    }
}

pub(super) async fn where_the_backend_is_lossless_unsubscribing_first_hands_over_what_was_already_published(
    fixture: &Fixture,
) {
    if !fixture.bus.capabilities().lossless {
        return;
    }
    let mut at_the_tail = fixture.bus.stream("a").await.unwrap();
    let mut behind = fixture.bus.subscribe(Subscribe::to("a").buffer(4)).await.unwrap();
    let mut elsewhere = fixture.second().stream("a").await.unwrap();
    publish_numbers(&fixture.bus, "a", 0..600).await;
    let mut replay = from(&fixture.bus, "a", StartAt::Oldest).await;
    let mut streams = [&mut at_the_tail, &mut behind, &mut elsewhere, &mut replay];
    for stream in &mut streams {
        stream.unsubscribe().await.unwrap();
    }
    fixture.bus.publish("a", "after").await.unwrap();
    for stream in &mut streams {
        assert_eq!(texts(stream, 600).await, numbers(0..600));
        assert_end(stream).await;
    }
}

pub(super) async fn dropping_the_subscription_stops_delivery_and_disturbs_nobody(fixture: &Fixture) {
    let mut stays = fixture.bus.stream("a.>").await.unwrap();
    for number in 0..200 {
        let leaves = fixture.handles()[number % 2].stream("a.*").await.unwrap();
        let unread = (number % 3 == 0).then_some(leaves);
        publish_numbers(&fixture.bus, "a.b", number as u64..number as u64 + 1).await;
        drop(unread);
        assert_eq!(text(&mut stays).await, number.to_string());
    }
}
