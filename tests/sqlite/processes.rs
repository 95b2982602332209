//! Many processes on one file.

use std::collections::HashMap;

use rowbus::{Messenger, MessengerExt};

use crate::child::Process;
use crate::{Place, from_oldest, next};

#[tokio::test]
async fn eight_processes_publish_while_four_stream_and_all_see_one_order_with_nothing_lost_or_doubled() {
    const PROCESSES: usize = 8;
    const TASKS: usize = 4;
    const EACH: usize = 3_125;
    const ALL: usize = PROCESSES * TASKS * EACH;
    let place = Place::quiet();
    let path = place.path();
    let path = path.to_str().unwrap();
    place.open().await.close().await.unwrap();
    let outs: Vec<_> = (0..4).map(|at| place.join(&format!("out{at}"))).collect();
    let mut streams: Vec<_> = outs
        .iter()
        .map(|out| Process::start("stream", &[path, &ALL.to_string(), out.to_str().unwrap()]))
        .collect();
    streams.iter_mut().for_each(|stream| assert_eq!(stream.hear(), "ready"));
    let mut publishers: Vec<_> = (0..PROCESSES)
        .map(|name| {
            Process::start("publish", &[path, &name.to_string(), &TASKS.to_string(), &EACH.to_string()])
        })
        .collect();
    publishers.iter_mut().for_each(|publisher| assert_eq!(publisher.hear(), "ready"));
    publishers.iter_mut().for_each(|publisher| publisher.tell("go"));
    // A publisher that saw SQLITE_BUSY, or any other error, would have ended without this word.
    publishers.iter_mut().for_each(|publisher| assert_eq!(publisher.hear(), "done"));
    streams.iter_mut().for_each(|stream| assert_eq!(stream.hear(), "done"));

    let first = std::fs::read_to_string(&outs[0]).unwrap();
    for out in &outs[1..] {
        assert!(std::fs::read_to_string(out).unwrap() == first, "two readers saw different orders");
    }
    // Per process and task the numbers rise without a hole; sequences rise as well.
    let (mut expected, mut last, mut order) = (HashMap::new(), 0, Vec::new());
    for line in first.lines() {
        let (sequence, text) = line.split_once(' ').unwrap();
        let sequence: u64 = sequence.parse().unwrap();
        assert!(sequence > last);
        last = sequence;
        let (who, at) = text.rsplit_once('.').unwrap();
        let next: &mut usize = expected.entry(who.to_owned()).or_default();
        assert_eq!(at.parse::<usize>().unwrap(), *next, "{who}");
        *next += 1;
        order.push(who.split_once('.').unwrap().0.parse::<usize>().unwrap());
    }
    assert_eq!((expected.len(), order.len()), (PROCESSES * TASKS, ALL));
    // Where the first process had all of its messages in, the last one has at least half of its own.
    let mut done = [0; PROCESSES];
    for who in order {
        done[who] += 1;
        if done[who] == TASKS * EACH {
            break;
        }
    }
    let slowest = done.iter().min().unwrap();
    eprintln!("messages of each process when the first was done: {done:?}");
    assert!(*slowest * 2 >= TASKS * EACH, "{done:?}");
}

#[tokio::test]
async fn what_a_killed_process_had_acknowledged_is_in_the_log() {
    let place = Place::new();
    let bus = place.open().await;
    let mut publisher =
        Process::start("publish", &[place.path().to_str().unwrap(), "victim", "2", "1000000"]);
    assert_eq!(publisher.hear(), "ready");
    let mut stream = bus.stream("load.>").await.unwrap();
    publisher.tell("go");
    for _ in 0..500 {
        next(&mut stream).await.unwrap();
    }
    publisher.kill();
    // The file is neither locked nor damaged, and each task's messages are there without a hole.
    let end = bus.publish("load.x", "end.0.0").await.unwrap();
    let (mut expected, mut log) = (HashMap::<String, usize>::new(), from_oldest(&bus, "load.>").await);
    loop {
        let message = next(&mut log).await.unwrap();
        if message.sequence() == end.sequence {
            break;
        }
        let (who, at) = message.text().unwrap().rsplit_once('.').unwrap();
        let next = expected.entry(who.to_owned()).or_default();
        assert_eq!(at.parse::<usize>().unwrap(), *next);
        *next += 1;
    }
    assert!(expected.values().sum::<usize>() >= 500);
    bus.close().await.unwrap();
}
