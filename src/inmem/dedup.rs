//! The window against duplicates.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The `message_id`s of the last while, each with the sequence of the event that brought it.
///
/// The window of an id is counted from its first use and does not slide. Its time is the wall clock's, but
/// never runs backwards: a clock that is set back neither forgets an id early nor keeps the expired ones for
/// ever.
#[derive(Debug)]
pub(super) struct Dedup {
    window: u64,
    sequences: HashMap<Arc<str>, u64>,
    /// Every id of `sequences` with the time of its first use, oldest first.
    order: VecDeque<(u64, Arc<str>)>,
    /// Milliseconds that have passed since the first look at the clock.
    elapsed: u64,
    last_look: Option<i64>,
}

impl Dedup {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
            sequences: HashMap::new(),
            order: VecDeque::new(),
            elapsed: 0,
            last_look: None,
        }
    }

    /// Tells the time, and forgets the ids whose window has closed.
    pub(super) fn advance(&mut self, unix_millis: i64) {
        let last = self.last_look.replace(unix_millis).unwrap_or(unix_millis);
        if unix_millis > last {
            self.elapsed = self.elapsed.saturating_add(unix_millis.abs_diff(last));
        }
        while let Some((since, _)) = self.order.front()
            && self.elapsed - since >= self.window
            && let Some((_, id)) = self.order.pop_front()
        {
            self.sequences.remove(&id);
        }
    }

    /// The sequence that this id was published under.
    pub(super) fn find(&self, id: &str) -> Option<u64> {
        self.sequences.get(id).copied()
    }

    /// Opens the window of an id that [`find`](Self::find) does not know.
    pub(super) fn remember(&mut self, id: &str, sequence: u64) {
        let id: Arc<str> = id.into();
        self.sequences.insert(Arc::clone(&id), sequence);
        self.order.push_back((self.elapsed, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dedup() -> Dedup {
        Dedup::new(Duration::from_millis(100))
    }

    #[test]
    fn an_id_is_known_until_its_window_closes() {
        let mut dedup = dedup();
        dedup.advance(1_000);
        dedup.remember("a", 7);
        dedup.advance(1_099);
        assert_eq!(dedup.find("a"), Some(7));
        dedup.advance(1_100);
        assert_eq!(dedup.find("a"), None);
    }

    #[test]
    fn expired_ids_take_no_memory() {
        let mut dedup = dedup();
        for now in 0..10_000 {
            dedup.advance(now);
            dedup.remember(&now.to_string(), 1);
        }
        assert_eq!((dedup.sequences.len(), dedup.order.len()), (100, 100));
    }

    #[test]
    fn a_clock_set_back_neither_forgets_early_nor_remembers_for_ever() {
        let mut dedup = dedup();
        dedup.advance(1_000_000);
        dedup.remember("a", 1);
        dedup.advance(5);
        assert_eq!(dedup.find("a"), Some(1));
        dedup.advance(104);
        assert_eq!(dedup.find("a"), Some(1));
        dedup.advance(105);
        assert_eq!(dedup.find("a"), None);
        assert!(dedup.order.is_empty());
    }
}
