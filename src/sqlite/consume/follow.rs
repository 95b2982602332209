//! What the watcher does for consumers: it looks for changes of others, and minds the time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::retry::millis;
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::manage::Expire;
use crate::sqlite::consume::member::Member;
use crate::sqlite::consume::place::{Keep, PLACE};
use crate::sqlite::consume::tidy::{Release, Renew, Tidy};
use crate::sqlite::fault;
use crate::sqlite::mortality::Estate;
use crate::sqlite::tables::{consumers, members, meta};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::watcher::Follower;

const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Before something that could not be done at once is tried again.
const SHORT: Duration = Duration::from_millis(20);
const RIVALS_EVERY: Duration = Duration::from_secs(1);
/// Longer than a write is tried that nobody waits for.
const SAY_AGAIN: Duration = Duration::from_secs(2);

/// When what is done now and then is done next.
#[derive(Default)]
pub(super) struct Chores {
    sweep_at: Option<Instant>,
    rivals_at: Option<Instant>,
    keep_at: Option<Instant>,
}

impl Consumers {
    /// Tells members of what was changed by hand, or of a place that is free.
    fn look_for_changes(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let count = meta::number(conn, meta::CONSUMERS)?;
        if self.seen.swap(count, Ordering::SeqCst) == count {
            return Ok(false);
        }
        for member in self.members().iter() {
            let known = member.state().revision;
            if consumers::revision(conn, member.consumer)? == Some(known) {
                member.look();
            } else {
                member.reload();
            }
        }
        Ok(true)
    }

    fn see_to_time(&self, conn: &Connection) -> rusqlite::Result<Option<Duration>> {
        let (wall, awake, now) = (self.unix_millis(), self.awake_millis(), Instant::now());
        let members = self.members();
        // Most of them are idle, and need no more than a look.
        let busy: Vec<_> = members.iter().filter(|member| !member.is_quiet()).map(Arc::clone).collect();
        self.forget_the_gone(&busy, now);
        let mut next = self.renew(&busy, awake);
        next = next.into_iter().chain(self.keep_places(&members, now)).min();
        self.sweep(conn, wall, now)?;
        let mut timers = self.timers();
        let rivals: Vec<i64> = busy.iter().filter_map(|member| member.state().rival).collect();
        // Of a living process that has closed its bus nobody tells.
        let rivals_at = (!rivals.is_empty()).then(|| self.chores().rivals_at.unwrap_or(now));
        let look_at = self.mortality.look_at(Estate::Consumers).into_iter().chain(rivals_at).min();
        let mut dead = Vec::new();
        if timers.read(conn, now)? || look_at.is_some_and(|at| at <= now) {
            self.chores().rivals_at = Some(now + RIVALS_EVERY);
            let mut peers: Vec<i64> = timers.holders().chain(rivals).filter(|peer| *peer != 0).collect();
            peers.sort_unstable();
            peers.dedup();
            dead = self.mortality.dead_among(Estate::Consumers, &peers, conn)?;
        }
        for member in &busy {
            let is_free = member.state().rival.take_if(|rival| dead.contains(rival)).is_some();
            if is_free {
                member.look();
            }
        }
        if timers.is_over(awake, now) || !dead.is_empty() {
            // Until it is done; it may not get the lock in time.
            timers.changed();
            if let Ok(consumers) = self.me() {
                self.write_some_time(Tidy { consumers, dead });
            }
        }
        let due = timers.take_due(wall);
        next = next.into_iter().chain(timers.sleep(wall, awake, now)).min();
        drop(timers);
        if !due.is_empty() {
            members.iter().filter(|member| due.contains(&member.consumer)).for_each(|member| member.look());
        }
        let retry = busy.iter().filter_map(|member| self.retry(member, wall)).min();
        let deaths = look_at.map(|at| at.saturating_duration_since(now).max(SHORT));
        let next = next.into_iter().chain(retry).chain(deaths).min();
        let minded_at = next.map_or(i64::MAX, |next| awake.saturating_add(millis(next)));
        self.minded_at.store(minded_at, Ordering::SeqCst);
        Ok(next)
    }

