//! Which SQLite libraries may write a WAL file.

use crate::error::{Error, ErrorKind, Result};

/// Refuses a library with the WAL-reset bug, which can corrupt a file when its WAL is restarted: fixed in 3.51.3, and
/// in the branches 3.50.7 and 3.44.6 (<https://sqlite.org/wal.html>).
pub(crate) fn check(version: i32) -> Result<()> {
    let (major, minor, patch) = (version / 1_000_000, version / 1_000 % 1_000, version % 1_000);
    let fixed = match (major, minor) {
        (3, 44) => patch >= 6,
        (3, 50) => patch >= 7,
        (3, 51) => patch >= 3,
        (3, minor) => minor > 51,
        (major, _) => major > 3,
    };
    if fixed {
        return Ok(());
    }
    let message = format!(
        "SQLite {major}.{minor}.{patch} can corrupt a WAL file when it is reset; \
         use 3.51.3, 3.50.7, 3.44.6 or newer, or the feature `bundled`"
    );
    Err(Error::new(ErrorKind::UnsafeSqlite, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfixed_versions_are_refused_and_fixed_branches_pass() {
        for version in [3_037_000, 3_044_005, 3_045_000, 3_050_006, 3_051_002] {
            assert_eq!(check(version).unwrap_err().kind(), ErrorKind::UnsafeSqlite, "{version}");
        }
        for version in [3_044_006, 3_050_007, 3_051_003, 3_053_002, 4_000_000] {
            assert!(check(version).is_ok(), "{version}");
        }
    }

    #[test]
    fn the_library_of_this_build_is_fixed() {
        check(rusqlite::version_number()).unwrap();
    }
}
