//! Policies as people and programs set them.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::defaults::{DEAD_LETTER_AGE, RETENTION_AGE};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::publish::Durability;
use crate::retention::{Pruned, Retention, RetentionInfo, RetentionParts, SetBy};
use crate::retry::millis;
use crate::sqlite::builder::Options;
use crate::sqlite::connection::retry_busy;
use crate::sqlite::tables::retention::{Gone, PolicyRow};
use crate::sqlite::tables::{meta, retention};
use crate::sqlite::writer::{Failure, Operation, Tx};
use crate::sqlite::{SqliteBus, fault, off_runtime};

/// What stands for no age.
const FOR_EVER: &str = "for_ever";

impl SqliteBus {
    /// The policies of the file, by their filters, with what was counted and removed for each. The counters are those of the
    /// last pass in the background: what was published within the last minute may be missing.
    ///
    /// # Errors
    /// As any reading verb.
    pub async fn retention(&self) -> Result<Vec<RetentionInfo>> {
        let core = self.checked_core()?;
        off_runtime(move || {
            let rows = core.readers().log.read("reading the retention", retention::all)?;
            Ok(rows.into_iter().map(info).collect())
        })
        .await
    }

    /// Sets the policy of a filter, in place of what the default, the builder or anybody set before. It holds for every process,
    /// until it is changed; each removes by it within about a minute, and this one sooner. An event is governed by one policy:
    /// that of the most literal filter, compared token by token from the left, a literal before `*` before `>`.
    ///
    /// # Errors
    /// `InvalidSubject`, `InvalidOption`; as any writing verb.
    pub async fn set_retention<F>(&self, filter: F, retention: Retention) -> Result<()>
    where
        F: TryInto<Filter>,
        Error: From<F::Error>,
    {
        let filter = filter.try_into().map_err(Error::from)?;
        let limits = retention.into_parts()?;
        self.change_retention(Change::Set(filter, limits)).await
    }

    /// Removes the policy of a filter, so that the next one less literal governs its events; of `>`, what was set goes and
    /// the default is there again.
    ///
    /// # Errors
    /// `NotFound` if there is none; `InvalidSubject`; as any writing verb.
    pub async fn remove_retention<F>(&self, filter: F) -> Result<()>
    where
        F: TryInto<Filter>,
        Error: From<F::Error>,
    {
        let filter = filter.try_into().map_err(Error::from)?;
        self.change_retention(Change::Remove(filter)).await
    }

    /// How long dead letters are kept: 90 days unless set; `None` is for ever.
    ///
    /// # Errors
    /// As any reading verb.
    pub async fn dead_letter_age(&self) -> Result<Option<Duration>> {
        let core = self.checked_core()?;
        off_runtime(move || core.readers().log.read("reading the age of dead letters", dead_letter_age)).await
    }

    /// Sets how long dead letters are kept, for every process; `None` is for ever.
    ///
    /// # Errors
    /// `InvalidOption` for an age of nothing; as any writing verb.
    pub async fn keep_dead_letters(&self, max_age: Option<Duration>) -> Result<()> {
        check_age(max_age)?;
        self.change_retention(Change::DeadLetters(max_age)).await
    }

    /// Removes all that is due now, and says how much it was. It happens by itself in the background, in one of the processes;
    /// this counts the log anew first, so that rows removed by hand count no more, and waits until it is done.
    ///
    /// # Errors
    /// As any writing verb; what was removed before stays so.
    pub async fn prune(&self) -> Result<Pruned> {
        let pruner = self.checked_core()?.pruner();
        off_runtime(move || pruner.prune()).await
    }

    async fn change_retention(&self, change: Change) -> Result<()> {
        let core = self.checked_core()?;
        let durability = core.options().durability;
        core.writer().run(ChangeRetention { change, durability }).await?;
        core.pruner().wake();
        Ok(())
    }
}

fn info(row: PolicyRow) -> RetentionInfo {
    RetentionInfo {
        filter: row.filter,
        retention: row.limits,
        set_by: row.set_by,
        pruned_through: row.pruned_through,
        counted_through: row.counted_through,
        messages: row.messages,
        bytes: row.bytes,
    }
}

