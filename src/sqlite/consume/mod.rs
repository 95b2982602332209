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
mod recovery;
mod seat;
mod settle;
mod tidy;
mod timers;

use crate::consumer::{AckPolicy, ConsumerParts};
use crate::error::{Error, Result};
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
pub(crate) use manage::Change;
use member::Member;
use seat::Seat;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tidy::LeaveAll;
use timers::Timers;

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
    /// The count of changes that was seen last.
    seen: AtomicI64,
    timers: Mutex<Timers>,
    /// When time is minded next at the latest, in awake milliseconds.
    minded_at: AtomicI64,
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
            seen: AtomicI64::new(0),
            timers: Mutex::default(),
            minded_at: AtomicI64::new(i64::MAX),
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
            peer: self.peer(),
            tokens: members.iter().filter_map(token).collect(),
            taken: members.iter().map(|member| (member.consumer, member.take_all_ready())).collect(),
            members: members.iter().map(|member| (member.consumer, member.id)).collect(),
        });
    }

    /// Times in the file are others than they were.
    fn timers_changed(&self) {
        self.timers().read_soon();
        self.watcher.wake();
    }

    /// Something is to be seen to then, in awake milliseconds. Most often the watcher is awake before anyhow.
    fn mind(&self, at: i64) {
        self.timers().changed();
        if at < self.minded_at.load(Ordering::SeqCst) {
            self.watcher.wake();
        }
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
            let has_it = |member: &Arc<Member>| {
                member.consumer == consumer.id
                    && Some(member.id) == consumer.member_id
                    && !member.state().left
            };
            self.members().iter().any(has_it)
        };
        match &self.links.presence {
            Some(presence) if presence.is_self(peer) => is_here(),
            Some(presence) if peer != 0 => presence.is_alive(peer) || !presence.is_sure(),
            // Of one that has no slot, only the time tells.
            _ => is_here() || consumer.member_until.is_none_or(|until| until > awake),
        }
    }

    /// What tells members apart, those of other processes too: not all systems have slots.
    fn new_id() -> u64 {
        uuid::Uuid::new_v4().as_u64_pair().0 >> 1
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

    /// The same, as rows have it.
    fn peer(&self) -> i64 {
        self.slot().unwrap_or(0)
    }

    /// Whether a member of this bus is the active one of this cumulative consumer.
    #[cfg(feature = "nats")]
    pub(crate) fn is_active(&self, name: &str) -> bool {
        self.members().iter().any(|member| &*member.name == name && member.state().token.is_some())
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
