//! Whether the path still leads to the file that was opened.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// The file behind a path. Looking at it never opens it: that would drop SQLite's locks.
#[derive(Clone, Debug)]
pub(crate) struct FileIdentity {
    path: PathBuf,
    mark: Option<Mark>,
}

#[cfg(unix)]
type Mark = (u64, u64);
#[cfg(not(unix))]
type Mark = std::time::SystemTime;

impl FileIdentity {
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let identity = Self { path: path.to_owned(), mark: mark(path) };
        match identity.mark {
            Some(_) => Ok(identity),
            None => Err(identity.replaced("the file is gone")),
        }
    }

    /// Fails if the file was deleted or another one is in its place.
    pub(crate) fn check(&self) -> Result<()> {
        match mark(&self.path) {
            None => Err(self.replaced("the file was deleted")),
            found if found != self.mark => Err(self.replaced("another file is in its place")),
            _ => Ok(()),
        }
    }

    fn replaced(&self, what: &str) -> Error {
        let message = format!("{}: {what} since the bus was opened; open it again", self.path.display());
        Error::new(ErrorKind::FileReplaced, message)
    }
}

#[cfg(unix)]
fn mark(path: &Path) -> Option<Mark> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

// Without device and inode the time of creation has to do; Windows does not let an open file be replaced anyway.
#[cfg(not(unix))]
fn mark(path: &Path) -> Option<Mark> {
    std::fs::metadata(path).and_then(|found| found.created()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletion_and_replacement_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "1").unwrap();
        let identity = FileIdentity::of(&path).unwrap();
        identity.check().unwrap();
        std::fs::rename(&path, folder.path().join("b")).unwrap();
        assert!(identity.check().unwrap_err().to_string().contains("deleted"));
        std::fs::write(&path, "2").unwrap();
        let error = identity.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileReplaced);
        assert!(error.to_string().contains("another file"));
    }
}
