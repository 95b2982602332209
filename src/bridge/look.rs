//! Looking at what a stream has.
//!
//! What was sent and not acknowledged is in the stream or is not. The server's duplicate window knows, while it lasts; the stream
//! itself always does. A bridge's events lie in it in the order of the file, so the last of them tells of all before.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Config, LastRawMessageErrorKind, Stream};

use crate::bridge::failure::passing;
use crate::bridge::forward::Route;
use crate::bridge::identity::Identity;
use crate::bridge::link::Link;
use crate::bridge::note::{Note, StreamId};
use crate::bridge::outgoing;
use crate::bridge::search::{Search, Seen};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::message::Message;

/// How far it is looked back where nothing is noted of the stream.
const FAR: u64 = 4096;

/// What a look has shown.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) stream: Arc<StreamId>,
    /// What the stream takes.
    pub(super) subjects: Vec<String>,
    /// The largest message that it takes, if it says so.
    pub(super) max_message: Option<usize>,
    /// Its last sequence: of whatever was stored there last, even if it is gone.
    pub(super) last: u64,
    /// The bridge's own last message in it.
    pub(super) own: Option<Own>,
    /// It has less than it has acknowledged: it was cut off, or restored.
    pub(super) was_cut: bool,
}

/// A message of this bridge, as the stream has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) sequence: u64,
    subject: String,
    time: String,
}

impl Own {
    /// Whether it is this event of the file, which has its sequence: another would have been published at another time.
    pub(super) fn is(&self, event: &Message) -> bool {
        self.time == outgoing::time(event.unix_millis())
    }

    /// Its subject, if it is not the one that this event would have now: the prefix is another, or the stream moves subjects.
    pub(super) fn elsewhere(&self, event: &Message, route: &Route) -> Option<&str> {
        (self.subject != route.subject(event.subject())).then_some(&self.subject)
    }

    #[cfg(test)]
    pub(super) fn with_sequence(sequence: u64) -> Self {
        Self { sequence, subject: String::new(), time: String::new() }
    }
}

impl Look {
    /// Whether the stream takes this subject. What cannot be read as a filter here is left to the server to judge.
    pub(super) fn takes(&self, subject: &str) -> bool {
        self.subjects.iter().any(|filter| Filter::new(filter).map_or(true, |filter| filter.matches(subject)))
    }
}

/// Looks. What fails may pass; a search that it was at goes on with the next look.
pub(super) async fn look(
    link: &Link,
    route: &Route,
    identity: &Identity,
    note: Option<&Note>,
    search: &mut Option<Search>,
) -> Result<Look> {
    if link.connection().is_none() {
        return Err(Error::new(ErrorKind::Disconnected, "there is no connection to the NATS server"));
    }
    let stream = find(link, route).await?;
    let info = stream.cached_info();
    let created =
        SystemTime::from(info.created).duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let id = StreamId { name: info.config.name.clone(), created };
    let note = note.filter(|note| *note.stream == id);
    let last = info.state.last_sequence;
    let was_cut = note.is_some_and(|note| note.stream_sequence > last);
    let floor = match note {
        Some(note) if !was_cut => note.stream_sequence,
        _ => last.saturating_sub(FAR),
    };
    let id = Arc::new(id);
    // What a stream moves to other subjects is not found by its own.
    let filters =
        if info.config.subject_transform.is_some() { vec![">".to_owned()] } else { route.subjects() };
    let floor = floor.max(info.state.first_sequence.saturating_sub(1));
    let mut found = last_of_each(&stream, filters, identity).await?;
    let begins = found.own_at.max(floor);
    if found.others_at > begins {
        let before = search.take();
        let going_on = search.insert(Search::behind(&id, begins, last, before));
        let later = going_on.up_to(found.others_at, |sequence| look_at(&stream, sequence, identity)).await?;
        found.own = later.or(found.own);
        *search = None;
    }
    Ok(Look {
        stream: id,
        subjects: info.config.subjects.clone(),
        max_message: usize::try_from(info.config.max_message_size).ok().filter(|size| *size > 0),
        last,
        own: found.own,
        was_cut,
    })
}

