//! Taking requests for a service: one indexed step each, whatever else waits.

use std::sync::Arc;

use crate::filter::Filter;
use crate::message::Message;
use crate::serve::ServeParts;
use crate::service::{Claimed, Ticket, Traits, millis};
use crate::sqlite::tables::requests::claim::{self, Candidate};
use crate::sqlite::tables::requests::finish::Said;
use crate::sqlite::tables::requests::keep;
use crate::sqlite::tables::{quarantine, queues, replies, requests};
use crate::sqlite::work::fate;
use crate::sqlite::writer::Tx;
use crate::subject::Subject;

/// Distinct subjects that a wildcard service looks at in one step.
const SUBJECTS: usize = 256;
/// Rows that one step looks at in vain before it lets others write: parked, expired or damaged ones.
const IN_VAIN: usize = 512;
/// The shortest lease, in milliseconds: a request that has hardly any time left is not to be given to a second server.
const SHORTEST: i64 = 50;

/// Where the services of a wildcard are on their way round the subjects; it outlasts a step.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The subject looked at last, which need not be UTF-8.
    at: Vec<u8>,
    /// Where the pass began that has found nothing so far, and how often services had been woken then.
    began: Option<(Vec<u8>, u64)>,
    /// The pass has come to the end of the subjects, and goes on with the first.
    wrapped: bool,
}

/// Takes up to `most`.
pub(super) struct Claim<'a> {
    pub(super) serve: &'a ServeParts,
    /// Who takes them.
    pub(super) peer: Option<i64>,
    pub(super) most: usize,
    pub(super) taken: Vec<Claimed>,
    pub(super) in_vain: usize,
}

