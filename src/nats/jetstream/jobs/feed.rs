//! What brings jobs to a service: for each subject that it serves, a task that asks for the next while there is room.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, Config};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::desk::JobDesk;
use crate::defaults::LEASE;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::nats::jetstream::api::Make;
use crate::nats::jetstream::failure;
use crate::nats::jetstream::pull::{Pulled, Puller};
use crate::nats::jetstream::reader::Reader;
use crate::nats::jetstream::streams::Streams;
use crate::subject::Subject;
use crate::subscribe::StartAt;

/// The server forgets how often jobs of a subject were tried when nobody has served it for this long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Between tries to ask again.
const AGAIN: Duration = Duration::from_millis(250);
/// Notes that are read at once.
const NOTES: usize = 256;
/// What a consumer's name may not have.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'.').add(b'*').add(b'>').add(b'/').add(b'\\');
/// In bytes.
const LONGEST_NAME: usize = 255;

/// The consumer of a subject's jobs.
fn consumer_name(subject: &Subject) -> String {
    utf8_percent_encode(subject.as_str(), ESCAPED).to_string()
}

/// Refuses a subject of which the server would take no consumer.
pub(super) fn check_subject(subject: &Subject) -> Result<()> {
    let length = consumer_name(subject).len();
    if length <= LONGEST_NAME {
        return Ok(());
    }
    let message = format!(
        "a job's subject on JetStream has at most {LONGEST_NAME} bytes, where a dot and the like count as three; \
         {subject:?} has {length}"
    );
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// Feeds a service until it leaves.
pub(super) async fn feed(desk: &Arc<JobDesk>, filter: Filter) {
    if let Some(subject) = filter.as_subject() {
        return serve(Arc::clone(desk), subject).await;
    }
    let mut served = JoinSet::new();
    tokio::select! {
        () = look(desk, &filter, &mut served) => {}
        () = desk.leaving() => {}
    }
    while served.join_next().await.is_some() {}
}

/// Has each subject served that has jobs.
async fn look(desk: &Arc<JobDesk>, filter: &Filter, served: &mut JoinSet<()>) {
    let mut seen = HashSet::new();
    loop {
        let mut notes = match notes(&desk.streams, filter).await {
            Ok(notes) => notes,
            Err(error) => {
                tracing::debug!(%error, %filter, "a service looks for its jobs again");
                sleep(AGAIN).await;
                continue;
            }
        };
        while let Ok((_, note)) = poll_fn(|cx| notes.poll(cx)).await {
            let subject = desk.streams.subjects.of_known(&note.message.subject);
            if let Some(subject) = subject.filter(|subject| seen.insert(subject.clone())) {
                served.spawn(serve(Arc::clone(desk), subject));
            }
        }
    }
}

async fn notes(streams: &Streams, filter: &Filter) -> Result<Reader> {
    let lie = streams.subjects.known(filter.as_str());
    Reader::open(streams.state().await?, vec![lie], StartAt::Oldest, NOTES).await
}

/// Asks for one job after the other, until the service leaves.
async fn serve(desk: Arc<JobDesk>, subject: Subject) {
    loop {
        let opened = tokio::select! {
            opened = open(&desk, &subject) => opened,
            () = desk.leaving() => return,
        };
        let asked = match opened {
            Ok(puller) => ask(&desk, puller).await,
            Err(error) => Err(error),
        };
        match asked {
            Ok(Asked::Left) => return,
            Ok(Asked::Lost) => {}
            Err(error) => tracing::debug!(%error, %subject, "a service asks for its jobs again"),
        }
        tokio::select! {
            () = sleep(AGAIN) => {}
            () = desk.leaving() => return,
        }
    }
}

/// Why it asks no more.
enum Asked {
    Lost,
    Left,
}

async fn open(desk: &Arc<JobDesk>, subject: &Subject) -> Result<Puller> {
    let (streams, name) = (&desk.streams, consumer_name(subject));
    let jobs = streams.jobs().await?;
    let config = Config {
        name: Some(name.clone()),
        durable_name: Some(name.clone()),
        ack_policy: AckPolicy::Explicit,
        filter_subject: streams.subjects.jobs(subject.as_str()),
        ack_wait: LEASE,
        // Servers count: what was tried often enough is to be a dead letter.
        max_deliver: -1,
        // What waits out a backoff counts as well.
        max_ack_pending: -1,
        inactive_threshold: FORGOTTEN_AFTER,
        ..Config::default()
    };
    match jobs.consumer(Make::New, &config).await {
        Ok(_) => {}
        // Another version has made it.
        Err(refusal) if refusal.is(ErrorCode::CONSUMER_ALREADY_EXISTS) => {}
        Err(refusal) => {
            return Err(failure::not_changed(&format!("jobs of {subject:?} were to be served"), refusal));
        }
    }
    Puller::new(&jobs.jetstream, &jobs.stream, &name).await
}

/// Asks until its consumer is lost or the service leaves. Then what was on its way has come, and waits.
async fn ask(desk: &Arc<JobDesk>, mut puller: Puller) -> Result<Asked> {
    let asks = async {
        loop {
            desk.room().await;
            puller.ask(1);
            match poll_fn(|cx| puller.poll(cx)).await? {
                Pulled::Message(arrived) => desk.take(&arrived),
                Pulled::Over => {}
                Pulled::Lost | Pulled::Gone => return Ok(Asked::Lost),
            }
        }
    };
    tokio::select! {
        asked = asks => return asked,
        () = desk.leaving() => {}
    }
    for arrived in puller.end(&desk.streams.connection).await {
        desk.take(&arrived);
    }
    Ok(Asked::Left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_have_names_of_their_own() {
        let name = |text: &str| consumer_name(&Subject::new(text).unwrap());
        assert_eq!((name("mail.send"), name("mail%2Esend")), ("mail%2Esend".into(), "mail%252Esend".into()));
        assert_eq!(name("a*.>b"), "a%2A%2E%3Eb");
        let long = Subject::new(&["x"; 100].join(".")).unwrap();
        assert_eq!(check_subject(&long).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
