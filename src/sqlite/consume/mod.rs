//! Consumers: named readers whose positions live in the file.
//!
//! An inbox reads ahead in the log as any stream does, and a small ledger says what of it is whose: for a cumulative
//! consumer a position and who may move it, for an explicit one what is in flight. All that an inbox does is done when it is
//! polled; the watcher minds the time, and wakes.

mod claim;
mod control;
mod cumulative;
mod effect;
mod explicit;
mod fate;
mod feed;
mod follow;
pub(crate) mod info;
mod load;
mod manage;
mod member;
mod open;
mod pacing;
mod place;
mod settle;
mod tidy;
mod timers;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::consumer::{AckPolicy, ConsumerParts};
use crate::error::{Error, Result};
use crate::future::BoxFuture;
use crate::inbox::Inbox;
use crate::sqlite::builder::Options;
use crate::sqlite::links::Links;
use crate::sqlite::mortality::{Heir, Mortality};
use crate::sqlite::stream::Readers;
use crate::sqlite::tables::consumers::ConsumerRow;
use crate::sqlite::wake::WakeBits;
use crate::sqlite::watcher::Watcher;
use crate::sqlite::writer::{Operation, Writer};
use cumulative::CumulativeInbox;
use explicit::ExplicitInbox;
use follow::Chores;
pub(crate) use manage::Deed;
use member::Member;
use tidy::{Leave, LeaveAll};
use timers::Timers;

/// Before a step that failed is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// The part of a bus that keeps consumers.
pub(crate) struct Consumers {
    me: Weak<Consumers>,
    options: Options,
    links: Arc<Links>,
    watcher: Arc<Watcher>,
    mortality: Arc<Mortality>,
    readers: Readers,
    members: Mutex<Arc<Vec<Arc<Member>>>>,
    count: AtomicUsize,
    /// What wakes them.
    interest: Mutex<WakeBits>,
    next_id: AtomicU64,
    /// The count of changes that was seen last.
    seen: AtomicI64,
    timers: Mutex<Timers>,
    /// What is done now and then.
    chores: Mutex<Chores>,
    closing: AtomicBool,
}

