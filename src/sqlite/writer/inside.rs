//! Whether a thread is inside a transaction that runs a host's code: a call of the same bus from there could only wait for itself.

use std::cell::Cell;

use crate::error::{Error, ErrorKind, Result};

thread_local! {
    /// The address of the writer whose transaction this thread is in; 0 in none.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

/// Marks the thread for as long as the host's code runs.
pub(crate) struct Inside;

impl Inside {
    pub(crate) fn of(writer: usize) -> Self {
        INSIDE.with(|inside| inside.set(writer));
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with(|inside| inside.set(0));
    }
}

/// Refuses a call of this writer from within its own transaction.
pub(super) fn check(writer: usize) -> Result<()> {
    if INSIDE.with(Cell::get) != writer {
        return Ok(());
    }
    let message = "a transaction of this bus called the same bus, which could only wait for itself: \
                   use the transaction's own `publish` and `enqueue`";
    Err(Error::new(ErrorKind::InvalidOption, message))
}
