//! Taking requests for a service: one indexed step each, whatever else waits.

use std::sync::Arc;

use crate::filter::Filter;
use crate::message::Message;
use crate::serve::ServeParts;
use crate::service::{Claimed, Ticket, Traits, millis};
use crate::sqlite::tables::requests::claim::{self, Candidate};
use crate::sqlite::tables::requests::finish::Said;
use crate::sqlite::tables::requests::keep;
use crate::sqlite::tables::{quarantine, queues, requests};
use crate::sqlite::work::fate;
use crate::sqlite::writer::Tx;
use crate::subject::Subject;

/// Distinct subjects that a wildcard service looks at in one step.
const SUBJECTS: usize = 256;
/// Rows that one step looks at in vain before it lets others write: parked, expired or damaged ones.
const IN_VAIN: usize = 512;
/// The shortest lease, in milliseconds: a request that has hardly any time left is not to be given to a second server.
const SHORTEST: i64 = 50;

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
    /// Takes what is ready; whether there may be more. `round` is the subject that a wildcard service looked at last.
    pub(super) fn run(&mut self, tx: &mut Tx<'_>, round: &mut String) -> rusqlite::Result<bool> {
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
            None => self.go_round(tx, round),
        }
    }

    /// Goes on with the distinct subject behind the last one, and takes a share of each, so that none waits for another's
    /// backlog.
    fn go_round(&mut self, tx: &mut Tx<'_>, round: &mut String) -> rusqlite::Result<bool> {
        let filter = self.serve.filter.clone();
        let share = self.most.div_ceil(8);
        // How much was taken when it last began anew: a whole round without more is the end.
        let mut at_wrap = None;
        for _ in 0..SUBJECTS {
            let Some(next) = next_ready(tx.conn, &filter, round)? else {
                if at_wrap.replace(self.taken.len()) == Some(self.taken.len()) {
                    return Ok(false);
                }
                round.clear();
                continue;
            };
            round.clone_from(&next);
            if let Ok(subject) = Subject::new(&next)
                && filter.matches(&next)
                && !queues::is_paused(tx.conn, &next)?
            {
                let share = share.min(self.most - self.taken.len());
                self.take(tx, &subject, share)?;
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
        Ok(Some(Claimed { ticket, id: Arc::from(candidate.id), message, lease, traits }))
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

/// The next distinct subject with something ready that the filter's beginning does not rule out.
pub(super) fn next_ready(
    conn: &rusqlite::Connection,
    filter: &Filter,
    after: &str,
) -> rusqlite::Result<Option<String>> {
    let prefix = filter.literal_prefix();
    // What begins with the prefix sorts behind the same text without its last dot.
    let floor = prefix.strip_suffix('.').unwrap_or(prefix);
    let next = claim::next_subject(conn, if after < floor { floor } else { after })?;
    Ok(next.filter(|next| next.starts_with(prefix) || next.as_str() <= prefix))
}

/// Whether anything is ready that this filter matches and nobody holds back. It may say yes where there is so much else that
/// only a claim can tell.
pub(super) fn has_ready(conn: &rusqlite::Connection, filter: &Filter) -> rusqlite::Result<bool> {
    if let Some(subject) = filter.as_subject() {
        return claim::has_ready(conn, &subject);
    }
    let mut after = String::new();
    for _ in 0..SUBJECTS {
        let Some(next) = next_ready(conn, filter, &after)? else { return Ok(false) };
        if filter.matches(&next) && !queues::is_paused(conn, &next)? {
            return Ok(true);
        }
        after = next;
    }
    Ok(true)
}
