//! From SQLite's result codes to the crate's errors: by code, and in one case, which has none, by text.

use rusqlite::ErrorCode;

use crate::error::{Error, ErrorKind};

/// Converts, with what was being done when it failed.
pub(crate) fn error(doing: &str, source: rusqlite::Error) -> Error {
    let kind = kind(&source);
    let hint = match kind {
        ErrorKind::Busy => "; the file stayed locked by another connection",
        ErrorKind::DiskFull => "; free some space and try again",
        ErrorKind::ReadOnly => "; the file or its folder cannot be written by this user",
        ErrorKind::Corrupt => "; restore a backup, or salvage what can be read",
        ErrorKind::NotADatabase => "; it is no SQLite database, or is encrypted with another key",
        _ => "",
    };
    Error::with_source(kind, format!("{doing}: {source}{hint}"), source)
}

pub(crate) fn kind(error: &rusqlite::Error) -> ErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Busy,
        Some(ErrorCode::DiskFull) => ErrorKind::DiskFull,
        Some(ErrorCode::SystemIoFailure) => ErrorKind::Io,
        Some(ErrorCode::NotADatabase) => ErrorKind::NotADatabase,
        Some(ErrorCode::DatabaseCorrupt) => ErrorKind::Corrupt,
        Some(ErrorCode::ReadOnly) => ErrorKind::ReadOnly,
        Some(ErrorCode::CannotOpen) => ErrorKind::InvalidPath,
        _ => ErrorKind::Database,
    }
}

pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    kind(error) == ErrorKind::Busy
}

/// Whether a value was not what it has to be, as where a hand has written it.
pub(crate) fn is_value(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    matches!(error, FromSqlConversionFailure(..) | InvalidColumnType(..) | IntegralValueOutOfRange(..))
}

/// Whether the fault lies with the file or the disk, so that trying another statement is of no use.
pub(crate) fn concerns_the_file(error: &rusqlite::Error) -> bool {
    matches!(
        kind(error),
        ErrorKind::Busy
            | ErrorKind::DiskFull
            | ErrorKind::Io
            | ErrorKind::NotADatabase
            | ErrorKind::Corrupt
            | ErrorKind::ReadOnly
            | ErrorKind::InvalidPath
    )
}

/// Whether SQLite says that a name is taken already.
pub(crate) fn is_name_taken(error: &rusqlite::Error) -> bool {
    // SQLite has no code of its own for this: the schema has been looked at before, and what is left is a race
    // or a name that a later migration adds.
    kind(error) == ErrorKind::Database && error.to_string().contains("already exists")
}
