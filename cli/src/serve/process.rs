//! The processes of commands that run: none outlives the request that it was started for.

use std::collections::HashSet;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// All that run.
#[derive(Default)]
pub(super) struct Processes {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The ids of process groups, which are those of their first processes.
    running: HashSet<u32>,
    ended: bool,
}

/// A command that runs, with what it has started; killed when dropped.
pub(super) struct Process {
    child: Child,
    /// The group, until its first process was reaped: from then on the id may be that of another.
    group: Option<u32>,
    all: Arc<Processes>,
}

impl Processes {
    /// Starts a command in a process group of its own, so that a Ctrl-C meant for the service does not end it.
    pub(super) fn start(self: &Arc<Self>, command: &mut Command) -> io::Result<Process> {
        command.kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut state = self.state();
        if state.ended {
            return Err(io::Error::other("the service is at its end"));
        }
        let child = command.spawn()?;
        let group = child.id();
        state.running.extend(group);
        drop(state);
        Ok(Process { child, group, all: Arc::clone(self) })
    }

    /// Kills all that run. Nothing is started any more.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.running.drain().for_each(kill_group);
    }

    /// Whether all that ran were killed.
    pub(super) fn have_ended(&self) -> bool {
        self.state().ended
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    pub(super) fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout, ChildStderr)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?, self.child.stderr.take()?))
    }

    /// Waits for its end.
    pub(super) async fn exit(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.forget();
        Ok(status)
    }

    /// Kills it, and waits until it is no more.
    pub(super) async fn kill(mut self) {
        if let Some(group) = self.group {
            kill_group(group);
            // Where there are no groups, the process alone.
            let _ = self.child.start_kill();
            let _ = self.exit().await;
        }
    }

    fn forget(&mut self) {
        if let Some(group) = self.group.take() {
            self.all.state().running.remove(&group);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            kill_group(group);
        }
        self.forget();
    }
}

#[cfg(unix)]
fn kill_group(id: u32) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // One that has ended needs no more.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill_group(_: u32) {}
