//! Keeping for consumers, step by step: what became due is kept as long as it is wanted, and goes beyond the cap.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::Result;
use crate::sqlite::prune::due::{self, Found, Walk};
use crate::sqlite::prune::keep::Wants;
use crate::sqlite::prune::pass::Pass;
use crate::sqlite::prune::policy::Policies;
use crate::sqlite::prune::remove::{Consent, Stale};

/// What a step has come to, unless something was changed meanwhile.
pub(super) type Stepped<T> = Result<ControlFlow<Stale, T>>;

impl Pass<'_> {
    /// For whom a policy keeps, as it is now. What was kept and is wanted no more goes.
    pub(super) fn release(&mut self, policies: &Arc<Policies>, at: usize) -> Stepped<Arc<Wants>> {
        let wants = Arc::new(self.shared.log.read("looking at the consumers", Wants::look)?);
        let walk = self.walk(policies, at).clone();
        if walk.kept.messages > 0
            && let Some((after, until)) = wants.released_since(&walk.kept_for)
        {
            let (mut after, until) = (after.max(walk.removed), until.min(walk.due));
            while after < until {
                self.shared.check_stopped()?;
                let found = self.shared.log.read("looking for what consumers have acknowledged", |conn| {
                    due::find_released(conn, policies, at, &wants, (after, until))
                })?;
                let nobody = Consent::Given(Arc::clone(&wants));
                if let ControlFlow::Break(stale) = self.remove_kept(policies, at, &found, &nobody)? {
                    return Ok(ControlFlow::Break(stale));
                }
                after = if found.more { found.through } else { until };
            }
        }
        self.walk(policies, at).kept_for = Wants::clone(&wants);
        Ok(ControlFlow::Continue(wants))
    }

    /// Beyond the cap the oldest of what is kept go, wanted or not.
    pub(super) fn keep_within_cap(&mut self, policies: &Arc<Policies>, at: usize) -> Stepped<()> {
        let Some(policy) = policies.get(at) else { return Ok(ControlFlow::Continue(())) };
        let cap = policy.limits.keep_unacked.unwrap_or(u64::MAX);
        loop {
            self.shared.check_stopped()?;
            let walk = self.walk(policies, at).clone();
            let over = walk.kept.bytes.saturating_sub(cap);
            if over == 0 {
                return Ok(ControlFlow::Continue(()));
            }
            if !walk.warned {
                let filter = policy.filter.as_str();
                tracing::warn!(
                    filter,
                    cap,
                    "events go that a consumer has not acknowledged: more are kept for it than the policy's cap"
                );
            }
            let found = self.shared.log.read("looking for the oldest that is kept", |conn| {
                due::find_oldest(conn, policies, at, (walk.removed, walk.due), over)
            })?;
            if let ControlFlow::Break(stale) = self.remove_kept(policies, at, &found, &Consent::Refused)? {
                return Ok(ControlFlow::Break(stale));
            }
            let walk = self.walk(policies, at);
            (walk.removed, walk.warned) = (walk.removed.max(found.through), true);
            if found.rows.is_empty() && !found.more {
                // Somebody else has removed it: it is added up anew.
                *walk = Walk { removed: walk.removed, due: walk.removed, warned: true, ..Walk::default() };
            }
        }
    }

    /// Removes rows that were kept so far.
    fn remove_kept(
        &mut self,
        policies: &Arc<Policies>,
        at: usize,
        found: &Found,
        consent: &Consent,
    ) -> Stepped<()> {
        let mut rows = &found.rows[..];
        while !rows.is_empty() {
            let outcome = self.remove(policies, at, (rows, None), consent)?;
            let (done, rest) = rows.split_at(outcome.done.min(rows.len()));
            let walk = self.walk(policies, at);
            done.iter().for_each(|(_, bytes)| walk.kept.take(*bytes));
            if let Some(stale) = outcome.stale {
                return Ok(ControlFlow::Break(stale));
            }
            rows = rest;
        }
        Ok(ControlFlow::Continue(()))
    }
}
