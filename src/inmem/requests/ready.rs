//! What servers may take: by subject, and in each by priority and then by age.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use crate::filter::Filter;
use crate::subject::Subject;

#[derive(Debug, Default)]
pub(super) struct Ready {
    /// No subject without a row.
    subjects: BTreeMap<Subject, BTreeSet<(Reverse<i32>, i64)>>,
    /// Subjects whose rows nobody may take.
    paused: HashSet<Subject>,
}

impl Ready {
    pub(super) fn insert(&mut self, subject: &Subject, priority: i32, sequence: i64) {
        self.subjects.entry(subject.clone()).or_default().insert((Reverse(priority), sequence));
    }

    pub(super) fn remove(&mut self, subject: &Subject, priority: i32, sequence: i64) {
        if let Some(rows) = self.subjects.get_mut(subject) {
            rows.remove(&(Reverse(priority), sequence));
            if rows.is_empty() {
                self.subjects.remove(subject);
            }
        }
    }

    /// The first row of the next subject behind `after` that the filter matches, and then from the beginning again.
    pub(super) fn next(&self, filter: &Filter, after: Option<&Subject>) -> Option<(&Subject, i64)> {
        let prefix = filter.literal_prefix();
        if prefix == filter.as_str() {
            return self.first_of(prefix);
        }
        let behind = after.map_or(Included(prefix), |after| Excluded(after.as_str()));
        let behind = self.subjects.range::<str, _>((behind, Unbounded));
        let again = self.subjects.range::<str, _>((Included(prefix), Unbounded));
        let under = |(subject, _): &(&Subject, _)| subject.as_str().starts_with(prefix);
        let mut subjects = behind.take_while(under).chain(again.take_while(under));
        subjects.find_map(
            |(subject, _)| {
                if filter.matches(subject) { self.first_of(subject.as_str()) } else { None }
            },
        )
    }

    pub(super) fn pause(&mut self, subject: Subject) {
        self.paused.insert(subject);
    }

    /// Whether something waited for it.
    pub(super) fn resume(&mut self, subject: &Subject) -> bool {
        self.paused.remove(subject) && self.subjects.contains_key(subject)
    }

    fn first_of(&self, subject: &str) -> Option<(&Subject, i64)> {
        let (subject, rows) = self.subjects.get_key_value(subject)?;
        let (_, sequence) = rows.first()?;
        (!self.paused.contains(subject)).then_some((subject, *sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(rows: &[(&str, i32, i64)]) -> Ready {
        let mut ready = Ready::default();
        for (subject, priority, sequence) in rows {
            ready.insert(&Subject::new(subject).unwrap(), *priority, *sequence);
        }
        ready
    }

    /// Takes all that the filter matches.
    fn drain(ready: &mut Ready, filter: &str, rows: &[(&str, i32, i64)]) -> Vec<i64> {
        let filter = Filter::new(filter).unwrap();
        let (mut taken, mut after) = (Vec::new(), None);
        while let Some((subject, sequence)) = ready.next(&filter, after.as_ref()) {
            let subject = subject.clone();
            let (_, priority, _) = rows.iter().find(|row| row.2 == sequence).unwrap();
            ready.remove(&subject, *priority, sequence);
            taken.push(sequence);
            after = Some(subject);
        }
        taken
    }

    #[test]
    fn a_subject_gives_the_highest_priority_and_then_the_oldest() {
        let rows = [("a", 0, 1), ("a", 5, 2), ("a", -1, 3), ("a", 5, 4), ("b", 9, 5)];
        assert_eq!(drain(&mut ready(&rows), "a", &rows), [2, 4, 1, 3]);
    }

    #[test]
    fn a_wildcard_goes_round_the_subjects_that_it_matches() {
        let rows = [("a.x", 0, 1), ("a.x", 0, 2), ("a.x", 0, 3), ("a.y", 0, 4), ("a.y", 0, 5), ("b.z", 9, 6)];
        assert_eq!(drain(&mut ready(&rows), "a.*", &rows), [1, 4, 2, 5, 3]);
        assert_eq!(drain(&mut ready(&rows), ">", &rows), [1, 4, 6, 2, 5, 3]);
        assert_eq!(drain(&mut ready(&rows), "*.z", &rows), [6]);
        assert_eq!(drain(&mut ready(&rows), "c.>", &rows), [0; 0]);
    }

    #[test]
    fn a_paused_subject_gives_nothing_and_stands_in_nobodys_way() {
        let rows = [("a.x", 0, 1), ("a.y", 0, 2)];
        let mut ready = ready(&rows);
        let paused = Subject::new("a.x").unwrap();
        ready.pause(paused.clone());
        assert_eq!(drain(&mut ready, "a.x", &rows), [0; 0]);
        assert_eq!(drain(&mut ready, "a.>", &rows), [2]);
        assert!(ready.resume(&paused));
        assert!(!ready.resume(&paused));
        assert_eq!(drain(&mut ready, "a.>", &rows), [1]);
    }
}
