//! What is shown, and how it changes with what is told.

use std::time::{Duration, Instant};

use rowbus::{ConsumerInfo, DeadLetter, Message, Subject};

use crate::top::collect::Told;
use crate::top::payload::Show;
use crate::top::series::Series;
use crate::top::snapshot::Snapshot;
use crate::top::subjects::{Sort, SubjectLine, Subjects};
use crate::top::wake::Wakes;
use crate::top::wanted::Wanted;

/// How long what was done or has failed is told.
const SAID_FOR: Duration = Duration::from_secs(5);

/// A list of the overview.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    #[default]
    Subjects,
    Consumers,
    Dead,
}

impl Pane {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Subjects => Self::Consumers,
            Self::Consumers => Self::Dead,
            Self::Dead => Self::Subjects,
        }
    }
}

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub(super) enum View {
    #[default]
    Overview,
    Messages(Messages),
    Letter(Letter),
}

/// The messages of a subject, and one of them.
#[derive(Clone, Debug)]
pub(super) struct Messages {
    pub(super) subject: Subject,
    /// `None` until they have been read.
    pub(super) messages: Option<Vec<Message>>,
    pub(super) cursor: Cursor,
    pub(super) scroll: usize,
}

/// A dead letter, which stays in view when it was requeued.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) letter: DeadLetter,
    pub(super) scroll: usize,
}

/// Which line of a list is chosen: the one with this name, wherever it goes, and where it is no more its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    name: Option<String>,
    at: usize,
}

impl Cursor {
    /// Its place in a list of these names.
    pub(super) fn place<'a>(&self, names: impl ExactSizeIterator<Item = &'a str>) -> usize {
        let last = names.len().saturating_sub(1);
        let found = self.name.as_ref().and_then(|name| names.into_iter().position(|other| other == name));
        found.unwrap_or(self.at.min(last))
    }

    /// Moves so many lines.
    pub(super) fn go(&mut self, names: &[String], by: isize) {
        let place = self.place(names.iter().map(String::as_str));
        self.at = place.saturating_add_signed(by).min(names.len().saturating_sub(1));
        self.name = names.get(self.at).cloned();
    }
}

/// What lies over everything else.
#[derive(Clone, Debug)]
pub(super) enum Overlay {
    Help,
    /// Whether this letter is to be requeued.
    Requeue(u64, String),
}

#[derive(Debug)]
pub(super) struct State {
    /// As the user named it.
    pub(super) file: String,
    /// Nothing may be done with the file but looking.
    pub(super) is_read_only: bool,
    pub(super) latest: Option<Snapshot>,
    /// Why there is no newer one.
    pub(super) trouble: Option<String>,
    pub(super) subjects: Subjects,
    /// Events a second, on all subjects.
    pub(super) published: Series,
    pub(super) wakes: Wakes,
    pub(super) pane: Pane,
    pub(super) cursors: [Cursor; 3],
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) wanted: Wanted,
    /// The filter is being typed.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    pub(super) view: View,
    pub(super) show: Show,
    pub(super) overlay: Option<Overlay>,
    said: Option<(String, Instant)>,
}

impl State {
    pub(super) fn new(file: &str, is_read_only: bool) -> Self {
        Self {
            file: file.to_owned(),
            is_read_only,
            latest: None,
            trouble: None,
            subjects: Subjects::default(),
            published: Series::default(),
            wakes: Wakes::default(),
            pane: Pane::default(),
            cursors: Default::default(),
            sort: Sort::default(),
            is_reversed: false,
            wanted: Wanted::default(),
            is_typing: false,
            is_paused: false,
            view: View::default(),
            show: Show::default(),
            overlay: None,
            said: None,
        }
    }

    /// Takes what was told.
    pub(super) fn hear(&mut self, told: Told) {
        match told {
            Told::Looked(snapshot) => self.take(*snapshot),
            Told::Messages(subject, messages) => {
                if let View::Messages(view) = &mut self.view
                    && view.subject == subject
                {
                    view.messages = Some(messages);
                }
            }
            Told::Trouble(why) => self.trouble = Some(why),
            Told::Woken(time) => self.wakes.push(time),
            Told::Done(what) | Told::Failed(what) => self.say(what),
        }
    }

    fn take(&mut self, snapshot: Snapshot) {
        let before = self.latest.as_ref().and_then(|before| before.incarnation.as_ref());
        if before.is_some_and(|before| Some(before) != snapshot.incarnation.as_ref()) {
            self.subjects = Subjects::default();
            self.published = Series::default();
            self.say("another file has taken the place of the one before".to_owned());
        }
        let seconds = snapshot.since.map(|since| since.as_secs_f64().max(1e-3));
        self.subjects.tick(&snapshot.published, seconds);
        if let Some(seconds) = seconds {
            self.published.push(snapshot.published.events as f64 / seconds);
        }
        self.trouble = None;
        self.latest = Some(snapshot);
    }

    /// Tells this for a while.
    pub(super) fn say(&mut self, what: String) {
        self.said = Some((what, Instant::now()));
    }

    /// What was done or has failed just now.
    pub(super) fn said(&self) -> Option<&str> {
        self.said.as_ref().filter(|(_, when)| when.elapsed() < SAID_FOR).map(|(what, _)| what.as_str())
    }

    /// The subjects that are wanted, in their order.
    pub(super) fn subject_lines(&self) -> Vec<&SubjectLine> {
        self.subjects.sorted(self.sort, self.is_reversed, |subject| self.wanted.has(subject))
    }

    /// The consumers that are wanted, those furthest behind first.
    pub(super) fn consumers(&self) -> Vec<&ConsumerInfo> {
        let all = self.latest.iter().flat_map(|latest| &latest.consumers);
        let mut found: Vec<_> = all.filter(|consumer| self.wants_consumer(consumer)).collect();
        found.sort_by(|one, other| {
            other.num_pending.cmp(&one.num_pending).then_with(|| one.name.cmp(&other.name))
        });
        found
    }

    fn wants_consumer(&self, consumer: &ConsumerInfo) -> bool {
        self.wanted.has(&consumer.name)
            || consumer.settings.filters.iter().any(|filter| self.wanted.has(filter.as_str()))
    }

    /// The dead letters that are wanted, the newest first.
    pub(super) fn letters(&self) -> Vec<&DeadLetter> {
        let all = self.latest.iter().flat_map(|latest| &latest.letters);
        all.filter(|letter| self.wanted.has(&letter.subject)).collect()
    }

    /// The names of the lines of a list.
    pub(super) fn names(&self, pane: Pane) -> Vec<String> {
        match pane {
            Pane::Subjects => self.subject_lines().iter().map(|line| line.subject.clone()).collect(),
            Pane::Consumers => self.consumers().iter().map(|consumer| consumer.name.clone()).collect(),
            Pane::Dead => self.letters().iter().map(|letter| letter.id.to_string()).collect(),
        }
    }

    /// Which line of a list is chosen.
    pub(super) fn chosen(&self, pane: Pane) -> usize {
        let names = self.names(pane);
        self.cursors[pane as usize].place(names.iter().map(String::as_str))
    }

    /// The dead letter that is chosen, or is looked at.
    pub(super) fn letter(&self) -> Option<&DeadLetter> {
        match &self.view {
            View::Letter(view) => Some(&view.letter),
            View::Overview if self.pane == Pane::Dead => self.letters().get(self.chosen(Pane::Dead)).copied(),
            _ => None,
        }
    }
}

/// The names of messages, for a cursor.
pub(super) fn sequences(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.sequence().to_string()).collect()
}
