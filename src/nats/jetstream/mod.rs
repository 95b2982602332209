//! JetStream: what outlives a process, in streams on the NATS server.

mod answer;
mod api;
mod batch;
mod bus;
mod consumers;
mod dead;
mod durable;
mod event_stream;
mod events;
mod failure;
mod gate;
mod jobs;
mod position;
mod publish;
mod pull;
mod reader;
mod streams;
mod subjects;
mod subscription;

pub(super) use self::bus::JetStreamBus;
pub use self::event_stream::EventStream;
pub(crate) use self::event_stream::EventStreamParts;
pub(super) use self::jobs::{JobDesk, JointDesk};
pub(super) use self::streams::Streams;
