//! Word of the death of processes.
//!
//! The kernel lets go of a peer's lock when its process dies, but tells nobody. What it does tell is the end of a process, to
//! whoever has a descriptor of it (Linux); the lock then says which of its peers are gone.

#[cfg(target_os = "linux")]
pub(crate) use linux::Deaths;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::Deaths;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::os::fd::OwnedFd;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::thread::JoinHandle;

    use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    /// Calls back when one of the processes that are watched has ended.
    pub(crate) struct Deaths {
        shared: Arc<Shared>,
        thread: Mutex<Option<JoinHandle<()>>>,
    }

    struct Shared {
        state: Mutex<State>,
        /// Ends the thread's wait.
        wake: OwnedFd,
        died: Box<dyn Fn() + Send + Sync>,
    }

    #[derive(Default)]
    struct State {
        watched: HashMap<u32, Arc<OwnedFd>>,
        stopped: bool,
    }

    impl Deaths {
        /// `None` where the kernel cannot.
        pub(crate) fn new(died: impl Fn() + Send + Sync + 'static) -> Option<Self> {
            let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
            let shared = Shared { state: Mutex::default(), wake, died: Box::new(died) };
            Some(Self { shared: Arc::new(shared), thread: Mutex::default() })
        }

        /// Watches these processes and no others; `false` if one of them cannot be watched.
        pub(crate) fn watch(&self, pids: &[u32]) -> bool {
            let mut all = true;
            let mut changed = false;
            {
                let mut state = self.shared.state();
                let before = state.watched.len();
                state.watched.retain(|pid, _| pids.contains(pid));
                changed |= state.watched.len() != before;
                for pid in pids {
                    if !state.watched.contains_key(pid) {
                        match open(*pid) {
                            Some(fd) => {
                                state.watched.insert(*pid, Arc::new(fd));
                                changed = true;
                            }
                            None => all = false,
                        }
                    }
                }
            }
            if changed {
                let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
                return self.start() && all;
            }
            all
        }

        fn start(&self) -> bool {
            let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
            if thread.is_none() {
                let shared = Arc::clone(&self.shared);
                *thread = std::thread::Builder::new()
                    .name("rowbus-deaths".to_owned())
                    .spawn(move || shared.run())
                    .ok();
            }
            thread.is_some()
        }

        pub(crate) fn stop(&self) {
            self.shared.state().stopped = true;
            let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
            let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(thread) = thread
                && thread.thread().id() != std::thread::current().id()
            {
                let _ = thread.join();
            }
        }
    }

    impl Shared {
        fn state(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn run(&self) {
            loop {
                let watched: Vec<(u32, Arc<OwnedFd>)> = {
                    let state = self.state();
                    if state.stopped {
                        return;
                    }
                    state.watched.iter().map(|(pid, fd)| (*pid, Arc::clone(fd))).collect()
                };
                let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
                fds.extend(watched.iter().map(|(_, fd)| PollFd::new(&**fd, PollFlags::IN)));
                match poll(&mut fds, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
                let died: Vec<_> = std::iter::zip(&fds[1..], &watched)
                    .filter(|(fd, _)| !fd.revents().is_empty())
                    .map(|(_, watched)| watched)
                    .collect();
                let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
                if self.forget(&died) {
                    (self.died)();
                }
            }
        }

        /// Whether any of these was still watched: some may have been let go of since the thread looked at the list.
        fn forget(&self, died: &[&(u32, Arc<OwnedFd>)]) -> bool {
            let mut state = self.state();
            let before = state.watched.len();
            for (pid, fd) in died {
                if state.watched.get(pid).is_some_and(|watched| Arc::ptr_eq(watched, fd)) {
                    state.watched.remove(pid);
                }
            }
            state.watched.len() < before
        }
    }

    fn open(pid: u32) -> Option<OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        pidfd_open(pid, PidfdFlags::empty()).ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::process::Command;
        use std::sync::mpsc::channel;
        use std::time::Duration;

        #[test]
        fn the_end_of_a_process_is_told_and_what_is_watched_no_more_is_not() {
            let (tell, told) = channel();
            let deaths = Deaths::new(move || tell.send(()).unwrap_or(())).unwrap();
            let mut sleepers: Vec<_> =
                (0..2).map(|_| Command::new("sleep").arg("600").spawn().unwrap()).collect();
            let pids: Vec<u32> = sleepers.iter().map(std::process::Child::id).collect();
            assert!(deaths.watch(&pids));
            sleepers[0].kill().unwrap();
            told.recv_timeout(Duration::from_secs(60)).unwrap();
            sleepers[0].wait().unwrap();
            assert!(deaths.watch(&[]));
            sleepers[1].kill().unwrap();
            sleepers[1].wait().unwrap();
            deaths.stop();
            assert!(told.try_recv().is_err());
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    /// Elsewhere nobody is told: leases run out.
    pub(crate) struct Deaths;

    impl Deaths {
        pub(crate) fn new(_: impl Fn() + Send + Sync + 'static) -> Option<Self> {
            None
        }

        pub(crate) fn watch(&self, _: &[u32]) -> bool {
            false
        }

        pub(crate) fn stop(&self) {}
    }
}
