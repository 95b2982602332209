//! Counting: each row is looked at once, behind the place up to which the log was counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::sqlite::prune::keep::Wants;
use crate::sqlite::prune::pass::Pass;
use crate::sqlite::prune::policy::{OF_A_NEW_FILE, Policies};
use crate::sqlite::prune::remove::{Consent, Count, Row};
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
        let (cap, before) = (policy.limits.keep_unacked, self.pruned.events);
        let (mut after, mut kept) = (0, 0);
        loop {
            let (rows, wants) = self.excess(subject, (after, through), most, cap.is_some())?;
            let Some(last) = rows.last().map(|(id, _)| *id) else { break };
            let is_kept = |id| wants.as_ref().is_some_and(|wants| wants.wants(subject, id));
            let (wanted, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(id, _)| is_kept(*id));
            let consent = wants.map_or(Consent::NotAsked, |wants| Consent::Given(Arc::new(wants)));
            if !self.remove_each(policies, at, &rows, &consent)? {
                break;
            }
            kept += wanted.iter().map(|(_, bytes)| bytes).sum::<u64>();
            // More of this one subject than may be kept: its oldest go.
            while cap.is_some_and(|cap| kept > cap) {
                let (mut oldest, _) = self.excess(subject, (0, through), most, false)?;
                let mut over = kept.saturating_sub(cap.unwrap_or(0));
                oldest.retain(|(_, bytes)| {
                    let goes = over > 0;
                    over = over.saturating_sub(*bytes);
                    goes
                });
                if oldest.is_empty() || !self.remove_each(policies, at, &oldest, &Consent::Refused)? {
                    break;
                }
                kept = kept.saturating_sub(oldest.iter().map(|(_, bytes)| bytes).sum());
            }
            after = last;
        }
        Ok(self.pruned.events - before)
    }

    /// The next events of a subject behind which there are so many, and for whom they may be kept.
    fn excess(
        &self,
        subject: &str,
        (after, through): (u64, u64),
        most: u64,
        is_keeping: bool,
    ) -> Result<(Vec<Row>, Option<Wants>)> {
        self.shared.log.read("looking for the older events of a subject", |conn| {
            let beyond = prunable::beyond_newest(conn, subject, through, most)?;
            let rows = beyond.map_or(Ok(Vec::new()), |beyond| {
                prunable::of_subject(conn, subject, (after, beyond), EXCESS)
            })?;
            let wants = is_keeping.then(|| Wants::look(conn)).transpose()?;
            Ok((rows.into_iter().map(|row| (row.id, row.bytes)).collect(), wants))
        })
    }

    /// `false` if something was changed meanwhile: the next pass sees to the rest.
    fn remove_each(
        &mut self,
        policies: &Arc<Policies>,
        at: usize,
        mut rows: &[Row],
        consent: &Consent,
    ) -> Result<bool> {
        while !rows.is_empty() {
            let outcome = self.remove(policies, at, (rows, None), consent)?;
            if outcome.stale.is_some() || outcome.done == 0 {
                return Ok(false);
            }
            rows = rows.get(outcome.done..).unwrap_or_default();
        }
        Ok(true)
    }
}
