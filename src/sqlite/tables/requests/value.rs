//! Values of rows that anybody may have written.

use rusqlite::types::ValueRef;

/// A number. Times that were computed have fractions.
pub(super) fn number(value: ValueRef<'_>) -> Option<i64> {
    match value {
        ValueRef::Integer(number) => Some(number),
        #[allow(clippy::cast_possible_truncation)] // it saturates
        ValueRef::Real(number) => Some(number as i64),
        _ => None,
    }
}

/// A text, however it is written.
pub(super) fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}
