//! A file that gets its name when it is whole.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::sqlite::backup::already_exists;
use crate::sqlite::disk::beside;
use crate::sqlite::open::{create_private, io_error};

/// A file in the making, beside its place and with a name that says so. Dropped before its end it is removed; after a crash
/// it is what is left.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("events.jsonl");
/// use rowbus::sqlite::Unfinished;
///
/// let unfinished = Unfinished::create(&path)?;
/// std::fs::write(unfinished.path(), "{}").unwrap();
/// assert_eq!(unfinished.finish()?.1, 2);
/// assert_eq!(std::fs::read(&path).unwrap(), b"{}");
/// # Ok::<(), rowbus::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it removes the file"]
pub struct Unfinished {
    path: PathBuf,
    wanted: PathBuf,
}

impl Unfinished {
    /// An empty file that only this user may read, on its way to `wanted`.
    ///
    /// # Errors
    /// `AlreadyExists` if there is something at `wanted`; `DiskFull`, `ReadOnly`, `InvalidPath`, `Io`.
    pub fn create(wanted: &Path) -> Result<Self> {
        // SQLite would replay the log of a file that is gone into the one that has its name now.
        for end in ["", "-wal", "-journal"] {
            let there = beside(wanted, end);
            if there.symlink_metadata().is_ok() {
                return Err(already_exists(&there));
            }
        }
        let path = beside(wanted, &format!(".{:08x}.unfinished", uuid::Uuid::new_v4().as_fields().0));
        create_private(&path)?;
        let path = std::fs::canonicalize(&path).map_err(|e| io_error(&path, "resolving the path", e))?;
        Ok(Self { path, wanted: wanted.to_owned() })
    }

    /// Where it is until it is whole.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes the file and gives it its name: the path and the bytes of what is there now. No connection may have it open.
    ///
    /// # Errors
    /// `AlreadyExists` if somebody has made a file there meanwhile; `DiskFull`, `Io`.
    pub fn finish(self) -> Result<(PathBuf, u64)> {
        let wanted = &self.wanted;
        let failed = |doing: &'static str| move |error| io_error(wanted, doing, error);
        let file = File::options().write(true).open(&self.path).map_err(failed("opening the new file"))?;
        file.sync_all().map_err(failed("flushing the new file"))?;
        let bytes = file.metadata().map_err(failed("looking at the new file"))?.len();
        drop(file);
        match rename(&self.path, &self.wanted) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(already_exists(&self.wanted));
            }
            done => done.map_err(failed("giving the new file its name"))?,
        }
        let path = std::fs::canonicalize(&self.wanted).map_err(failed("resolving the path"))?;
        // The name, too, has to survive a power cut. Folders cannot be opened everywhere.
        #[cfg(unix)]
        if let Some(folder) = path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("flushing the folder"))?;
        }
        Ok((path, bytes))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What cannot be removed has a name that says what it is.
        for end in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(beside(&self.path, end));
        }
    }
}

/// Renames without replacing anything.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system can.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            done => return Ok(done?),
        }
    }
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn it_gets_its_name_at_the_end_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("a");
        let unfinished = Unfinished::create(&wanted).unwrap();
        assert!(unfinished.path().to_string_lossy().ends_with(".unfinished") && !wanted.exists());
        std::fs::write(unfinished.path(), "whole").unwrap();
        assert_eq!(unfinished.finish().unwrap().1, 5);
        assert_eq!(std::fs::read(&wanted).unwrap(), b"whole");
        drop(Unfinished::create(&folder.path().join("b")).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_there_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("a");
        let unfinished = Unfinished::create(&wanted).unwrap();
        std::fs::write(&wanted, "precious").unwrap();
        assert_eq!(unfinished.finish().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(Unfinished::create(&wanted).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&wanted).unwrap(), b"precious");
        std::fs::write(folder.path().join("b-wal"), "of another").unwrap();
        let error = Unfinished::create(&folder.path().join("b")).unwrap_err();
        assert!(error.kind() == ErrorKind::AlreadyExists && error.to_string().contains("b-wal"), "{error}");
        std::fs::remove_file(folder.path().join("b-wal")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
