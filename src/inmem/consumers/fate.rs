//! What becomes of a delivery when its member has said how it went.

use super::Changes;
use crate::consumer_settings::ConsumerSettings;
use crate::dead_letter::{DeadLetter, DeadSource};
use crate::defaults::NACK_AT_LEAST;
use crate::delivery::Settlement;
use crate::inmem::requests::{Now, chance, one_line, time};
use crate::job_handle::Failure;
use crate::message::Message;
use crate::retry::{millis, pause};

/// Where a step takes place, and what follows from it.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) name: &'a str,
    pub(super) settings: &'a ConsumerSettings,
    pub(super) now: Now,
    pub(super) changes: &'a mut Changes,
}

#[derive(Debug)]
pub(super) enum Fate {
    Done,
    /// It comes again at once, and this attempt was none.
    Released,
    /// It comes again at this wall time.
    Again(i64),
    /// For this reason.
    GivenUp(String),
}

/// The fate of this attempt. If it failed, a line says how.
pub(super) fn fate(
    scene: &Scene<'_>,
    attempt: u32,
    failures: &mut Vec<Failure>,
    settlement: &Settlement,
) -> Fate {
    let (settings, now) = (scene.settings, scene.now);
    let mut failed = |message: &str| failures.push(Failure::new(attempt, time(now.unix), one_line(message)));
    let wanted = match settlement {
        Settlement::Ack => return Fate::Done,
        Settlement::Release => return Fate::Released,
        // The reason says it all.
        Settlement::Term(reason) => return Fate::GivenUp(reason.clone()),
        Settlement::Nack(delay) => {
            failed("nacked");
            delay.map(|delay| now.unix.saturating_add(millis(delay)))
        }
        Settlement::Failed(error) => {
            failed(error.message());
            if error.is_fatal() {
                return Fate::GivenUp("failed".to_owned());
            }
            error.retry_time().map(|time| time.timestamp_millis())
        }
    };
    if attempt >= settings.max_deliver {
        return Fate::GivenUp("exhausted".to_owned());
    }
    let (first, longest) = (settings.backoff.first_millis(), settings.backoff.longest_millis());
    let backoff = || now.unix.saturating_add(pause(first, longest, attempt.into(), chance()));
    let earliest = now.unix.saturating_add(millis(NACK_AT_LEAST));
    Fate::Again(wanted.unwrap_or_else(backoff).max(earliest))
}

impl Scene<'_> {
    /// Makes a letter of an event that was given up on; its id is given when it is put to the others.
    pub(super) fn bury(&mut self, message: &Message, attempts: u32, failures: Vec<Failure>, reason: &str) {
        let source = DeadSource::event(self.name, message.sequence());
        let mut letter = DeadLetter::new(0, source, message.subject().clone(), reason);
        letter.payload = message.payload().clone();
        letter.headers = message.headers().clone();
        letter.attempts = attempts;
        letter.failures = failures;
        letter.created_at = message.time();
        letter.died_at = time(self.now.unix);
        self.changes.letters.push(letter);
    }
}
