//! Unique keys, and the jobs that have them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::job::Unique;
use crate::service::millis;
use crate::subject::Subject;

type Key = (Subject, Box<str>);

#[derive(Debug, Default)]
pub(super) struct UniqueKeys {
    holders: HashMap<Key, Holder>,
    /// The keys that are free again at a time, with that time.
    ends: BTreeSet<(i64, Key)>,
}

#[derive(Debug)]
struct Holder {
    id: Arc<str>,
    how_long: HowLong,
}

#[derive(Debug, PartialEq)]
enum HowLong {
    Pending,
    Until(i64),
    Forever,
}

impl UniqueKeys {
    /// The job that has the key.
    pub(super) fn find(&self, subject: &Subject, key: &str, now: i64) -> Option<Arc<str>> {
        let holder = self.holders.get(&(subject.clone(), key.into()))?;
        let free = matches!(holder.how_long, HowLong::Until(end) if end <= now);
        (!free).then(|| Arc::clone(&holder.id))
    }

    /// Gives the key to a job.
    pub(super) fn take(&mut self, subject: &Subject, key: &str, id: Arc<str>, how_long: Unique, now: i64) {
        let key: Key = (subject.clone(), key.into());
        let how_long = match how_long {
            Unique::WhilePending => HowLong::Pending,
            Unique::For(time) => HowLong::Until(now.saturating_add(millis(time))),
            Unique::Forever => HowLong::Forever,
        };
        if let HowLong::Until(end) = how_long {
            self.ends.insert((end, key.clone()));
        }
        self.holders.insert(key, Holder { id, how_long });
    }

    /// The job is over: the key is free if it was for as long as that.
    pub(super) fn leave(&mut self, key: Key, id: &str) {
        if let Some(holder) = self.holders.get(&key)
            && holder.how_long == HowLong::Pending
            && *holder.id == *id
        {
            self.holders.remove(&key);
        }
    }

    /// Lets go of the keys whose time is over.
    pub(super) fn advance(&mut self, now: i64) {
        while self.ends.first().is_some_and(|(end, _)| *end <= now)
            && let Some((end, key)) = self.ends.pop_first()
        {
            if self.holders.get(&key).is_some_and(|holder| holder.how_long == HowLong::Until(end)) {
                self.holders.remove(&key);
            }
        }
    }
}
