//! What the program holds of a service.

use std::sync::Arc;

use crate::error::Result;
use crate::future::BoxFuture;
use crate::serve::ServiceControl;
use crate::service::pump::Pump;

/// Ends the service when dropped.
pub(crate) struct PumpHandle {
    pump: Arc<Pump>,
    /// Called when the service has taken its last request.
    left: Option<Box<dyn FnOnce() + Send>>,
}

impl PumpHandle {
    pub(crate) fn new(pump: Arc<Pump>, left: impl FnOnce() + Send + 'static) -> Self {
        Self { pump, left: Some(Box::new(left)) }
    }

    fn leave(&mut self) {
        if let Some(left) = self.left.take() {
            left();
        }
    }
}

impl ServiceControl for PumpHandle {
    fn stop(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.leave();
            self.pump.stop().await.map_or(Ok(()), Err)
        })
    }

    fn ended(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.pump.ended().await.map_or(Ok(()), Err) })
    }
}

impl Drop for PumpHandle {
    fn drop(&mut self) {
        self.leave();
        self.pump.abort();
    }
}
