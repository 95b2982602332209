//! The atomics of the doorbell, in one place so that a model checker can put its own here.

pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
