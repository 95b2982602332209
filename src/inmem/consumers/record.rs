//! One consumer: its settings, its members, and what either policy keeps of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::cumulative::Cumulative;
use super::explicit::Explicit;
use super::fate::Scene;
use super::wanted::Wanted;
use super::{Changes, Handed};
use crate::consumer::AckPolicy;
use crate::consumer_info::ConsumerInfo;
use crate::consumer_settings::ConsumerSettings;
use crate::defaults::PENDING_COUNTED;
use crate::delivery::Settlement;
use crate::error::{Error, ErrorKind, Result};
use crate::inmem::log::{Log, Start};
use crate::inmem::requests::{Due, Now, time};
use crate::retry::millis;

#[derive(Debug)]
pub(super) struct Record {
    name: Arc<str>,
    settings: ConsumerSettings,
    wanted: Wanted,
    course: Course,
    members: HashMap<u64, Reader>,
    /// In awake milliseconds.
    without_members_since: Option<i64>,
    paused: bool,
    created_at: i64,
    /// What is entered in the queues of due times.
    pub(super) armed: Due,
}

#[derive(Debug)]
enum Course {
    Explicit(Explicit),
    Cumulative(Cumulative),
}

/// What is known of a member.
#[derive(Debug, Default)]
struct Reader {
    waker: Option<Waker>,
    /// What it is told at last.
    last: Option<Error>,
}

