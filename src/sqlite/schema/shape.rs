//! Whether tables and indexes are still as their migrations made them.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::fault;
use crate::sqlite::schema::embedded::migrations;
use crate::sqlite::schema::state::State;
use crate::sqlite::tables::history;

/// Differences that are told of in one message.
const TOLD: usize = 5;

/// Compares the names of the bus in the schema with those that its migrations make in a file of their own; `SchemaMismatch` if
/// somebody has changed, removed or added one. A newer schema has more than is known here, and is no difference.
pub(crate) fn verify_shape(conn: &Connection, state: &State) -> Result<()> {
    if state.newest() > i64::from(migrations().last().map_or(0, |newest| newest.version)) {
        return Ok(());
    }
    let doing = "comparing the schema with its migrations";
    let failed = |e| fault::error(doing, e);
    let model = Connection::open_in_memory().map_err(failed)?;
    for migration in migrations().iter().filter(|migration| i64::from(migration.version) <= state.newest()) {
        model.execute_batch(migration.statements()).map_err(failed)?;
    }
    let (wanted, found) = (objects(&model).map_err(failed)?, objects(conn).map_err(failed)?);
    let gone =
        wanted.keys().filter(|name| !found.contains_key(*name)).map(|name| format!("{name} is missing"));
    let changed = wanted.iter().filter(|(name, sql)| found.get(*name).is_some_and(|found| found != *sql));
    let changed = changed.map(|(name, _)| format!("{name} was changed"));
    let added = found
        .keys()
        .filter(|name| !wanted.contains_key(*name))
        .map(|name| format!("{name} is none of the bus"));
    let differences: Vec<_> = gone.chain(changed).chain(added).collect();
    if differences.is_empty() {
        return Ok(());
    }
    let more = match differences.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let told = differences.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
    let message = format!(
        "the schema is not as its migrations made it: {told}{more}; restore a backup, or undo what was changed by hand"
    );
    Err(Error::new(ErrorKind::SchemaMismatch, message))
}

/// What the schema has under names of the bus, in a form that does not depend on comments and white space: tools that run
/// SQL may drop both.
fn objects(conn: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let objects = history::objects(conn)?;
    Ok(objects.into_iter().map(|(name, sql)| (name, normal(&sql))).collect())
}

fn normal(sql: &str) -> String {
    let mut normal = String::with_capacity(sql.len());
    let mut rest = sql.chars().peekable();
    let mut quote = None;
    while let Some(c) = rest.next() {
        if quote.is_some() {
            normal.push(c);
            quote = quote.filter(|end| *end != c);
        } else if c == '-' && rest.peek() == Some(&'-') {
            rest.by_ref().find(|c| *c == '\n');
            space(&mut normal);
        } else if c.is_whitespace() {
            space(&mut normal);
        } else {
            if matches!(c, ',' | ')') && normal.ends_with(' ') {
                normal.pop();
            }
            quote = match c {
                '\'' | '"' | '`' => Some(c),
                '[' => Some(']'),
                _ => None,
            };
            normal.push(c);
        }
    }
    normal.trim_end().to_owned()
}

fn space(normal: &mut String) {
    if !normal.ends_with([' ', '(', ',']) && !normal.is_empty() {
        normal.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_white_space_make_no_difference_and_literals_do() {
        let one = "CREATE TABLE t ( -- mine\n  a TEXT  DEFAULT 'x  -- y',\n  b )";
        assert_eq!(normal(one), "CREATE TABLE t (a TEXT DEFAULT 'x  -- y',b)");
        assert_eq!(normal("CREATE TABLE t (a TEXT DEFAULT 'x  -- y', b)"), normal(one));
        assert_ne!(normal("CREATE TABLE t (a TEXT DEFAULT 'x -- y', b)"), normal(one));
    }
}
