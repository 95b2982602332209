//! One pass: what is new is counted, and what is due is removed.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::defaults::CLOCK_JUMP;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::retention::Pruned;
use crate::retry::millis;
use crate::sqlite::prune::clock::RetentionClock;
use crate::sqlite::prune::due::{self, Found, Walk};
use crate::sqlite::prune::kept::Stepped;
use crate::sqlite::prune::manage;
use crate::sqlite::prune::pacing::Pacing;
use crate::sqlite::prune::policy::Policies;
use crate::sqlite::prune::remove::{Consent, GiveBack, Outcome, Recount, Remove, Row, Stale, Tidy};
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

    /// How far it is with a policy, which is one of these.
    pub(super) fn walk(&mut self, policies: &Policies, at: usize) -> &mut Walk {
        let (filter, from) = match policies.get(at) {
            Some(policy) => (policy.filter.clone(), policy.removed_through),
            None => (Filter::everything(), 0),
        };
        let new = Walk { removed: from, due: from, ..Walk::default() };
        let walk = self.state.walks.entry(filter).or_insert_with(|| new.clone());
        // Another process has gone on meanwhile: what is kept is added up anew.
        if walk.removed < from {
            *walk = new;
        }
        walk
    }

    /// Removes what is due of a policy.
    fn remove_due(&mut self, at: usize) -> Result<()> {
        loop {
            self.shared.check_stopped()?;
            let policies = self.read_policies()?;
            let Some(policy) = policies.get(at) else { return Ok(()) };
            match self.remove_page(&policies, at, policy.limits.keep_unacked.is_some())? {
                ControlFlow::Continue(true) | ControlFlow::Break(Stale::Consumers) => {}
                // The next pass goes by the new policies.
                ControlFlow::Continue(false) | ControlFlow::Break(Stale::Policies) => return Ok(()),
            }
        }
    }

    /// A page of what is due; whether there may be more.
    fn remove_page(&mut self, policies: &Arc<Policies>, at: usize, is_keeping: bool) -> Stepped<bool> {
        let wants = match is_keeping {
            true => match self.release(policies, at)? {
                ControlFlow::Continue(wants) => Some(wants),
                ControlFlow::Break(stale) => return Ok(ControlFlow::Break(stale)),
            },
            false => None,
        };
        let (walk, now) = (self.walk(policies, at).clone(), self.now);
        let found = self.shared.log.read("looking for what is due", |conn| {
            due::find(conn, policies, at, (&walk, wants.as_deref()), now)
        })?;
        let consent = wants.map_or(Consent::NotAsked, Consent::Given);
        let has_kept = walk.kept.messages + found.kept.messages > 0;
        if let ControlFlow::Break(stale) = self.remove_all(policies, at, (&found, has_kept), &consent)? {
            return Ok(ControlFlow::Break(stale));
        }
        let walk = self.walk(policies, at);
        (walk.kept.messages, walk.kept.bytes) =
            (walk.kept.messages + found.kept.messages, walk.kept.bytes + found.kept.bytes);
        walk.due = found.through;
        if !has_kept {
            walk.removed = found.through;
        }
        if let ControlFlow::Break(stale) = self.keep_within_cap(policies, at)? {
            return Ok(ControlFlow::Break(stale));
        }
        match found.untold {
            Some(id) => self.look_for_the_time(policies, at, id).map(ControlFlow::Continue),
            None => Ok(ControlFlow::Continue(found.more)),
        }
    }

    /// Removes what was found. Where nothing is kept in front of it, the file is told how far that goes.
    fn remove_all(
        &mut self,
        policies: &Arc<Policies>,
        at: usize,
        (found, has_kept): (&Found, bool),
        consent: &Consent,
    ) -> Stepped<()> {
        let through = (!has_kept).then_some(found.through);
        // Where much was passed over that others govern, the file is told as well, so that nobody goes there again.
        let from = policies.get(at).map_or(0, |policy| policy.removed_through);
        let is_far = through.is_some_and(|through| through > from + 16 * due::PAGE as u64);
        let mut rows = &found.rows[..];
        while !rows.is_empty() || is_far {
            let outcome = self.remove(policies, at, (rows, through), consent)?;
            if let Some(stale) = outcome.stale {
                return Ok(ControlFlow::Break(stale));
            }
            rows = rows.get(outcome.done..).unwrap_or_default();
            if rows.is_empty() {
                break;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Looks behind events that a clock far ahead has dated for one that tells when they were published; whether there is one.
    fn look_for_the_time(&mut self, policies: &Policies, at: usize, id: u64) -> Result<bool> {
        let now = self.now;
        let mut from = self.walk(policies, at).looked.max(id);
        loop {
            self.shared.check_stopped()?;
            let (telling, through) =
                self.shared.log.read("looking for an event that tells its time", |conn| {
                    prunable::first_dated(conn, from, due::PAGE, |time| !due::is_untold(time, now))
                })?;
            let walk = self.walk(policies, at);
            (walk.telling, walk.looked) = (telling, through);
            if telling.is_some() || through == from {
                return Ok(telling.is_some());
            }
            from = through;
        }
    }

    /// One transaction, and the rest after it. `through` is up to where nothing is left when all of these are gone.
    pub(super) fn remove(
        &mut self,
        policies: &Arc<Policies>,
        at: usize,
        (rows, through): (&[Row], Option<u64>),
        consent: &Consent,
    ) -> Result<Outcome> {
        let batch = self.pacing.batch(Instant::now());
        let whole = rows.len() <= batch.rows;
        let rows = rows[..rows.len().min(batch.rows)].to_vec();
        let last = rows.last().map(|(id, _)| *id);
        let through = through.and_then(|through| if whole { Some(through) } else { last });
        let (policies, clock, consent) = (Arc::clone(policies), self.clock(), consent.clone());
        let outcome = self.write(Remove { policies, at, rows, through, consent, batch, clock })?;
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
                let future = wall.max(now).saturating_add(millis(CLOCK_JUMP));
                let before = age.map(|age| (now.saturating_sub(millis(age)), future));
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
