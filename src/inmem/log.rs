//! The bounded log.

use std::collections::{BTreeSet, HashMap, VecDeque};

use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::message::Message;
use crate::publish::PublishParts;
use crate::subject::Subject;
use crate::subscribe::StartAt;

/// The newest events; the oldest make room for new ones.
#[derive(Debug)]
pub(super) struct Log {
    /// Without a hole: the last one's sequence is `next - 1`.
    events: VecDeque<Message>,
    /// The sequence of the next event.
    next: u64,
    /// The newest event of each subject that has one in `events`.
    newest: HashMap<Subject, u64>,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
}

/// What a stream has to read before the live events.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Comes before the messages.
    pub(super) gap: Option<Error>,
    pub(super) messages: VecDeque<Message>,
}

/// Where a consumer begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// It gets what comes behind this sequence.
    pub(super) behind: u64,
    /// The newest event of each subject, if it begins with those.
    pub(super) last_of_each: BTreeSet<u64>,
}

impl Log {
    pub(super) fn new(max_events: usize, max_bytes: usize) -> Self {
        Self { events: VecDeque::new(), next: 1, newest: HashMap::new(), bytes: 0, max_events, max_bytes }
    }

    /// The sequence of the next event.
    pub(super) fn next_sequence(&self) -> u64 {
        self.next
    }

    /// The sequence of the newest event of a subject; 0 where the log holds none.
    pub(super) fn newest_sequence(&self, subject: &str) -> u64 {
        self.newest.get(subject).copied().unwrap_or(0)
    }

    /// The newest event of a subject.
    pub(super) fn last(&self, subject: &str) -> Option<&Message> {
        self.get(*self.newest.get(subject)?)
    }

    /// Adds an event. The newest one always stays, whatever its size.
    pub(super) fn push(&mut self, parts: PublishParts, unix_millis: i64) -> Message {
        let PublishParts { subject, payload, headers, message_id, .. } = parts;
        let sequence = self.next;
        self.newest.insert(subject.clone(), sequence);
        let message =
            Message::new(subject, payload, headers, sequence, unix_millis).with_message_id(message_id);
        self.next += 1;
        self.bytes += message.weight();
        self.events.push_back(message.clone());
        while self.events.len() > 1 && (self.events.len() > self.max_events || self.bytes > self.max_bytes) {
            self.forget_oldest();
        }
        message
    }

    /// Forgets every event up to this sequence.
    pub(super) fn forget_through(&mut self, sequence: u64) {
        while self.first_sequence() <= sequence && !self.events.is_empty() {
            self.forget_oldest();
        }
    }

    /// What a stream that starts there finds in the log.
    pub(super) fn backlog(&self, start: StartAt, filter: &Filter) -> Result<Backlog> {
        Ok(match start {
            StartAt::New => Backlog::default(),
            StartAt::Oldest => self.since(self.first_sequence(), None, filter),
            StartAt::Sequence(sequence) => {
                self.check(sequence)?;
                self.since(sequence, Some(sequence.max(1)), filter)
            }
            StartAt::Time(time) => self.since(self.of_time(time), None, filter),
            StartAt::LastPerSubject => {
                let of_filter = self.newest.iter().filter(|(subject, _)| filter.matches(subject));
                let mut sequences: Vec<u64> = of_filter.map(|(_, sequence)| *sequence).collect();
                sequences.sort_unstable();
                let messages =
                    sequences.into_iter().filter_map(|sequence| self.get(sequence)).cloned().collect();
                Backlog { gap: None, messages }
            }
        })
    }

    /// Where a consumer that starts there begins.
    pub(super) fn start(&self, start: StartAt) -> Result<Start> {
        let mut last_of_each = BTreeSet::new();
        let first = match start {
            StartAt::New => self.next,
            StartAt::Oldest => self.first_sequence(),
            StartAt::Sequence(sequence) => {
                self.check(sequence)?;
                sequence.max(1)
            }
            StartAt::Time(time) => self.of_time(time),
            StartAt::LastPerSubject => {
                last_of_each.extend(self.newest.values());
                last_of_each.first().copied().unwrap_or(self.next)
            }
        };
        Ok(Start { behind: first - 1, last_of_each })
    }

    /// The events behind a sequence.
    pub(super) fn behind(&self, sequence: u64) -> impl Iterator<Item = &Message> {
        self.events.range(self.index(sequence.saturating_add(1))..)
    }

    /// The newest sequence that was given out.
    pub(super) fn newest(&self) -> u64 {
        self.next - 1
    }

    /// Refuses a start beyond the end.
    fn check(&self, sequence: u64) -> Result<()> {
        if sequence > self.next { Err(Error::cursor_ahead(sequence, self.newest())) } else { Ok(()) }
    }

    /// The sequence of the first event of this time or later, or of the next where there is none.
    fn of_time(&self, time: DateTime<Utc>) -> u64 {
        let millis = time.timestamp_millis();
        let behind = self.events.partition_point(|event| event.unix_millis() < millis);
        self.first_sequence() + behind as u64
    }

    /// The events from a sequence on; a gap if the log no longer reaches back to `wanted`. Only who names a
    /// sequence has a claim to events that are gone.
    fn since(&self, sequence: u64, wanted: Option<u64>, filter: &Filter) -> Backlog {
        let first = self.first_sequence();
        let gap = wanted.filter(|wanted| *wanted < first).map(|wanted| Error::gap(wanted, first - 1));
        let events = self.events.range(self.index(sequence)..);
        Backlog { gap, messages: events.filter(|event| filter.matches(event.subject())).cloned().collect() }
    }

