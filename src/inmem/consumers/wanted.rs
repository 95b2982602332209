//! What a consumer wants of the log.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::filter::Filter;
use crate::inmem::log::{Log, Start};
use crate::message::Message;

/// What it wants, and how far it has come.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) filters: Vec<Filter>,
    /// Explicit: every event up to here was delivered once, or need not be. Cumulative: is done with.
    pub(super) position: u64,
    /// Up to the last of these, only these count: it began with the newest event of each subject.
    last_of_each: BTreeSet<u64>,
}

impl Wanted {
    pub(super) fn new(filters: Vec<Filter>, start: Start) -> Self {
        Self { filters, position: start.behind, last_of_each: start.last_of_each }
    }

    pub(super) fn seek(&mut self, start: Start) {
        (self.position, self.last_of_each) = (start.behind, start.last_of_each);
    }

    /// The events that it wants behind this one.
    pub(super) fn behind<'a>(&'a self, sequence: u64, log: &'a Log) -> impl Iterator<Item = &'a Message> {
        log.behind(sequence).filter(|event| self.is_wanted(event))
    }

    fn is_wanted(&self, event: &Message) -> bool {
        let sequence = event.sequence();
        let among = self.last_of_each.last().is_none_or(|last| sequence > *last)
            || self.last_of_each.contains(&sequence);
        among && self.filters.iter().any(|filter| filter.matches(event.subject()))
    }
}

/// The events behind this one that are gone, if any are, and the last of them.
pub(super) fn gap(behind: u64, log: &Log) -> Option<(u64, Error)> {
    let last = log.first_sequence() - 1;
    (behind < last).then(|| (last, Error::gap(behind + 1, last)))
}
