//! The doorbell of Linux: futex words in a sidecar file that every bus on the file has mapped.
//!
//! Each bus has a slot of its own, told from others' by a lock on a byte of the file, and sleeps on the word in it. Ringing
//! reads the slots that were ever used: without a sleeper that is concerned there is no system call but one that looks
//! at the file's length, since touching a mapped page of a file that was cut off, or has no room on the disk, would end
//! the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex;
use rustix::time::Timespec;

use crate::sqlite::wake::atomic::{AtomicU32, Ordering};
use crate::sqlite::wake::bits::WakeBits;
use crate::sqlite::wake::doorbell::Doorbell;
use crate::sqlite::wake::slot::{self, Slot};
use crate::sqlite::{byte_lock, sidecar};

pub(crate) use crate::sqlite::wake::watch::WalWatch;

/// Buses on one file that can be rung at once; others have the floor.
const SLOTS: usize = 511;

/// What the file holds. Any content is a valid one.
#[repr(C, align(64))]
struct Board {
    /// Slots from the first on that were ever used.
    used: AtomicU32,
    slots: [Slot; SLOTS],
}

const LENGTH: usize = size_of::<Board>();

/// A sleep in place of one on a page that cannot be had.
const WITHOUT_PAGE: Duration = Duration::from_millis(20);

struct FutexBell {
    /// Holds the lock on the slot.
    file: File,
    board: NonNull<Board>,
    own: usize,
    /// Its own sleeper is armed: known here and not from the file, for its own wakes.
    asleep: AtomicBool,
}

// SAFETY: all that lies behind the pointer is atomic, and the mapping lives as long as the value.
#[allow(unsafe_code)]
unsafe impl Send for FutexBell {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for FutexBell {}

pub(super) fn open(database: &Path) -> io::Result<Arc<dyn Doorbell>> {
    let file = sidecar::open(database)?;
    lengthen(&file)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, LENGTH as u64) {
        // Where it cannot be asked for, what was lengthened was written.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    for own in 0..SLOTS {
        if byte_lock::try_lock(&file, byte_lock::FIRST_SLOT + own as u64)? {
            let board = map(&file)?;
            return Ok(Arc::new(FutexBell { file, board, own, asleep: AtomicBool::new(false) }));
        }
    }
    Err(io::Error::other(format!("all {SLOTS} slots are taken")))
}

#[allow(unsafe_code)]
fn map(file: &File) -> io::Result<NonNull<Board>> {
    // SAFETY: a new mapping at an address of the kernel's choice, which nothing else refers to.
    let mapped = unsafe {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        rustix::mm::mmap(std::ptr::null_mut(), LENGTH, access, MapFlags::SHARED, file, 0)?
    };
    NonNull::new(mapped.cast()).ok_or_else(|| io::Error::other("mapped at no address"))
}

/// Makes the file as long as what is mapped; it is never cut. It is written and not only stretched: a page of a hole that
/// finds no room on the disk is as deadly as none.
fn lengthen(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length < LENGTH as u64 {
        file.write_all_at(&[0; LENGTH][length as usize..], length)?;
    }
    Ok(())
}

impl FutexBell {
    /// What is mapped, if it may be touched: it was cut off otherwise, and could not be made whole again. Between this look
    /// and the touch there is nothing but a few instructions.
    #[allow(unsafe_code)]
    fn board(&self) -> Option<&Board> {
        lengthen(&self.file).ok()?;
        // SAFETY: the mapping is as long as a `Board` and page-aligned, lives as long as `self`, and the file behind it is
        // that long too. Everything in a `Board` is an atomic number, for which any bits are a value.
        Some(unsafe { self.board.as_ref() })
    }

    fn slot(&self) -> Option<&Slot> {
        self.board().map(|board| &board.slots[self.own])
    }
}

fn wake(slot: &Slot) {
    // Nobody sleeping there is no fault, and neither is a page that is gone meanwhile.
    let _ = futex::wake(slot.bell(), futex::Flags::empty(), 1);
}

impl Doorbell for FutexBell {
    fn arm(&self, bits: WakeBits) -> u32 {
        self.asleep.store(true, Ordering::SeqCst);
        let Some(board) = self.board() else { return 0 };
        let used = self.own as u32 + 1;
        if board.used.load(Ordering::Relaxed) < used {
            board.used.fetch_max(used, Ordering::AcqRel);
        }
        board.slots[self.own].arm(bits.get())
    }

