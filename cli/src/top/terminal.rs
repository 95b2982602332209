//! The terminal, taken for a while and given back as it was: at the end, at a signal, and after a panic.

use std::io::{Stdout, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use crate::failure::{Failure, Result};
use crate::top::state::State;
use crate::top::view::{draw, theme::Theme};

/// Whether it is taken: it is given back once, whoever comes first.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while it is taken.
#[must_use = "dropping it gives the terminal back"]
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    theme: Theme,
}

impl Screen {
    pub(super) fn take() -> Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                // What it says would be lost with the screen.
                give_back();
                hook(info);
            }));
        });
        let failed = |error| Failure::failed(format!("taking the terminal: {error}"));
        TAKEN.store(true, Ordering::SeqCst);
        let taken = enable_raw_mode().and_then(|()| execute!(stdout(), EnterAlternateScreen));
        let terminal = taken.and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match terminal {
            Ok(terminal) => Ok(Self { terminal, theme: Theme::of_terminal() }),
            Err(error) => {
                give_back();
                Err(failed(error))
            }
        }
    }

    pub(super) fn draw(&mut self, state: &State) -> Result<()> {
        let drawn = self.terminal.draw(|frame| draw(state, self.theme, frame));
        drawn.map(drop).map_err(|error| Failure::failed(format!("drawing: {error}")))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, if it is taken.
pub(super) fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // One that is gone needs nothing any more.
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}
