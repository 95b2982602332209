//! Dead letters: rows that were given up on, under numbers of their own.

use super::row::{Letter, Parts, Row, State, Terms};
use super::{Now, Requests};
use crate::dead_letter::{Dead, DeadLetter};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Unique;
use crate::message::Message;

impl Requests {
    pub(in crate::inmem) fn dead_letters(&self, which: &Dead, after: u64, limit: usize) -> Vec<DeadLetter> {
        let behind = self.letters.range(after.saturating_add(1)..).filter(|_| after < u64::MAX);
        let rows = behind.filter_map(|(id, sequence)| Some((*id, self.rows.get(sequence)?)));
        let asked = rows.filter(|(id, row)| is_asked(which, *id, row));
        asked.filter_map(|(_, row)| row.dead_letter()).take(limit).collect()
    }

    /// Makes jobs of them again; how many.
    pub(in crate::inmem) fn requeue(&mut self, which: &Dead, now: Now) -> Result<u64> {
        let rows = self.take_letters(which)?;
        for sequence in &rows {
            self.revive(*sequence, now);
        }
        Ok(rows.len() as u64)
    }

    /// Removes them; how many.
    pub(in crate::inmem) fn purge(&mut self, which: &Dead) -> Result<u64> {
        let rows = self.take_letters(which)?;
        for sequence in &rows {
            self.forget(*sequence);
        }
        Ok(rows.len() as u64)
    }

    /// The rows, whose letters are no more.
    fn take_letters(&mut self, which: &Dead) -> Result<Vec<i64>> {
        let of = |(id, sequence): (&u64, &i64)| {
            let row = self.rows.get(sequence)?;
            is_asked(which, *id, row).then_some((*id, *sequence))
        };
        let taken: Vec<(u64, i64)> = match which {
            Dead::Letter(id) => {
                let found = self.letters.get_key_value(id).and_then(of);
                vec![found.ok_or_else(|| no_such_letter(*id))?]
            }
            Dead::Of(_) => self.letters.iter().filter_map(of).collect(),
        };
        for (id, _) in &taken {
            self.letters.remove(id);
        }
        Ok(taken.into_iter().map(|(_, sequence)| sequence).collect())
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

fn is_asked(which: &Dead, id: u64, row: &Row) -> bool {
    let dead = matches!(row.state, State::Dead(Letter { .. }));
    dead && match which {
        Dead::Letter(asked) => *asked == id,
        Dead::Of(filter) => filter.matches(row.subject()),
    }
}

fn no_such_letter(id: u64) -> Error {
    Error::new(ErrorKind::NotFound, format!("no dead letter {id}: it never was, or was requeued or purged"))
}