enum Change {
    Set(Filter, RetentionParts),
    Remove(Filter),
    DeadLetters(Option<Duration>),
}

struct ChangeRetention {
    change: Change,
    durability: Durability,
}

impl Operation for ChangeRetention {
    type Output = ();

    fn durability(&self) -> Durability {
        self.durability
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        match &self.change {
            Change::Set(filter, limits) => {
                retention::set(tx.conn, filter, limits, SetBy::Operator)?;
            }
            Change::Remove(filter) => remove(tx.conn, filter)?,
            Change::DeadLetters(age) => set_dead_letter_age(tx.conn, *age, SetBy::Operator)?,
        }
        Ok(())
    }
}

/// What was removed for a policy is known to the others from then on: a stream that has not read it is still told.
fn remove(conn: &Connection, filter: &Filter) -> Result<(), Failure> {
    let policies = retention::all(conn)?;
    let everything = Filter::everything();
    let Some(found) = policies.iter().find(|policy| policy.filter == *filter) else {
        let message = format!("there is no policy for {filter:?}");
        return Err(Failure::Refused(Error::new(ErrorKind::NotFound, message)));
    };
    if *filter == everything {
        retention::set(conn, filter, &of_a_new_file(), SetBy::Default)?;
        return Ok(());
    }
    retention::remove(conn, filter)?;
    if !policies.iter().any(|policy| policy.filter == everything) {
        retention::set(conn, &everything, &RetentionParts::default(), SetBy::Operator)?;
    }
    let gone = Gone { any: found.pruned_through, unacked: found.unacked_through };
    retention::gap_of(conn, &everything, gone)?;
    for policy in policies.iter().filter(|policy| policy.filter != *filter && policy.filter.overlaps(filter))
    {
        retention::gap_of(conn, &policy.filter, gone)?;
    }
    Ok(())
}

/// What V1 of the schema has put there.
fn of_a_new_file() -> RetentionParts {
    RetentionParts { max_age: Some(RETENTION_AGE), ..RetentionParts::default() }
}

/// How long dead letters are kept.
pub(super) fn dead_letter_age(conn: &Connection) -> rusqlite::Result<Option<Duration>> {
    let set = meta::get(conn, meta::DEAD_LETTER_AGE)?;
    let (age, _) = set.as_deref().map(|set| set.split_once(' ').unwrap_or((set, ""))).unwrap_or_default();
    Ok(match age.parse() {
        Ok(age) if age > 0 => Some(Duration::from_millis(age)),
        _ if age == FOR_EVER => None,
        _ => Some(DEAD_LETTER_AGE),
    })
}

pub(crate) fn set_dead_letter_age(
    conn: &Connection,
    age: Option<Duration>,
    set_by: SetBy,
) -> rusqlite::Result<()> {
    let age = age.map_or_else(|| FOR_EVER.to_owned(), |age| millis(age).to_string());
    meta::set(conn, meta::DEAD_LETTER_AGE, &format!("{age} {}", set_by.as_str()))
}

pub(crate) fn check_age(max_age: Option<Duration>) -> Result<()> {
    if max_age.is_some_and(|age| age < Duration::from_millis(1)) {
        return Err(Error::new(ErrorKind::InvalidOption, "dead letters are kept for 1 ms or more"));
    }
    Ok(())
}

/// What a builder sets where nobody else has.
struct FromBuilder {
    policies: Vec<(Filter, RetentionParts)>,
    dead_letter_age: Option<Option<Duration>>,
}

impl FromBuilder {
    /// Leaves what is not for the builder to set, or is so already.
    fn without_what_is_set(mut self, conn: &Connection) -> rusqlite::Result<Self> {
        let there = retention::all(conn)?;
        self.policies.retain(|(filter, _)| {
            there.iter().all(|policy| policy.filter != *filter || policy.set_by == SetBy::Default)
        });
        if meta::get(conn, meta::DEAD_LETTER_AGE)?.is_some() {
            self.dead_letter_age = None;
        }
        Ok(self)
    }

