//! Where the `nats-server` program is.

use std::env;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Older ones do not know all that the client asks for.
const OLDEST: (u32, u32) = (2, 10);

/// Looked for once. `None` where there is none, which is said loudly.
///
/// # Panics
/// Where there is none, and `ROWBUS_REQUIRE_NATS` is `1`; where `ROWBUS_NATS_SERVER` names one that does not run.
pub(super) fn nats_server() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(find).as_deref();
    if found.is_none() {
        let message = "no nats-server of 2.10 or later: set ROWBUS_NATS_SERVER, run `scripts/test setup`, or put one on the PATH";
        assert!(env::var("ROWBUS_REQUIRE_NATS").as_deref() != Ok("1"), "{message}");
        // The harness keeps what `eprintln!` says in a test that passes.
        let _ = writeln!(stderr(), "SKIPPED: {message}");
    }
    found
}

fn find() -> Option<PathBuf> {
    if let Some(named) = env::var_os("ROWBUS_NATS_SERVER").map(PathBuf::from) {
        let version = version(&named);
        assert!(version >= Some(OLDEST), "ROWBUS_NATS_SERVER is {named:?}, whose version is {version:?}");
        return Some(named);
    }
    // `scripts/test setup` puts one into the target folder, which every test program lies in.
    let program = env::current_exe().unwrap_or_default();
    let in_project = program.ancestors().skip(1).map(|folder| folder.join("nats/bin/nats-server"));
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("nats-server")).collect::<Vec<_>>();
    in_project.chain(on_path).find(|file| file.is_file() && version(file) >= Some(OLDEST))
}

/// What `nats-server: v2.14.5` says.
fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut numbers = said.trim().rsplit('v').next()?.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}
