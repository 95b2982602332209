//! What the program holds of a service.

use std::sync::Arc;

use crate::error::Result;
use crate::future::BoxFuture;
use crate::serve::ServiceControl;
use crate::service::pump::Pump;

/// Ends the service when dropped.
pub(crate) struct PumpHandle {
    pump: Arc<Pump>,
    /// Called when the service has taken its last request; done when everybody can know.
    left: Option<Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>>,
}

impl PumpHandle {
    pub(crate) fn new(
        pump: Arc<Pump>,
        left: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Self {
        Self { pump, left: Some(Box::new(left)) }
    }
}

impl ServiceControl for PumpHandle {
    fn stop(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let told = self.left.take().map(|left| left());
            let ended = self.pump.stop().await;
            if let Some(told) = told {
                told.await;
            }
            ended.map_or(Ok(()), Err)
        })
    }

    fn ended(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.pump.ended().await.map_or(Ok(()), Err) })
    }
}

impl Drop for PumpHandle {
    fn drop(&mut self) {
        if let Some(left) = self.left.take() {
            drop(left());
        }
        self.pump.abort();
    }
}
