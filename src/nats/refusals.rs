//! What the server has refused, in its own words, for who waits to hear whether it was theirs.

/// As many as the client keeps for us at a time.
const REMEMBERED: usize = 128;

/// The newest refusals on this connection. The same words are one refusal, however often they come: what concerns one subject
/// concerns everybody on it.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    newest: Vec<(u64, String)>,
    count: u64,
}

/// A moment: what was refused before it concerns nobody who begins now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark(u64);

impl Mark {
    /// The beginning of the connection.
    pub(crate) const BEGINNING: Self = Self(0);
}

impl Refusals {
    pub(super) fn add(&mut self, text: String) {
        self.newest.retain(|(_, other)| *other != text);
        if self.newest.len() == REMEMBERED {
            self.newest.remove(0);
        }
        self.count += 1;
        self.newest.push((self.count, text));
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.count)
    }

    /// The newest with these words that came behind the mark.
    pub(super) fn since(&self, mark: Mark, words: &str) -> Option<&str> {
        let newer = self.newest.iter().rev().take_while(|(number, _)| *number > mark.0);
        newer.map(|(_, text)| text.as_str()).find(|text| text.contains(words))
    }

    /// Forgets those with these words; the newest of them.
    pub(super) fn take(&mut self, words: &str) -> Option<String> {
        let taken = self.newest.extract_if(.., |(_, text)| text.contains(words)).last();
        taken.map(|(_, text)| text)
    }

    /// Another connection may have other rights. Marks stay behind what comes.
    pub(super) fn clear(&mut self) {
        self.newest.clear();
    }
}

/// The words by which a server refuses a message on this subject.
pub(crate) fn publish_to(subject: &str) -> String {
    format!("Publish to \"{subject}\"")
}

/// The words by which a server refuses a subscription to this filter.
pub(crate) fn subscription_to(filter: &str) -> String {
    format!("Subscription to \"{filter}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(subject: &str) -> String {
        format!("Permissions Violation for {}", publish_to(subject))
    }

    #[test]
    fn who_begins_later_is_told_of_nothing_that_was_refused_before() {
        let mut refusals = Refusals::default();
        refusals.add(refused("a"));
        let mark = refusals.mark();
        assert_eq!(refusals.since(mark, &publish_to("a")), None);
        refusals.add(refused("a"));
        assert_eq!(refusals.since(mark, &publish_to("a")), Some(&*refused("a")));
        assert_eq!(refusals.since(mark, &publish_to("a.b")), None);
        refusals.clear();
        assert_eq!(refusals.since(Mark::BEGINNING, "a"), None);
    }

    #[test]
    fn all_who_are_refused_on_a_subject_at_the_same_time_are_told() {
        let mut refusals = Refusals::default();
        let mark = refusals.mark();
        refusals.add(refused("other"));
        for _ in 0..2 * REMEMBERED {
            refusals.add(refused("a"));
        }
        for _ in 0..2 * REMEMBERED {
            assert!(refusals.since(mark, &publish_to("a")).is_some());
        }
        assert!(refusals.since(mark, &publish_to("other")).is_some());
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut refusals = Refusals::default();
        (0..=REMEMBERED).for_each(|number| refusals.add(refused(&number.to_string())));
        assert_eq!(refusals.newest.len(), REMEMBERED);
        assert_eq!(refusals.since(Mark::BEGINNING, &publish_to("0")), None);
        assert_eq!(refusals.take(&publish_to("1")), Some(refused("1")));
        assert_eq!(refusals.take(&publish_to("1")), None);
    }
}
