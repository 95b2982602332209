//! effectum, in a package of its own: it wants another SQLite. It is a job queue, and has nothing like publishing to many,
//! delivery to each of them, or a log that is read again.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::stage::folder_of_this_program;

/// Before anything is measured: compiling takes a minute.
pub fn build() -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("effectum/Cargo.toml");
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(manifest);
    match build.arg("--target-dir").arg(target()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("its package did not build: {status}")),
        Err(error) => Err(format!("no cargo: {error}")),
    }
}

fn target() -> PathBuf {
    folder_of_this_program().join("effectum")
}

pub fn program() -> Command {
    Command::new(target().join("release/rowbus-peers-effectum"))
}
