//! Subjects, and how much is published on each.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::top::series::Series;
use crate::top::snapshot::Published;

/// Subjects that are remembered. Of more, those go on which nothing was published for the longest time.
const REMEMBERED: usize = 2_000;
/// Ticks whose mean is sorted by: a list whose lines jump at each tick cannot be read.
const SMOOTH: usize = 5;

/// A subject that something was published on.
#[derive(Clone, Debug, Default)]
pub(super) struct SubjectLine {
    pub(super) subject: String,
    /// Events a second.
    pub(super) rates: Series,
    /// Bytes of payload a second, in the last tick.
    pub(super) bytes: f64,
    /// Events that were seen, also those of before the first tick.
    pub(super) seen: f64,
    /// The last tick in which something was published on it.
    active: u64,
}

/// What lines are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Rate,
    Bytes,
    Seen,
    Name,
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Rate => Self::Bytes,
            Self::Bytes => Self::Seen,
            Self::Seen => Self::Name,
            Self::Name => Self::Rate,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Bytes => "bytes",
            Self::Seen => "seen",
            Self::Name => "name",
        }
    }

    /// The most first; names by the alphabet.
    fn compare(self, one: &SubjectLine, other: &SubjectLine) -> Ordering {
        let most = |one: f64, other: f64| other.total_cmp(&one);
        let by = match self {
            Self::Rate => most(one.rates.mean(SMOOTH), other.rates.mean(SMOOTH)),
            Self::Bytes => most(one.bytes, other.bytes),
            Self::Seen => most(one.seen, other.seen),
            Self::Name => Ordering::Equal,
        };
        by.then_with(|| one.subject.cmp(&other.subject))
    }
}

/// All subjects that are remembered.
#[derive(Clone, Debug, Default)]
pub(super) struct Subjects {
    lines: HashMap<String, SubjectLine>,
    ticks: u64,
}

impl Subjects {
    /// Another tick, which lasted so long. Of the first one it is not known how long it took to publish all that.
    pub(super) fn tick(&mut self, published: &Published, seconds: Option<f64>) {
        self.ticks += 1;
        for found in &published.subjects {
            let line = match self.lines.get_mut(&found.subject) {
                Some(line) => line,
                None => self.lines.entry(found.subject.clone()).or_insert_with(|| SubjectLine {
                    subject: found.subject.clone(),
                    ..SubjectLine::default()
                }),
            };
            line.seen += found.events;
            line.active = self.ticks;
            let Some(seconds) = seconds else { continue };
            line.bytes = found.bytes / seconds;
            line.rates.push(found.events / seconds);
        }
        for line in self.lines.values_mut().filter(|line| line.active < self.ticks) {
            line.bytes = 0.0;
            line.rates.push(0.0);
        }
        self.forget();
    }

    fn forget(&mut self) {
        let too_many = self.lines.len().saturating_sub(REMEMBERED);
        if too_many == 0 {
            return;
        }
        let mut active: Vec<_> = self.lines.values().map(|line| line.active).collect();
        let (_, newest_to_go, _) = active.select_nth_unstable(too_many - 1);
        let newest_to_go = *newest_to_go;
        // Of those that were active in the same tick some may stay.
        let mut left = too_many;
        self.lines.retain(|_, line| {
            let goes = left > 0 && line.active <= newest_to_go;
            left -= usize::from(goes);
            !goes
        });
    }

    /// Those that are wanted, in this order.
    pub(super) fn sorted(
        &self,
        sort: Sort,
        is_reversed: bool,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<&SubjectLine> {
        let mut lines: Vec<_> = self.lines.values().filter(|line| wanted(&line.subject)).collect();
        lines.sort_by(|one, other| {
            let order = sort.compare(one, other);
            if is_reversed { order.reverse() } else { order }
        });
        lines
    }

    /// Bytes of payload a second, of all.
    pub(super) fn bytes(&self) -> f64 {
        self.lines.values().fold(0.0, |sum, line| sum + line.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::snapshot::OnSubject;

    fn published(subjects: &[(&str, f64, f64)]) -> Published {
        let on = |&(subject, events, bytes): &(&str, f64, f64)| OnSubject {
            subject: subject.to_owned(),
            events,
            bytes,
        };
        Published { subjects: subjects.iter().map(on).collect(), ..Published::default() }
    }

    fn names(subjects: &Subjects, sort: Sort, is_reversed: bool) -> Vec<String> {
        subjects.sorted(sort, is_reversed, |_| true).iter().map(|line| line.subject.clone()).collect()
    }

    #[test]
    fn a_rate_is_what_came_in_a_tick_and_falls_to_nothing() {
        let mut subjects = Subjects::default();
        subjects.tick(&published(&[("a", 100.0, 0.0)]), None);
        subjects.tick(&published(&[("a", 20.0, 400.0)]), Some(2.0));
        let line = subjects.sorted(Sort::Rate, false, |_| true)[0];
        assert_eq!((line.rates.last(), line.bytes, line.seen), (10.0, 200.0, 120.0));
        subjects.tick(&published(&[]), Some(1.0));
        let line = subjects.sorted(Sort::Rate, false, |_| true)[0];
        assert_eq!((line.rates.last(), line.bytes, line.seen), (0.0, 0.0, 120.0));
        assert_eq!(line.rates.tail(10).collect::<Vec<_>>(), [10.0, 0.0]);
    }

    #[test]
    fn lines_are_sorted_by_what_was_asked_for() {
        let mut subjects = Subjects::default();
        subjects.tick(&published(&[("b", 900.0, 0.0)]), None);
        subjects.tick(&published(&[("a", 5.0, 10.0), ("b", 1.0, 20.0), ("c", 5.0, 5.0)]), Some(1.0));
        assert_eq!(names(&subjects, Sort::Rate, false), ["a", "c", "b"]);
        assert_eq!(names(&subjects, Sort::Bytes, false), ["b", "a", "c"]);
        assert_eq!(names(&subjects, Sort::Seen, false), ["b", "a", "c"]);
        assert_eq!(names(&subjects, Sort::Name, false), ["a", "b", "c"]);
        assert_eq!(names(&subjects, Sort::Name, true), ["c", "b", "a"]);
        assert_eq!(subjects.sorted(Sort::Name, false, |subject| subject == "c").len(), 1);
        assert_eq!(subjects.bytes(), 35.0);
    }

    #[test]
    fn of_too_many_subjects_the_idlest_are_forgotten() {
        let mut subjects = Subjects::default();
        let names: Vec<_> = (0..REMEMBERED + 10).map(|n| format!("s.{n:05}")).collect();
        let on = |names: &[String]| {
            published(&names.iter().map(|name| (name.as_str(), 1.0, 1.0)).collect::<Vec<_>>())
        };
        subjects.tick(&on(&names[..100]), Some(1.0));
        subjects.tick(&on(&names[100..]), Some(1.0));
        assert_eq!(subjects.lines.len(), REMEMBERED);
        let left = subjects.lines.keys().filter(|name| names[..100].contains(name)).count();
        assert_eq!(left, 90);
    }
}
