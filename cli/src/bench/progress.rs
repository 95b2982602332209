//! How far a benchmark is, for whoever watches a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::{Failure, Result};
use crate::status::Status;

/// A bar on standard error; nothing at all where that is no terminal, or nobody wants to know. It is wiped out when it is
/// dropped, so that the result stands alone.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(status: &Status, what: &'static str, messages: u64) -> Result<Self> {
        if status.is_quiet() || !std::io::stderr().is_terminal() {
            return Ok(Self { bar: ProgressBar::hidden() });
        }
        let template = "{msg} {wide_bar} {human_pos} of {human_len}, {eta} left";
        let style = ProgressStyle::with_template(template);
        let style = style.map_err(|error| Failure::failed(format!("the progress bar: {error}")))?;
        Ok(Self { bar: ProgressBar::new(messages).with_style(style).with_message(what) })
    }

    /// So many more are done.
    pub(crate) fn add(&self, messages: u64) {
        self.bar.inc(messages);
    }
}
