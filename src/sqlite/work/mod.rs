//! Requests and jobs: who waits for them in this process, who serves them, and what time does to them.

mod callers;
mod claim;
pub(crate) mod dead;
mod desk;
mod fate;
mod follow;
pub(crate) mod jobs;
mod request;
mod services;
mod settle;
mod tidy;
mod timers;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::handler::Handler;
use crate::reply::Replies;
use crate::request::RequestParts;
use crate::retry::millis;
use crate::serve::{ServeParts, Service};
use crate::service::{Desk, Pump, PumpHandle, Ticket};
use crate::sqlite::builder::Options;
use crate::sqlite::links::Links;
use crate::sqlite::mortality::{Heir, Mortality};
use crate::sqlite::tables::peers::PeerRow;
use crate::sqlite::wake::WakeBits;
use crate::sqlite::watcher::Watcher;
use crate::sqlite::writer::Writer;
use callers::{Callers, Waiter, Wanted};
use request::{Ask, Consume, Pending, Withdraw};
use services::Services;
use tidy::ReleaseAll;
use timers::Timers;

/// The part of a bus that requests, serves and keeps jobs.
pub(crate) struct Work {
    me: Weak<Work>,
    options: Options,
    links: Arc<Links>,
    watcher: Arc<Watcher>,
    callers: Callers,
    services: Services,
    timers: Mutex<Timers>,
    mortality: Arc<Mortality>,
    chores: Mutex<follow::Chores>,
    /// Requests whose replies were read, to be removed with the next one that is made, or by and by.
    consumed: Mutex<Vec<i64>>,
    next_id: AtomicU64,
    closing: AtomicBool,
}

/// Replies that were read before they go along with a request; one at a time would make each request dearer.
const CONSUME_AT: usize = 32;

