//! Standard output, and whether somebody still reads it.

use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use crate::failure::{Failure, Result};

/// Bytes gathered for one write.
const BUFFER: usize = 64 << 10;

/// Buffered standard output. A reader that has gone is no failure: `false` tells of it.
pub(crate) struct Output {
    out: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { out: BufWriter::with_capacity(BUFFER, io::stdout()) }
    }

    pub(crate) fn write(
        &mut self,
        write: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>,
    ) -> Result<bool> {
        let written = write(&mut self.out);
        is_read(written)
    }

    pub(crate) fn flush(&mut self) -> Result<bool> {
        is_read(self.out.flush())
    }
}

fn is_read(written: io::Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("writing to standard output: {error}"))),
    }
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
