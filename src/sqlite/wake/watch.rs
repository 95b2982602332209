//! A watch on the `-wal` file: an idle bus hears plain SQL clients at once, without looking often.
//!
//! Armed it costs whoever writes about a sixth of their speed, so it goes off once, and is armed when nothing has happened for
//! a while.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

pub(crate) struct WalWatch {
    wal: PathBuf,
    ends: Arc<Ends>,
    thread: Option<JoinHandle<()>>,
}

struct Ends {
    changes: OwnedFd,
    stop: OwnedFd,
}

impl WalWatch {
    /// `changed` is called on a thread of the watch, once for every time it was armed at most.
    pub(crate) fn new(database: &Path, changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mut wal = database.as_os_str().to_owned();
        wal.push("-wal");
        let ends = Arc::new(Ends {
            changes: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            stop: eventfd(0, EventfdFlags::CLOEXEC)?,
        });
        let thread = std::thread::Builder::new().name("rowbus-watch".to_owned()).spawn({
            let ends = Arc::clone(&ends);
            move || ends.follow(changed)
        })?;
        Ok(Self { wal: wal.into(), ends, thread: Some(thread) })
    }

    /// Goes off at the next write. A file that is not there is looked for the next time.
    pub(crate) fn arm(&self) {
        let once = WatchFlags::MODIFY | WatchFlags::ONESHOT;
        let _ = inotify::add_watch(&self.ends.changes, &self.wal, once);
    }
}

impl Ends {
    fn follow(&self, changed: impl Fn()) {
        loop {
            let mut ends =
                [PollFd::new(&self.changes, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            match poll(&mut ends, None) {
                Ok(_) if !ends[1].revents().is_empty() => return,
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
            }
            let mut buffer = [MaybeUninit::uninit(); 512];
            let mut events = inotify::Reader::new(&self.changes, &mut buffer);
            let mut modified = false;
            while let Ok(event) = events.next() {
                // That a watch which has gone off is taken away is told as well.
                modified |= event.events().contains(inotify::ReadFlags::MODIFY);
            }
            if modified {
                changed();
            }
        }
    }
}

impl Drop for WalWatch {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.ends.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_goes_off_once_for_each_time_it_was_armed_whenever_the_file_comes() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let (changed, changes) = mpsc::channel();
        let watch = WalWatch::new(&database, move || changed.send(()).unwrap()).unwrap();
        watch.arm();
        let mut wal = std::fs::File::create(folder.path().join("a.db-wal")).unwrap();
        let mut write = || wal.write_all(b"frame").unwrap();
        write();
        for _ in 0..3 {
            watch.arm();
            write();
            changes.recv_timeout(Duration::from_secs(60)).unwrap();
            write();
        }
        // With the thread ended, nothing can be on its way any more.
        drop(watch);
        assert!(changes.try_recv().is_err());
    }
}
