//! Jobs: messages of a work queue, each taken by one server, whose replies are kept beside it.
//!
//! Each subject has a consumer of its own, which all servers of it share whatever their filters: in a work queue no two
//! consumers may want the same message. A server with a wildcard is told of subjects by a note that is made when a job of
//! it is enqueued.

mod desk;
mod enqueue;
mod feed;
mod finish;
mod joint;
mod letter;
mod replies;

pub(in crate::nats) use self::desk::JobDesk;
pub(super) use self::enqueue::Known;
pub(in crate::nats) use self::joint::JointDesk;
