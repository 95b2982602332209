//! Colours: the terminal's own sixteen, so that they suit its background, and none of those that vanish on a light or a dark one.
//! Without colours the picture says the same by bold, dim and reversed letters.

use ratatui::style::{Color, Modifier, Style};

use crate::colour;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Theme {
    pub(crate) has_colours: bool,
}

/// How much something is a matter of concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concern {
    None,
    Some,
    Much,
}

impl Theme {
    /// By what the terminal can do, and the user wants.
    pub(crate) fn of_terminal() -> Self {
        Self { has_colours: colour::is_out_coloured() }
    }

    fn colour(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    /// Frames of what has the keys, and the name of the program.
    pub(super) fn accent(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What was measured.
    pub(super) fn curve(self) -> Style {
        self.colour(Color::Green)
    }

    /// The same of everything together.
    pub(super) fn total(self) -> Style {
        self.colour(Color::Cyan)
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Names of things, frames, what is not the matter.
    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What the keys are at. The colours of what is in it would make a patchwork of it.
    pub(super) fn chosen(self) -> Style {
        let plain = if self.has_colours { Style::new().fg(Color::Reset) } else { Style::new() };
        plain.remove_modifier(Modifier::DIM).add_modifier(Modifier::REVERSED)
    }

    pub(super) fn concern(self, concern: Concern) -> Style {
        match concern {
            Concern::None => self.curve(),
            Concern::Some => self.colour(Color::Magenta),
            Concern::Much => self.colour(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    /// A line that must not be overlooked.
    pub(super) fn alarm(self) -> Style {
        self.concern(Concern::Much).add_modifier(Modifier::REVERSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_a_colour_where_none_is_wanted() {
        let theme = Theme { has_colours: false };
        let concerns = [Concern::None, Concern::Some, Concern::Much].map(|concern| theme.concern(concern));
        let styles =
            [theme.accent(), theme.curve(), theme.total(), theme.chosen(), theme.alarm(), theme.faint()];
        assert!(styles.into_iter().chain(concerns).all(|style| style.fg.is_none() && style.bg.is_none()));
    }
}
