//! One pass: what is new is counted, and what is due is removed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::retention::Pruned;
use crate::retry::millis;
use crate::sqlite::prune::clock::RetentionClock;
use crate::sqlite::prune::due::{self, Found, Walk};
use crate::sqlite::prune::manage;
use crate::sqlite::prune::pacing::Pacing;
use crate::sqlite::prune::policy::Policies;
use crate::sqlite::prune::remove::{GiveBack, Outcome, Recount, Remove, Row, Tidy};
use crate::sqlite::prune::{Shared, State};
use crate::sqlite::tables::{dead_letters, dedup, events, meta, prunable, retention};
use crate::sqlite::writer::Operation;

/// Free pages that are left for what is published next, at least; else a tenth of the file.
const FREE_PAGES: u64 = 1000;

pub(super) struct Pass<'a> {
    pub(super) shared: &'a Shared,
    pub(super) state: &'a mut State,
    pub(super) pruned: Pruned,
    /// What time it is, as age goes.
    now: i64,
    /// A lease is to be taken before something is written.
    lease: bool,
    /// The clock is still to be written down, with the first that is.
    clock_unwritten: bool,
    pacing: Pacing,
}

impl<'a> Pass<'a> {
    pub(super) fn new(shared: &'a Shared, state: &'a mut State, lease: bool) -> Self {
        let pacing = Pacing::new(0, Instant::now());
        Self { shared, state, pruned: Pruned::default(), now: 0, lease, clock_unwritten: true, pacing }
    }

    /// Has everything counted anew: rows that were removed by hand count no more.
    pub(super) fn recount(&mut self) -> Result<()> {
        self.write(Recount)?;
        self.state.walks.clear();
        Ok(())
    }

    /// `false` if it is another's turn after all.
    pub(super) fn run(&mut self) -> Result<bool> {
        self.look_at_the_clock()?;
        self.pacing = Pacing::new(self.traffic()?, Instant::now());
        match self.run_steps() {
            Err(_) if std::mem::take(&mut self.state.is_anothers) => Ok(false),
            done => done.map(|()| true),
        }
    }

    fn run_steps(&mut self) -> Result<()> {
        while self.count()? {
            self.shared.check_stopped()?;
        }
        for at in 0..self.read_policies()?.len() {
            self.remove_due(at)?;
        }
        self.tidy()?;
        self.give_back()
    }

    fn look_at_the_clock(&mut self) -> Result<()> {
        let clock = &self.shared.options.clock;
        let state = &mut *self.state;
        let retention_clock = match &mut state.clock {
            Some(known) => known,
            none => {
                let known = self.shared.log.read("reading the retention clock", |conn| {
                    let known =
                        meta::get(conn, meta::RETENTION_CLOCK)?.as_deref().and_then(RetentionClock::read);
                    match known {
                        Some(known) => Ok(known),
                        None => Ok(RetentionClock::of_newest(prunable::newest_time(conn)?, &**clock)),
                    }
                })?;
                none.insert(known)
            }
        };
        self.now = retention_clock.look(&**clock, &state.boot_id);
        self.pruned.clock_behind = Duration::from_millis(retention_clock.behind());
        Ok(())
    }

    /// The policies as they are now. What was known of how far they are goes with a change of them.
    pub(super) fn read_policies(&mut self) -> Result<Arc<Policies>> {
        let rows = self.shared.log.read("reading the retention", retention::all)?;
        let policies = Policies::new(rows);
        if !policies.say_the_same_as(&self.state.policies) {
            self.state.walks.clear();
            self.state.policies = policies.clone();
        }
        Ok(Arc::new(policies))
    }

    /// The clock as the file is to have it, once a pass.
    pub(super) fn clock(&mut self) -> Option<String> {
        let clock = self.state.clock.as_ref().map(RetentionClock::written);
        clock.filter(|_| std::mem::take(&mut self.clock_unwritten))
    }

    fn walk(&mut self, policies: &Policies, at: usize) -> Option<&mut Walk> {
        let policy = policies.get(at)?;
        let from = policy.removed_through;
        let new = Walk { removed: from, due: from, ..Walk::default() };
        let walk = self.state.walks.entry(policy.filter.clone()).or_insert(new);
        // Another process has gone on meanwhile: what is kept is added up anew.
        if walk.removed < from {
            *walk = new;
        }
        Some(walk)
    }