impl Record {
    pub(super) fn new(name: Arc<str>, settings: ConsumerSettings, start: Start, now: Now) -> Self {
        let course = match settings.ack_policy {
            AckPolicy::Explicit => Course::Explicit(Explicit::default()),
            AckPolicy::Cumulative => Course::Cumulative(Cumulative::default()),
        };
        Self {
            name,
            wanted: Wanted::new(settings.filters.clone(), start),
            settings,
            course,
            members: HashMap::new(),
            without_members_since: None,
            paused: false,
            created_at: now.unix,
            armed: Due::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn settings(&self) -> &ConsumerSettings {
        &self.settings
    }

    /// Takes on settings that may have changed; what had stopped goes on.
    pub(super) fn reopen(&mut self, settings: ConsumerSettings, changes: &mut Changes) {
        self.wanted.filters.clone_from(&settings.filters);
        self.settings = settings;
        if let Course::Cumulative(cumulative) = &mut self.course {
            cumulative.unstop();
        }
        self.wake(changes);
    }

    pub(super) fn join(&mut self, member: u64) {
        self.without_members_since = None;
        self.members.insert(member, Reader::default());
        if let Course::Cumulative(cumulative) = &mut self.course {
            cumulative.join(member, &self.wanted);
        }
    }

    pub(super) fn leave(&mut self, member: u64, now: Now, changes: &mut Changes) {
        let Some(reader) = self.members.remove(&member) else {
            return;
        };
        changes.wakers.extend(reader.waker);
        if self.members.is_empty() {
            self.without_members_since = Some(now.awake);
        }
        if let Course::Cumulative(cumulative) = &mut self.course
            && cumulative.leave(member)
        {
            self.wake(changes);
        }
    }

    pub(super) fn poll(
        &mut self,
        member: u64,
        waker: &Waker,
        log: &Log,
        now: Now,
        changes: &mut Changes,
    ) -> Poll<Result<Handed>> {
        if let Some(error) = self.members.get_mut(&member).and_then(|reader| reader.last.take()) {
            self.leave(member, now, changes);
            return Poll::Ready(Err(error));
        }
        let next = match &mut self.course {
            _ if self.paused => None,
            Course::Explicit(explicit) => explicit.next(&mut self.wanted, &self.settings, log, now),
            Course::Cumulative(cumulative) => cumulative.next(member, &mut self.wanted, log, now),
        };
        if let Some(next) = next {
            return Poll::Ready(next);
        }
        if let Some(reader) = self.members.get_mut(&member)
            && !reader.waker.as_ref().is_some_and(|before| before.will_wake(waker))
        {
            changes.wakers.extend(reader.waker.replace(waker.clone()));
        }
        Poll::Pending
    }

    pub(super) fn settle(
        &mut self,
        member: u64,
        handed: &Handed,
        settlement: &Settlement,
        log: &Log,
        now: Now,
        changes: &mut Changes,
    ) -> Result<()> {
        let mut scene = Scene { name: &self.name, settings: &self.settings, now, changes };
        match &mut self.course {
            Course::Explicit(explicit) => {
                let had_room = explicit.has_room(&self.settings);
                explicit.settle(handed, settlement, &mut scene)?;
                if !had_room || matches!(settlement, Settlement::Release) {
                    self.wake(changes);
                }
            }
            Course::Cumulative(cumulative) => {
                let wanted = &mut self.wanted;
                let last = cumulative.settle(member, handed, settlement, wanted, log, &mut scene)?;
                if let Some(reader) = last.as_ref().and(self.members.get_mut(&member)) {
                    reader.last = last;
                }
                // Its member goes on at another place than it may have seen, or ends.
                self.wake(changes);
            }
        }
        Ok(())
    }

    pub(super) fn extend(&mut self, member: u64, handed: &Handed, by: Duration, now: Now) -> Result<()> {
        match &mut self.course {
            Course::Explicit(explicit) => explicit.extend(handed, by, now),
            // A place is held as long as its member has it open.
            Course::Cumulative(cumulative) => cumulative.check(member, &self.wanted, handed),
        }
    }

    pub(super) fn seek(&mut self, start: Start, changes: &mut Changes) {
        self.wanted.seek(start);
        match &mut self.course {
            Course::Explicit(explicit) => explicit.clear(),
            Course::Cumulative(cumulative) => cumulative.seek(&self.wanted),
        }
        self.wake(changes);
    }

    pub(super) fn pause(&mut self) {
        self.paused = true;
    }

    pub(super) fn resume(&mut self, changes: &mut Changes) {
        self.paused = false;
        if let Course::Cumulative(cumulative) = &mut self.course {
            cumulative.unstop();
        }
        self.wake(changes);
    }

    /// Delivers an event anew, if the log still has it.
    pub(super) fn requeue(&mut self, sequence: u64, log: &Log, changes: &mut Changes) -> Result<()> {
        let Course::Explicit(explicit) = &mut self.course else {
            let message = format!(
                "consumer {:?} is cumulative, and has gone on behind event {sequence}: seek back, or publish it anew",
                self.name
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let Some(message) = log.get(sequence) else {
            let message = format!("event {sequence} is no longer in the log");
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        // One that was moved back comes to it again anyway.
        if sequence <= self.wanted.position {
            explicit.requeue(message.clone());
            self.wake(changes);
        }
        Ok(())
    }

    /// Does what has become due; `true` if it has been without members for too long.
    pub(super) fn advance(&mut self, now: Now, changes: &mut Changes) -> bool {
        let mut scene = Scene { name: &self.name, settings: &self.settings, now, changes };
        let changed = match &mut self.course {
            Course::Explicit(explicit) => explicit.advance(&mut scene),
            Course::Cumulative(cumulative) => cumulative.advance(now),
        };
        if changed {
            self.wake(changes);
        }
        self.stays_until().is_some_and(|until| until <= now.awake)
    }

    pub(super) fn next_due(&self) -> Due {
        let mut due = match &self.course {
            Course::Explicit(explicit) => explicit.next_due(),
            Course::Cumulative(cumulative) => cumulative.next_due(),
        };
        due.awake = due.awake.into_iter().chain(self.stays_until()).min();
        due
    }

    /// Has all members look: one that is told may be gone before it does.
    pub(super) fn wake(&mut self, changes: &mut Changes) {
        changes.wakers.extend(self.members.values_mut().filter_map(|reader| reader.waker.take()));
    }

    pub(super) fn info(&self, log: &Log, now: Now) -> ConsumerInfo {
        let mut info = ConsumerInfo::new(&*self.name, self.settings.clone(), time(self.created_at));
        info.delivered = self.wanted.position;
        let mut oldest = None;
        match &self.course {
            Course::Explicit(explicit) => {
                explicit.describe(&mut info);
                oldest = explicit.oldest();
            }
            Course::Cumulative(cumulative) => cumulative.describe(&mut info),
        }
        let mut pending = self.wanted.behind(self.wanted.position, log);
        let counted = self.wanted.behind(self.wanted.position, log).take(PENDING_COUNTED + 1).count();
        info.num_pending += counted.min(PENDING_COUNTED) as u64;
        info.num_pending_is_exact = counted <= PENDING_COUNTED;
        info.lag = log.newest().saturating_sub(info.ack_floor);
        info.lag_millis = oldest
            .or_else(|| pending.next())
            .map_or(0, |oldest| u64::try_from(now.unix.saturating_sub(oldest.unix_millis())).unwrap_or(0));
        info.members = Some(self.members.len());
        info.paused = self.paused;
        info
    }

    fn stays_until(&self) -> Option<i64> {
        let since = self.without_members_since?;
        Some(since.saturating_add(millis(self.settings.inactive_threshold?)))
    }
}