    /// The sequence of the oldest event, or of the next where there is none.
    pub(super) fn first_sequence(&self) -> u64 {
        self.next - self.events.len() as u64
    }

    /// Where in `events` a sequence is, or the next one there is.
    fn index(&self, sequence: u64) -> usize {
        let behind = sequence.saturating_sub(self.first_sequence());
        usize::try_from(behind).unwrap_or(usize::MAX).min(self.events.len())
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Message> {
        self.events.get(self.index(sequence)).filter(|event| event.sequence() == sequence)
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.weight();
            if self.newest_sequence(event.subject()) == event.sequence() {
                self.newest.remove(event.subject().as_str());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::publish::Publish;

    fn push(log: &mut Log, subject: &str, bytes: usize, millis: i64) {
        log.push(Publish::new(subject, vec![0; bytes]).into_parts().unwrap(), millis);
    }

    fn log_of(subjects: &[&str], max_events: usize) -> Log {
        let mut log = Log::new(max_events, usize::MAX);
        for (at, subject) in subjects.iter().enumerate() {
            push(&mut log, subject, 1, 10 * at as i64);
        }
        log
    }

    fn read(log: &Log, start: StartAt, filter: &str) -> (Option<ErrorKind>, Vec<u64>) {
        let backlog = log.backlog(start, &Filter::new(filter).unwrap()).unwrap();
        (backlog.gap.map(|gap| gap.kind()), backlog.messages.iter().map(Message::sequence).collect())
    }

    fn time(millis: i64) -> StartAt {
        StartAt::Time(DateTime::from_timestamp_millis(millis).unwrap())
    }

    #[test]
    fn the_oldest_events_make_room_by_count_and_by_bytes() {
        let mut log = Log::new(3, 100);
        for _ in 0..5 {
            push(&mut log, "a", 10, 0);
        }
        assert_eq!(read(&log, StartAt::Oldest, ">"), (None, vec![3, 4, 5]));
        push(&mut log, "a", 85, 0);
        assert_eq!(read(&log, StartAt::Oldest, ">"), (None, vec![5, 6]));
        push(&mut log, "a", 1_000, 0);
        assert_eq!(read(&log, StartAt::Oldest, ">"), (None, vec![7]));
        assert_eq!(log.bytes, 1_000);
    }

    #[test]
    fn a_start_before_the_oldest_event_tells_of_the_gap() {
        let log = log_of(&["a", "b", "a", "b"], 2);
        let gap = Some(ErrorKind::Gap { first: 1, last: 2 });
        assert_eq!(read(&log, StartAt::Sequence(0), ">"), (gap, vec![3, 4]));
        assert_eq!(read(&log, StartAt::Sequence(1), "b"), (gap, vec![4]));
        assert_eq!(read(&log, StartAt::Sequence(3), ">"), (None, vec![3, 4]));
        assert_eq!(read(&log, StartAt::Oldest, ">"), (None, vec![3, 4]));
    }

    #[test]
    fn a_time_is_the_first_event_of_that_time_or_later() {
        let log = log_of(&["a", "b", "a"], 9);
        assert_eq!(read(&log, time(-5), ">"), (None, vec![1, 2, 3]));
        assert_eq!(read(&log, time(10), ">"), (None, vec![2, 3]));
        assert_eq!(read(&log, time(11), ">"), (None, vec![3]));
        assert_eq!(read(&log, time(21), ">"), (None, vec![]));
    }

    #[test]
    fn a_time_before_the_oldest_event_is_no_gap() {
        let log = log_of(&["a", "b", "a"], 1);
        assert_eq!(read(&log, time(0), ">"), (None, vec![3]));
    }

    #[test]
    fn the_newest_of_each_subject_comes_in_the_order_of_the_log() {
        let log = log_of(&["a.x", "b", "a.y", "a.x", "a.z"], 9);
        assert_eq!(read(&log, StartAt::LastPerSubject, "a.*"), (None, vec![3, 4, 5]));
    }

    #[test]
    fn a_subject_whose_events_are_all_forgotten_has_no_newest_event() {
        let mut log = log_of(&["a", "b", "b"], 2);
        assert!(log.last("a").is_none());
        assert_eq!(log.newest_sequence("a"), 0);
        assert_eq!(log.last("b").unwrap().sequence(), 3);
        assert_eq!(log.newest.len(), 1);
        log.forget_through(2);
        assert_eq!(log.last("b").unwrap().sequence(), 3);
    }

    #[test]
    fn sequences_go_on_after_everything_was_forgotten() {
        let mut log = log_of(&["a", "b"], 9);
        log.forget_through(u64::MAX);
        assert_eq!(log.bytes, 0);
        assert_eq!(
            read(&log, StartAt::Sequence(2), ">"),
            (Some(ErrorKind::Gap { first: 2, last: 2 }), vec![])
        );
        assert_eq!(read(&log, StartAt::Sequence(3), ">"), (None, vec![]));
        push(&mut log, "a", 1, 0);
        assert_eq!(log.last("a").unwrap().sequence(), 3);
    }

    #[test]
    fn a_start_more_than_one_beyond_the_newest_is_refused() {
        let log = log_of(&["a"], 9);
        let filter = Filter::new(">").unwrap();
        assert!(log.backlog(StartAt::Sequence(2), &filter).unwrap().messages.is_empty());
        let error = log.backlog(StartAt::Sequence(3), &filter).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CursorAhead { newest: 1 });
    }
}
