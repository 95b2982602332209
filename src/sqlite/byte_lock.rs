//! Locks on bytes of the sidecar: held by an open file, and let go of by the kernel however its process dies.
//!
//! They are "open file description" locks: unlike POSIX locks they are no matter of the process, and closing another handle
//! of the file does not drop them.

use std::fs::File;
use std::io;

/// Slots of the doorbell, from here on.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))] // for doorbells
pub(crate) const FIRST_SLOT: u64 = 1 << 32;
/// Who prunes.
pub(crate) const PRUNER: u64 = FIRST_PEER - 1;
/// Peers, from here on up to the largest offset.
pub(crate) const FIRST_PEER: u64 = 1 << 40;

/// Takes the lock on this byte, for as long as the file stays open; `false` if another has it.
#[cfg(target_os = "linux")]
pub(crate) fn try_lock(file: &File, byte: u64) -> io::Result<bool> {
    match fcntl(file, libc::F_OFD_SETLK, byte) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the locks on so many bytes from the first on, for as long as the file stays open; `false` if another has one.
#[cfg(target_os = "linux")]
pub(crate) fn try_lock_all(file: &File, (first, count): (u64, u64)) -> io::Result<bool> {
    match fcntl_range(file, libc::F_OFD_SETLK, first, count) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether anybody else has the lock on this byte.
#[cfg(target_os = "linux")]
pub(crate) fn is_locked(file: &File, byte: u64) -> io::Result<bool> {
    fcntl(file, libc::F_OFD_GETLK, byte).map(|found| i32::from(found.l_type) != libc::F_UNLCK)
}

#[cfg(target_os = "linux")]
fn fcntl(file: &File, command: libc::c_int, byte: u64) -> io::Result<libc::flock> {
    fcntl_range(file, command, byte, 1)
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn fcntl_range(file: &File, command: libc::c_int, first: u64, count: u64) -> io::Result<libc::flock> {
    use std::os::fd::AsRawFd;
    // SAFETY: `flock` is a plain structure of numbers, for which zeros are a value; `l_pid` has to be 0.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = libc::off_t::try_from(first).map_err(io::Error::other)?;
    lock.l_len = libc::off_t::try_from(count).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and both commands take a pointer to a `flock` that
    // lives longer than the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(lock) }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn try_lock(_: &File, _: u64) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn try_lock_all(_: &File, _: (u64, u64)) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_locked(_: &File, _: u64) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_locked_by_one_open_file_until_that_is_closed_and_others_closing_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        let (first, second, byte) = (open(), open(), FIRST_PEER + 7);
        assert!(!is_locked(&second, byte).unwrap());
        assert!(try_lock(&first, byte).unwrap() && try_lock(&first, byte).unwrap());
        assert!(!is_locked(&first, byte).unwrap(), "one's own lock is in nobody's way");
        drop(open());
        assert!(is_locked(&second, byte).unwrap() && !try_lock(&second, byte).unwrap());
        assert!(try_lock(&second, byte + 1).unwrap());
        drop(first);
        assert!(try_lock(&second, byte).unwrap());
    }
}