    /// Removes what is due of a policy.
    fn remove_due(&mut self, at: usize) -> Result<()> {
        loop {
            self.shared.check_stopped()?;
            let policies = self.read_policies()?;
            let Some(policy) = policies.get(at) else { return Ok(()) };
            let (now, is_keeping) = (self.now, policy.limits.keep_unacked.is_some());
            let Some(walk) = self.walk(&policies, at).copied() else { return Ok(()) };
            let found = self
                .shared
                .log
                .read("looking for what is due", |conn| due::find(conn, &policies, at, &walk, now))?;
            let more = if is_keeping {
                self.keep(&policies, at, &found)?;
                self.remove_kept(&policies, at)?
            } else {
                self.remove_all(&policies, at, &found)?
            };
            if !more || !found.more {
                return Ok(());
            }
        }
    }

    /// `false` if the policies have changed: the next pass sees to it.
    fn remove_all(&mut self, policies: &Arc<Policies>, at: usize, found: &Found) -> Result<bool> {
        let mut rows = &found.rows[..];
        while !rows.is_empty() {
            let outcome = self.remove(policies, at, rows, Some(found.through), None)?;
            if outcome.is_stale {
                return Ok(false);
            }
            rows = rows.get(outcome.done..).unwrap_or_default();
        }
        if let Some(walk) = self.walk(policies, at) {
            (walk.removed, walk.due) = (found.through, found.through);
        }
        self.note_progress(policies, at, found)
    }

    /// Where much was passed over that others govern, the file is told, so that nobody goes there again.
    fn note_progress(&mut self, policies: &Arc<Policies>, at: usize, found: &Found) -> Result<bool> {
        let from = policies.get(at).map_or(0, |policy| policy.removed_through);
        let is_far = found.through > from + 16 * due::PAGE as u64;
        if found.rows.is_empty() && is_far {
            return Ok(!self.remove(policies, at, &[], Some(found.through), None)?.is_stale);
        }
        Ok(true)
    }

    /// What is due is kept for consumers at first.
    fn keep(&mut self, policies: &Policies, at: usize, found: &Found) -> Result<()> {
        let counted = policies.get(at).map_or(0, |policy| policy.counted_through);
        if let Some(walk) = self.walk(policies, at) {
            walk.due = found.through;
            walk.kept_messages += found.rows.iter().filter(|(id, _)| *id <= counted).count() as u64;
            walk.kept_bytes += found.rows.iter().map(|(_, bytes)| bytes).sum::<u64>();
        }
        Ok(())
    }

    /// Of what is kept, removes what nobody needs any more, and what exceeds the cap.
    fn remove_kept(&mut self, policies: &Arc<Policies>, at: usize) -> Result<bool> {
        loop {
            self.shared.check_stopped()?;
            let Some(policy) = policies.get(at) else { return Ok(false) };
            let (filter, cap) = (policy.filter.clone(), policy.limits.keep_unacked.unwrap_or(u64::MAX));
            let Some(walk) = self.walk(policies, at).copied() else { return Ok(false) };
            if walk.removed >= walk.due {
                return Ok(true);
            }
            let seen = &mut self.state.seen;
            let (found, forced) = self.shared.log.read("looking for what consumers need", |conn| {
                while seen.look(conn, &filter)? {}
                let floor = seen.floor(conn, &filter)?;
                due::find_kept(conn, policies, at, &walk, (floor, cap))
            })?;
            if forced > 0 && !walk.warned {
                tracing::warn!(
                    filter = filter.as_str(),
                    cap,
                    "events go that a consumer has not acknowledged: more are kept for it than the policy's cap"
                );
            }
            let keep = Some((Arc::new(self.state.seen.clone()), forced));
            let (mut rows, mut left) = (&found.rows[..], forced);
            while !rows.is_empty() {
                let keep = keep.clone().map(|(seen, _)| (seen, left));
                let outcome = self.remove(policies, at, rows, Some(found.through), keep)?;
                let (done, rest) = rows.split_at(outcome.done.min(rows.len()));
                self.let_go(policies, at, done, forced > 0);
                if outcome.is_stale || outcome.is_kept {
                    return Ok(!outcome.is_stale);
                }
                (rows, left) = (rest, left.saturating_sub(outcome.done));
            }
            if let Some(walk) = self.walk(policies, at) {
                walk.removed = walk.removed.max(found.through);
            }
            if !found.more {
                return Ok(true);
            }
        }
    }

