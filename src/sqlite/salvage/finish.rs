//! What the new file is told beside its rows, so that it neither removes, repeats nor hides what the damage has made doubtful.

use crate::filter::Filter;
use crate::retention::{RetentionParts, SetBy};
use crate::sqlite::prune;
use crate::sqlite::salvage::btree::Node;
use crate::sqlite::salvage::map::Use;
use crate::sqlite::salvage::report::{self, Salvaged};
use crate::sqlite::salvage::rescue::{EVENTS, REQUESTS, Rescue};
use crate::sqlite::schema::LOST_IDS_AT_MOST;
use crate::sqlite::tables::requests::finish as requests;
use crate::sqlite::tables::retention::Gone;
use crate::sqlite::tables::salvaged::{self, TABLES};
use crate::sqlite::tables::{dead_letters, events, meta, retention};

/// Why a job is among the dead letters that may have been done before the file was damaged.
pub(super) const DOUBTFUL: &str = "salvaged";

impl Rescue<'_> {
    pub(super) fn finish(mut self) -> rusqlite::Result<Salvaged> {
        let unknown = (1..=self.pages.count)
            .filter(|page| self.map.of(*page) == Use::Unknown && Node::read(self.pages, *page).is_none())
            .count() as u64;
        self.set_counters()?;
        let gap = self.account_for(unknown);
        let (policies_lost, dead_letter_age_lost) = (self.take_policies(gap)?, self.take_settings()?);
        let doubtful_jobs = self.put_aside_doubtful_jobs()?;
        meta::set(self.conn, meta::CONSUMERS, &salvaged::newest_revision(self.conn)?.to_string())?;
        self.conn.execute_batch("COMMIT")?;
        Ok(Salvaged {
            path: Default::default(),
            pages: u64::from(self.pages.count),
            damaged: self.map.damaged,
            unknown,
            tables: self.tables,
            policies_lost,
            dead_letter_age_lost,
            doubtful_jobs,
        })
    }

    /// Says of each table what of it is lost, and gives the last sequence up to which an event may be missing.
    fn account_for(&mut self, unknown: u64) -> i64 {
        let nameless = self.map.damaged.iter().any(|page| self.map.name_of(*page).is_none());
        let knows_policies = self.knows_policies();
        let mut gap = 0;
        for (at, spec) in TABLES.iter().enumerate() {
            let damaged = self.damaged_of(spec.name);
            let is_certain = (damaged == 0 && unknown == 0 && !nameless)
                || self.is_whole(spec.name)
                || (at == EVENTS && self.index_is_whole());
            let (mut ids, mut lost) = std::mem::take(&mut self.ids[at]);
            ids.sort_unstable();
            if at == EVENTS {
                lost.append(&mut self.indexed);
            }
            lost.sort_unstable();
            lost.dedup();
            lost.retain(|id| ids.binary_search(id).is_err());
            let table = &mut self.tables[at];
            (table.damaged, table.is_certain) = (damaged, is_certain);
            table.lost += lost.len() as u64;
            table.lost_ids = report::ranges(&lost);
            if at != EVENTS {
                continue;
            }
            let there = ids.last().copied().unwrap_or(0);
            let newest = self.counters.get(spec.name);
            let missing = report::gaps(&ids, newest.copied().unwrap_or(0).max(there));
            let last_of = |ranges: &[(i64, i64)]| ranges.last().map_or(0, |(_, last)| *last);
            gap = gap.max(last_of(&table.lost_ids));
            // What was removed rightly is told of by the policies alone.
            if !is_certain || !knows_policies {
                gap = gap.max(last_of(&missing));
            }
            if !is_certain {
                // How far the log went is not known: up to where the new one begins.
                gap = if newest.is_none() { i64::MAX } else { gap };
                table.missing_ids = missing;
            }
        }
        gap
    }

    /// No id is given again that anybody may know of.
    fn set_counters(&self) -> rusqlite::Result<()> {
        for (at, spec) in TABLES.iter().enumerate().filter(|(_, spec)| spec.has_rowid) {
            let (ids, lost) = &self.ids[at];
            let there = ids.iter().max().copied().unwrap_or(0);
            let known = lost.iter().chain(if at == EVENTS { &*self.indexed } else { &[] }).max().copied();
            let newest = match self.counters.get(spec.name) {
                Some(newest) => *newest,
                // An empty table need not have one.
                None if there == 0
                    && known.is_none()
                    && self.damaged_of(spec.name) == 0
                    && self.map.damaged.is_empty() =>
                {
                    0
                }
                None => there.max(known.unwrap_or(0)).saturating_add(LOST_IDS_AT_MOST),
            };
            let more = newest.max(known.unwrap_or(0)).saturating_sub(there);
            if more > 0 {
                events::skip_ids(self.conn, spec.name, more)?;
            }
        }
        Ok(())
    }

    /// Takes over the policies, with a gap up to there, or where they are not all known has everything kept: one that is lost may
    /// have kept what the others remove. Whether they are lost.
    fn take_policies(&mut self, gap: i64) -> rusqlite::Result<bool> {
        let (everything, is_lost) = (Filter::everything(), !self.knows_policies());
        if is_lost {
            salvaged::forget_policies(self.conn)?;
            for table in self.tables.iter_mut().filter(|table| table.name == retention::TABLE) {
                (table.rows, table.unsure) = (0, 0);
            }
        } else if self.tables.iter().any(|table| table.name == retention::TABLE && table.rows == 0) {
            // There were none, by which nothing was removed.
            salvaged::forget_policies(self.conn)?;
        }
        if !retention::all(self.conn)?.iter().any(|policy| policy.filter == everything) {
            retention::set(self.conn, &everything, &RetentionParts::default(), SetBy::Operator)?;
        }
        // The rows that came out are not those that were counted.
        retention::forget(self.conn)?;
        if gap > 0 {
            let through = gap.cast_unsigned().min(events::newest(self.conn)?);
            retention::gap_of(self.conn, &everything, Gone { any: through, unacked: through })?;
        }
        Ok(is_lost)
    }

    /// Takes over what `bus_meta` holds of settings; where it may have held one that is lost, letters are kept for ever. Whether
    /// it is lost.
    fn take_settings(&self) -> rusqlite::Result<bool> {
        match self.settings.get(meta::DEAD_LETTER_AGE) {
            Some(age) => meta::set(self.conn, meta::DEAD_LETTER_AGE, age).map(|()| false),
            None if self.knows_settings() => Ok(false),
            None => prune::set_dead_letter_age(self.conn, None, SetBy::Operator).map(|()| true),
        }
    }

    /// Jobs that may have been done are among the dead letters: nothing of them is lost, and none runs by itself.
    fn put_aside_doubtful_jobs(&mut self) -> rusqlite::Result<u64> {
        let now = chrono::Utc::now().timestamp_millis();
        for sequence in &self.doubtful {
            dead_letters::bury(self.conn, *sequence, DOUBTFUL, now)?;
            requests::remove(self.conn, *sequence)?;
        }
        let many = self.doubtful.len() as u64;
        self.tables[REQUESTS].rows -= many;
        self.tables[REQUESTS].unsure -= many;
        for table in self.tables.iter_mut().filter(|table| table.name == dead_letters::TABLE) {
            table.rows += many;
            table.unsure += many;
        }
        Ok(many)
    }
}
