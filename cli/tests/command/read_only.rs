//! Files and folders that the user may not write.
#![cfg(unix)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Finished, Folder, Running, skip};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Where nobody in particular finds the command, and a file that only its owner may write.
struct Place {
    folder: Folder,
    unprivileged: bool,
}

impl Place {
    fn new() -> Option<Self> {
        let folder = Folder::new();
        folder.publish("a", b"x");
        set_mode(&folder.db(), 0o444);
        // Permissions do not hold root back.
        let unprivileged = fs::OpenOptions::new().append(true).open(folder.db()).is_err();
        // The command may have been built where others may not look.
        fs::copy(env!("CARGO_BIN_EXE_rowbus"), folder.path().join("rowbus")).unwrap();
        let place = Self { folder, unprivileged };
        set_mode(place.folder.path(), 0o755);
        let can_run = place.run(&["--version"]).is_some_and(|finished| finished.code == Some(0));
        if !can_run {
            skip("read-only files: the command cannot be run as another user (setpriv)");
            return None;
        }
        Some(place)
    }

    fn run(&self, args: &[&str]) -> Option<Finished> {
        let program = self.folder.path().join("rowbus");
        let mut command = if self.unprivileged {
            Command::new(program)
        } else {
            if Command::new("setpriv").arg("--version").output().is_err() {
                return None;
            }
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
            command
        };
        command.args(args).env_remove("ROWBUS_DB").current_dir(self.folder.path());
        let mut running = Running::start(command);
        running.write(b"");
        Some(running.finish())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Else the folder could not be removed.
        set_mode(self.folder.path(), 0o755);
    }
}

#[test]
fn a_file_that_may_only_be_read_is_refused_in_one_line() {
    let Some(place) = Place::new() else { return };
    for verb in ["pub", "sub"] {
        let finished = place.run(&[verb, "a", "--db", "bus.db"]).unwrap();
        let line = finished.refusal(1);
        assert!(line.contains("cannot be written"), "{line}");
    }
}

#[test]
fn a_folder_that_may_only_be_read_gets_no_new_file() {
    let Some(place) = Place::new() else { return };
    set_mode(place.folder.path(), 0o555);
    for verb in ["pub", "sub"] {
        let finished = place.run(&[verb, "a", "--db", "new.db"]).unwrap();
        let line = finished.refusal(1);
        assert!(line.contains("new.db") && line.contains("denied"), "{line}");
    }
}

#[test]
fn a_file_that_others_may_not_read_is_refused_in_one_line() {
    let Some(place) = Place::new() else { return };
    set_mode(&place.folder.db(), 0o000);
    let finished = place.run(&["sub", "a", "--db", "bus.db"]).unwrap();
    let line = finished.refusal(1);
    assert!(line.contains("bus.db"), "{line}");
}
