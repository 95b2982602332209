//! The doorbell: wakes the sleeping thread of each bus on the file, in this process and in others.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

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
    /// Wakes its own sleeper, whatever others have made of the marks.
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
    /// When it is worth to try again, after a try that failed.
    again_at: Mutex<Option<Instant>>,
}

/// Between tries to open a sidecar that cannot be used.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

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
            again_at: Mutex::default(),
        };
        bell.reopen();
        bell
    }

    pub(crate) fn arm(&self, bits: WakeBits) -> Armed {
        loop {
            let doorbell = self.current();
            let armed = Armed { armed: doorbell.arm(bits), doorbell };
            // One that was replaced before the mark was made is rung by nobody any more.
            if Arc::ptr_eq(&armed.doorbell, &self.current()) {
                return armed;
            }
        }
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
        let again_at = *self.again_at.lock().unwrap_or_else(PoisonError::into_inner);
        if again_at.is_none_or(|again| again <= Instant::now()) && !self.current().belongs_to(&self.database)
        {
            self.reopen();
        }
    }

    fn reopen(&self) {
        let opened = match platform::open(&self.database) {
            Ok(opened) => opened,
            Err(error) => {
                let mut again_at = self.again_at.lock().unwrap_or_else(PoisonError::into_inner);
                let first = again_at.replace(Instant::now() + AGAIN_AFTER).is_none();
                if first && error.kind() != io::ErrorKind::Unsupported {
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

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::sidecar;

    /// For a sleep that has to end by being woken.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn after_the_sidecar_is_deleted_bells_that_have_looked_ring_each_other_again() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let (one, two) = (Bell::open(&database), Bell::open(&database));
        let rung = || {
            let armed = one.arm(WakeBits::EVERYTHING);
            two.ring(WakeBits::EVERYTHING);
            armed.sleep(Duration::ZERO)
        };
        assert!(rung());
        std::fs::remove_file(sidecar::path(&database)).unwrap();
        one.check();
        assert!(!rung());
        two.check();
        assert!(rung());
    }

    #[test]
    fn a_sleeper_whose_sidecar_is_replaced_is_woken_to_sleep_on_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let bell = Bell::open(&database);
        std::thread::scope(|scope| {
            let (marked, is_marked) = std::sync::mpsc::channel();
            let bell = &bell;
            let sleeper = scope.spawn(move || {
                let armed = bell.arm(WakeBits::NOTHING);
                marked.send(()).unwrap();
                while !armed.sleep(LONG) {}
            });
            is_marked.recv().unwrap();
            std::fs::remove_file(sidecar::path(&database)).unwrap();
            bell.check();
            sleeper.join().unwrap();
        });
        let armed = bell.arm(WakeBits::NOTHING);
        bell.wake();
        assert!(armed.sleep(Duration::ZERO));
    }

    #[test]
    fn what_others_do_to_the_sidecar_does_not_keep_a_bus_from_waking_its_own_sleeper() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let bell = Bell::open(&database);
        let sidecar = std::fs::File::options().write(true).open(sidecar::path(&database)).unwrap();
        for length in [0, 100] {
            let armed = bell.arm(WakeBits::NOTHING);
            sidecar.set_len(length).unwrap();
            bell.wake();
            assert!(armed.sleep(Duration::ZERO));
        }
    }

    #[test]
    fn a_sidecar_that_cannot_be_used_leaves_a_bell_that_wakes_its_own_sleeper() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        std::fs::create_dir(sidecar::path(&database)).unwrap();
        let bell = Bell::open(&database);
        assert!(!bell.reaches_others());
        let armed = bell.arm(WakeBits::EVERYTHING);
        bell.ring(WakeBits::EVERYTHING);
        assert!(!armed.sleep(Duration::ZERO));
        bell.wake();
        assert!(armed.sleep(Duration::ZERO));
    }
}
