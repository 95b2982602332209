//! Services, whatever the backend: a loop that takes and settles, tasks that handle, and what handlers may ask for.

mod call_state;
mod catch;
mod desk;
mod handle;
mod pump;
mod steps;
#[cfg(test)]
mod tests;

pub(crate) use desk::{Claimed, Desk, Finished, Settled, Ticket, Traits, Verdict, millis};
pub(crate) use handle::PumpHandle;
pub(crate) use pump::Pump;
// Leases that are renewed are those between processes.
#[cfg(feature = "sqlite")]
pub(crate) use pump::Renewal;
#[cfg(feature = "sqlite")]
pub(crate) use {catch::message as panic_message, desk::renew_after};
