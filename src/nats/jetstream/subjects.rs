//! Where things lie on the server: the subjects of events, jobs, replies and dead letters, and the names of streams.

use crate::filter::Filter;
use crate::subject::Subject;

/// The subjects of one bus on JetStream.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    /// In front of what is asked, with the dot behind it; empty if there is nothing.
    asked: String,
    /// In front of every event's subject, with the dot behind it; empty if there is nothing.
    events: String,
    /// In front of what the bus keeps for itself, with the dot behind it.
    own: String,
}

impl Subjects {
    /// The subjects of a bus under this prefix, whose events are in this stream.
    pub(super) fn new(prefix: Option<&str>, under: Option<&str>, stream: &str) -> Self {
        let dotted = |tokens: Option<&str>| tokens.map(|tokens| format!("{tokens}.")).unwrap_or_default();
        let asked = dotted(prefix);
        let events = format!("{asked}{}", dotted(under));
        Self { asked, events, own: format!("$ROWBUS.{stream}.") }
    }

    /// Where a request goes.
    pub(super) fn asked(&self, subject: &Subject) -> String {
        format!("{}{subject}", self.asked)
    }

    /// Where an event lies.
    pub(super) fn event(&self, subject: &Subject) -> String {
        format!("{}{subject}", self.events)
    }

    /// Where the events lie that this filter matches.
    pub(super) fn events(&self, filter: &Filter) -> String {
        format!("{}{filter}", self.events)
    }

    /// The subject of an event that lies there; `None` for what no bus could have published.
    pub(super) fn of_event(&self, lies: &str) -> Option<Subject> {
        Subject::new(lies.strip_prefix(&self.events)?).ok()
    }

    /// The filter of events that was put there.
    pub(super) fn filter_of(&self, lies: &str) -> Option<Filter> {
        Filter::new(lies.strip_prefix(&self.events)?).ok()
    }

    /// Where a job lies that is to be taken.
    pub(super) fn job(&self, id: &str, subject: &Subject) -> String {
        format!("{}job.{id}.{subject}", self.own)
    }

    /// Where the jobs of a subject lie.
    pub(super) fn jobs(&self, subject: &str) -> String {
        format!("{}job.*.{subject}", self.own)
    }

    /// Where a job lies, whatever its subject.
    pub(super) fn job_of_id(&self, id: &str) -> String {
        format!("{}job.{id}.>", self.own)
    }

    /// The id and the subject of a job that lies there.
    pub(super) fn of_job<'a>(&self, lies: &'a str) -> Option<(&'a str, Subject)> {
        let (id, subject) = lies.strip_prefix(&self.own)?.strip_prefix("job.")?.split_once('.')?;
        Some((id, Subject::new(subject).ok()?))
    }

    /// Where a job lies that waits for its time.
    pub(super) fn scheduled(&self, id: &str) -> String {
        format!("{}later.{id}", self.own)
    }

    /// Where the replies to a job lie.
    pub(super) fn replies(&self, id: &str) -> String {
        format!("{}reply.{id}", self.own)
    }

    /// Where it is noted that there are jobs of this subject.
    pub(super) fn known(&self, filter: &str) -> String {
        format!("{}known.{filter}", self.own)
    }

    /// The subject of which that is noted.
    pub(super) fn of_known(&self, lies: &str) -> Option<Subject> {
        Subject::new(lies.strip_prefix(&self.own)?.strip_prefix("known.")?).ok()
    }

    /// Where dead letters lie.
    pub(super) fn dead(&self, filter: &str) -> String {
        format!("{}dead.{filter}", self.own)
    }

    /// The subject of a dead letter that lies there.
    pub(super) fn of_dead(&self, lies: &str) -> Option<Subject> {
        Subject::new(lies.strip_prefix(&self.own)?.strip_prefix("dead.")?).ok()
    }

    /// Where the record of a cumulative consumer lies.
    pub(super) fn consumer(&self, name: &str) -> String {
        format!("{}consumer.{name}", self.own)
    }

    /// The name of the consumer whose record lies there.
    pub(super) fn of_consumer<'a>(&self, lies: &'a str) -> Option<&'a str> {
        lies.strip_prefix(&self.own)?.strip_prefix("consumer.")
    }

    /// What a member of a cumulative consumer listens to as long as it is there. Nothing is kept of it.
    pub(super) fn member(&self, id: &str) -> String {
        format!("{}member.{id}", self.own)
    }

    /// What the stream of jobs holds.
    pub(super) fn of_jobs_stream(&self) -> Vec<String> {
        vec![format!("{}job.>", self.own), format!("{}later.*", self.own)]
    }

    /// What the stream of replies, dead letters and cumulative consumers holds.
    pub(super) fn of_state_stream(&self) -> Vec<String> {
        ["reply.*", "known.>", "dead.>", "consumer.*"].map(|kind| format!("{}{kind}", self.own)).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Subject {
        Subject::new(text).unwrap()
    }

    #[test]
    fn an_event_lies_under_the_prefixes_and_is_told_without_them() {
        let subjects = Subjects::new(Some("shop"), Some("ev"), "S");
        assert_eq!(subjects.event(&subject("a.b")), "shop.ev.a.b");
        assert_eq!(subjects.events(&Filter::new("a.*").unwrap()), "shop.ev.a.*");
        assert_eq!(subjects.of_event("shop.ev.a.b"), Some(subject("a.b")));
        assert_eq!(subjects.of_event("shop.a.b"), None);
        assert_eq!(Subjects::new(None, None, "S").event(&subject("a.b")), "a.b");
    }

    #[test]
    fn a_job_is_told_from_where_it_lies() {
        let subjects = Subjects::new(None, None, "S");
        let lies = subjects.job("7f", &subject("mail.send"));
        assert_eq!(subjects.of_job(&lies), Some(("7f", subject("mail.send"))));
        assert!(Filter::new(&subjects.jobs("mail.send")).unwrap().matches(&lies));
        assert!(!Filter::new(&subjects.jobs("mail")).unwrap().matches(&lies));
        assert!(Filter::new(&subjects.job_of_id("7f")).unwrap().matches(&lies));
    }
}