/// The stream that is meant; makes it if it was asked for.
async fn find(link: &Link, route: &Route) -> Result<Stream> {
    let failed = |error| passing("asking for the stream", error);
    let name = match &route.stream {
        Some(name) => name.clone(),
        None => only_one(link, route).await?,
    };
    let found = link.jetstream.get_stream(&name).await;
    match found {
        Ok(stream) => Ok(stream),
        Err(_) if route.create && is_missing(link, &name).await? => {
            let config = Config { name, subjects: route.subjects(), ..Config::default() };
            link.jetstream.create_stream(config).await.map_err(|error| passing("making the stream", error))
        }
        Err(error) => Err(failed(error)),
    }
}

/// The streams that take anything of what is forwarded: there has to be one.
async fn only_one(link: &Link, route: &Route) -> Result<String> {
    let mut names = Vec::new();
    for subject in route.subjects() {
        let asked = serde_json::json!({ "subject": subject });
        let answer: Response<serde_json::Value> = link
            .jetstream
            .request("STREAM.NAMES", &asked)
            .await
            .map_err(|error| passing("asking for the stream", error))?;
        let found = match answer {
            Response::Ok(found) => found,
            Response::Err { error } => return Err(passing("asking for the stream", error)),
        };
        let found = found.get("streams").and_then(|streams| streams.as_array()).into_iter().flatten();
        names.extend(found.filter_map(|name| name.as_str().map(str::to_owned)));
    }
    names.sort();
    names.dedup();
    match &names[..] {
        [name] => Ok(name.clone()),
        [] => {
            let message = format!("there is no stream for {}", route.subjects().join(", "));
            Err(Error::new(ErrorKind::NotFound, message))
        }
        _ => {
            let message =
                format!("several streams take these events: {}; say which is meant", names.join(", "));
            Err(Error::new(ErrorKind::NotFound, message))
        }
    }
}

async fn is_missing(link: &Link, name: &str) -> Result<bool> {
    use async_nats::jetstream::ErrorCode;
    use async_nats::jetstream::context::GetStreamErrorKind;
    Ok(match link.jetstream.get_stream(name).await {
        Err(error) => matches!(
            error.kind(),
            GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND
        ),
        Ok(_) => false,
    })
}

/// What the last messages of the bridge's subjects are.
#[derive(Default)]
struct Last {
    /// The last of the bridge's own among them, and where it is in the stream.
    own: Option<Own>,
    own_at: u64,
    /// Where the last one of others is, which may have the bridge's own in front of it.
    others_at: u64,
}

/// Most often the bridge's own is the last one that there is.
async fn last_of_each(stream: &Stream, filters: Vec<String>, identity: &Identity) -> Result<Last> {
    let mut found = Last::default();
    for filter in filters {
        let last = present(stream.get_last_raw_message_by_subject(&filter).await)?;
        let Some(message) = last else { continue };
        match as_own(&message, identity) {
            Some(own) if message.sequence > found.own_at => {
                (found.own, found.own_at) = (Some(own), message.sequence);
            }
            Some(_) => {}
            None => found.others_at = found.others_at.max(message.sequence),
        }
    }
    Ok(found)
}

async fn look_at(stream: &Stream, sequence: u64, identity: &Identity) -> Result<Seen> {
    let message = present(stream.get_raw_message(sequence).await)?;
    Ok(message.map_or_else(Seen::default, |message| Seen {
        own: as_own(&message, identity),
        bytes: message.payload.len(),
    }))
}

fn as_own(message: &StreamMessage, identity: &Identity) -> Option<Own> {
    let sequence = identity.sequence_of(&message.headers)?;
    let time = message.headers.get(outgoing::TIME).map(|time| time.as_str().to_owned());
    Some(Own { sequence, subject: message.subject.to_string(), time: time.unwrap_or_default() })
}

/// A message that is not there any more is none.
fn present(
    message: std::result::Result<StreamMessage, async_nats::jetstream::stream::RawMessageError>,
) -> Result<Option<StreamMessage>> {
    match message {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(passing("looking at what the stream has", error)),
    }
}
