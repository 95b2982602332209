//! Consumers whose acknowledgements are cumulative: a record each in the stream of the bus's state, and one active member.
//!
//! JetStream's own `All` brings back what failed behind what came later, and has no place to stop in front of. So the record
//! has the position, and every change of it names the one that it follows (`Nats-Expected-Last-Subject-Sequence`): of two who
//! change it at the same time one is told to look again. The active member reads the stream by itself.

mod begin;
mod course;
mod held;
mod manage;
mod member;
mod record;
mod seat;
mod store;