    fn sleep(&self, armed: u32, timeout: Duration) -> bool {
        let timeout = Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos().into() };
        let rung = |slot: &Slot| futex::wait(slot.bell(), futex::Flags::empty(), armed, Some(&timeout));
        // A page that is gone is no place to sleep: in place of an error that would come at once, again and again.
        match self.slot().map(rung) {
            Some(Ok(()) | Err(Errno::AGAIN)) => true,
            Some(Err(Errno::INTR | Errno::TIMEDOUT)) => false,
            Some(Err(_)) | None => {
                std::thread::sleep(WITHOUT_PAGE);
                false
            }
        }
    }

    fn disarm(&self) {
        self.asleep.store(false, Ordering::Relaxed);
        if let Some(slot) = self.slot() {
            slot.disarm();
        }
    }

    fn wake(&self) {
        slot::committed();
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(slot) = self.slot()
        {
            slot.bell().fetch_add(1, Ordering::Release);
            wake(slot);
        }
    }

    fn ring(&self, bits: WakeBits) {
        slot::committed();
        let Some(board) = self.board() else { return };
        let used = SLOTS.min(board.used.load(Ordering::Relaxed) as usize);
        // First all that touches the file, and then what takes time; a page that has gone meanwhile fails a wake only.
        let mut rung = [0_u64; SLOTS.div_ceil(64)];
        for (at, slot) in board.slots[..used].iter().enumerate() {
            if at != self.own && slot.ring(bits.get()) {
                rung[at / 64] |= 1 << (at % 64);
            }
        }
        for (at, slot) in board.slots[..used].iter().enumerate() {
            if rung[at / 64] >> (at % 64) & 1 == 1 {
                wake(slot);
            }
        }
    }

    fn reaches_others(&self) -> bool {
        true
    }

    fn belongs_to(&self, database: &Path) -> bool {
        sidecar::is_at(&self.file, database)
    }
}

impl Drop for FutexBell {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no reference into it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.board.as_ptr().cast(), LENGTH) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::subject::Subject;

    /// For a sleep that has to end by being rung.
    const LONG: Duration = Duration::from_secs(60);

    fn bits(subject: &str) -> WakeBits {
        WakeBits::event(&Subject::new(subject).unwrap())
    }

    fn bells(count: usize) -> (tempfile::TempDir, Vec<Arc<dyn Doorbell>>) {
        let folder = tempfile::tempdir().unwrap();
        let bells = (0..count).map(|_| open(&folder.path().join("a.db")).unwrap()).collect();
        (folder, bells)
    }

    #[test]
    fn a_sleeper_is_rung_for_what_it_waits_for_and_by_others_only() {
        let (_folder, bells) = bells(3);
        let rung = |armed| bells[0].sleep(armed, Duration::ZERO);
        let armed = bells[0].arm(bits("orders.a"));
        bells[0].ring(bits("orders.b"));
        assert!(!rung(armed));
        bells[1].ring(bits("mail.a"));
        assert!(!rung(armed));
        bells[2].ring(bits("orders.b"));
        assert!(rung(armed));
        // The mark was taken with the ring.
        let armed = bells[0].arm(bits("orders.a"));
        bells[0].disarm();
        bells[1].ring(bits("orders.a"));
        assert!(!rung(armed));
        let armed = bells[0].arm(WakeBits::NOTHING);
        bells[1].ring(WakeBits::EVERYTHING);
        assert!(!rung(armed));
        bells[0].wake();
        assert!(rung(armed));
    }

    #[test]
    fn a_ring_wakes_each_of_many_that_sleep() {
        let (_folder, bells) = bells(5);
        let (woken, wakes) = mpsc::channel();
        let (ready, armed) = mpsc::channel();
        for bell in &bells[1..] {
            let (bell, woken, ready) = (Arc::clone(bell), woken.clone(), ready.clone());
            std::thread::spawn(move || {
                let armed = bell.arm(bits("a"));
                ready.send(()).unwrap();
                let mut rung = false;
                while !rung {
                    rung = bell.sleep(armed, LONG);
                }
                woken.send(()).unwrap();
            });
        }
        armed.iter().take(4).for_each(drop);
        bells[0].ring(bits("a"));
        for _ in 0..4 {
            wakes.recv_timeout(LONG).unwrap();
        }
    }

    #[test]
    fn a_slot_is_free_again_when_its_bell_has_gone_and_the_last_one_is_the_last() {
        let (folder, mut bells) = bells(SLOTS);
        let database = folder.path().join("a.db");
        assert!(open(&database).is_err_and(|error| error.to_string().contains("slots are taken")));
        bells.swap_remove(7);
        let bell = open(&database).unwrap();
        let armed = bells[SLOTS - 2].arm(bits("a"));
        bell.ring(bits("a"));
        assert!(bells[SLOTS - 2].sleep(armed, Duration::ZERO));
    }

    #[test]
    fn a_file_that_was_cut_off_is_made_whole_and_rings_again() {
        let (folder, bells) = bells(2);
        let path = sidecar::path(&folder.path().join("a.db"));
        let armed = bells[0].arm(bits("a"));
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        // What was marked is gone with the page: this one is late, and the next is not.
        bells[1].ring(bits("a"));
        let _ = bells[0].sleep(armed, Duration::ZERO);
        let armed = bells[0].arm(bits("a"));
        bells[1].ring(bits("a"));
        assert!(bells[0].sleep(armed, Duration::ZERO));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), LENGTH as u64);
    }

    #[test]
    fn a_bell_knows_when_its_file_is_no_more_that_of_the_database() {
        let (folder, bells) = bells(1);
        let database = folder.path().join("a.db");
        assert!(bells[0].belongs_to(&database));
        std::fs::remove_file(sidecar::path(&database)).unwrap();
        assert!(!bells[0].belongs_to(&database));
        let other = open(&database).unwrap();
        assert!(!bells[0].belongs_to(&database) && other.belongs_to(&database));
    }
}
