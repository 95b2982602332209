//! Where an export goes: standard output, or a file that gets its name when it is whole.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rowbus::sqlite::Unfinished;

use crate::failure::{Failure, Result};
use crate::stdout::Output;

pub(super) enum Target {
    Pipe(Output),
    File(NewFile),
}

/// A file in the making, removed if it is dropped before its end.
pub(super) struct NewFile {
    out: BufWriter<File>,
    unfinished: Unfinished,
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
            Self::File(file) => file.write(write).map(|()| true),
        }
    }

    /// What was written so far goes to whoever reads it; a file that is not whole goes.
    pub(super) fn give_up(self) -> Result<()> {
        match self {
            Self::Pipe(mut out) => out.flush().map(|_| ()),
            Self::File(_) => Ok(()),
        }
    }

    /// `false` if nobody has read to the end.
    pub(super) fn finish(self) -> Result<bool> {
        match self {
            Self::Pipe(mut out) => out.flush(),
            Self::File(file) => file.finish().map(|()| true),
        }
    }
}

impl NewFile {
    fn create(wanted: &Path) -> Result<Self> {
        let unfinished = Unfinished::create(wanted)?;
        let file = OpenOptions::new().write(true).open(unfinished.path());
        let file = file.map_err(|error| failed(wanted, &error))?;
        Ok(Self { out: BufWriter::with_capacity(64 << 10, file), unfinished })
    }

    fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        write(&mut self.out).map_err(|error| failed(self.unfinished.path(), &error))
    }

    fn finish(self) -> Result<()> {
        let Self { out, unfinished } = self;
        let written = out.into_inner().map(drop);
        written.map_err(|error| failed(unfinished.path(), error.error()))?;
        unfinished.finish()?;
        Ok(())
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("writing {}: {error}", path.display()))
}
