//! What the watcher does for requests: it looks for replies, for what may be taken and what is to stop, and minds the time.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::service::Ticket;
use crate::sqlite::fault;
use crate::sqlite::mortality::Estate;
use crate::sqlite::tables::requests::{claim, keep};
use crate::sqlite::wake::WakeBits;
use crate::sqlite::watcher::Follower;
use crate::sqlite::work::Work;
use crate::sqlite::work::tidy::{Renew, Sweep, Tidy};

/// What is done seldom.
#[derive(Default)]
pub(super) struct Chores {
    sweep_at: Option<Instant>,
    /// Requests up to here are none that nobody can wait for.
    swept_through: i64,
}

const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// After a sweep that has left something.
const SWEEP_ON: Duration = Duration::from_secs(1);
/// Before something that could not be done at once is tried again.
const SHORT: Duration = Duration::from_millis(20);
/// Rows that one sweep looks at.
const SWEEP_ROWS: usize = 4096;
/// How long after its deadline a request may be removed by somebody else than its caller, in milliseconds.
const LONG_PAST: i64 = 60_000;

impl Work {
    fn look_now(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let mut concerned = false;
        if !self.callers.is_empty() {
            concerned |= self.callers.look(conn)?;
        }
        if !self.services.is_empty() {
            // Before anything new is taken: of what is taken now, nothing can have been cancelled yet.
            let busy = self.services.is_busy();
            concerned |= self.services.look(conn)?;
            if busy {
                for (sequence, attempt) in claim::to_cancel(conn, self.slot())? {
                    self.services.stop(Ticket { sequence, attempt });
                }
            }
        }
        Ok(concerned)
    }

    /// Looks once a minute for rows that are of no use to anybody.
    fn sweep(&self, conn: &Connection, wall: i64, awake: i64, now: Instant) -> rusqlite::Result<()> {
        let after = {
            let mut chores = self.chores();
            if chores.sweep_at.is_some_and(|at| now < at) {
                return Ok(());
            }
            chores.sweep_at = Some(now + SWEEP_EVERY);
            chores.swept_through
        };
        let (orphans, through) = keep::orphans(conn, after, awake, LONG_PAST, SWEEP_ROWS)?;
        let past = keep::has_past(conn, wall)?;
        {
            let mut chores = self.chores();
            if through.is_some() || past {
                chores.sweep_at = Some(now + SWEEP_ON);
            }
            chores.swept_through = through.unwrap_or(after);
        }
        if !orphans.is_empty() || past {
            self.links.write_some_time(Sweep { orphans });
        }
        Ok(())
    }

    fn see_to_time(&self, conn: &Connection) -> Result<Option<Duration>> {
        let failed = |e| fault::error("looking for what is due", e);
        let (wall, awake, now) =
            (self.options.clock.unix_millis(), self.options.clock.awake_millis(), Instant::now());
        self.sweep(conn, wall, awake, now).map_err(failed)?;
        if !self.minds_time() {
            return Ok(None);
        }
        let work = self.me()?;
        let (renewals, next) = self.services.renewals(awake);
        if !renewals.is_empty() {
            self.links.write_some_time(Renew { work: std::sync::Arc::clone(&work), renewals });
        }
        let mut timers = self.timers();
        let mut dead = Vec::new();
        let look_at = self.mortality.look_at(Estate::Requests);
        if timers.read(conn, now).map_err(failed)?.is_some() || look_at.is_some_and(|at| at <= now) {
            dead = self.mortality.dead_among(Estate::Requests, timers.holders(), conn).map_err(failed)?;
        }
        if timers.is_due(wall, awake, now) || !dead.is_empty() {
            // Until it is done; it may not get the lock in time.
            timers.changed();
            self.links.write_some_time(Tidy { work, dead });
        }
        let renewal = next.map(|at| Duration::from_millis(at.saturating_sub(awake).max(0).cast_unsigned()));
        let deaths = look_at.map(|at| at.saturating_duration_since(now).max(SHORT));
        Ok(timers.sleep(wall, awake, now).into_iter().chain(renewal).chain(deaths).min())
    }

    fn chores(&self) -> std::sync::MutexGuard<'_, Chores> {
        self.chores.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Follower for Work {
    fn is_active(&self) -> bool {
        self.callers.has_called() || !self.callers.is_empty() || !self.services.is_empty()
    }

    fn interest(&self) -> WakeBits {
        let mut bits = self.callers.interest();
        bits.add(self.services.interest());
        if let Some(slot) = self.slot() {
            bits.add(WakeBits::peer(slot));
        }
        bits
    }

    fn glance(&self, snapshot: &Connection) -> Result<Option<bool>> {
        self.look(snapshot).map(Some)
    }

    fn look(&self, conn: &Connection) -> Result<bool> {
        self.timers().changed();
        self.look_now(conn).map_err(|e| fault::error("looking for requests", e))
    }

    fn tick(&self, conn: &Connection) -> Result<Option<Duration>> {
        self.see_to_time(conn)
    }

    /// Unless it is for good, callers and services wait for the file to be readable again.
    fn failed(&self, error: &Error, for_good: bool) {
        if for_good {
            self.callers.fail(error);
            self.services.pumps().iter().for_each(|pump| pump.end(Some(error.clone())));
        }
    }
}
