//! What a bus has on JetStream: its streams, which are made or verified, and where its things lie in them.

use std::sync::Arc;

use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy};
use tokio::sync::OnceCell;

use crate::defaults::DEDUP_WINDOW;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::nats::connection::Connection;
use crate::nats::jetstream::api::Api;
use crate::nats::jetstream::event_stream::{EventStreamParts, same};
use crate::nats::jetstream::failure;
use crate::nats::jetstream::gate::{Gate, Pass};
use crate::nats::jetstream::jobs::Known;
use crate::nats::jetstream::subjects::Subjects;
use crate::subject::Subject;

#[derive(Debug)]
pub(crate) struct Streams {
    pub(super) jetstream: JetStream,
    pub(super) subjects: Subjects,
    pub(super) events: Api,
    /// As the server has it.
    pub(super) config: Config,
    pub(super) connection: Arc<Connection>,
    pub(super) gate: Gate,
    pub(super) known: Known,
    jobs: OnceCell<Api>,
    state: OnceCell<Api>,
}

impl Streams {
    /// Makes or verifies the stream of events.
    pub(in crate::nats) async fn open(
        connection: &Arc<Connection>,
        prefix: Option<&str>,
        wanted: &EventStreamParts,
    ) -> Result<Self> {
        let jetstream = async_nats::jetstream::context::ContextBuilder::new()
            .timeout(connection.wait())
            .backpressure_on_inflight(true)
            .build(connection.client());
        let subjects = Subjects::new(prefix, wanted.under.as_deref(), &wanted.name);
        let events = Api::new(&jetstream, &connection.events, &wanted.name);
        let config = wanted.config(|filter| subjects.events(filter));
        let says_what = prefix.is_some() || wanted.says_what();
        let found = match says_what && !wanted.exists {
            true => make(&events, &config).await?,
            false => events.info().await.map_err(|refusal| match refusal {
                refusal if !wanted.exists && refusal.is(ErrorCode::STREAM_NOT_FOUND) => wanted.keeps_what(),
                refusal => {
                    let what = format!("stream {:?} was to be used as it is", wanted.name);
                    failure::not_opened(&what, refusal)
                }
            })?,
        };
        wanted.verify(&found.config, &config, says_what)?;
        Ok(Self {
            jetstream,
            subjects,
            events,
            config: found.config,
            connection: Arc::clone(connection),
            gate: Gate::new(),
            known: Known::default(),
            jobs: OnceCell::new(),
            state: OnceCell::new(),
        })
    }

    /// Ends what reads.
    pub(in crate::nats) fn end_reading(&self) {
        self.gate.end_reading();
    }

    /// Lets nothing begin, and waits until what has begun is over.
    pub(in crate::nats) async fn close(&self) {
        self.gate.close().await;
    }

    /// Ends everything where it stands.
    pub(in crate::nats) fn end(&self) {
        self.gate.end();
    }

    /// For what begins something: it waits for a connection that was lost.
    pub(super) async fn enter(&self) -> Result<Pass> {
        let pass = self.gate.enter().await?;
        self.connection.ready().await?;
        Ok(pass)
    }

    /// A request on a subject that the stream keeps would be an event, and the stream's acknowledgement its reply.
    pub(in crate::nats) fn check_request(&self, subject: &Subject) -> Result<()> {
        let wire = self.subjects.asked(subject);
        let keeps = |lies: &String| Filter::new(lies).is_ok_and(|filter| filter.matches(&wire));
        if !self.config.subjects.iter().any(keeps) {
            return Ok(());
        }
        let message = format!(
            "stream {:?} keeps what is published on {subject:?}, and would take the request for an event: put events \
             under tokens of their own with EventStream::under",
            self.events.stream
        );
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// The stream of jobs that wait or run.
    pub(super) async fn jobs(&self) -> Result<&Api> {
        self.jobs
            .get_or_try_init(|| async {
                let config = Config {
                    retention: RetentionPolicy::WorkQueue,
                    // It has no limits, and what waits for its time has to be replaced when it is due.
                    discard: DiscardPolicy::Old,
                    allow_message_schedules: true,
                    allow_atomic_publish: true,
                    ..self.beside("JOBS", self.subjects.of_jobs_stream())
                };
                self.made(config).await
            })
            .await
    }

    /// The stream of replies to jobs, of the subjects that jobs have, of dead letters, and of the records of cumulative consumers,
    /// each of which takes the place of the one before.
    pub(super) async fn state(&self) -> Result<&Api> {
        self.state
            .get_or_try_init(|| async {
                let beside = self.beside("STATE", self.subjects.of_state_stream());
                self.made(Config { allow_rollup: true, ..beside }).await
            })
            .await
    }

    /// A stream of the bus's own, on as many servers as its events, and on disk as they are.
    fn beside(&self, what: &str, subjects: Vec<String>) -> Config {
        Config {
            name: format!("{}_{what}", self.events.stream),
            subjects,
            discard: DiscardPolicy::New,
            storage: self.config.storage,
            num_replicas: self.config.num_replicas,
            max_messages: -1,
            max_bytes: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            duplicate_window: DEDUP_WINDOW,
            allow_direct: true,
            allow_message_ttl: true,
            ..Config::default()
        }
    }

    async fn made(&self, config: Config) -> Result<Api> {
        let api = Api::new(&self.jetstream, &self.connection.events, &config.name);
        let found = make(&api, &config).await?.config;
        let name = &config.name;
        let mut subjects = (found.subjects.clone(), config.subjects.clone());
        subjects.0.sort_unstable();
        subjects.1.sort_unstable();
        same(name, "subject", &subjects.0, &subjects.1)?;
        same(name, "retention", &found.retention, &config.retention)?;
        if config.allow_rollup {
            same(name, "allow_rollup_hdrs", &found.allow_rollup, &true)?;
        }
        same(name, "allow_msg_ttl", &found.allow_message_ttl, &config.allow_message_ttl)?;
        same(name, "allow_msg_schedules", &found.allow_message_schedules, &config.allow_message_schedules)?;
        Ok(api)
    }
}

/// Makes a stream, or tells what one of this name is like.
async fn make(api: &Api, config: &Config) -> Result<async_nats::jetstream::stream::Info> {
    let name = &api.stream;
    match api.create(config).await {
        Ok(info) => Ok(info),
        // It exists with other settings, of which not all need be the same.
        Err(refusal) if refusal.is(ErrorCode::STREAM_NAME_EXIST) => {
            api.info().await.map_err(|refusal| failure::not_opened(&format!("stream {name:?}"), refusal))
        }
        Err(refusal) => Err(failure::not_opened(&format!("stream {name:?} was to be made"), refusal)),
    }
}