impl Consumers {
    pub(crate) fn new(
        options: Options,
        links: Arc<Links>,
        watcher: Arc<Watcher>,
        mortality: Arc<Mortality>,
        readers: Readers,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Consumers>| Self {
            me: me.clone(),
            options,
            links,
            watcher,
            mortality,
            readers,
            members: Mutex::default(),
            count: AtomicUsize::new(0),
            interest: Mutex::default(),
            next_id: AtomicU64::new(1),
            seen: AtomicI64::new(0),
            timers: Mutex::default(),
            chores: Mutex::default(),
            closing: AtomicBool::new(false),
        })
    }

    /// Opens a consumer as one of its members.
    pub(crate) async fn open(&self, parts: ConsumerParts) -> Result<Inbox> {
        let (seat, consumer) = self.sit_down(parts).await?;
        let name = consumer.name.clone();
        if consumer.settings.ack_policy == AckPolicy::Cumulative {
            return Ok(Inbox::new(name, CumulativeInbox::new(seat, consumer)));
        }
        Ok(Inbox::new(name, ExplicitInbox::new(seat, consumer)))
    }

    /// Makes the consumer if it is not there, and a member of it.
    async fn sit_down(&self, parts: ConsumerParts) -> Result<(Seat, ConsumerRow)> {
        let consumers = self.me()?;
        self.check_open()?;
        self.watcher.start()?;
        let opened = open::open(&consumers, parts).await?;
        self.check_open()?;
        Ok(opened)
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Everybody looks, at the clocks as well.
    pub(crate) fn nudge(&self) {
        self.look_all();
    }

    /// Inboxes end.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.members().iter().for_each(|member| member.close());
    }

    /// Gives back what is left.
    pub(crate) fn stop(&self) {
        self.close();
        let members = self.members();
        if members.is_empty() {
            return;
        }
        let token = |member: &Arc<Member>| Some((member.consumer, member.state().token?));
        self.links.write_leaving(LeaveAll {
            peer: self.slot().unwrap_or(0),
            tokens: members.iter().filter_map(token).collect(),
            taken: members.iter().map(|member| (member.consumer, member.take_ready())).collect(),
            consumers: members.iter().map(|member| member.consumer).collect(),
        });
    }

    /// Times in the file are others than they were.
    fn timers_changed(&self) {
        self.timers().read_soon();
        self.watcher.wake();
    }

    /// Has the members of this consumer look for what they can take.
    fn look_at(&self, consumer: i64) {
        self.members().iter().filter(|member| member.consumer == consumer).for_each(|member| member.look());
    }

    /// Consumers were changed by hand.
    fn changed(&self) {
        self.watcher.wake();
        self.timers_changed();
    }

    fn look_all(&self) {
        self.members().iter().for_each(|member| member.look());
        self.timers_changed();
    }

    /// Whether the active member of a consumer is there, as far as can be told.
    fn has_place(&self, peer: i64, consumer: &ConsumerRow, awake: i64) -> bool {
        let is_here = || {
            let has_token = |member: &Arc<Member>| {
                let state = member.state();
                !state.left && state.token == Some(consumer.member_token)
            };
            self.members().iter().any(|member| member.consumer == consumer.id && has_token(member))
        };
        match &self.links.presence {
            Some(presence) if presence.is_self(peer) => is_here(),
            Some(presence) if peer != 0 => presence.is_alive(peer) || !presence.is_sure(),
            // Of one that has no slot, only the time tells.
            _ => is_here() || consumer.member_until.is_none_or(|until| until > awake),
        }
    }

    /// What tells the members of this bus apart.
    fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn add(&self, member: &Arc<Member>) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut members).push(Arc::clone(member));
        self.interest.lock().unwrap_or_else(PoisonError::into_inner).add(WakeBits::consumer(member.consumer));
        self.count.store(members.len(), Ordering::SeqCst);
        drop(members);
        self.timers_changed();
    }

    /// Forgets those that have left and hold nothing more.
    fn forget(&self, gone: impl Fn(&Member) -> bool) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut members).retain(|member| !gone(member));
        let mut interest = WakeBits::NOTHING;
        members.iter().for_each(|member| interest.add(WakeBits::consumer(member.consumer)));
        *self.interest.lock().unwrap_or_else(PoisonError::into_inner) = interest;
        self.count.store(members.len(), Ordering::SeqCst);
    }

    fn members(&self) -> Arc<Vec<Arc<Member>>> {
        Arc::clone(&self.members.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What says which peer this is; `None` where the system cannot tell whether a peer lives.
    pub(crate) fn slot(&self) -> Option<i64> {
        self.links.presence.as_ref().map(|presence| presence.slot())
    }

    fn awake_millis(&self) -> i64 {
        self.options.clock.awake_millis()
    }

    fn unix_millis(&self) -> i64 {
        self.options.clock.unix_millis()
    }

    fn write_some_time<O: Operation>(&self, operation: O) {
        self.links.write_some_time(operation);
    }

    fn writer(&self) -> Result<Arc<Writer>> {
        self.links.writer().ok_or_else(Error::closed)
    }

    fn check_open(&self) -> Result<()> {
        if self.closing.load(Ordering::SeqCst) { Err(Error::closed()) } else { Ok(()) }
    }

    fn timers(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn me(&self) -> Result<Arc<Self>> {
        self.me.upgrade().ok_or_else(Error::closed)
    }
}

impl Heir for Consumers {
    fn somebody_died(&self) {
        self.timers_changed();
    }
}

/// What an inbox has of its consumer; dropping it leaves, once it was taken.
struct Seat {
    consumers: Arc<Consumers>,
    member: Arc<Member>,
    runtime: Handle,
    taken: AtomicBool,
}

impl Seat {
    fn new(consumers: &Arc<Consumers>, member: Arc<Member>, runtime: Handle) -> Self {
        Self { consumers: Arc::clone(consumers), member, runtime, taken: AtomicBool::new(false) }
    }

    /// It is in the file that the member is there.
    fn take(&self) {
        self.taken.store(true, Ordering::SeqCst);
        self.consumers.add(&self.member);
    }

    /// Leaves, and returns when that is written.
    async fn leave(&mut self) -> Result<()> {
        let Some(leave) = self.leaving() else { return Ok(()) };
        self.consumers.writer()?.run(leave).await
    }

    /// What tells everybody that this member has left, if it has not been told.
    fn leaving(&mut self) -> Option<Leave> {
        self.taken.swap(false, Ordering::SeqCst).then(|| self.consumers.leave(&self.member))
    }

    fn pause(&self, pause: Duration) -> BoxFuture<'static, ()> {
        let _entered = self.runtime.enter();
        Box::pin(tokio::time::sleep(pause))
    }
}

impl Consumers {
    fn leave(self: &Arc<Self>, member: &Arc<Member>) -> Leave {
        let taken = member.take_ready();
        let token = {
            let mut state = member.state();
            (state.left, state.said_at) = (true, Some(Instant::now()));
            state.token
        };
        let peer = self.slot().unwrap_or(0);
        Leave { consumers: Arc::clone(self), member: Arc::clone(member), peer, token, taken }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(leave) = self.leaving() {
            self.consumers.write_some_time(leave);
        }
    }
}
