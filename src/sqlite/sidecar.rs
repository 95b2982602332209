//! The sidecar `<db>-bell`: a file beside the database for what processes tell each other in passing.
//!
//! Nothing depends on it: without it, or with rubbish in it, the bus is slower and less even between processes, and no
//! message is lost. It is never the database's own file, which only SQLite may open.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The sidecar's path.
pub(crate) fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-bell");
    name.into()
}

/// Whether this open file is still the sidecar of the database: it may have been deleted or replaced.
pub(crate) fn is_at(file: &File, database: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
        let there = std::fs::symlink_metadata(path(database)).map(identity);
        matches!((there, file.metadata().map(identity)), (Ok(there), Ok(here)) if there == here)
    }
    // An open file is not replaced there.
    #[cfg(not(unix))]
    {
        let _ = file;
        path(database).is_file()
    }
}

/// Opens the sidecar, and makes it where it is missing: private to the user, not through a link, and a regular file with
/// no second name, or not at all.
///
/// # Errors
/// As the system says; then the bus does without.
pub(crate) fn open(database: &Path) -> io::Result<File> {
    let path = &path(database);
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Not blocking, so that a FIFO in its place cannot hold up an open.
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match options.create_new(true).open(path) {
            // Another process was first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                options.create_new(false).open(path)?
            }
            created => created?,
        },
        opened => opened?,
    };
    let found = file.metadata()?;
    #[cfg(unix)]
    let names = std::os::unix::fs::MetadataExt::nlink(&found);
    #[cfg(not(unix))]
    let names = 1;
    if !found.is_file() || names > 1 {
        return Err(io::Error::other("it is no regular file with one name"));
    }
    Ok(file)
}

/// Opens the sidecar that is there, to ask for locks.
///
/// # Errors
/// As the system says; then nobody can be asked for.
pub(crate) fn open_to_read(database: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path(database))?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn it_is_made_private_and_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        for _ in 0..2 {
            let mode = open(&database).unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn links_folders_and_pipes_in_its_place_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let (bell, target) = (path(&database), folder.path().join("target"));
        symlink(&target, &bell).unwrap();
        assert!(open(&database).is_err() && !target.exists());
        std::fs::remove_file(&bell).unwrap();
        std::fs::write(&target, "precious").unwrap();
        std::fs::hard_link(&target, &bell).unwrap();
        assert!(open(&database).is_err());
        std::fs::remove_file(&bell).unwrap();
        std::fs::create_dir(&bell).unwrap();
        assert!(open(&database).is_err());
        std::fs::remove_dir(&bell).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&bell).status().unwrap().success());
        assert!(open(&database).is_err());
    }
}
