//! The bridge: forwards what a filter of a file's log matches to a JetStream stream, in order, each event once.
//!
//! Two halves share a task. The `reader` is the active member of a consumer of its own, named `bridge:NAME`: the file
//! has its position, and the kernel says when it has died. It has what it reads flushed, in batches, and writes down how far
//! the `sender` came. That one keeps a window of publishes under way, each on the condition that it lands right behind the one
//! before; where anything fails, it lets go of the window, *looks* at what the stream has, and goes on from there.

mod failure;
mod forward;
mod handover;
mod identity;
mod link;
mod look;
mod note;
mod outgoing;
mod pause;
mod reader;
mod running;
mod search;
mod sender;
mod session;
mod status;

pub use forward::Forward;
pub use running::Bridge;
pub use status::{BridgeState, BridgeStatus};
