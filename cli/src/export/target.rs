//! Where an export goes: standard output, or a file that gets its name when it is whole.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::stdout::Output;

pub(super) enum Target {
    Pipe(Output),
    File(NewFile),
}

/// A file in the making, with a name that says so; removed if it is dropped before its end.
pub(super) struct NewFile {
    out: BufWriter<File>,
    path: PathBuf,
    wanted: PathBuf,
}

impl Target {
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        match path {
            Some(path) => NewFile::create(path).map(Self::File),
            None => Ok(Self::Pipe(Output::new())),
        }
    }

    /// `false` if nobody reads on.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<bool> {
        match self {
            Self::Pipe(out) => out.write(|out| write(out)),
            Self::File(file) => {
                write(&mut file.out).map(|()| true).map_err(|error| failed(&file.wanted, &error))
            }
        }
    }

    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Pipe(mut out) => out.flush().map(|_| ()),
            Self::File(file) => file.finish(),
        }
    }
}

impl NewFile {
    fn create(wanted: &Path) -> Result<Self> {
        if wanted.symlink_metadata().is_ok() {
            return Err(there_is(wanted));
        }
        let mut name = wanted.as_os_str().to_owned();
        name.push(format!(".{:08x}.unfinished", std::process::id()));
        let path = PathBuf::from(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(|error| failed(wanted, &error))?;
        Ok(Self { out: BufWriter::with_capacity(64 << 10, file), path, wanted: wanted.to_owned() })
    }

    fn finish(mut self) -> Result<()> {
        let flushed = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        flushed.map_err(|error| failed(&self.wanted, &error))?;
        if self.wanted.symlink_metadata().is_ok() {
            return Err(there_is(&self.wanted));
        }
        std::fs::rename(&self.path, &self.wanted).map_err(|error| failed(&self.wanted, &error))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn there_is(path: &Path) -> Failure {
    Failure::failed(format!("{}: there is a file already, and it is not overwritten", path.display()))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("writing {}: {error}", path.display()))
}
