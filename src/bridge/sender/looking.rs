//! What a sender makes of a look at the stream.

use std::sync::Arc;

use crate::bridge::look;
use crate::bridge::note::{self, Note};
use crate::bridge::outgoing::Behind;
use crate::bridge::sender::Sender;
use crate::error::{Error, ErrorKind, Result};

/// How a look went.
pub(super) enum Looked {
    /// The stream has what it has acknowledged.
    Whole,
    /// It has lost some of it, and the consumer was moved back in front of that.
    Cut,
    /// It could not be looked at; that may pass.
    InVain(Error),
}

impl Sender {
    /// What is noted: in the file by another bridge, perhaps long after this one began to stand by, or here and not yet written.
    async fn read_note(&mut self) -> Result<()> {
        let written = self.bus.noted(note::key(&self.route.name)).await?;
        let written = written.and_then(|text| Note::parse(&text));
        self.note = match (written, self.note.take()) {
            (Some(written), Some(own)) if own.says_more_than(&written) => Some(own),
            (written, own) => written.or(own),
        };
        Ok(())
    }

    /// Looks at what the stream has, which is not sent again. Only who has the place looks, so nobody else writes a note meanwhile.
    pub(super) async fn look(&mut self) -> Result<Looked> {
        self.read_note().await?;
        let note = self.note.as_ref();
        let looked = look::look(&self.link, &self.route, &self.identity, note, &mut self.search).await;
        let look = match looked {
            Ok(look) => look,
            Err(error) => return Ok(Looked::InVain(error)),
        };
        self.board.change(|status| {
            status.looks += 1;
            status.stream = Some(look.stream.name.clone());
        });
        let own = look.own.as_ref().map_or(0, |own| own.sequence);
        if let Some(found) = &look.own {
            self.check(found).await?;
        }
        if look.was_cut {
            tracing::warn!(
                stream = look.stream.name,
                own,
                "a stream has lost what it had acknowledged; it is sent again"
            );
            // It is as if it had been found for the first time.
            let note = Note { stream: Arc::clone(&look.stream), sequence: own, stream_sequence: 0 };
            let note = (note::key(&self.route.name), note.to_string());
            // What is done in this session is not written behind that.
            self.done = None;
            self.handover.begin();
            self.bus.move_back(&self.route.consumer_name(), own, note).await?;
            return Ok(Looked::Cut);
        }
        self.stored_through = self.stored_through.max(own);
        // Whatever is sent from now on lands behind what is there now.
        let sequence = self.board.get().position.max(self.stored_through);
        let note = Note { stream: Arc::clone(&look.stream), sequence, stream_sequence: look.last };
        if self.note.as_ref() != Some(&note) {
            self.bus.flush(Some((note::key(&self.route.name), note.to_string()))).await?;
        }
        (self.last, self.is_fresh, self.connection) =
            (Behind::Sequence(look.last), true, self.link.connection());
        (self.note, self.look) = (Some(note), Some(look));
        Ok(Looked::Whole)
    }

    /// A message in the stream that says that it is an event of this file has to be that event.
    async fn check(&mut self, own: &look::Own) -> Result<()> {
        let newest = self.bus.newest().await?;
        if own.sequence <= newest {
            return match self.bus.event(own.sequence).await? {
                Some(event) if !own.is(&event) => Err(self.set_back(own.sequence, newest)),
                Some(event) => {
                    if let Some(subject) = own.elsewhere(&event, &self.route) {
                        tracing::info!(
                            sequence = own.sequence,
                            subject,
                            "the stream has an event under another subject than it would be given now: \
                             the prefix was changed, or the stream moves subjects"
                        );
                    }
                    Ok(())
                }
                None => Ok(()),
            };
        }
        Err(self.set_back(own.sequence, newest))
    }

    fn set_back(&self, sequence: u64, newest: u64) -> Error {
        let message = format!(
            "the stream has another event {sequence} of this file: the file was set back to an earlier state of itself, by copying it or \
             with its disk, and has given its sequences anew; make a copy with `backup` and go on with that"
        );
        Error::with_source(ErrorKind::CursorAhead { newest }, message, Error::cursor_ahead(sequence, newest))
    }
}
