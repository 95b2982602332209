//! What a command writes to its standard output: the reply.

use rowbus::{Call, HandlerError, defaults};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Bytes of a reply, or of a part, at most.
const LIMIT: usize = defaults::MAX_PAYLOAD;

/// All of it.
pub(super) async fn whole(pipe: impl AsyncRead + Unpin) -> Result<Vec<u8>, HandlerError> {
    let mut body = Vec::new();
    // One byte more tells what is too large, without reading what may never end.
    pipe.take(LIMIT as u64 + 1).read_to_end(&mut body).await?;
    if body.len() > LIMIT { Err(too_large("it wrote")) } else { Ok(body) }
}

/// Sends each line as a part when it is there, without its line end. The next one is read when it was sent.
pub(super) async fn lines(pipe: impl AsyncRead + Unpin, call: &Call) -> Result<(), HandlerError> {
    let mut pipe = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        if (&mut pipe).take(LIMIT as u64 + 1).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() > LIMIT {
            return Err(too_large("it wrote a line of"));
        }
        call.part(line).await?;
    }
}

fn too_large(what: &str) -> HandlerError {
    HandlerError::new(format!("{what} more than {LIMIT} bytes")).with_code("payload_too_large")
}
