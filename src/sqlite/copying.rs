//! The backups that a bus is making, which end with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::error::{Error, Result};

/// How many copies are being made, and whether they are to go on.
#[derive(Debug, Default)]
pub(crate) struct Copying {
    running: Mutex<usize>,
    ended: Condvar,
    is_over: AtomicBool,
}

/// A copy that is being made.
#[derive(Debug)]
pub(crate) struct Copy(Arc<Copying>);

impl Copying {
    /// A further one.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<Copy> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_over.load(Ordering::Relaxed) {
            return Err(Error::closed());
        }
        *running += 1;
        Ok(Copy(Arc::clone(self)))
    }

    /// Ends them all, and blocks until they have tidied up.
    pub(crate) fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.ended.wait_while(running, |running| *running > 0);
        drop(ended.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Copy {
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Relaxed)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_waits_for_those_that_are_being_made_and_lets_none_begin() {
        let copying = Arc::new(Copying::default());
        let copy = copying.begin().unwrap();
        let ending = std::thread::spawn({
            let copying = Arc::clone(&copying);
            move || copying.stop()
        });
        while !copy.is_over() {
            std::thread::yield_now();
        }
        assert!(!ending.is_finished() && copying.begin().is_err());
        drop(copy);
        ending.join().unwrap();
    }
}
