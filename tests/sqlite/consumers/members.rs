//! Members of an explicit consumer in several processes, which are killed and join at random.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use rowbus::{Consumer, Durability, Durable, ErrorKind, Messenger, SqliteBus};

use super::log::{Log, Note, notes, now};
use super::{Chance, fares, publish_numbers};
use crate::Place;
use crate::child::{Process, say};

const ACK_WAIT: Duration = Duration::from_millis(400);
const MEMBERS: usize = 4;
const NUMBERS: u64 = 20_000;

fn shared() -> Consumer {
    Consumer::durable("shared").filter("number").ack_wait(ACK_WAIT).max_deliver(u32::MAX).max_ack_pending(200)
}

/// Takes and acknowledges, and now and then holds on for longer than it may, until it is killed; a role.
pub(super) async fn share(path: &str, log: &str, seed: u64) {
    let bus = SqliteBus::builder(path).durability(Durability::Relaxed).open().await.unwrap();
    let (log, me) = (Log::open(log), std::process::id());
    let mut chance = Chance(seed);
    let mut inbox = bus.consumer(shared()).await.unwrap();
    say("ready");
    loop {
        // The time as the inbox is asked is the earliest that its lease can have begun.
        let mut asked = 0;
        let item = poll_fn(|cx| {
            asked = now();
            Pin::new(&mut inbox).poll_next(cx)
        });
        let delivery = item.await.unwrap().unwrap();
        let (sequence, attempt) = (delivery.sequence(), delivery.attempt());
        log.note(me, now(), format_args!("took {sequence} {attempt} {asked}"));
        let holds_on = chance.below(400) == 0;
        if holds_on {
            tokio::time::sleep(ACK_WAIT + chance.millis(1, 200)).await;
        } else if chance.below(8) == 0 {
            tokio::time::sleep(chance.millis(1, 4)).await;
        }
        log.note(me, now(), format_args!("lets-go {sequence} {attempt}"));
        match delivery.ack().await {
            Ok(()) => log.note(me, now(), format_args!("acked {sequence} {attempt}")),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
                assert!(holds_on || now() - asked > 300_000, "lost after {} µs", now() - asked);
                log.note(me, now(), format_args!("lost {sequence} {attempt}"));
            }
        }
    }
}

/// A delivery: when it was certainly there, and until when certainly nobody else had it.
struct Held {
    attempt: u64,
    took: u64,
    until: u64,
}

/// How the deliveries of each event lay. Times are noted after a taking, and before an acknowledgement and a kill, so that
/// what overlaps here did so in fact.
fn held(notes: &[Note]) -> HashMap<u64, Vec<Held>> {
    let killed: HashMap<u32, u64> =
        notes.iter().filter(|note| note.what == "killed").map(|note| (note.process, note.at)).collect();
    let mut held: HashMap<u64, Vec<Held>> = HashMap::new();
    let ack_wait = u64::try_from(ACK_WAIT.as_micros()).unwrap();
    for note in notes {
        match (note.what.as_str(), &note.numbers[..]) {
            ("took", [sequence, attempt, asked]) => {
                let dead = killed.get(&note.process).copied().unwrap_or(u64::MAX);
                // The file has milliseconds.
                let until = dead.min(asked + ack_wait - 2_000);
                held.entry(*sequence).or_default().push(Held { attempt: *attempt, took: note.at, until });
            }
            ("lets-go", [sequence, attempt]) => {
                let of = held.get_mut(sequence).unwrap();
                let one = of.iter_mut().find(|one| one.attempt == *attempt).unwrap();
                one.until = one.until.min(note.at);
            }
            _ => {}
        }
    }
    held
}

/// By the seed in `ROWBUS_SEED`.
#[tokio::test(flavor = "multi_thread")]
async fn while_members_are_killed_and_join_every_event_is_acknowledged_and_none_is_in_two_hands() {
    let place = Place::quiet();
    let (path, out) = (place.path(), place.join("log"));
    let (bus, log, mut chance) = (place.open().await, Log::open(&out), Chance::from_env());
    let join = |seed: u64| {
        Process::start("consumer-share", &[path.to_str().unwrap(), out.to_str().unwrap(), &seed.to_string()])
    };
    let mut members: Vec<Option<Process>> = (0..MEMBERS).map(|at| Some(join(at as u64))).collect();
    members.iter_mut().flatten().for_each(|member| assert_eq!(member.hear(), "ready"));
    let publishing = tokio::spawn({
        let bus = bus.clone();
        async move {
            for at in 0..NUMBERS / 20 {
                publish_numbers(&bus, "number", at * 20..(at + 1) * 20, 20).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let (mut kills, mut joins) = (0, 0);
    while !publishing.is_finished() {
        let at = usize::try_from(chance.below(MEMBERS as u64)).unwrap();
        match members[at].take() {
            Some(mut victim) => {
                log.note(victim.id(), now(), "killed");
                victim.kill();
                kills += 1;
            }
            None => {
                members[at] = Some(join(chance.below(u64::MAX >> 33)));
                joins += 1;
            }
        }
        tokio::time::sleep(chance.millis(5, 80)).await;
    }
    publishing.await.unwrap();
    if members.iter().all(Option::is_none) {
        members[0] = Some(join(0));
    }
    let info = fares(&bus, "shared", "all is acknowledged", |info| info.ack_floor >= NUMBERS).await;
    assert_eq!((info.num_ack_pending, info.num_backing_off, info.num_pending), (0, 0, 0));
    members.clear();

    let notes = notes(&out);
    let mut held = held(&notes);
    assert_eq!(held.len() as u64, NUMBERS, "each was delivered");
    let mut again = 0;
    for (sequence, of) in &mut held {
        of.sort_by_key(|one| one.took);
        for two in of.windows(2) {
            again += 1;
            let (one, other) = (&two[0], &two[1]);
            assert!(one.attempt < other.attempt, "event {sequence}");
            assert!(
                one.until <= other.took,
                "event {sequence}: attempt {} was taken {} µs before attempt {} let it go",
                other.attempt,
                one.until - other.took,
                one.attempt
            );
        }
    }
    let mut acks = HashMap::new();
    for note in notes.iter().filter(|note| note.what == "acked") {
        assert_eq!(acks.insert(note.numbers[0], note.numbers[1]), None, "{note:?} is the second");
    }
    let lost = notes.iter().filter(|note| note.what == "lost").count();
    eprintln!("{kills} kills, {joins} joined, {again} deliveries again, {lost} acknowledged too late");
    assert!(kills > 10 && joins > 10 && again > 0 && lost > 0);
    // Those that were killed behind the commit could not note it.
    assert!(acks.len() as u64 + kills >= NUMBERS, "{} acknowledgements", acks.len());
    bus.close().await.unwrap();
}
