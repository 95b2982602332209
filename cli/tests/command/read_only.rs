//! Files and folders that the user may not write.
#![cfg(unix)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::every_verb::{Use, VERBS};
use crate::migrating::{fixture, newer, newest};
use crate::support::{Finished, Folder, Running, skip};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Where nobody in particular finds the command, and a file that only its owner may write.
struct Place {
    folder: Folder,
    unprivileged: bool,
    /// How many files there are.
    names: usize,
}

impl Place {
    fn new() -> Option<Self> {
        let folder = Folder::new();
        folder.publish("a", b"x");
        Self::holding(folder)
    }

    /// With this bus.
    fn holding(folder: Folder) -> Option<Self> {
        set_mode(&folder.db(), 0o444);
        // Permissions do not hold root back.
        let unprivileged = fs::OpenOptions::new().append(true).open(folder.db()).is_err();
        // The command may have been built where others may not look.
        fs::copy(env!("CARGO_BIN_EXE_rowbus"), folder.path().join("rowbus")).unwrap();
        let names = fs::read_dir(folder.path()).unwrap().count();
        let place = Self { folder, unprivileged, names };
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
fn a_file_that_may_only_be_read_is_refused_in_one_line_by_all_that_open_a_bus() {
    let Some(place) = Place::new() else { return };
    fs::write(
        place.folder.path().join("lines.jsonl"),
        "{\"subject\":\"a\",\"time\":\"2026-11-23T07:05:00Z\",\"data\":\"x\"}\n",
    )
    .unwrap();
    let before = fs::read(place.folder.db()).unwrap();
    for verb in VERBS.iter().filter(|verb| matches!(verb.uses, Use::Opens | Use::Makes)) {
        let finished = place.run(&[&["--db", "bus.db"], &verb.args()[..]].concat()).unwrap();
        let line = finished.refusal(1);
        assert!(line.contains("cannot be written"), "{}: {line}", verb.line);
    }
    assert!(fs::read(place.folder.db()).unwrap() == before);
}

#[test]
fn files_of_any_version_are_looked_at_where_nothing_may_be_written() {
    let released = (1..=newest()).map(|schema| (schema.to_string(), fixture(schema)));
    for (version, made) in released.chain([("newer".to_owned(), newer(1, 99))]) {
        let Some(place) = Place::holding(made) else { return };
        set_mode(place.folder.path(), 0o555);
        let run = |args: &[&str]| place.run(&[&["--db", "bus.db"], args].concat()).unwrap();
        let stats = run(&["stats"]);
        assert_eq!((stats.code, &*stats.stderr), (Some(0), ""), "{version}: {stats:?}");
        assert!(stats.text().contains("\nschema "), "{version}: {stats:?}");
        let export = run(&["export", "-q"]);
        assert_eq!(export.code, Some(0), "{version}: {export:?}");
        assert!(export.text().contains("\"kept\""), "{version}: {export:?}");
        let doctor = run(&["doctor"]);
        assert!(doctor.text().contains("integrity     all pages can be read"), "{version}: {doctor:?}");
        let status = run(&["migrate", "status"]);
        assert!(status.text().contains("VERSION  NAME"), "{version}: {status:?}");
        assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), place.names, "{version}");
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
