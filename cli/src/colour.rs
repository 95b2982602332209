//! Colours, on a terminal alone: what goes into a file, a pipe or a log is text.

use std::fmt::{self, Display};
use std::sync::LazyLock;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

const PLAIN: Style = Style::new();

/// Text that is coloured where it can be seen. The width of a format is that of the text.
pub(crate) struct Painted<T> {
    text: T,
    style: Style,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.style)?;
        self.text.fmt(f)?;
        write!(f, "{:#}", self.style)
    }
}

fn out<T>(text: T, style: Style) -> Painted<T> {
    Painted { text, style: if is_out_coloured() { style } else { PLAIN } }
}

/// The head of a table.
pub(crate) fn head<T>(text: T) -> Painted<T> {
    out(text, Style::new().bold())
}

/// What the eye is to pass over.
pub(crate) fn faint<T>(text: T) -> Painted<T> {
    out(text, Style::new().dimmed())
}

/// A subject, by which people look for a line.
pub(crate) fn subject<T>(text: T) -> Painted<T> {
    out(text, AnsiColor::Cyan.on_default())
}

/// All is well.
pub(crate) fn good<T>(text: T) -> Painted<T> {
    out(text, AnsiColor::Green.on_default())
}

/// Not to be overlooked.
pub(crate) fn odd<T>(text: T) -> Painted<T> {
    out(text, AnsiColor::Yellow.on_default())
}

/// Something is wrong.
pub(crate) fn bad<T>(text: T) -> Painted<T> {
    out(text, AnsiColor::Red.on_default().bold())
}

/// Something is wrong, on standard error.
pub(crate) fn bad_on_stderr<T>(text: T) -> Painted<T> {
    let style = if is_wanted(&std::io::stderr()) { AnsiColor::Red.on_default().bold() } else { PLAIN };
    Painted { text, style }
}

/// Whether standard output is coloured.
pub(crate) fn is_out_coloured() -> bool {
    static IS: LazyLock<bool> = LazyLock::new(|| is_wanted(&std::io::stdout()));
    *IS
}

/// On a terminal that has colours, for somebody who has not said otherwise by `NO_COLOR` and the like.
pub(crate) fn is_wanted(stream: &impl RawStream) -> bool {
    // The tests of this crate look at the text, and may be run on a terminal.
    !cfg!(test) && AutoStream::choice(stream) != ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_takes_no_room() {
        let painted = Painted { text: "ok", style: AnsiColor::Green.on_default() };
        assert_eq!(format!("{painted:<4}|"), "\u{1b}[32mok  \u{1b}[0m|");
        assert_eq!(format!("{:>4}|", Painted { text: "ok", style: PLAIN }), "  ok|");
    }
}
