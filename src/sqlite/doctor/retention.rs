//! Whether what should be gone is gone.

use rusqlite::Connection;

use crate::clock::{Clock, SystemClock};
use crate::defaults::CLOCK_JUMP;
use crate::retry::millis;
use crate::sqlite::doctor::{Findings, Severity};
use crate::sqlite::prune::{Policies, RetentionClock};
use crate::sqlite::stats::FileStats;
use crate::sqlite::tables::retention::PolicyRow;
use crate::sqlite::tables::{meta, prunable, retention};

/// The schema from which on the file says how far the pruner is.
const KNOWS_HOW_FAR: i64 = 4;
/// Events that are looked at for the oldest that a policy governs.
const LOOKED_AT: usize = 10_000;
const HOUR: i64 = 3_600_000;

const REMEDY: &str = "keep a program with the bus running for a while, or rowbus retention prune";

/// Judges each policy by what it governs itself.
pub(super) fn examine(conn: &Connection, stats: &FileStats, findings: &mut Findings) -> rusqlite::Result<()> {
    if stats.schema_version < KNOWS_HOW_FAR {
        findings.ok_unless_found("retention", "not judged: the file is of an older schema");
        return Ok(());
    }
    let now = now(conn, findings)?;
    let policies = Policies::new(retention::all(conn)?);
    for (at, policy) in policies.iter().enumerate() {
        // What is kept for consumers is older than it would be otherwise.
        let keeps = policy.limits.keep_unacked.is_some();
        let severity = if keeps { Severity::Notice } else { Severity::Warning };
        let named = policy.filter.as_str();
        if let Some(most) = policy.limits.max_age.map(millis)
            && let Some(oldest) = oldest(conn, &policies, at, policy)?
            && now.saturating_sub(oldest) > most.saturating_mul(2).saturating_add(HOUR)
        {
            let age = (now - oldest) / HOUR;
            let kept = most / HOUR;
            let message =
                format!("of {named:?} an event is {age} h old, and they are to be kept for {kept} h");
            findings.add("retention", severity, message, REMEDY);
        }
        if let Some(most) = policy.limits.max_messages
            && let there = messages(conn, &policies, at, policy)?
            && there > most.saturating_mul(2)
        {
            let message = format!("of {named:?} there are {there} events, and {most} are to be kept");
            findings.add("retention", severity, message, REMEDY);
        }
    }
    findings.ok_unless_found("retention", "it keeps up with what is published");
    Ok(())
}

/// The time by which age is judged: it may be behind the wall clock, where that has jumped.
fn now(conn: &Connection, findings: &mut Findings) -> rusqlite::Result<i64> {
    let wall = SystemClock.unix_millis();
    let clock = meta::get(conn, meta::RETENTION_CLOCK)?.as_deref().and_then(RetentionClock::read);
    let behind = clock.map_or(0, |clock| clock.behind().cast_signed());
    if behind > millis(CLOCK_JUMP) {
        let message = format!(
            "the clock had jumped ahead, and age is judged by one that is {} h behind it",
            behind / HOUR
        );
        findings.add(
            "retention",
            Severity::Notice,
            message,
            "it catches up while a program with the bus runs",
        );
    }
    Ok(wall.saturating_sub(behind))
}

/// How many events it governs: those that were counted, and of those behind them the next.
fn messages(conn: &Connection, policies: &Policies, at: usize, policy: &PolicyRow) -> rusqlite::Result<u64> {
    let mut messages = policy.messages;
    prunable::sizes_after(conn, policy.counted_through, LOOKED_AT, |_, subject, _| {
        messages += u64::from(policies.governing(subject) == Some(at));
    })?;
    Ok(messages)
}

/// When the oldest event was published that this policy governs, among those next to where the pruner is.
fn oldest(
    conn: &Connection,
    policies: &Policies,
    at: usize,
    policy: &PolicyRow,
) -> rusqlite::Result<Option<i64>> {
    let subject = policy.filter.as_subject();
    let subject = subject.as_ref().map(AsRef::as_ref);
    let rows = prunable::ages_after(conn, policy.removed_through, subject, LOOKED_AT)?;
    Ok(rows.into_iter().find(|row| policies.governing(&row.subject) == Some(at)).map(|row| row.created_at))
}
