//! What processes cost: CPU time, and how often their threads went to sleep and were woken.

use std::collections::HashMap;
use std::fs;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_ns: u64,
    /// Voluntary context switches: each is a sleep, and so a wakeup.
    pub wakeups: u64,
}

impl Usage {
    /// Of this process, with the threads that have ended.
    pub fn own() -> Self {
        // SAFETY: rusage is plain numbers, for which zeros are valid, and the pointer is to one of ours.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
            usage
        };
        let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
        Self { cpu_ns: ns(usage.ru_utime) + ns(usage.ru_stime), wakeups: usage.ru_nvcsw as u64 }
    }
}

/// Other processes, watched from outside.
///
/// A thread that ends takes its count of wakeups with it, so that a sum over threads can fall: each thread is compared
/// with itself. What one that ended did while watched is missed; its CPU time is not, that is of the process.
pub struct Watch {
    pids: Vec<u32>,
    cpu_ns: u64,
    wakeups: HashMap<(u32, String), u64>,
}

impl Watch {
    pub fn start(pids: Vec<u32>) -> Self {
        let (cpu_ns, wakeups) = (cpu_ns(&pids), wakeups(&pids));
        Self { pids, cpu_ns, wakeups }
    }

    pub fn stop(self) -> Usage {
        let since = |(thread, count): (_, u64)| count - self.wakeups.get(&thread).unwrap_or(&0);
        Usage {
            cpu_ns: cpu_ns(&self.pids) - self.cpu_ns,
            wakeups: wakeups(&self.pids).into_iter().map(since).sum(),
        }
    }
}

/// By the clocks of the processes: /proc/PID/stat counts in steps of 10 ms.
fn cpu_ns(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both pointers are to variables of ours.
        unsafe {
            let mut clock = 0;
            assert_eq!(libc::clock_getcpuclockid(*pid as libc::pid_t, &mut clock), 0, "{pid} has ended");
            assert_eq!(libc::clock_gettime(clock, &mut time), 0, "{pid} has ended");
        }
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    pids.iter().map(of).sum()
}

fn wakeups(pids: &[u32]) -> HashMap<(u32, String), u64> {
    let mut counts = HashMap::new();
    for pid in pids {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives") {
            let thread = thread.unwrap();
            // It may end meanwhile.
            let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            let count = count.expect("the kernel counts switches").trim().parse().unwrap();
            counts.insert((*pid, thread.file_name().into_string().unwrap()), count);
        }
    }
    counts
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { cpu_ns: self.cpu_ns + other.cpu_ns, wakeups: self.wakeups + other.wakeups }
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { cpu_ns: self.cpu_ns - earlier.cpu_ns, wakeups: self.wakeups - earlier.wakeups }
    }
}
