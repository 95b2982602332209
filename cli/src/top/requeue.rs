//! Having a dead letter tried again.

use std::path::PathBuf;

use rowbus::sqlite::Migrate;
use rowbus::{Dead, Durable, SqliteBus};
use tokio::sync::mpsc::Sender;

use crate::failure::Result;
use crate::top::collect::Told;
use crate::top::wake::Gate;

#[derive(Clone)]
pub(super) struct Requeue {
    pub(super) db: PathBuf,
    pub(super) gate: Gate,
    pub(super) tell: Sender<Told>,
}

impl Requeue {
    /// Requeues the letter of this id, and tells what has come of it.
    pub(super) async fn run(self, id: u64) {
        let told = match self.requeue(id).await {
            Ok(()) => Told::Done(format!("requeued dead letter {id}")),
            Err(failure) => Told::Failed(failure.message().to_owned()),
        };
        // Whoever has quit since does not want to know.
        let _ = self.tell.send(told).await;
    }

    async fn requeue(&self, id: u64) -> Result<()> {
        let bus = {
            let _nobody_looks = self.gate.lock().await;
            SqliteBus::builder(&self.db).migrate(Migrate::NewFiles).create(false).open().await?
        };
        let outcome = bus.requeue(Dead::Letter(id)).await;
        let _nobody_looks = self.gate.lock().await;
        crate::finish(&bus, outcome.map(drop).map_err(Into::into)).await
    }
}
