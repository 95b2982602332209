//! Mounts that break SQLite's locks or shared memory, told by their type.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// What a file system means for a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// In memory: it works, and nothing is durable.
    Volatile,
    /// Locks or shared memory do not reach every process.
    Unsafe,
}

/// The verdict on a canonical path, and the type of the mount.
pub(crate) fn verdict_on(path: &Path) -> (Verdict, String) {
    look(path)
}

/// Refuses a path on an unsafe mount, and warns of a volatile one.
pub(crate) fn check(path: &Path, allow_unsafe: bool) -> Result<()> {
    let (verdict, kind) = look(path);
    match verdict {
        Verdict::Fine => Ok(()),
        Verdict::Volatile => {
            tracing::warn!(path = %path.display(), mount = kind, "the file is in memory: nothing survives a restart of the machine");
            Ok(())
        }
        Verdict::Unsafe if allow_unsafe => {
            tracing::warn!(path = %path.display(), mount = kind, "locks on this mount may not hold");
            Ok(())
        }
        Verdict::Unsafe => Err(Error::new(
            ErrorKind::UnsafeMount,
            format!(
                "{} is on a mount of type {kind}, where file locks and shared memory do not reach every process; \
                 put the file on a local disk, or say `allow_unsafe_mount(true)` if only one process will ever open it",
                path.display()
            ),
        )),
    }
}

#[cfg(target_os = "linux")]
fn look(path: &Path) -> (Verdict, String) {
    // Without /proc nothing can be told, and refusing would lock out sandboxes.
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    judge(&String::from_utf8_lossy(&mounts), path)
}

#[cfg(windows)]
fn look(path: &Path) -> (Verdict, String) {
    // A canonical path of a share begins with \\?\UNC\, and one as the user wrote it with \\server\.
    let text = path.to_string_lossy();
    let share = text.starts_with(r"\\?\UNC\") || (text.starts_with(r"\\") && !text.starts_with(r"\\?\"));
    if share { (Verdict::Unsafe, "SMB".to_owned()) } else { (Verdict::Fine, String::new()) }
}

#[cfg(not(any(target_os = "linux", windows)))]
fn look(_path: &Path) -> (Verdict, String) {
    (Verdict::Fine, String::new())
}

/// The verdict on the mount that a canonical path lies on, from the text of `mountinfo`.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn judge(mountinfo: &str, path: &Path) -> (Verdict, String) {
    let mut best: Option<(PathBuf, &str)> = None;
    for line in mountinfo.lines() {
        // "36 35 98:0 / /mnt rw shared:1 - ext4 /dev/sda rw": the point is the fifth field, the type follows " - ".
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (left.split(' ').nth(4), right.split(' ').next()) else { continue };
        let point = PathBuf::from(unescape(point));
        // A later mount covers an earlier one at the same point.
        let deeper =
            best.as_ref().is_none_or(|(seen, _)| point.components().count() >= seen.components().count());
        if path.starts_with(&point) && deeper {
            best = Some((point, kind));
        }
    }
    let kind = best.map_or("", |(_, kind)| kind);
    (verdict(kind), kind.to_owned())
}

fn verdict(kind: &str) -> Verdict {
    match kind {
        "tmpfs" | "ramfs" => Verdict::Volatile,
        "nfs" | "nfs4" | "cifs" | "smb" | "smb2" | "smb3" | "smbfs" | "9p" | "virtiofs" | "drvfs" | "afs"
        | "ceph" | "lustre" | "ocfs2" | "gfs2" | "vboxsf" | "vmhgfs" | "prl_fs" | "fuse" | "fuseblk" => {
            Verdict::Unsafe
        }
        other if other.starts_with("fuse.") => Verdict::Unsafe,
        _ => Verdict::Fine,
    }
}

/// The kernel writes blanks in a path as `\040` and the like.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:30 / /home/u/share rw shared:1 - nfs4 server:/x rw
31 22 0:31 / /mnt/my\\040drive rw - cifs //s/x rw
32 22 0:32 / /dev/shm rw - tmpfs tmpfs rw
33 22 0:33 / /mnt/c rw - 9p drvfs rw
34 22 0:34 / /vm rw - virtiofs tag rw
35 22 0:35 / /sshfs rw - fuse.sshfs host: rw
36 30 8:2 / /home/u/share/local rw - ext4 /dev/sdb1 rw
37 22 0:37 / /over rw - nfs server:/y rw
38 37 8:3 / /over rw - xfs /dev/sdc1 rw
";

    #[test]
    fn network_and_pass_through_mounts_are_unsafe() {
        let unsafe_paths =
            ["/home/u/share/a.db", "/mnt/my drive/a.db", "/mnt/c/a.db", "/vm/a.db", "/sshfs/x/a.db"];
        for path in unsafe_paths {
            assert_eq!(judge(MOUNTS, Path::new(path)).0, Verdict::Unsafe, "{path}");
        }
    }

    #[test]
    fn the_deepest_and_latest_mount_decides() {
        for path in ["/a.db", "/home/u/a.db", "/home/u/shared.db", "/home/u/share/local/a.db", "/over/a.db"] {
            assert_eq!(judge(MOUNTS, Path::new(path)).0, Verdict::Fine, "{path}");
        }
        assert_eq!(judge(MOUNTS, Path::new("/dev/shm/a.db")), (Verdict::Volatile, "tmpfs".to_owned()));
    }

    #[test]
    fn an_unreadable_mount_table_refuses_nobody() {
        assert_eq!(judge("rubbish\n1 2 3\n - \n", Path::new("/a.db")).0, Verdict::Fine);
        assert_eq!(unescape("a\\0"), "a\\0");
        assert_eq!(unescape("a\\"), "a\\");
    }
}
