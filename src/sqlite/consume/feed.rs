//! What a consumer has before it in the log, read ahead of being handed over.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use crate::defaults::STREAM_BUFFER;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::sqlite::filters::Filters;
use crate::sqlite::log::Gaps;
use crate::sqlite::stream::{LogStream, Place, Readers};
use crate::sqlite::tables::consumers::ConsumerRow;
use crate::sqlite::tables::retention::Reader;
use crate::subscribe::Source;

pub(super) struct Feed {
    stream: LogStream,
    ahead: VecDeque<Message>,
}

impl Feed {
    /// What this consumer wants behind this sequence. Blocks.
    ///
    /// # Errors
    /// `CursorAhead` if the log does not reach so far.
    pub(super) fn open(
        readers: &Readers,
        consumer: &ConsumerRow,
        after: u64,
        runtime: Handle,
    ) -> Result<Self> {
        let newest = readers.log.newest()?;
        if after > newest {
            return Err(Error::cursor_ahead(after, newest));
        }
        let filters = Filters::new(&consumer.settings.filters);
        let through = consumer.last_through;
        let gaps = Gaps { reader: Reader::Consumer, known: after.max(through) };
        let mut place = Place { after: after.max(through), gaps, chosen: Vec::new() };
        if after < through {
            place.chosen = readers.log.last_per_subject(&filters, through)?;
            place.chosen.retain(|sequence| *sequence > after);
        }
        let stream = LogStream::at(readers.clone(), filters, place, STREAM_BUFFER, runtime);
        Ok(Self { stream, ahead: VecDeque::new() })
    }

    /// The next message, in order; past what was read ahead. `None` at the end of the bus.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        match self.ahead.pop_front() {
            Some(message) => Poll::Ready(Some(Ok(message))),
            None => self.stream.poll_next(cx),
        }
    }

    /// Reads ahead, until so many are there, or there is no more for now; an error that came up, or the end.
    pub(super) fn read_ahead(&mut self, cx: &mut Context<'_>, want: usize) -> Result<()> {
        while self.ahead.len() < want {
            match self.stream.poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => self.ahead.push_back(message),
                Poll::Ready(Some(Err(error))) => return Err(error),
                Poll::Ready(None) => return Err(Error::new(ErrorKind::Closed, "the log has ended")),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// What is to be handed out next, as far as it was read.
    pub(super) fn ahead(&self, most: usize) -> Vec<Message> {
        self.ahead.iter().take(most).cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ahead.is_empty()
    }

    /// Up to where there is nothing more to hand out, as far as the log was read.
    pub(super) fn caught_up(&self) -> Option<u64> {
        if self.ahead.is_empty() { self.stream.caught_up() } else { None }
    }

    /// Everything up to here was handed out.
    pub(super) fn pass(&mut self, position: u64) {
        while self.ahead.front().is_some_and(|message| message.sequence() <= position) {
            self.ahead.pop_front();
        }
    }
}
