//! A stream on the log: with the tail while it keeps up, by pages of its own while it is behind.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::defaults::{PAGE_BYTES, STREAM_BUFFER_BYTES};
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::mailbox::{Letter, Mailbox};
use crate::message::Message;
use crate::sqlite::filters::Filters;
use crate::sqlite::log::{Gaps, Log, Start};
use crate::sqlite::stats::Counters;
use crate::sqlite::tables::retention::Reader;
use crate::sqlite::tail::{Joined, Tail};
use crate::subscribe::{Source, StartAt, SubscribeParts};

/// What every stream of a bus shares.
#[derive(Clone)]
pub(crate) struct Readers {
    pub(crate) log: Arc<Log>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) counters: Arc<Counters>,
}

pub(crate) struct LogStream {
    readers: Readers,
    filters: Filters,
    buffer: usize,
    runtime: Handle,
    /// What was read and not yet taken.
    ready: VecDeque<Result<Message>>,
    /// The next step into the log, while it is behind.
    reading: Option<JoinHandle<Result<Step>>>,
    /// Its place with the tail, while it keeps up.
    live: Option<Membership>,
    /// Everything up to here has been read or is in a mailbox.
    cursor: u64,
    /// What was said of missing events.
    gaps: Gaps,
    /// Pages that the next step reads.
    pages: usize,
    /// Events chosen by their sequence, before the log is followed.
    chosen: VecDeque<u64>,
    /// What the tail had offered when the stream left it.
    offered: u64,
    /// It was unsubscribed, and this is the last sequence to hand over.
    until: Option<u64>,
    finished: bool,
}

/// Where a stream is to go on.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Behind this sequence.
    pub(crate) after: u64,
    /// Events that come first, though they are not behind it.
    pub(crate) chosen: Vec<u64>,
    pub(crate) gaps: Gaps,
}

/// A listener of the tail; dropping it takes it out.
struct Membership {
    tail: Arc<Tail>,
    filters: Filters,
    id: u64,
    mailbox: Arc<Mailbox>,
}

/// What one step into the log has found.
struct Step {
    items: Vec<Result<Message>>,
    bytes: usize,
    /// Of the events chosen, those that are still to be read.
    chosen: VecDeque<u64>,
    through: u64,
    gaps: Gaps,
    /// It was at the end, and the tail has taken it on from there.
    live: Option<Membership>,
}

/// Pages in one step, at most: each has a transaction of its own, and going to another thread and back costs about as
/// much as reading one. The first step is one page, so that the first message comes soon.
const PAGES: usize = 8;

impl LogStream {
    /// Begins a stream. Blocks; `runtime` is where it will read later.
    pub(crate) fn begin(readers: Readers, parts: SubscribeParts, runtime: Handle) -> Result<Self> {
        if parts.incarnation.is_some() {
            parts.check_incarnation(&readers.log.incarnation()?)?;
        }
        let SubscribeParts { filter, start, buffer, .. } = parts;
        let filters = Filters::from(filter);
        let log = &readers.log;
        // Only who names a sequence has a claim to events that are gone.
        let known = match start {
            StartAt::Sequence(sequence) => sequence.saturating_sub(1),
            _ => log.pruned_through(&filters)?,
        };
        let (chosen, after) = match log.start(&filters, start)? {
            Start::After(cursor) => (Vec::new(), cursor),
            Start::With(chosen, cursor) => (chosen, cursor),
        };
        let gaps = Gaps { reader: Reader::Stream, known };
        let mut stream = Self::at(readers, filters, Place { after, chosen, gaps }, buffer, runtime);
        if start == StartAt::New {
            stream.live = join(&stream.readers.tail, &stream.filters, stream.buffer, stream.cursor, true)?;
        } else {
            stream.read_on();
        }
        Ok(stream)
    }

    /// A stream from this place on. It reads nothing before it is polled.
    pub(crate) fn at(
        readers: Readers,
        filters: Filters,
        place: Place,
        buffer: usize,
        runtime: Handle,
    ) -> Self {
        Self {
            readers,
            filters,
            buffer,
            runtime,
            ready: VecDeque::new(),
            reading: None,
            live: None,
            cursor: place.after,
            gaps: place.gaps,
            pages: 1,
            chosen: place.chosen.into(),
            offered: 0,
            until: None,
            finished: false,
        }
    }

    fn count(&self, item: &Result<Message>) {
        if item.is_ok() {
            self.readers.counters.delivered.one();
        }
    }

    /// Up to where there is nothing more to hand over; `None` while there is something.
    pub(crate) fn caught_up(&self) -> Option<u64> {
        if !self.ready.is_empty() || !self.chosen.is_empty() || self.reading.is_some() {
            return None;
        }
        let Some(live) = &self.live else { return Some(self.cursor) };
        // The position first: what comes after it may be in the mailbox by now.
        let offered = live.tail.position();
        live.mailbox.is_empty().then_some(offered.max(self.cursor))
    }

    /// Begins the next step, off the runtime.
    fn read_on(&mut self) {
        let (readers, filters, buffer) = (self.readers.clone(), self.filters.clone(), self.buffer);
        let mut step = Step {
            items: Vec::new(),
            bytes: 0,
            chosen: VecDeque::new(),
            through: self.cursor,
            gaps: self.gaps,
            live: None,
        };
        let (pages, until) = (self.pages, self.until);
        self.pages = (pages * 2).min(PAGES);
        step.chosen = std::mem::take(&mut self.chosen);
        self.reading = Some(self.runtime.spawn_blocking(move || {
            if !step.chosen.is_empty() {
                let (messages, looked_up) = readers.log.get(step.chosen.make_contiguous())?;
                step.chosen.drain(..looked_up);
                step.items.extend(messages.into_iter().map(Ok));
                return Ok(step);
            }
            for _ in 0..pages {
                let end = match step.read_page(&readers.log, &filters) {
                    Ok(end) => end,
                    // What was read before is handed over first; the next step meets the fault again.
                    Err(_) if !step.items.is_empty() => break,
                    Err(error) => return Err(error),
                };
                if end && until.is_none() {
                    step.live = join(&readers.tail, &filters, buffer, step.through, false)?;
                }
                if end || step.bytes >= PAGE_BYTES || until.is_some_and(|until| step.through >= until) {
                    break;
                }
            }
            Ok(step)
        }));
    }

