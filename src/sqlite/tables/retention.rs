//! `bus_retention`: what may be removed from the log, and up to where something was.

use rusqlite::Connection;

use crate::filter::Filter;
use crate::sqlite::filters::Filters;

// A scan: the table has a row a policy.
const PRUNED: &str = "SELECT filter, pruned_through FROM bus_retention WHERE pruned_through > ?1";

/// The last sequence up to which an event that these filters match may be gone; `after` if none beyond it is.
pub(crate) fn pruned_through(conn: &Connection, filters: &Filters, after: u64) -> rusqlite::Result<u64> {
    let mut statement = conn.prepare_cached(PRUNED)?;
    let mut rows = statement.query([after.cast_signed()])?;
    let mut through = after;
    while let Some(row) = rows.next()? {
        // A filter that a hand wrote wrongly is taken for every subject: a gap too many is no loss.
        let filter_matters = row.get_ref(0)?.as_str().ok().and_then(|text| Filter::new(text).ok());
        if filter_matters.is_none_or(|policy| filters.iter().any(|filter| policy.overlaps(filter))) {
            through = through.max(row.get_ref(1)?.as_i64().unwrap_or(0).max(0).cast_unsigned());
        }
    }
    Ok(through)
}
