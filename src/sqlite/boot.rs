//! Which boot of which machine this is.

/// Stands in a file that was copied, in place of the boot in which it was last opened: no process has it open, and no commit
/// of it was lost.
pub(crate) const COPIED: &str = "copied";

/// An id that is new after every start of the machine; `None` where the system has none to read.
///
/// A power cut implies a new boot. So where the id has changed, commits that nobody flushed may be gone, and ids that
/// were given out must not be given again.
pub(crate) fn id() -> Option<String> {
    #[cfg(target_os = "linux")]
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    #[cfg(target_os = "macos")]
    let id = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", "kern.bootsessionuuid"])
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    let id: Option<String> = None;
    id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn the_boot_has_an_id_and_keeps_it() {
        assert!(super::id().is_some());
        assert_eq!(super::id(), super::id());
    }
}
