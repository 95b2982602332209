//! Age, and clocks that jump.

use std::sync::Arc;
use std::time::Duration;

use rowbus::{Retention, SqliteBus};

use super::{DAY, HOUR, Set, publish, there};
use crate::Place;

async fn open(place: &Place, clock: &Arc<Set>) -> SqliteBus {
    let builder = SqliteBus::builder(place.path()).clock(Arc::clone(clock) as _);
    builder.retention(">", Retention::new().max_age(Duration::from_secs(24 * 3600))).open().await.unwrap()
}

#[tokio::test]
async fn events_go_when_they_are_too_old_and_not_before() {
    let (place, clock) = (Place::without_disk(), Arc::new(Set::at(1000 * DAY)));
    let bus = open(&place, &clock).await;
    for _ in 0..4 {
        publish(&bus, "a", 1).await;
        assert_eq!(bus.prune().await.unwrap().events, 0);
        clock.pass(8 * HOUR);
    }
    // The first is 32 hours old, the second 24.
    assert_eq!(bus.prune().await.unwrap().events, 1);
    assert_eq!(there(&place.sql()), [2, 3, 4]);
    clock.pass(1);
    assert_eq!(bus.prune().await.unwrap().events, 1);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_empties_no_log_and_is_caught_up_with_in_time() {
    let (place, clock) = (Place::without_disk(), Arc::new(Set::at(1000 * DAY)));
    let bus = open(&place, &clock).await;
    publish(&bus, "a", 5).await;
    bus.prune().await.unwrap();
    clock.jump(300 * DAY);
    let pruned = bus.prune().await.unwrap();
    assert_eq!((pruned.events, pruned.clock_behind), (0, Duration::from_secs(300 * 24 * 3600)));
    publish(&bus, "a", 1).await;
    // It is put right: what was published meanwhile is no reason to remove anything, and holds up nothing.
    clock.jump(-300 * DAY);
    publish(&bus, "a", 1).await;
    let pruned = bus.prune().await.unwrap();
    assert_eq!((pruned.events, pruned.clock_behind), (0, Duration::ZERO));
    clock.pass(25 * HOUR);
    assert_eq!(bus.prune().await.unwrap().events, 7);
    // It stays wrong: a day in ten minutes.
    publish(&bus, "a", 3).await;
    bus.prune().await.unwrap();
    clock.jump(3 * DAY);
    for _ in 0..2 {
        assert_eq!(bus.prune().await.unwrap().events, 0);
        clock.pass(9 * 60 * 1000);
    }
    clock.pass(9 * 60 * 1000);
    assert_eq!(bus.prune().await.unwrap().events, 3);
}

#[tokio::test]
async fn a_jump_between_two_runs_of_a_program_is_seen_as_well() {
    let (place, clock) = (Place::without_disk(), Arc::new(Set::at(1000 * DAY)));
    let bus = open(&place, &clock).await;
    publish(&bus, "a", 5).await;
    bus.prune().await.unwrap();
    drop(bus);
    clock.jump(300 * DAY);
    let bus = open(&place, &clock).await;
    assert_eq!(bus.prune().await.unwrap().events, 0);
    drop(bus);
    clock.jump(-300 * DAY);
    clock.pass(3 * DAY);
    let bus = open(&place, &clock).await;
    assert_eq!(bus.prune().await.unwrap().events, 5, "that time has passed");
}

#[tokio::test]
async fn a_clock_that_steps_back_removes_nothing_early() {
    let (place, clock) = (Place::without_disk(), Arc::new(Set::at(1000 * DAY)));
    let bus = open(&place, &clock).await;
    publish(&bus, "a", 5).await;
    clock.jump(-500 * DAY);
    publish(&bus, "a", 5).await;
    assert_eq!(bus.prune().await.unwrap().events, 0);
    clock.jump(500 * DAY);
    assert_eq!(bus.prune().await.unwrap().events, 0);
    assert_eq!(there(&place.sql()).len(), 10);
}
