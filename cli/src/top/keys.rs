//! What a key does.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rowbus::Subject;

use crate::escape::Escaped;
use crate::top::collect::Ask;
use crate::top::state::{Cursor, Letter, Messages, Overlay, Pane, State, View, sequences};
use crate::top::wanted::Wanted;

/// Lines that a page has.
const PAGE: isize = 10;

/// What has to happen beyond another picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Nothing,
    Quit,
    Ask(Ask),
    /// To requeue the dead letter of this id.
    Requeue(u64),
}

impl State {
    pub(super) fn press(&mut self, key: KeyEvent) -> Deed {
        if key.kind == KeyEventKind::Release {
            return Deed::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Deed::Quit } else { Deed::Nothing };
        }
        match self.overlay.take() {
            // Whatever key it is, it closes the page.
            Some(Overlay::Help) => return Deed::Nothing,
            Some(Overlay::Requeue(id, subject)) => return self.answer(key.code, id, subject),
            None => {}
        }
        if self.is_typing {
            self.type_filter(key.code);
            return Deed::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => Deed::Quit,
            KeyCode::Char('?') | KeyCode::F(1) => self.open(Overlay::Help),
            KeyCode::Char('p' | ' ') => {
                self.is_paused = !self.is_paused;
                Deed::Ask(Ask::Pause(self.is_paused))
            }
            KeyCode::Char('r') => self.ask_to_requeue(),
            KeyCode::Esc | KeyCode::Backspace => self.go_back(),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.turn(-PAGE),
            KeyCode::PageDown => self.turn(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN / 2),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX / 2),
            code => match self.view {
                View::Overview => self.press_in_overview(code),
                View::Messages(_) | View::Letter(_) => self.press_in_detail(code),
            },
        }
    }

    fn press_in_overview(&mut self, code: KeyCode) -> Deed {
        match code {
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('S') => self.is_reversed = !self.is_reversed,
            KeyCode::Tab | KeyCode::Right => self.pane = self.pane.next(),
            KeyCode::BackTab | KeyCode::Left => self.pane = self.pane.next().next(),
            KeyCode::Enter => return self.look_into(),
            _ => {}
        }
        Deed::Nothing
    }

    fn press_in_detail(&mut self, code: KeyCode) -> Deed {
        if code == KeyCode::Char('x') {
            self.show = self.show.other();
        }
        Deed::Nothing
    }

    fn open(&mut self, overlay: Overlay) -> Deed {
        self.overlay = Some(overlay);
        Deed::Nothing
    }

    fn type_filter(&mut self, code: KeyCode) {
        let mut text = self.wanted.text().to_owned();
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                text.clear();
            }
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(character) => text.push(character),
            _ => {}
        }
        self.wanted = Wanted::new(text);
    }

    fn ask_to_requeue(&mut self) -> Deed {
        match self.letter().map(|letter| (letter.id, letter.subject.to_string())) {
            Some(_) if self.is_read_only => self.say("nothing is changed with --read-only".to_owned()),
            Some((id, subject)) => self.overlay = Some(Overlay::Requeue(id, subject)),
            None => self.say("choose a dead letter to requeue: Tab goes there".to_owned()),
        }
        Deed::Nothing
    }

    /// Only a yes is one.
    fn answer(&mut self, code: KeyCode, id: u64, subject: String) -> Deed {
        match code {
            KeyCode::Char('y' | 'Y') => Deed::Requeue(id),
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {
                self.say(format!("dead letter {id} stays"));
                Deed::Nothing
            }
            _ => self.open(Overlay::Requeue(id, subject)),
        }
    }

    /// From what is looked at to the overview, and there to a list without a filter.
    fn go_back(&mut self) -> Deed {
        if matches!(self.view, View::Overview) {
            self.wanted = Wanted::default();
            return Deed::Nothing;
        }
        self.view = View::Overview;
        Deed::Ask(Ask::Into(None))
    }

    /// To another line.
    fn go(&mut self, by: isize) -> Deed {
        match &mut self.view {
            View::Overview => {
                let names = self.names(self.pane);
                self.cursors[self.pane as usize].go(&names, by);
            }
            View::Messages(view) => {
                view.cursor.go(&sequences(view.messages.as_deref().unwrap_or_default()), by);
                view.scroll = 0;
            }
            View::Letter(view) => view.scroll = view.scroll.saturating_add_signed(by),
        }
        Deed::Nothing
    }

    /// To another page: of a list, or of what is looked at.
    fn turn(&mut self, by: isize) -> Deed {
        match &mut self.view {
            View::Overview => return self.go(by),
            View::Messages(view) => view.scroll = view.scroll.saturating_add_signed(by),
            View::Letter(view) => view.scroll = view.scroll.saturating_add_signed(by),
        }
        Deed::Nothing
    }

    fn look_into(&mut self) -> Deed {
        match self.pane {
            Pane::Subjects => {
                let name = self.names(Pane::Subjects).into_iter().nth(self.chosen(Pane::Subjects));
                let Some(name) = name else { return Deed::Nothing };
                match Subject::new(&name) {
                    Ok(subject) => {
                        let cursor = Cursor::default();
                        let view = Messages { subject: subject.clone(), messages: None, cursor, scroll: 0 };
                        self.view = View::Messages(view);
                        return Deed::Ask(Ask::Into(Some(subject)));
                    }
                    Err(_) => {
                        self.say(format!("{} is no subject that anybody can read", Escaped(name.as_bytes())))
                    }
                }
            }
            Pane::Consumers => self.show_subjects_of_consumer(),
            Pane::Dead => {
                if let Some(letter) = self.letter().cloned() {
                    self.view = View::Letter(Letter { letter, scroll: 0 });
                }
            }
        }
        Deed::Nothing
    }

    /// What a consumer reads is a matter of subjects.
    fn show_subjects_of_consumer(&mut self) {
        let consumers = self.consumers();
        let filters = consumers.get(self.chosen(Pane::Consumers)).map(|consumer| &consumer.settings.filters);
        if let Some(filter) = filters.and_then(|filters| filters.first()) {
            self.wanted = Wanted::new(filter.as_str());
            self.pane = Pane::Subjects;
        }
    }
}
