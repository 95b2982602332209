//! Dead letters: rows and events that were given up on, under numbers of their own.

use super::row::{Letter, Parts, State, Terms};
use super::{Now, Requests};
use crate::dead_letter::{Dead, DeadLetter, DeadSource};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Unique;
use crate::message::Message;

/// What a letter is of.
#[derive(Debug)]
pub(super) enum Buried {
    /// The sequence of its row.
    Job(i64),
    Event(Box<DeadLetter>),
}

impl Requests {
    pub(in crate::inmem) fn dead_letters(&self, which: &Dead, after: u64, limit: usize) -> Vec<DeadLetter> {
        let behind = self.letters.range(after.saturating_add(1)..).filter(|_| after < u64::MAX);
        let asked = behind.filter(|(id, buried)| self.is_asked(which, **id, buried));
        let letters = asked.filter_map(|(_, buried)| match buried {
            Buried::Job(sequence) => self.rows.get(sequence)?.dead_letter(),
            Buried::Event(letter) => Some(DeadLetter::clone(letter)),
        });
        letters.take(limit).collect()
    }

    /// A letter of an event.
    pub(in crate::inmem) fn bury(&mut self, mut letter: DeadLetter) {
        self.last_letter += 1;
        letter.id = self.last_letter;
        self.letters.insert(letter.id, Buried::Event(Box::new(letter)));
    }

    /// Makes jobs of them again, or has events delivered anew; how many. The letter of an event that cannot be stays.
    pub(in crate::inmem) fn requeue(
        &mut self,
        which: &Dead,
        now: Now,
        mut deliver: impl FnMut(&str, u64) -> Result<()>,
    ) -> Result<u64> {
        let mut requeued = 0;
        for id in self.asked(which)? {
            let revived = match self.letters.get(&id) {
                Some(Buried::Job(sequence)) => {
                    self.revive(*sequence, now);
                    Ok(())
                }
                Some(Buried::Event(letter)) => match &letter.source {
                    DeadSource::Event { consumer, sequence } => deliver(consumer, *sequence),
                    DeadSource::Job(_) => Ok(()),
                },
                None => continue,
            };
            match (revived, which) {
                (Ok(()), _) => {
                    self.letters.remove(&id);
                    requeued += 1;
                }
                (Err(error), Dead::Letter(_)) => return Err(error),
                (Err(_), Dead::Of(_)) => {}
            }
        }
        Ok(requeued)
    }

    /// Removes them; how many.
    pub(in crate::inmem) fn purge(&mut self, which: &Dead) -> Result<u64> {
        let letters = self.asked(which)?;
        for id in &letters {
            if let Some(Buried::Job(sequence)) = self.letters.remove(id) {
                self.forget(sequence);
            }
        }
        Ok(letters.len() as u64)
    }

    /// The letters that are asked for, and that one if it is asked for by its id.
    fn asked(&self, which: &Dead) -> Result<Vec<u64>> {
        let of = |(id, buried): (&u64, &Buried)| self.is_asked(which, *id, buried).then_some(*id);
        Ok(match which {
            Dead::Letter(id) => {
                vec![self.letters.get_key_value(id).and_then(of).ok_or_else(|| no_such_letter(*id))?]
            }
            Dead::Of(_) => self.letters.iter().filter_map(of).collect(),
        })
    }

    fn is_asked(&self, which: &Dead, id: u64, buried: &Buried) -> bool {
        let subject = match buried {
            Buried::Job(sequence) => match self.rows.get(sequence) {
                Some(row) if matches!(row.state, State::Dead(Letter { .. })) => row.subject(),
                _ => return false,
            },
            Buried::Event(letter) => &letter.subject,
        };
        match which {
            Dead::Letter(asked) => *asked == id,
            Dead::Of(filter) => filter.matches(subject),
        }
    }

    /// The same job with a new place in the queue, so that no ticket of before holds it. An expiry that has passed is
    /// none any more: whoever asks for the job again wants it done.
    fn revive(&mut self, sequence: i64, now: Now) {
        let Some(mut row) = self.remove(sequence) else {
            return;
        };
        row.sequence = self.next_sequence();
        let old = row.message;
        let (subject, payload, headers) = (old.subject(), old.payload(), old.headers());
        row.message = Message::new(
            subject.clone(),
            payload.clone(),
            headers.clone(),
            row.sequence.cast_unsigned(),
            old.unix_millis(),
        );
        if let Terms::Job(job) = &mut row.terms {
            job.run_at = now.unix;
            job.expires_at = job.expires_at.filter(|at| *at > now.unix);
            // Another may have the key by now; this one is asked for by name, and none the less done.
            if let Some(key) = &job.unique
                && self.unique.find(subject, key, now.unix).is_none()
            {
                self.unique.take(subject, key, row.id.clone(), Unique::WhilePending, now.unix);
            }
        }
        row.state = State::Waiting;
        (row.attempt, row.charged) = (0, 0);
        row.failures.clear();
        Parts::clear(&mut row.parts);
        row.outcome = None;
        row.finished_at = None;
        row.due = Default::default();
        self.add(row, now);
    }
}

fn no_such_letter(id: u64) -> Error {
    Error::new(ErrorKind::NotFound, format!("no dead letter {id}: it never was, or was requeued or purged"))
}