    fn take_step(&mut self, step: Step) {
        (self.cursor, self.gaps, self.chosen) = (step.through, step.gaps, step.chosen);
        // Unsubscribed meanwhile: the tail has nothing more to give, and what is left is read from the log.
        self.live = step.live.filter(|_| self.until.is_none());
        let wanted =
            |item: &Result<Message>, until| item.as_ref().map_or(true, |message| message.sequence() <= until);
        match self.until {
            Some(until) => self.ready.extend(step.items.into_iter().filter(|item| wanted(item, until))),
            None => self.ready.append(&mut step.items.into()),
        }
        if self.live.is_none() {
            self.go_on();
        }
    }

    /// Reads on, unless all that was to be handed over is there.
    fn go_on(&mut self) {
        if self.until.is_some_and(|until| self.cursor >= until) && self.chosen.is_empty() {
            self.finished = true;
        } else {
            self.read_on();
        }
    }

    fn fail(&mut self, error: Error) -> Option<Result<Message>> {
        self.finished = true;
        self.live = None;
        // The end of the bus is the end of its streams, and no fault of theirs.
        (error.kind() != ErrorKind::Closed).then_some(Err(error))
    }

    /// A letter, or `None` if there is more to do.
    fn open(&mut self, letter: Option<Letter>) -> Option<Result<Message>> {
        match letter {
            Some(Letter::Message(message)) if self.until.is_some_and(|until| message.sequence() > until) => {
                self.finished = true;
            }
            Some(Letter::Message(message)) => {
                self.cursor = message.sequence();
                return Some(Ok(message));
            }
            Some(Letter::Behind(after)) => {
                self.cursor = self.cursor.max(after);
                (self.live, self.pages) = (None, 1);
                self.go_on();
            }
            Some(Letter::Told(error)) => return Some(Err(error)),
            Some(Letter::Failed(error)) => {
                self.finished = true;
                return Some(Err(error));
            }
            // The log has what the mailbox had no room for.
            Some(Letter::Overflow(_)) => {}
            None if self.until.is_some() => {
                self.cursor = self.cursor.max(self.offered);
                self.live = None;
                self.go_on();
            }
            None => self.finished = true,
        }
        None
    }
}

impl Step {
    /// Adds the next page; `true` if it was the last.
    fn read_page(&mut self, log: &Log, filters: &Filters) -> Result<bool> {
        let reading = log.page(self.through, filters, self.gaps)?;
        let known = self.through.max(self.gaps.known);
        if reading.pruned_through > known {
            self.items.push(Err(Error::gap(known + 1, reading.pruned_through)));
            self.gaps.known = reading.pruned_through;
        }
        self.through = reading.page.through;
        self.bytes += reading.page.bytes;
        self.items.extend(reading.page.messages.into_iter().map(Ok));
        Ok(reading.page.end)
    }
}

/// Joins the tail, if it is not ahead.
fn join(
    tail: &Arc<Tail>,
    filters: &Filters,
    buffer: usize,
    after: u64,
    may_skip: bool,
) -> Result<Option<Membership>> {
    let mailbox = Arc::new(Mailbox::new(buffer, STREAM_BUFFER_BYTES));
    Ok(match tail.join(filters, &mailbox, after, may_skip)? {
        Joined::As(id) => Some(Membership { tail: Arc::clone(tail), filters: filters.clone(), id, mailbox }),
        Joined::Behind => None,
    })
}

impl Source for LogStream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                self.count(&item);
                return Poll::Ready(Some(item));
            }
            if let Some(reading) = &mut self.reading {
                let step = ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                let step = step.unwrap_or_else(|error| match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is shutting down.
                    Err(_) => Err(Error::closed()),
                });
                match step {
                    Ok(step) => self.take_step(step),
                    Err(error) => return Poll::Ready(self.fail(error)),
                }
            } else if self.finished {
                return Poll::Ready(None);
            } else if let Some(live) = &self.live {
                let letter = ready!(live.mailbox.poll(cx));
                if let Some(item) = self.open(letter) {
                    self.count(&item);
                    return Poll::Ready(Some(item));
                }
            } else {
                self.go_on();
            }
        }
    }

    fn unsubscribe(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let log = Arc::clone(&self.readers.log);
            let newest = self.runtime.spawn_blocking(move || log.newest()).await;
            let newest = newest.unwrap_or_else(|_| Err(Error::closed()))?;
            if self.until.is_none() {
                self.until = Some(newest);
                if let Some(live) = &self.live {
                    // What is in the mailbox is still handed over, and the rest read from the log.
                    // Up to here everything is in the mailbox, or was not for this stream.
                    self.offered = live.leave().unwrap_or_default();
                    // Whoever waits for the stream holds it, and is the one who calls this.
                    let _ = live.mailbox.seal();
                }
            }
            Ok(())
        })
    }
}

impl Membership {
    fn leave(&self) -> Option<u64> {
        self.tail.leave(&self.filters, self.id)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let _ = self.leave();
    }
}
