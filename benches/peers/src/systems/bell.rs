//! A futex in a shared page, and the bare way from one process to another: a payload in that page, with nothing stored.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::Role;
use crate::measure;
use crate::payload::{SIZE, stamped};
use crate::process::{ready, report};

/// So many payloads can be on their way.
const SLOTS: usize = 16;

#[repr(C)]
struct Page {
    rings: AtomicU32,
    slots: [[AtomicU8; SIZE]; SLOTS],
}

pub struct Bell(&'static Page);

impl Bell {
    /// In a file beside this one. The page stays mapped until the process ends.
    pub fn open(path: &str) -> Self {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(format!("{path}-page")).unwrap();
        file.set_len(size_of::<Page>() as u64).unwrap();
        // SAFETY: the file is as large as the page and is never made smaller, so all of the mapping can be touched; it is
        // aligned to a page; the struct is atomics alone, for which every bit pattern is valid.
        let page = unsafe {
            let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
            let at = libc::mmap(ptr::null_mut(), size_of::<Page>(), protection, flags, file.as_raw_fd(), 0);
            assert_ne!(at, libc::MAP_FAILED);
            &*at.cast::<Page>()
        };
        Self(page)
    }

    pub fn rings(&self) -> u32 {
        self.0.rings.load(Ordering::Acquire)
    }

    pub fn ring(&self) {
        self.0.rings.fetch_add(1, Ordering::Release);
        self.futex(libc::FUTEX_WAKE, i32::MAX as u32);
    }

    /// Sleeps while there have been just so many rings.
    pub fn wait(&self, seen: u32) {
        self.futex(libc::FUTEX_WAIT, seen);
    }

    /// Not a private one: the other process has it in a mapping of its own.
    fn futex(&self, operation: libc::c_int, value: u32) {
        let word = self.0.rings.as_ptr();
        // SAFETY: the word is mapped until the process ends, and without a time limit the kernel reads nothing else.
        unsafe {
            libc::syscall(libc::SYS_futex, word, operation, value, ptr::null::<libc::timespec>());
        }
    }
}

pub fn play(path: &str, role: Role) {
    let bell = Bell::open(path);
    let slot = |at: u32| &bell.0.slots[at as usize % SLOTS];
    match role {
        Role::Send { count } => {
            ready();
            report(&measure::send(count, |now| {
                for (to, byte) in slot(bell.rings()).iter().zip(stamped(now).bytes()) {
                    to.store(byte, Ordering::Relaxed);
                }
                bell.ring();
            }));
        }
        Role::Receive { count, .. } => {
            let mut read = bell.rings();
            ready();
            report(&measure::receive_payloads(count, || {
                loop {
                    let seen = bell.rings();
                    if seen != read {
                        let payload = slot(read).iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
                        read += 1;
                        return payload;
                    }
                    bell.wait(seen);
                }
            }));
        }
        _ => panic!("a futex stores nothing"),
    }
}
