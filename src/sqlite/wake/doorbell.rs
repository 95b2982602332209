//! The doorbell: wakes the sleeping thread of each bus on the file, in this process and in others.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::sqlite::wake::bits::WakeBits;
use crate::sqlite::wake::park::Park;
use crate::sqlite::wake::platform;

/// What a system has to offer. A doorbell has one sleeper, the bus that opened it, and wakes those of others.
pub(crate) trait Doorbell: Send + Sync {
    /// Marks what is waited for, and gives what to sleep on. To be done before looking, not after.
    fn arm(&self, bits: WakeBits) -> u32;
    /// Sleeps unless it was rung since it was armed; whether it was rung. It may return for no reason at all.
    fn sleep(&self, armed: u32, timeout: Duration) -> bool;
    fn disarm(&self);
    /// Wakes its own sleeper.
    fn wake(&self);
    /// Wakes the sleepers of others that wait for one of these, after something was committed.
    fn ring(&self, bits: WakeBits);
    /// Whether others of the same file are rung by it.
    fn reaches_others(&self) -> bool;
    /// Whether it still belongs to this database: its file may have been deleted or replaced.
    fn belongs_to(&self, database: &Path) -> bool;
}

/// The doorbell of a bus, whatever becomes of the file behind it.
pub(crate) struct Bell {
    database: PathBuf,
    current: RwLock<Arc<dyn Doorbell>>,
    warned: AtomicBool,
}

/// A sleeper that has marked what it waits for.
pub(crate) struct Armed {
    doorbell: Arc<dyn Doorbell>,
    armed: u32,
}

impl Bell {
    pub(crate) fn open(database: &Path) -> Self {
        let bell = Self {
            database: database.to_owned(),
            current: RwLock::new(Arc::new(Park::default())),
            warned: AtomicBool::new(false),
        };
        bell.reopen();
        bell
    }

    pub(crate) fn arm(&self, bits: WakeBits) -> Armed {
        let doorbell = self.current();
        let armed = doorbell.arm(bits);
        Armed { doorbell, armed }
    }

    pub(crate) fn wake(&self) {
        self.current().wake();
    }

    pub(crate) fn ring(&self, bits: WakeBits) {
        if bits != WakeBits::NOTHING {
            self.current().ring(bits);
        }
    }

    pub(crate) fn reaches_others(&self) -> bool {
        self.current().reaches_others()
    }

    /// Takes the sidecar that is there now, if it is another one. To be called now and then: until it is, a deleted one costs
    /// latency.
    pub(crate) fn check(&self) {
        if !self.current().belongs_to(&self.database) {
            self.reopen();
        }
    }

    fn reopen(&self) {
        let opened = match platform::open(&self.database) {
            Ok(opened) => opened,
            Err(error) => {
                if error.kind() != io::ErrorKind::Unsupported && !self.warned.swap(true, Ordering::Relaxed) {
                    let database = self.database.display();
                    tracing::warn!(%database, %error, "no doorbell; other processes are heard by looking");
                }
                // One that leads nowhere wakes its own sleeper as well as any.
                return;
            }
        };
        let old =
            std::mem::replace(&mut *self.current.write().unwrap_or_else(PoisonError::into_inner), opened);
        // Its sleeper is to sleep on the new one.
        old.wake();
    }

    fn current(&self) -> Arc<dyn Doorbell> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Armed {
    pub(crate) fn sleep(&self, timeout: Duration) -> bool {
        self.doorbell.sleep(self.armed, timeout)
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.doorbell.disarm();
    }
}
