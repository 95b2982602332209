//! Standard output, and whether somebody still reads it.

use std::io::{self, ErrorKind, Write};

use crate::failure::{Failure, Result};

/// Bytes that are gathered before they are written: as many as a pipe holds on most systems.
const BUFFER: usize = 64 << 10;

/// Buffered standard output. A reader that has gone is no failure: `false` tells of it.
///
/// What is written at once goes out as a whole with what was gathered before it: a reader that is told to take no more
/// finds whole lines.
pub(crate) struct Output {
    gathered: Vec<u8>,
    is_cut: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { gathered: Vec::with_capacity(BUFFER), is_cut: false }
    }

    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<bool> {
        is_read(write(&mut self.gathered))?;
        if self.gathered.len() < BUFFER { Ok(true) } else { self.flush() }
    }

    pub(crate) fn flush(&mut self) -> Result<bool> {
        let mut out = io::stdout().lock();
        let written = out.write_all(&self.gathered).and_then(|()| out.flush());
        self.is_cut |= written.is_err() && !self.gathered.is_empty();
        self.gathered.clear();
        // One large message is no reason to keep room for another.
        self.gathered.shrink_to(BUFFER);
        is_read(written)
    }

    /// Whether something was written that nobody has taken.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }
}

fn is_read(written: io::Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("writing to standard output: {error}"))),
    }
}

/// Fails where standard output was closed, and what is written would be taken for written all the same.
pub(crate) fn must_be_open() -> Result<()> {
    if is_stand_in(io::stdout()) {
        Err(Failure::usage(
            "standard output is closed, or /dev/null opened for reading as well: nobody would get what is written",
        ))
    } else {
        Ok(())
    }
}

/// Whether the Rust runtime has opened this stream in place of one that was closed: it does so before anything of ours runs, with
/// /dev/null to read and to write. Who discards output, or gives none, opens it for the one or the other.
#[cfg(unix)]
pub(crate) fn is_stand_in(stream: impl std::os::fd::AsFd) -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};
    let (Ok(flags), Ok(here)) = (fcntl_getfl(&stream), fstat(&stream)) else { return false };
    let Ok(null) = stat("/dev/null") else { return false };
    flags.contains(OFlags::RDWR) && (here.st_dev, here.st_ino) == (null.st_dev, null.st_ino)
}

/// Not to be told.
#[cfg(not(unix))]
pub(crate) fn is_stand_in<T>(_: T) -> bool {
    false
}

/// Whether the pipe holds what its reader has not taken. Of a pipe alone: a terminal would speak of its input.
#[cfg(unix)]
pub(crate) fn is_left_in_pipe() -> bool {
    rustix::io::ioctl_fionread(io::stdout()).is_ok_and(|bytes| bytes > 0)
}

/// Not to be told.
#[cfg(not(unix))]
pub(crate) fn is_left_in_pipe() -> bool {
    false
}

/// Resolves when the reader of a pipe has closed it: who waits for a message that may never come would otherwise stay
/// behind `head -1` for ever. Never resolves where that cannot be told, as for a file.
#[cfg(unix)]
pub(crate) async fn reader_gone() {
    use std::os::fd::AsFd;

    use tokio::io::Interest;
    use tokio::net::unix::pipe::Sender;

    // A sender made unchecked leaves the pipe as it is: it is only watched here, and written to by blocking writes.
    let watched = io::stdout().as_fd().try_clone_to_owned().and_then(Sender::from_owned_fd_unchecked);
    if let Ok(pipe) = watched
        && pipe.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Never resolves: without a Unix it shows at the next write.
#[cfg(not(unix))]
pub(crate) async fn reader_gone() {
    std::future::pending().await
}
