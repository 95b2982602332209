//! Events that are brought in with the times of then.

use std::time::Duration;

use rowbus::{ErrorKind, Messenger, MessengerExt, Publish, Retention, SqliteBus};

use crate::{Place, from_oldest, texts};

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn event(id: &str, body: &str) -> Publish {
    Publish::new("a", body.to_owned()).message_id(id)
}

async fn duplicates(bus: &SqliteBus, events: Vec<(Publish, i64)>) -> Vec<bool> {
    bus.import_all(events).await.unwrap().into_iter().map(|ack| ack.duplicate).collect()
}

#[tokio::test]
async fn what_is_published_is_no_duplicate_of_what_was_imported() {
    let place = Place::without_disk();
    let bus = place.open().await;
    let then = now() - 1000;
    assert_eq!(duplicates(&bus, vec![(event("x", "imported"), then)]).await, [false]);
    assert!(!bus.send(event("x", "published")).await.unwrap().duplicate);
    // The publisher's own window is as it was.
    let expires = || {
        let sql = "SELECT expires_at FROM bus_dedup WHERE message_id = 'x'";
        place.sql().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let before = expires();
    assert_eq!(duplicates(&bus, vec![(event("x", "imported too"), then + 1)]).await, [false]);
    assert_eq!(expires(), before);
    assert!(bus.send(event("x", "published again")).await.unwrap().duplicate);
    assert_eq!(texts(&mut from_oldest(&bus, "a").await, 3).await, ["imported", "published", "imported too"]);
}

#[tokio::test]
async fn what_was_published_here_is_known_to_an_import_of_itself_and_of_nothing_else() {
    let place = Place::without_disk();
    let bus = place.open().await;
    bus.send(event("x", "published")).await.unwrap();
    let time = bus.last("a".try_into().unwrap()).await.unwrap().unwrap().unix_millis();
    let others = vec![(event("x", "published"), time), (event("x", "another"), time - 5)];
    assert_eq!(duplicates(&bus, others).await, [true, false]);
}

#[tokio::test]
async fn a_log_whose_clock_went_back_is_imported_whole_and_once() {
    let place = Place::without_disk();
    let bus = place.open().await;
    let then = now() - 1000;
    let log = || vec![(event("x", "1"), then), (event("x", "2"), then - 500), (event("x", "3"), then + 5)];
    assert_eq!(duplicates(&bus, log()).await, [false; 3]);
    assert_eq!(duplicates(&bus, log()).await, [true; 3]);
}

#[tokio::test]
async fn what_has_been_removed_since_is_imported_again() {
    let place = Place::without_disk();
    let bus = place.open().await;
    let log = || vec![(event("x", "1"), now_of(1)), (event("y", "2"), now_of(2))];
    assert_eq!(duplicates(&bus, log()).await, [false; 2]);
    place.sql().execute("DELETE FROM bus_events WHERE id = 1", []).unwrap();
    assert_eq!(duplicates(&bus, log()).await, [false, true]);
}

/// A time that is the same at each call.
fn now_of(offset: i64) -> i64 {
    now() / 86_400_000 * 86_400_000 + offset
}

#[tokio::test]
async fn what_the_policy_would_remove_at_once_is_refused_with_its_batch() {
    let place = Place::without_disk();
    let bus = place.open().await;
    let day = 86_400_000;
    let batch = || vec![(event("x", "young"), now()), (event("y", "old"), now() - 8 * day)];
    let error = bus.import_all(batch()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
    assert!(error.to_string().contains("\">\"") && error.to_string().contains("\"a\""), "{error}");
    assert!(bus.last("a".try_into().unwrap()).await.unwrap().is_none());
    bus.set_retention(">", Retention::new().max_age(Duration::from_secs(9 * 86_400))).await.unwrap();
    assert_eq!(duplicates(&bus, batch()).await, [false; 2]);
    bus.set_retention(">", Retention::new().max_age(Duration::from_secs(7 * 86_400))).await.unwrap();
    bus.set_retention("a", Retention::new()).await.unwrap();
    bus.import_all(vec![(Publish::new("a", "no age"), 0)]).await.unwrap();
    bus.publish("b", "").await.unwrap();
}