    /// Renews what is held longer than a lease; when to do that next.
    fn renew(&self, members: &[Arc<Member>], awake: i64) -> Option<Duration> {
        let mut next = None::<i64>;
        for member in members {
            let stuck = member.take_stuck(awake);
            if !stuck.is_empty()
                && let Ok(consumers) = self.me()
            {
                self.write_some_time(Release { consumers, consumer: member.consumer, taken: stuck });
            }
            let lease = member.state().lease;
            let (renewals, then) = member.renewals(awake, lease);
            next = next.into_iter().chain(then).min();
            if !renewals.is_empty() {
                self.write_some_time(Renew { member: Arc::clone(member), renewals });
            }
        }
        next.map(|at| Duration::from_millis(at.saturating_sub(awake).max(0).cast_unsigned()))
    }

    /// Keeps the places of active members, where nobody can be told to be dead; when to do that next.
    fn keep_places(&self, members: &[Arc<Member>], now: Instant) -> Option<Duration> {
        if self.slot().is_some() {
            return None;
        }
        let every = Duration::from_millis(PLACE.cast_unsigned() / 3);
        {
            let mut chores = self.chores();
            if let Some(at) = chores.keep_at.filter(|at| now < *at) {
                return Some(at - now);
            }
            chores.keep_at = Some(now + every);
        }
        for member in members {
            if let Some(token) = member.state().token {
                self.write_some_time(Keep { consumer: member.consumer, token });
            }
            // Nobody tells of the death of who has the place.
            if member.state().rival.is_some() {
                member.look();
            }
        }
        Some(every)
    }

    /// Wakes a member whose pause is over; how long it lasts else.
    fn retry(&self, member: &Member, wall: i64) -> Option<Duration> {
        let at = member.state().retry_at?;
        if at <= wall {
            member.state().retry_at = None;
            member.look();
            return None;
        }
        Some(Duration::from_millis((at - wall).cast_unsigned()).min(SWEEP_EVERY))
    }

    /// Forgets those that have left and hold nothing more; says once more that they have left, where it could not be written.
    fn forget_the_gone(&self, members: &[Arc<Member>], now: Instant) {
        let mut any = false;
        for member in members {
            let (left, has_said_so, said_at) = {
                let state = member.state();
                (state.left, state.has_said_so, state.said_at)
            };
            if !left {
                continue;
            }
            any |= has_said_so;
            if !has_said_so
                && said_at.is_none_or(|at| now.duration_since(at) > SAY_AGAIN)
                && let Ok(consumers) = self.me()
            {
                self.write_some_time(consumers.leave(member));
            }
        }
        if any {
            self.forget(|member| {
                let has_said_so = member.state().has_said_so;
                has_said_so && !member.holds_any()
            });
        }
    }

    /// Looks once a minute for consumers that nobody has used for as long as they may be unused, and for members that
    /// have died.
    fn sweep(&self, conn: &Connection, wall: i64, now: Instant) -> rusqlite::Result<()> {
        {
            let mut chores = self.chores();
            if chores.sweep_at.is_some_and(|at| now < at) {
                return Ok(());
            }
            chores.sweep_at = Some(now + SWEEP_EVERY);
        }
        let Some(presence) = self.links.presence.as_ref().filter(|presence| presence.is_sure()) else {
            return Ok(());
        };
        let peers = members::all(conn)?.into_iter().map(|(_, peer)| peer);
        let mut dead: Vec<i64> = peers.filter(|peer| !presence.is_alive(*peer)).collect();
        dead.sort_unstable();
        dead.dedup();
        if !dead.is_empty() || !consumers::inactive(conn, wall)?.is_empty() {
            self.write_some_time(Expire { dead });
        }
        Ok(())
    }

    fn chores(&self) -> MutexGuard<'_, Chores> {
        self.chores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower for Consumers {
    fn is_active(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    fn interest(&self) -> WakeBits {
        *self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn glance(&self, snapshot: &Connection) -> Result<Option<bool>> {
        self.look(snapshot).map(Some)
    }

    fn look(&self, conn: &Connection) -> Result<bool> {
        self.timers().changed();
        // Room may have been made by others.
        self.members().iter().filter(|member| member.state().is_full).for_each(|member| member.look());
        self.look_for_changes(conn).map_err(|e| fault::error("looking for changed consumers", e))
    }

    fn tick(&self, conn: &Connection) -> Result<Option<Duration>> {
        self.see_to_time(conn).map_err(|e| fault::error("looking for what consumers are due", e))
    }

    /// Unless it is for good, inboxes wait for the file to be readable again.
    fn failed(&self, error: &Error, for_good: bool) {
        if for_good {
            self.members().iter().for_each(|member| member.fail(error));
        }
    }
}
