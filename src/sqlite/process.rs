//! Which process opened a bus.

use crate::error::{Error, ErrorKind, Result};

/// The process that opened a bus: a fork of it has neither its threads nor a claim to its locks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Self {
        Self(std::process::id())
    }

    /// Fails in a fork.
    pub(crate) fn check(self) -> Result<()> {
        if std::process::id() == self.0 {
            return Ok(());
        }
        let message = "this process is a fork of the one that opened the bus; open the bus anew in the child";
        Err(Error::new(ErrorKind::Forked, message))
    }
}
