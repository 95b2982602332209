//! The folder of a page, and a shell in it.

use tempfile::TempDir;

use crate::transcript::shell::Shell;

pub struct Session {
    // Before the folders: what runs in them ends first.
    pub shell: Shell,
    _folders: [TempDir; 3],
}

impl Session {
    pub fn start() -> Self {
        let [folder, commands, aside] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let rowbus = commands.path().join("rowbus");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rowbus"), rowbus).unwrap();
        let shell = Shell::start(folder.path(), commands.path(), aside.path());
        Self { shell, _folders: [folder, commands, aside] }
    }
}
