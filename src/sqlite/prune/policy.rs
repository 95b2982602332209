//! Which policy governs an event: exactly one, that of the most literal filter.

use rusqlite::Connection;

use crate::sqlite::tables::meta;
use crate::sqlite::tables::retention::{self, PolicyRow};

/// The policies of the file, the most literal first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policies {
    rows: Vec<PolicyRow>,
}

impl Policies {
    pub(crate) fn new(mut rows: Vec<PolicyRow>) -> Self {
        // Of two filters that match the same subject, the first token in which they differ decides; those that are alike up
        // to there are in the order of their texts, which decides nothing.
        let key = |row: &PolicyRow| (literalness(row.filter.as_str()), row.filter.clone());
        rows.sort_by_cached_key(key);
        Self { rows }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PolicyRow> {
        self.rows.iter()
    }

    pub(crate) fn get(&self, at: usize) -> Option<&PolicyRow> {
        self.rows.get(at)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The place of the policy that governs this subject. What can be no subject is governed by the last, which is `>` where
    /// there is one: rows that no reader can decode go as well.
    pub(crate) fn governing(&self, subject: &str) -> Option<usize> {
        let found = self.rows.iter().position(|row| row.filter.matches(subject));
        found.or_else(|| {
            let last = self.rows.len().checked_sub(1)?;
            (self.rows[last].filter.as_str() == ">").then_some(last)
        })
    }

    /// What the counters depend on: where it is another, everything is counted anew.
    pub(crate) fn counted_for(&self) -> String {
        let line = |row: &PolicyRow| match row.limits.max_per_subject {
            Some(most) => format!("{} {most}", row.filter),
            None => row.filter.to_string(),
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Up to where the log was counted; what was counted for each belongs together.
    pub(crate) fn counted_through(&self) -> u64 {
        self.rows.iter().map(|row| row.counted_through).min().unwrap_or(0)
    }

    /// Whether the counters are of one piece.
    pub(crate) fn are_counted_together(&self) -> bool {
        let first = self.rows.first().map(|row| row.counted_through);
        self.rows.iter().all(|row| Some(row.counted_through) == first)
    }

    /// Whether these say the same, whatever was counted and removed meanwhile.
    pub(crate) fn say_the_same_as(&self, others: &Self) -> bool {
        let said = |row: &PolicyRow| (row.filter.clone(), row.limits.clone());
        self.rows.iter().map(said).eq(others.rows.iter().map(said))
    }
}

/// A byte a token: a literal comes before `*`, and that before `>`.
fn literalness(filter: &str) -> Vec<u8> {
    let class = |token| match token {
        ">" => 2,
        "*" => 1,
        _ => 0,
    };
    filter.split('.').map(class).collect()
}

/// What the counters of a new file are for.
pub(crate) const OF_A_NEW_FILE: &str = ">";

/// How many events were counted, and up to which sequence; none where they were counted for other policies than there are
/// now, so that some of the numbers are of rows that others govern.
pub(crate) fn counted(conn: &Connection) -> rusqlite::Result<(u64, u64)> {
    let policies = Policies::new(retention::all(conn)?);
    let counted_for = meta::get(conn, meta::COUNTED_FOR)?;
    if counted_for.as_deref().unwrap_or(OF_A_NEW_FILE) != policies.counted_for()
        || !policies.are_counted_together()
    {
        return Ok((0, 0));
    }
    let messages = policies.iter().fold(0_u64, |total, policy| total.saturating_add(policy.messages));
    Ok((messages, policies.counted_through()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::retention::{RetentionParts, SetBy};

    pub(crate) fn policies(filters: &[&str]) -> Policies {
        let row = |filter: &&str| PolicyRow {
            filter: Filter::new(filter).unwrap(),
            limits: RetentionParts::default(),
            set_by: SetBy::Operator,
            pruned_through: 0,
            counted_through: 0,
            messages: 0,
            bytes: 0,
            removed_through: 0,
            unacked_through: 0,
        };
        Policies::new(filters.iter().map(row).collect())
    }

    #[test]
    fn the_most_literal_filter_governs_compared_token_by_token_from_the_left() {
        let policies = policies(&[">", "a.>", "*.b.>", "a.*.c", "a.b.>", "*.b.c", "a.b.*", "a.b.c", "a.*.>"]);
        let governing =
            |subject: &str| policies.get(policies.governing(subject).unwrap()).unwrap().filter.to_string();
        for (subject, filter) in [
            ("a.b.c", "a.b.c"),
            ("a.b.d", "a.b.*"),
            ("a.b.d.e", "a.b.>"),
            ("a.x.c", "a.*.c"),
            ("a.x.d", "a.*.>"),
            ("a.x", "a.>"),
            ("x.b.c", "*.b.c"),
            ("x.b.d", "*.b.>"),
            ("x.b", ">"),
            ("a", ">"),
        ] {
            assert_eq!(governing(subject), filter, "{subject}");
        }
    }

    #[test]
    fn without_a_policy_for_everything_what_no_filter_matches_is_governed_by_none() {
        let policies = policies(&["a.*", "*.b"]);
        assert_eq!(policies.governing("a.b"), Some(0));
        assert_eq!(policies.governing("c"), None);
        assert_eq!(policies.governing(""), None);
    }

    #[test]
    fn a_new_file_is_counted_for_its_default() {
        assert_eq!(policies(&[">"]).counted_for(), OF_A_NEW_FILE);
    }
}
