//! Lines that processes write into one file until they are killed.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// What a whole line ends with.
const END: &str = " .";

/// Each line is one write, so that their order is that of the events. A kill ends a write at a page of the file's, though: a line
/// begins after a line end of its own, so that such a piece spoils none but itself, and is whole with its [end](END) alone.
pub(crate) struct Lines(File);

impl Lines {
    pub(crate) fn open(path: impl AsRef<Path>) -> Self {
        Self(File::options().append(true).create(true).open(path).unwrap())
    }

    pub(crate) fn write(&self, line: impl Display) {
        self.write_all([line]);
    }

    /// All in one write.
    pub(crate) fn write_all(&self, lines: impl IntoIterator<Item = impl Display>) {
        let lines: String = lines.into_iter().map(|line| format!("\n{line}{END}")).collect();
        (&self.0).write_all(lines.as_bytes()).unwrap();
    }
}

/// The whole lines so far, in the order in which they were written.
pub(crate) fn read(path: impl AsRef<Path>) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter_map(|line| line.strip_suffix(END)).map(str::to_owned).collect()
}
