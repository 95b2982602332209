//! One file a table, and in them, beside the migrations, all SQL of the crate but the statements of [`crate::sql`].

pub(crate) mod consumers;
pub(crate) mod dead_letters;
pub(crate) mod dedup;
pub(crate) mod deliveries;
pub(crate) mod events;
pub(crate) mod file;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod members;
pub(crate) mod meta;
pub(crate) mod peers;
pub(crate) mod prunable;
pub(crate) mod quarantine;
pub(crate) mod queues;
pub(crate) mod recent;
pub(crate) mod replies;
pub(crate) mod requests;
pub(crate) mod retention;
pub(crate) mod salvaged;