    fn is_nothing(&self) -> bool {
        self.policies.is_empty() && self.dead_letter_age.is_none()
    }
}

/// Sets what the builder says where nobody has set anything. Most opens find nothing to do, and take no lock.
pub(crate) fn apply_builder(conn: &Connection, options: &Options, deadline: Instant) -> Result<()> {
    let mut policies = Vec::new();
    for (filter, retention) in &options.retention {
        policies.push((filter.clone()?, retention.clone().into_parts()?));
    }
    let wanted = || FromBuilder { policies: policies.clone(), dead_letter_age: options.dead_letter_age };
    if wanted().is_nothing() {
        return Ok(());
    }
    let failed = |e| fault::error("setting the retention", e);
    if retry_busy(deadline, || wanted().without_what_is_set(conn)).map_err(failed)?.is_nothing() {
        return Ok(());
    }
    retry_busy(deadline, || conn.execute_batch("BEGIN IMMEDIATE")).map_err(failed)?;
    let set = || -> rusqlite::Result<()> {
        let wanted = wanted().without_what_is_set(conn)?;
        for (filter, limits) in &wanted.policies {
            retention::set(conn, filter, limits, SetBy::Builder)?;
        }
        if let Some(age) = wanted.dead_letter_age {
            set_dead_letter_age(conn, age, SetBy::Builder)?;
        }
        conn.execute_batch("COMMIT")
    };
    set().map_err(|error| {
        // The error that counts is the first one; a failed rollback is repeated when the connection closes.
        let _ = conn.execute_batch("ROLLBACK");
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::log;

    fn of(text: &str) -> Filter {
        Filter::new(text).unwrap()
    }

    #[test]
    fn what_was_removed_for_a_policy_is_remembered_when_it_is_gone() {
        let conn = log();
        conn.execute_batch(
            "INSERT INTO bus_retention (filter, pruned_through) VALUES ('a.>', 7), ('a.b', 2), ('*.b', 1), ('c', 1)",
        )
        .unwrap();
        remove(&conn, &of("a.>")).unwrap();
        let places: Vec<_> = retention::all(&conn)
            .unwrap()
            .into_iter()
            .map(|policy| (policy.filter.to_string(), policy.pruned_through))
            .collect();
        let expected = [("*.b", 7), (">", 7), ("a.b", 7), ("c", 1)];
        assert_eq!(places, expected.map(|(filter, place)| (filter.to_owned(), place)));
        assert!(matches!(remove(&conn, &of("a.>")), Err(Failure::Refused(_))));
    }

    #[test]
    fn removing_the_policy_of_everything_leaves_the_default() {
        let conn = log();
        let before = retention::all(&conn).unwrap();
        retention::set(&conn, &of(">"), &RetentionParts::default(), SetBy::Operator).unwrap();
        remove(&conn, &of(">")).unwrap();
        assert_eq!(retention::all(&conn).unwrap(), before);
    }

    #[test]
    fn dead_letters_are_kept_for_90_days_unless_somebody_said_otherwise() {
        let conn = log();
        assert_eq!(dead_letter_age(&conn).unwrap(), Some(DEAD_LETTER_AGE));
        set_dead_letter_age(&conn, None, SetBy::Operator).unwrap();
        assert_eq!(dead_letter_age(&conn).unwrap(), None);
        set_dead_letter_age(&conn, Some(Duration::from_secs(5)), SetBy::Builder).unwrap();
        assert_eq!(dead_letter_age(&conn).unwrap(), Some(Duration::from_secs(5)));
        for by_hand in ["60000", "rubbish", "-5"] {
            meta::set(&conn, meta::DEAD_LETTER_AGE, by_hand).unwrap();
            let expected = if by_hand == "60000" { Duration::from_secs(60) } else { DEAD_LETTER_AGE };
            assert_eq!(dead_letter_age(&conn).unwrap(), Some(expected), "{by_hand}");
        }
    }
}
