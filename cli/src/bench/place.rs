//! Where a benchmark writes: a folder of its own, on the disk that it is to measure.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::address::Address;
use crate::failure::{Failure, Result};

/// What the names of the folders begin with, so that whoever finds one after a power cut knows whose it was.
const PREFIX: &str = "rowbus-bench-";

/// A new folder with room for a bus. It is removed with all that is in it, whatever the benchmark comes to.
#[must_use = "dropping it removes the folder"]
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// A place beside the file of this name, whether that exists or not, or in the folder of this name.
    pub(crate) fn beside(db: &Path) -> Result<Self> {
        // Absolute, since it is told to people and to another process.
        let folder = folder_of(db)?;
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&folder);
        let made = made.map_err(|error| {
            // Its own text quotes the path of the folder that could not be made.
            let error = io::Error::from(error.kind());
            Failure::failed(format!("making a folder for the benchmark in {}: {error}", folder.display()))
        });
        Ok(Self { folder: made? })
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The file of the bus.
    pub(crate) fn db(&self) -> PathBuf {
        self.folder.path().join("bus.db")
    }

    /// The file of bare SQLite that the bus is compared with.
    pub(crate) fn raw(&self) -> PathBuf {
        self.folder.path().join("raw.db")
    }

    /// The same for the second process.
    pub(crate) fn raw_address(&self) -> Address {
        Address::File { path: self.raw(), url: None }
    }

    /// Removes the folder, with the bus in it.
    pub(crate) fn remove(self) -> Result<()> {
        let path = self.folder.path().to_owned();
        self.folder.close().map_err(|error| Failure::failed(format!("removing {}: {error}", path.display())))
    }
}

fn folder_of(db: &Path) -> Result<PathBuf> {
    let text = db.to_string_lossy();
    if text.is_empty() || text == ":memory:" || text.starts_with("file:") {
        return Err(Failure::failed(
            "a bus is a file, given by a plain path; a benchmark has one beside that of --db",
        ));
    }
    if db.is_dir() {
        return Ok(db.to_owned());
    }
    // A link may lead to another disk, and it is where the bus lies that counts.
    let file = db.canonicalize().unwrap_or_else(|_| db.to_owned());
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => Ok(folder.to_owned()),
        _ => Ok(PathBuf::from(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_that_of_the_file_or_the_one_that_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(folder_of(Path::new("missing.db")).unwrap(), Path::new("."));
        assert_eq!(folder_of(&dir.path().join("missing.db")).unwrap(), dir.path());
        assert_eq!(folder_of(dir.path()).unwrap(), dir.path());
        for no_file in ["", ":memory:", "file:bus.db"] {
            assert!(folder_of(Path::new(no_file)).is_err(), "{no_file}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_link_counts_as_what_it_leads_to() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (file, link) = (there.path().join("bus.db"), here.path().join("bus.db"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(folder_of(&link).unwrap(), there.path().canonicalize().unwrap());
    }
}
