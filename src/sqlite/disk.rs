//! What lies on the disk, without opening anything.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// To users without special rights.
    pub(crate) available: u64,
    pub(crate) total: u64,
}

/// The room where this file lies; `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn space(file: &Path) -> Option<Space> {
    let found = rustix::fs::statvfs(file.parent()?).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    // Some pseudo file systems have no size at all.
    (found.f_blocks > 0).then(|| Space { available: bytes(found.f_bavail), total: bytes(found.f_blocks) })
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn space(_: &Path) -> Option<Space> {
    None
}

/// A file beside the database, by what its name ends with.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The length of a file; 0 if there is none.
pub(crate) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

/// The length of the WAL, and when it was written last.
pub(crate) fn wal(database: &Path) -> (u64, Option<SystemTime>) {
    match std::fs::metadata(beside(database, "-wal")) {
        Ok(found) => (found.len(), found.modified().ok()),
        Err(_) => (0, None),
    }
}