impl Work {
    pub(crate) fn new(
        options: Options,
        links: Arc<Links>,
        watcher: Arc<Watcher>,
        mortality: Arc<Mortality>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Work>| Self {
            me: me.clone(),
            options,
            links,
            watcher,
            callers: Callers::default(),
            services: Services::default(),
            timers: Mutex::default(),
            mortality,
            chores: Mutex::default(),
            consumed: Mutex::default(),
            next_id: AtomicU64::new(1),
            closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// What says which peer this is; `None` where the system cannot tell whether a peer lives.
    pub(crate) fn slot(&self) -> Option<i64> {
        self.links.presence.as_ref().map(|presence| presence.slot())
    }

    /// Which writer this is the work of.
    pub(crate) fn writer_address(&self) -> usize {
        self.links.writer().map_or(0, |writer| writer.address())
    }

    /// Makes a request.
    pub(crate) async fn call(&self, request: RequestParts, with_parts: bool) -> Result<Replies> {
        request.check_size(self.options.max_payload)?;
        let (work, writer) = (self.me()?, self.writer()?);
        if self.callers.is_first_call() {
            self.watcher.start()?;
            self.watcher.wake();
        }
        let timeout = request.timeout;
        let sleep = Box::pin(tokio::time::sleep(timeout));
        let deadline = self.options.clock.awake_millis().saturating_add(millis(timeout));
        let waiter = Waiter::new(if with_parts { Wanted::Parts } else { Wanted::Reply }, jobs::new_id());
        // From here on it is taken back if it is dropped.
        let pending = Pending::new(Arc::clone(&work), Arc::clone(&waiter), sleep, timeout);
        let consumed = self.take_consumed(CONSUME_AT);
        let asked = writer.run(Ask { work, request, deadline, waiter, consumed });
        // A file that is locked for longer is no answer in time.
        tokio::time::timeout(timeout, asked).await.map_err(|_| no_answer(timeout))??;
        Ok(Replies::new(pending))
    }

    /// The replies to a job that is there.
    pub(crate) fn follow_job(&self, sequence: i64, id: &str) -> Result<Replies> {
        let work = self.me()?;
        self.check_open()?;
        self.watcher.start()?;
        let waiter = Waiter::new(Wanted::Job, id.to_owned());
        self.callers.add(sequence, &waiter);
        if let Err(error) = self.check_open() {
            self.callers.abandon(&waiter);
            return Err(error);
        }
        self.timers().read_soon();
        self.look_for_replies();
        Ok(Replies::new(desk::Following::new(work, waiter)))
    }

    /// Begins a service.
    pub(crate) async fn serve(&self, serve: ServeParts, handler: Arc<dyn Handler>) -> Result<Service> {
        let work = self.me()?;
        self.check_open()?;
        self.watcher.start()?;
        let pump = Pump::start(Arc::clone(&work) as Arc<dyn Desk>, serve, handler);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.services.add(id, &pump);
        let (ended, of) = (Arc::clone(&pump), Arc::clone(&work));
        tokio::spawn(async move {
            ended.ended().await;
            of.services.forget(id);
        });
        // Dropped with the future, it ends the service.
        let handle = PumpHandle::new(Arc::clone(&pump), move || {
            work.services.leave(id);
            work.announce_some_time();
            Box::pin(async move { work.written().await })
        });
        self.announce().await?;
        if self.closing.load(Ordering::SeqCst) {
            return Err(Error::closed());
        }
        self.timers().read_soon();
        self.watcher.wake();
        Ok(Service::new(handle))
    }

    /// Whether a living peer serves this subject.
    pub(crate) fn is_served(&self, subject: &str, peers: &[PeerRow]) -> bool {
        if self.services.filters().iter().any(|filter| filter.matches(subject)) {
            return true;
        }
        let serves = |peer: &PeerRow| {
            let mut filters = peer.serves.iter().flat_map(|serves| serves.lines());
            filters.any(|line| Filter::new(line).is_ok_and(|filter| filter.matches(subject)))
        };
        let Some(presence) = &self.links.presence else { return false };
        peers.iter().any(|peer| serves(peer) && !presence.is_self(peer.slot) && presence.is_alive(peer.slot))
    }

    /// This process has committed something that concerns these.
    pub(crate) fn committed(&self, changed: WakeBits) {
        if !self.services.is_empty() {
            self.services.committed(changed);
        }
        if changed == WakeBits::EVERYTHING && !self.callers.is_empty() {
            self.look_for_replies();
        }
    }

    /// Times in the file are others than they were.
    pub(crate) fn timers_changed(&self) {
        if self.minds_time() {
            self.timers().read_soon();
            self.watcher.wake();
        }
    }

    /// Whether anybody here would miss what time does: who serves, and who waits.
    fn minds_time(&self) -> bool {
        !self.services.is_empty() || !self.callers.is_empty()
    }

    /// Has the watcher look for what callers of this process wait for.
    pub(crate) fn look_for_replies(&self) {
        if !self.callers.is_empty() {
            self.watcher.wake();
        }
    }

    /// Has the watcher look for what has changed.
    pub(crate) fn wake_watcher(&self) {
        self.watcher.wake();
    }

    /// Everybody looks, at the clocks as well.
    pub(crate) fn nudge(&self) {
        self.services.committed(WakeBits::EVERYTHING);
        self.timers().read_soon();
    }

    /// The handler of this ticket is to stop.
    pub(crate) fn stop(&self, ticket: Ticket) {
        self.services.stop(ticket);
    }

    /// Has the watcher look for what was cancelled.
    pub(crate) fn stop_cancelled(&self) {
        if !self.services.is_empty() {
            self.watcher.wake();
        }
    }

    /// Nobody waits for this request any more.
    pub(crate) fn give_up(&self, waiter: &Arc<Waiter>) {
        if let Some(sequence) = self.callers.abandon(waiter) {
            if let Ok(work) = self.me() {
                self.links.write_some_time(Withdraw { work, sequence, waiter: Arc::clone(waiter) });
            }
        } else if waiter.sequence() != 0 {
            // It had arrived, and nobody looked.
            self.consumed(waiter.sequence());
        }
    }

    /// The final reply to this request was read.
    pub(crate) fn consumed(&self, sequence: i64) {
        if sequence != 0 {
            self.consumed.lock().unwrap_or_else(PoisonError::into_inner).push(sequence);
        }
    }

    /// Goes on with a wildcard service where one with its filter was.
    fn in_round<T>(&self, filter: &Filter, run: impl FnOnce(&mut claim::Round, u64) -> T) -> T {
        self.services.in_round(filter, run)
    }

    /// Removes what was read, if nothing else does; called now and then.
    pub(crate) fn upkeep(&self) {
        let consumed = self.take_consumed(1);
        if !consumed.is_empty() {
            self.links.write_some_time(Consume { consumed });
        }
    }

    /// Ends services in good order, as long as their grace periods last; takes nothing new from here on.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        let stopping: Vec<_> = self
            .services
            .pumps()
            .into_iter()
            .map(|pump| tokio::spawn(async move { pump.stop().await }))
            .collect();
        for stopping in stopping {
            // One that was interrupted has ended as well.
            let _ = stopping.await;
        }
    }

    /// Ends what is left: what was held is given to others.
    pub(crate) fn stop_all(&self) {
        self.closing.store(true, Ordering::SeqCst);
        let pumps = self.services.pumps();
        pumps.iter().for_each(|pump| pump.end(None));
        if let Some(slot) = self.slot().filter(|_| !pumps.is_empty()) {
            self.links.write_leaving(ReleaseAll { slot });
        }
    }

    /// Ends everybody's wait; after the last of them was written down.
    pub(crate) fn end_calls(&self) {
        self.callers.fail(&Error::closed());
    }

    fn announce_some_time(&self) {
        if let Some(registration) = self.announcement() {
            self.links.write_some_time(registration);
        }
    }

    /// Returns when what is queued was written, or could not be.
    async fn written(&self) {
        if let Some(writer) = self.links.writer() {
            let _ = writer.run(Consume { consumed: Vec::new() }).await;
        }
    }

    /// Has others know which subjects are served here.
    async fn announce(&self) -> Result<()> {
        match (self.announcement(), self.links.writer()) {
            (Some(registration), Some(writer)) => writer.run(registration).await,
            _ => Ok(()),
        }
    }

    /// What tells others which subjects are served here.
    fn announcement(&self) -> Option<crate::sqlite::peers::Register> {
        let filters: Vec<String> =
            self.services.filters().iter().map(|filter| filter.as_str().to_owned()).collect();
        self.links.presence.as_ref()?.serving(filters.join("\n"))
    }

    fn take_consumed(&self, at_least: usize) -> Vec<i64> {
        let mut consumed = self.consumed.lock().unwrap_or_else(PoisonError::into_inner);
        if consumed.len() < at_least { Vec::new() } else { std::mem::take(&mut *consumed) }
    }

    fn timers(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_open(&self) -> Result<()> {
        if self.closing.load(Ordering::SeqCst) { Err(Error::closed()) } else { Ok(()) }
    }

    fn writer(&self) -> Result<Arc<Writer>> {
        self.check_open()?;
        self.last_writer()
    }

    /// For what is finished while the bus closes, and still written.
    fn last_writer(&self) -> Result<Arc<Writer>> {
        self.links.writer().ok_or_else(Error::closed)
    }

    fn me(&self) -> Result<Arc<Self>> {
        self.me.upgrade().ok_or_else(Error::closed)
    }
}

impl Heir for Work {
    fn somebody_died(&self) {
        self.timers_changed();
    }
}

fn no_answer(timeout: Duration) -> Error {
    let message = format!("no answer within {timeout:?}; the request was withdrawn");
    Error::new(ErrorKind::RequestTimeout, message)
}
