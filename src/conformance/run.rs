//! How a case is run.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::fixture::Fixture;

const LIMIT: Duration = Duration::from_secs(60);

/// A future that stays on the thread of its case.
pub(super) type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

pub(super) type Factory = Box<dyn FnOnce() -> LocalFuture<'static, Fixture> + Send>;

pub(super) type Case = fn(&Fixture) -> LocalFuture<'_, ()>;

#[allow(clippy::print_stderr, reason = "what is not run is told where a test tells it")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// Runs a case on a thread and a runtime of its own, so that a backend that blocks its caller's thread is
/// found out as well.
///
/// A thread that is still blocked when time is up cannot be stopped: it stays behind until the test process
/// ends.
pub(super) fn run(name: &'static str, factory: Factory, case: Case) {
    let (ends, ended) = channel::<()>();
    let body = move || {
        // Dropped last, after the runtime, whether the case returns or panics.
        let _ends = ends;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = factory().await;
            if let Some(why) = &fixture.skipped {
                say(&format!("SKIPPED: {name}: {why}"));
                return;
            }
            case(&fixture).await;
            for bus in fixture.handles() {
                bus.close().await.expect("a bus closes after its case");
            }
        });
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(body).unwrap();
    if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
        panic!("{name} was not over after {LIMIT:?}");
    }
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}
