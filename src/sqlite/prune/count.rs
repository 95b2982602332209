//! Counting: each row is looked at once, behind the place up to which the log was counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::sqlite::prune::pass::Pass;
use crate::sqlite::prune::policy::{OF_A_NEW_FILE, Policies};
use crate::sqlite::prune::remove::Count;
use crate::sqlite::tables::{events, meta, prunable, retention};

/// Rows that are counted in one step.
const PAGE: usize = 8192;
/// Rows beyond what is kept of a subject that are looked for at once.
const EXCESS: usize = 512;
/// Between two steps.
const REST: Duration = Duration::from_millis(1);

/// What one step has found.
#[derive(Default)]
struct Page {
    policies: Policies,
    after: u64,
    through: u64,
    counted: Vec<(u64, u64)>,
    /// Subjects of which only some are kept, with the place of their policy.
    subjects: BTreeMap<String, usize>,
    removals: i64,
    more: bool,
    /// The counters are for other policies, or cannot be true.
    is_wrong: bool,
}

impl Pass<'_> {
    /// Counts what is new, a step of it; whether there may be more.
    pub(super) fn count(&mut self) -> Result<bool> {
        let page = self.count_page(u64::MAX)?;
        if page.is_wrong {
            self.recount()?;
            return Ok(true);
        }
        if page.through == page.after {
            return Ok(false);
        }
        let policies = self.read_policies()?;
        if !policies.say_the_same_as(&page.policies) {
            return Ok(true);
        }
        // First what goes: a process that is killed here leaves it uncounted, and so looks again.
        let mut removed = 0;
        for (subject, at) in &page.subjects {
            removed += self.remove_excess(&policies, *at, subject, page.through)?;
        }
        // No further than before: what lies behind was not looked at for what goes.
        let page = if removed > 0 { self.count_page(page.through)? } else { page };
        if page.is_wrong || !policies.say_the_same_as(&page.policies) {
            return Ok(true);
        }
        let Page { after, through, counted, removals, more, .. } = page;
        let clock = self.clock();
        if !self.write(Count { policies, counted, after, through, removals, clock })? {
            // Another process prunes as well: it counts, or this one again.
            self.shared.rest(REST)?;
            return Ok(true);
        }
        self.shared.rest(if more { REST } else { Duration::ZERO })?;
        Ok(more)
    }

    fn count_page(&self, until: u64) -> Result<Page> {
        self.shared.log.read("counting the log", |conn| {
            let policies = Policies::new(retention::all(conn)?);
            let counted_for = meta::get(conn, meta::COUNTED_FOR)?;
            let after = policies.counted_through();
            let mut page = Page { after, through: after, ..Page::default() };
            let total = policies.iter().fold(0_u64, |total, policy| total.saturating_add(policy.messages));
            let first = prunable::first(conn)?;
            let there = if first == 0 { 0 } else { (after + 1).saturating_sub(first) };
            page.is_wrong = policies.len() > 0
                && (counted_for.as_deref().unwrap_or(OF_A_NEW_FILE) != policies.counted_for()
                    || !policies.are_counted_together()
                    || after > events::newest(conn)?
                    // So many have no room there: some were removed by hand.
                    || total > there);
            if page.is_wrong || policies.len() == 0 {
                return Ok(page);
            }
            page.removals = meta::number(conn, meta::REMOVALS)?;
            page.counted = vec![(0, 0); policies.len()];
            let mut last: (String, Option<usize>) = Default::default();
            let mut is_beyond = false;
            let more = prunable::sizes_after(conn, after, PAGE, |id, subject, bytes| {
                is_beyond |= id > until;
                if is_beyond {
                    return;
                }
                page.through = id;
                if last.0 != subject {
                    last = (subject.to_owned(), policies.governing(subject));
                    if let Some(at) = last.1
                        && policies.get(at).is_some_and(|policy| policy.limits.max_per_subject.is_some())
                    {
                        page.subjects.insert(subject.to_owned(), at);
                    }
                }
                if let Some(counted) = last.1.and_then(|at| page.counted.get_mut(at)) {
                    *counted = (counted.0 + 1, counted.1.saturating_add(bytes));
                }
            })?;
            page.more = more || is_beyond;
            page.policies = policies;
            Ok(page)
        })
    }

    /// Removes what a subject has more than is kept of it; how many.
    fn remove_excess(
        &mut self,
        policies: &Arc<Policies>,
        at: usize,
        subject: &str,
        through: u64,
    ) -> Result<u64> {
        let Some(policy) = policies.get(at) else { return Ok(0) };
        let Some(most) = policy.limits.max_per_subject else { return Ok(0) };
        // Of one subject it is not told apart what is kept for consumers: the cap is on all that the policy governs.
        let keeps = policy.limits.keep_unacked.filter(|cap| policy.bytes <= *cap).is_some();
        let keep = keeps.then(|| (Arc::new(self.state.seen.clone()), 0));
        let (mut after, mut removed) = (0, 0);
        loop {
            let rows = self.shared.log.read("looking for the older events of a subject", |conn| {
                let beyond = prunable::beyond_newest(conn, subject, through, most)?;
                beyond.map_or(Ok(Vec::new()), |beyond| {
                    prunable::of_subject(conn, subject, (after, beyond), EXCESS)
                })
            })?;
            let rows: Vec<_> = rows.into_iter().map(|row| (row.id, row.bytes)).collect();
            if rows.is_empty() {
                return Ok(removed);
            }
            let outcome = self.remove(policies, at, &rows, None, keep.clone())?;
            removed += outcome.events;
            if outcome.is_stale || outcome.is_kept || outcome.done == 0 {
                return Ok(removed);
            }
            after = rows[outcome.done - 1].0;
        }
    }
}
