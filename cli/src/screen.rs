//! Whether standard output is a screen: a terminal on which something can be drawn in place.

use std::io::IsTerminal;

/// A terminal that calls itself dumb shows letters alone, and would show what moves the cursor as letters.
pub(crate) fn is_there() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}