impl Claim<'_> {
    /// Takes what is ready; whether there may be more. `wakes` counts how often services were woken.
    pub(super) fn run(&mut self, tx: &mut Tx<'_>, round: &mut Round, wakes: u64) -> rusqlite::Result<bool> {
        if self.most == 0 {
            return Ok(false);
        }
        match self.serve.filter.as_subject() {
            Some(subject) => {
                if !queues::is_paused(tx.conn, &subject)? {
                    self.take(tx, &subject, self.most)?;
                }
                Ok(self.is_at_bound())
            }
            None => self.go_round(tx, round, wakes),
        }
    }

    /// Goes on with the distinct subject behind the last one, and takes a share of each, so that none waits for another's
    /// backlog.
    ///
    /// A whole pass without anything is the end, however many steps it takes; unless something came meanwhile, perhaps
    /// behind its back.
    fn go_round(&mut self, tx: &mut Tx<'_>, round: &mut Round, wakes: u64) -> rusqlite::Result<bool> {
        let filter = self.serve.filter.clone();
        let share = self.most.div_ceil(8);
        for _ in 0..SUBJECTS {
            let (began, woken) = round.began.get_or_insert_with(|| {
                round.wrapped = false;
                (round.at.clone(), wakes)
            });
            let next = next_ready(tx.conn, &filter, &round.at)?;
            let over = round.wrapped && next.as_ref().is_none_or(|next| next > began);
            if over {
                let more = *woken != wakes;
                round.began = None;
                return Ok(more);
            }
            let Some(next) = next else {
                round.wrapped = true;
                round.at.clear();
                continue;
            };
            round.at = next;
            let taken = self.taken.len();
            if let Some(subject) = subject(&round.at).filter(|subject| filter.matches(subject))
                && !queues::is_paused(tx.conn, &subject)?
            {
                self.take(tx, &subject, share.min(self.most - taken))?;
            }
            if self.taken.len() > taken {
                round.began = None;
            }
            if self.is_at_bound() {
                break;
            }
        }
        Ok(true)
    }

    fn is_at_bound(&self) -> bool {
        self.taken.len() >= self.most || self.in_vain >= IN_VAIN
    }

    fn take(&mut self, tx: &mut Tx<'_>, subject: &Subject, most: usize) -> rusqlite::Result<()> {
        let enough = self.taken.len() + most;
        while self.taken.len() < enough && self.in_vain < IN_VAIN {
            let wanted = enough - self.taken.len();
            let candidates = claim::ready(tx.conn, subject, wanted)?;
            let found = candidates.len();
            for candidate in candidates {
                match self.try_take(tx, subject, candidate)? {
                    Some(claimed) => self.taken.push(claimed),
                    None => self.in_vain += 1,
                }
            }
            if found < wanted {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Leases it, or puts it where it belongs if it is not to be begun.
    fn try_take(
        &self,
        tx: &mut Tx<'_>,
        subject: &Subject,
        candidate: Candidate,
    ) -> rusqlite::Result<Option<Claimed>> {
        let sequence = candidate.sequence;
        if candidate.deadline.is_some_and(|deadline| deadline <= tx.awake) {
            keep::remove_request(tx.conn, sequence)?;
            replies::remove(tx.conn, sequence)?;
            tx.changed_requests(Default::default());
            return Ok(None);
        }
        if candidate.expires_at.is_some_and(|expires| expires <= tx.now) {
            expire(tx, sequence)?;
            return Ok(None);
        }
        if let Some(run_at) = candidate.run_at {
            // Plain SQL has set a time and left it ready.
            if run_at > tx.now {
                claim::park(tx.conn, sequence)?;
                return Ok(None);
            }
            claim::unschedule(tx.conn, sequence)?;
        }
        if let Some(key) = &candidate.key
            && claim::first_of_key(tx.conn, subject, key)? != Some(sequence)
        {
            claim::park(tx.conn, sequence)?;
            return Ok(None);
        }
        let (payload, headers) = match candidate.body {
            Ok(body) => body,
            Err(reason) => {
                damaged(tx, sequence, reason)?;
                return Ok(None);
            }
        };
        let lease = self.lease(candidate.deadline, tx.awake);
        claim::lease(tx.conn, sequence, self.peer, tx.awake.saturating_add(lease))?;
        let message =
            Message::new(subject.clone(), payload, headers, sequence.cast_unsigned(), candidate.created_at);
        let traits = Traits {
            is_request: candidate.is_request,
            caller: candidate.caller,
            has_key: candidate.key.is_some(),
            is_unique: candidate.is_unique,
        };
        let ticket = Ticket { sequence, attempt: candidate.attempt + 1 };
        let id = Arc::from(candidate.id);
        Ok(Some(Claimed { ticket, id, message, taken_at: tx.awake, lease, traits }))
    }

    /// Of a request, half of the time that it has left: another server could still answer it.
    fn lease(&self, deadline: Option<i64>, awake: i64) -> i64 {
        let lease = millis(self.serve.lease.min(self.serve.max_run)).max(1);
        deadline.map_or(lease, |deadline| lease.min(((deadline - awake) / 2).max(SHORTEST)))
    }
}

/// A job that nobody began in time becomes a dead letter.
pub(super) fn expire(tx: &mut Tx<'_>, sequence: i64) -> rusqlite::Result<()> {
    let said = Said { message: "it expired before anybody began it", code: None, body: &[] };
    fate::bury(tx, sequence, "expired", Some(said), "")
}

/// A row that cannot be a message is given up on, and the subject goes on.
fn damaged(tx: &mut Tx<'_>, sequence: i64, reason: &str) -> rusqlite::Result<()> {
    if quarantine::report(tx.conn, requests::TABLE, sequence, reason, tx.now)? {
        tracing::warn!(table = requests::TABLE, row = sequence, reason, "quarantined a row");
    }
    let said = Said { message: reason, code: None, body: &[] };
    fate::bury(tx, sequence, reason, Some(said), "")
}

fn subject(bytes: &[u8]) -> Option<Subject> {
    std::str::from_utf8(bytes).ok().and_then(|text| Subject::new(text).ok())
}

/// The next distinct subject with something ready that the filter's beginning does not rule out.
fn next_ready(
    conn: &rusqlite::Connection,
    filter: &Filter,
    after: &[u8],
) -> rusqlite::Result<Option<Vec<u8>>> {
    // Empty, or ends with a dot, and so no subject itself.
    let prefix = filter.literal_prefix().as_bytes();
    let next = claim::next_subject(conn, if after < prefix { prefix } else { after })?;
    Ok(next.filter(|next| next.starts_with(prefix)))
}

/// Whether anything is ready that this filter matches and nobody holds back. It may say yes where there is so much else that
/// only a claim can tell.
pub(super) fn has_ready(conn: &rusqlite::Connection, filter: &Filter) -> rusqlite::Result<bool> {
    if let Some(subject) = filter.as_subject() {
        return claim::has_ready(conn, &subject);
    }
    let mut after = Vec::new();
    for _ in 0..SUBJECTS {
        let Some(next) = next_ready(conn, filter, &after)? else { return Ok(false) };
        if let Some(subject) = subject(&next).filter(|subject| filter.matches(subject))
            && !queues::is_paused(conn, &subject)?
        {
            return Ok(true);
        }
        after = next;
    }
    Ok(true)
}
