//! With acknowledgements of its own, a consumer gets each event at least once, and again only what was not acknowledged.

use std::collections::HashSet;
use std::time::Duration;

use rowbus::{AckPolicy, Delivery, Durability, Durable, Messenger, SqliteBus};

use super::log::{Log, Note, notes};
use super::{ALL, Chance, consumer, fares, while_it_is_killed};
use crate::Place;
use crate::child::{Process, say};

/// Notes each delivery, acknowledges, and notes what is acknowledged, until it is killed; a role.
pub(super) async fn note(path: &str, policy: AckPolicy, log: &str) {
    let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await.unwrap();
    let (log, mut chance) = (Log::open(log), Chance(std::process::id().into()));
    say("ready");
    let mut inbox = bus.consumer(consumer(policy)).await.unwrap();
    loop {
        let batch = inbox.batch(32).await.unwrap();
        let sequences = || batch.iter().map(|delivery| delivery.sequence());
        log.note_all("got", sequences());
        // Handling takes its time, so that a death mostly finds something in hand.
        tokio::time::sleep(Duration::from_micros(chance.below(4_000))).await;
        match policy {
            AckPolicy::Cumulative => batch.last().unwrap().ack().await.unwrap(),
            _ => Delivery::ack_all(&batch).await.unwrap(),
        }
        log.note_all("acked", sequences());
    }
}

async fn repeats_only_the_tail(policy: AckPolicy) -> Vec<Note> {
    let place = Place::without_disk();
    let bus = place.open().await;
    let (path, out) = (place.path(), place.join("log"));
    let args = [path.to_str().unwrap(), policy.as_str(), out.to_str().unwrap()];
    let last = while_it_is_killed(&place, &bus, || Process::start("consumer-note", &args)).await;
    let newest = bus.last("number".try_into().unwrap()).await.unwrap().unwrap().sequence();
    fares(&bus, "it", "all is acknowledged", |info| info.ack_floor >= newest).await;
    drop(last);
    bus.close().await.unwrap();

    // Nobody else publishes here, so that the sequences are the numbers.
    assert_eq!(newest, ALL);
    let notes = notes(out);
    let (mut got, mut acked, mut again) = (HashSet::new(), HashSet::new(), 0);
    for note in &notes {
        let sequence = note.numbers[0];
        if note.what == "got" {
            assert!(!acked.contains(&sequence), "event {sequence} came again though it was acknowledged");
            again += usize::from(!got.insert(sequence));
        } else {
            acked.insert(sequence);
        }
    }
    assert_eq!(got.len() as u64, ALL, "each came at least once");
    // A process has at most one batch in its hands when it dies.
    eprintln!("{again} events came again");
    assert!(again > 0 && again <= super::KILLS * 32, "{again}");
    notes
}

#[tokio::test(flavor = "multi_thread")]
async fn after_200_kills_a_cumulative_consumer_has_repeated_only_what_was_not_acknowledged() {
    let notes = repeats_only_the_tail(AckPolicy::Cumulative).await;
    // In order, and each process begins where the ones before have come to: no hole, and no step back but behind a death.
    let (mut process, mut position, mut floor) = (0, 0, 0);
    for note in notes {
        let sequence = note.numbers[0];
        if note.what == "acked" {
            floor = sequence;
            continue;
        }
        if note.process == process {
            assert_eq!(sequence, position + 1);
        } else {
            assert!(floor < sequence && sequence <= position + 1, "{note:?} behind {floor}, {position}");
        }
        (process, position) = (note.process, sequence);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_200_kills_an_explicit_consumer_has_repeated_only_what_was_not_acknowledged() {
    repeats_only_the_tail(AckPolicy::Explicit).await;
}