    fn let_go(&mut self, policies: &Policies, at: usize, rows: &[Row], warned: bool) {
        let counted = policies.get(at).map_or(0, |policy| policy.counted_through);
        let Some(walk) = self.walk(policies, at) else { return };
        walk.warned |= warned;
        for (id, bytes) in rows {
            walk.removed = *id;
            walk.kept_messages = walk.kept_messages.saturating_sub(u64::from(*id <= counted));
            walk.kept_bytes = walk.kept_bytes.saturating_sub(*bytes);
        }
    }

    /// One transaction, and the rest after it.
    pub(super) fn remove(
        &mut self,
        policies: &Arc<Policies>,
        at: usize,
        rows: &[Row],
        through: Option<u64>,
        keep: Option<(Arc<crate::sqlite::prune::keep::Seen>, usize)>,
    ) -> Result<Outcome> {
        let batch = self.pacing.batch(Instant::now());
        let whole = rows.len() <= batch.rows;
        let rows = rows[..rows.len().min(batch.rows)].to_vec();
        let last = rows.last().map(|(id, _)| *id);
        let through = through.and_then(|through| if whole { Some(through) } else { last });
        let (policies, clock) = (Arc::clone(policies), self.clock());
        let outcome = self.write(Remove { policies, at, rows, through, keep, batch, clock })?;
        (self.pruned.events, self.pruned.bytes) =
            (self.pruned.events + outcome.events, self.pruned.bytes + outcome.bytes);
        self.rest(outcome.done)?;
        Ok(outcome)
    }

    fn rest(&mut self, rows: usize) -> Result<()> {
        let traffic = self.traffic()?;
        self.shared.rest(self.pacing.rest(traffic, rows, Instant::now()))
    }

    /// Rises with what is published, by whomever, and with what else this bus commits.
    fn traffic(&self) -> Result<u64> {
        let newest = self.shared.log.read("looking at the traffic", events::newest)?;
        Ok(newest + self.shared.commits.load(Ordering::Relaxed))
    }

    /// Sees to what else is kept for a time.
    fn tidy(&mut self) -> Result<()> {
        let (now, wall) = (self.now, self.shared.options.clock.unix_millis());
        loop {
            self.shared.check_stopped()?;
            let (before, is_due) = self.shared.log.read("looking for old dead letters", |conn| {
                let age = manage::dead_letter_age(conn)?;
                let before = age.map(|age| now.saturating_sub(millis(age)));
                let letters = match before {
                    Some(before) => !dead_letters::died_before(conn, before, 1)?.is_empty(),
                    None => false,
                };
                Ok((before, letters || dedup::has_expired(conn, wall)?))
            })?;
            if !is_due {
                return Ok(());
            }
            let (letters, ids) = self.write(Tidy { died_before: before })?;
            self.pruned.dead_letters += letters;
            self.pruned.message_ids += ids;
            if letters + ids == 0 {
                return Ok(());
            }
            self.rest((letters + ids) as usize)?;
        }
    }

    /// Gives pages back that are not going to be used soon.
    fn give_back(&mut self) -> Result<()> {
        loop {
            self.shared.check_stopped()?;
            let space = self.shared.log.read("looking for free pages", prunable::space)?;
            let Some((pages, free)) = space else { return Ok(()) };
            let leave = FREE_PAGES.max(pages / 10);
            if free <= leave {
                return Ok(());
            }
            let batch = self.pacing.batch(Instant::now());
            let given = self.write(GiveBack { leave, batch })?;
            self.pruned.pages += given;
            if given == 0 {
                return Ok(());
            }
            self.rest(batch.rows)?;
        }
    }

    pub(super) fn write<O: Operation>(&mut self, operation: O) -> Result<O::Output> {
        let writer = self.shared.links.writer().ok_or_else(Error::closed)?;
        if self.lease {
            if !writer.run_blocking(self.state.turn.lease())? {
                self.state.is_anothers = true;
                return Err(Error::closed());
            }
            self.lease = false;
        }
        writer.run_blocking(operation)
    }
}
