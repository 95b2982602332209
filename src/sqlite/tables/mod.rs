//! One file a table, and in them, beside the migrations, all SQL of the crate but the one statement of [`crate::sql`].

pub(crate) mod dedup;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod meta;
pub(crate) mod peers;
pub(crate) mod quarantine;
pub(crate) mod retention;
