//! Where a file lies, and what lies beside it.

use std::path::Path;

use crate::defaults::{DISK_RESERVE, WAL_LIMIT};
use crate::sqlite::disk;
use crate::sqlite::doctor::{Findings, Severity};
use crate::sqlite::mount::{self, Verdict};
use crate::sqlite::stats::Opened;

pub(super) fn look(opened: &Opened, findings: &mut Findings) {
    permissions(&opened.path, findings);
    mounts(&opened.path, findings);
    space(&opened.path, findings);
}

fn mounts(path: &Path, findings: &mut Findings) {
    let (verdict, kind) = mount::verdict_on(path);
    match verdict {
        Verdict::Fine => findings.ok("mount", "the file is on a local disk, as far as can be told"),
        Verdict::Volatile => findings.add(
            "mount",
            Severity::Warning,
            format!("the file is in memory ({kind}): nothing survives a restart of the machine"),
            "put the file on a disk, if it is to last",
        ),
        Verdict::Unsafe => findings.add(
            "mount",
            Severity::Error,
            format!("the file is on a mount of type {kind}, whose locks do not reach every process"),
            "close all programs that have it open, and move it to a local disk",
        ),
    }
}

fn space(path: &Path, findings: &mut Findings) {
    let Some(space) = disk::space(path) else { return };
    let (available, reserve) = (space.available, DISK_RESERVE.min(space.total / 16));
    let remedy = "free some space on its disk, or have less kept: rowbus retention";
    let left = format!("{} are left on the disk of the file", mib(available));
    if available < reserve {
        let message = format!("{left}: publishing is refused, so that pruning can still run");
        findings.add("disk", Severity::Error, message, remedy);
    } else if available < reserve * 4 {
        let message = format!("{left}: publishing ends at {}", mib(reserve));
        findings.add("disk", Severity::Warning, message, remedy);
    } else {
        findings.ok("disk", left);
    }
}

/// What SQLite keeps beside the database.
pub(super) fn journal(opened: &Opened, findings: &mut Findings) {
    let path = &opened.path;
    match opened.is_wal() {
        Some(true) => findings.ok("journal", "the file is in WAL mode"),
        Some(false) => findings.add(
            "journal",
            Severity::Error,
            "the file is in rollback-journal mode, and a bus needs WAL",
            "sqlite3 FILE 'PRAGMA journal_mode=WAL', with nobody else at it",
        ),
        None => {}
    }
    let hot = disk::beside(path, "-journal");
    if disk::length(&hot) > 0 {
        let message = format!("{} was left by a program that died in a transaction", hot.display());
        let remedy = "open the file once with the program it belongs to, which rolls it back; never delete the journal";
        findings.add("journal", Severity::Error, message, remedy);
    }
    let wal = disk::wal(path).0;
    if opened.copy.is_some() {
        let message = format!(
            "the file was not closed, and {wal} bytes are in the WAL alone; it was looked at as a copy"
        );
        findings.add(
            "wal",
            Severity::Notice,
            message,
            "nothing: whoever opens it next recovers it; never delete the -wal",
        );
    }
    if wal > WAL_LIMIT * 2 {
        let message =
            format!("the WAL has {}, and checkpoints should keep it at {}", mib(wal), mib(WAL_LIMIT));
        let remedy = "end what holds a read transaction open for long (rowbus peers lists buses; others are foreign programs)";
        findings.add("wal", Severity::Warning, message, remedy);
    }
    findings.ok_unless_found("wal", format!("the WAL has {wal} bytes"));
}

pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(not(unix))]
fn permissions(_: &Path, _: &mut Findings) {}

#[cfg(unix)]
fn permissions(path: &Path, findings: &mut Findings) {
    use std::os::unix::fs::MetadataExt;

    const CHECK: &str = "permissions";
    let Ok(database) = std::fs::metadata(path) else { return };
    for suffix in ["", "-wal", "-shm", "-bell"] {
        let file = disk::beside(path, suffix);
        let Ok(found) = std::fs::symlink_metadata(&file) else { continue };
        let (at, mode) = (file.display(), found.mode() & 0o7777);
        if found.file_type().is_symlink() {
            let message = format!("{at} is a link, and a bus follows none there");
            findings.add(CHECK, Severity::Warning, message, "remove the link; it is made anew as a file");
            continue;
        }
        if mode & 0o077 != 0 {
            let can = if mode & 0o022 != 0 { "written" } else { "read" };
            let message = format!(
                "{at} can be {can} by other users (mode {mode:04o}): who can read it sees every message"
            );
            findings.add(CHECK, Severity::Warning, message, &format!("chmod 600 {at}"));
        }
        if found.uid() != database.uid() {
            let message = format!(
                "{at} belongs to another user than the database ({} and {})",
                found.uid(),
                database.uid()
            );
            findings.add(CHECK, Severity::Warning, message, &format!("chown {} {at}", database.uid()));
        }
    }
    if let Some(folder) = path.parent()
        && let Ok(found) = std::fs::metadata(folder)
    {
        let at = folder.display();
        if found.mode() & 0o002 != 0 && found.mode() & 0o1000 == 0 {
            let message = format!("everybody may replace files in {at} (mode {:04o})", found.mode() & 0o7777);
            findings.add(CHECK, Severity::Warning, message, &format!("chmod o-w {at}"));
        }
    }
    may_write(path, findings);
    findings.ok_unless_found(CHECK, "the file and what lies beside it are their user's alone");
}

#[cfg(target_os = "linux")]
fn may_write(path: &Path, findings: &mut Findings) {
    use rustix::fs::{Access, access};

    for (at, what) in [(Some(path), "the file"), (path.parent(), "its folder, where SQLite keeps the WAL")] {
        let Some(at) = at else { continue };
        if access(at, Access::WRITE_OK).is_err() {
            let message = format!("this user may not write {what}: {}", at.display());
            let remedy = "run it as the file's owner, or copy the file to look at it";
            findings.add("permissions", Severity::Notice, message, remedy);
        }
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn may_write(_: &Path, _: &mut Findings) {}
