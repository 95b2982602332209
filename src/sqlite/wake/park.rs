//! A doorbell for one process: where the system has no other, its sleeper is woken from within, and others are heard by looking.

use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::sqlite::wake::bits::WakeBits;
use crate::sqlite::wake::doorbell::Doorbell;

#[derive(Debug, Default)]
pub(crate) struct Park {
    rings: Mutex<u32>,
    rung: Condvar,
}

impl Doorbell for Park {
    fn arm(&self, _: WakeBits) -> u32 {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self, armed: u32, timeout: Duration) -> bool {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = self.rung.wait_timeout_while(rings, timeout, |rings| *rings == armed);
        slept.is_ok_and(|(rings, _)| *rings != armed)
    }

    fn disarm(&self) {}

    fn wake(&self) {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        *rings = rings.wrapping_add(1);
        self.rung.notify_one();
    }

    fn ring(&self, _: WakeBits) {}

    fn reaches_others(&self) -> bool {
        false
    }

    fn belongs_to(&self, _: &Path) -> bool {
        false
    }
}
