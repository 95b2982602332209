//! Members of a cumulative consumer in several processes: one is active, and the others take over.

use std::time::{Duration, Instant};

use rowbus::{AckPolicy, Durability, Durable, Messenger, MessengerExt, SqliteBus};

use super::consumer;
use super::log::{Log, notes, now};
use crate::child::{Process, say};
use crate::{PATIENCE, Place, until};

/// Far longer than taking over takes, and shorter than any lease.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Notes and acknowledges each delivery until it is killed; a role.
pub(super) async fn stand_by(path: &str, log: &str) {
    let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await.unwrap();
    let log = Log::open(log);
    let mut inbox = bus.consumer(consumer(AckPolicy::Cumulative)).await.unwrap();
    say("ready");
    while let Some(delivery) = inbox.next().await {
        let delivery = delivery.unwrap();
        log.note(std::process::id(), now(), format_args!("got {}", delivery.sequence()));
        delivery.ack().await.unwrap();
        log.note(std::process::id(), now(), format_args!("acked {}", delivery.sequence()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_active_process_is_killed_another_takes_over_at_once_and_there_is_never_a_second_one() {
    const TAKEOVERS: usize = 12;
    let place = Place::quiet();
    let (path, out) = (place.path(), place.join("log"));
    let bus = place.open().await;
    let start = || {
        let mut member =
            Process::start("consumer-stand-by", &[path.to_str().unwrap(), out.to_str().unwrap()]);
        assert_eq!(member.hear(), "ready");
        member
    };
    let mut members: Vec<_> = (0..3).map(|_| start()).collect();
    let publishing = tokio::spawn({
        let bus = bus.clone();
        async move {
            loop {
                bus.publish("number", "").await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let handles =
        |dead: Option<u32>| notes(&out).last().map(|note| note.process).filter(|id| Some(*id) != dead);
    let (mut dead, mut longest) = (None, Duration::ZERO);
    for _ in 0..TAKEOVERS {
        until("a member handles events", || out.exists() && handles(dead).is_some()).await;
        let active = handles(dead).unwrap();
        let at = members.iter().position(|member| member.id() == active).expect("the dead stay silent");
        members[at].kill();
        let killed = Instant::now();
        until("another takes over", || handles(Some(active)).is_some()).await;
        longest = longest.max(killed.elapsed());
        dead = Some(active);
        members[at] = start();
    }
    publishing.abort();
    eprintln!("the longest takeover: {longest:?}");
    assert!(longest < AT_ONCE, "{longest:?}");
    // Before the rest are killed, of whom each may have its turn as the others go.
    let noted = notes(&out);
    drop(members);

    // The lines of each process lie together, and the position never goes back further than to what was not acknowledged.
    let (mut active, mut had_it, mut floor, mut last) = (0, Vec::new(), 0, 0);
    for note in noted {
        let sequence = note.numbers[0];
        if note.process != active {
            assert!(!had_it.contains(&note.process), "{} is active again", note.process);
            had_it.push(note.process);
            active = note.process;
        }
        match note.what.as_str() {
            "got" => assert!(sequence > floor && sequence <= last + 1, "{note:?} behind {floor}, {last}"),
            _ => floor = sequence,
        }
        last = last.max(sequence);
    }
    assert_eq!(had_it.len(), TAKEOVERS + 1);
    bus.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_active_member_leaves_or_is_dropped_another_process_takes_over_at_once() {
    let place = Place::new();
    let (path, out) = (place.path(), place.join("log"));
    let bus = place.open().await;
    for leaves in [true, false] {
        let mut inbox = bus.consumer(consumer(AckPolicy::Cumulative)).await.unwrap();
        let sequence = bus.publish("number", "").await.unwrap().sequence;
        assert_eq!(super::next(&mut inbox).await.unwrap().sequence(), sequence);
        let mut other = Process::start("consumer-stand-by", &[path.to_str().unwrap(), out.to_str().unwrap()]);
        assert_eq!(other.hear(), "ready");
        let left = Instant::now();
        if leaves {
            inbox.leave().await.unwrap();
        } else {
            drop(inbox);
        }
        let acked =
            || notes(&out).last().is_some_and(|note| note.what == "acked" && note.numbers == [sequence]);
        until("the other has it", || out.exists() && acked()).await;
        assert!(left.elapsed() < AT_ONCE && AT_ONCE < PATIENCE);
        drop(other);
    }
    bus.close().await.unwrap();
}
