//! The second process of `rowbus bench rpc`: answers each request with its own payload.

use std::io::Write;

use rowbus::{Call, MessengerExt};

use crate::address::Address;
use crate::bench::second::{READY, first_is_done};
use crate::failure::Result;
use crate::stdout::Output;

pub(crate) async fn run(address: &Address, subject: &str) -> Result<()> {
    let done = first_is_done()?;
    let bus = address.open_existing().await?;
    let service = bus.serve(subject, |call: Call| async move { Ok(call.payload().clone()) }).await?;
    let mut out = Output::new();
    if out.write(|out| writeln!(out, "{READY}"))? && out.flush()? {
        // Only the other process ends it.
        let _ = done.await;
    }
    let stopped = service.stop().await;
    crate::finish(&*bus, stopped.map_err(Into::into)).await
}
