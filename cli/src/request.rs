//! `rowbus request`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use rowbus::{Messenger, Request, Subject};

use crate::content::{self, HeaderArgs};
use crate::duration;
use crate::failure::{Failure, Result};
use crate::reply::{Cut, PrintArgs, Printer};
use crate::signals::Stop;

const EXAMPLES: &str = "\
Examples:
  rowbus request price.quote '2 pizzas'
  rowbus request image.resize -H 'Width: 64' --raw --timeout 1m < large.png > small.png
  rowbus request backup.run '' --if-served --parts";

/// Ask a server, and write its reply
///
/// One server answers. With no server the request waits until its timeout for one that starts late. The error of a handler
/// goes to standard error, with exit code 1; no reply in time is exit code 3, and a handler that still runs is told
/// that nobody waits any more.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RequestArgs {
    /// What is asked, as in price.quote
    subject: String,

    /// The body; standard input if it is not given
    body: Option<OsString>,

    #[command(flatten)]
    headers: HeaderArgs,

    /// How long to wait for the reply, as in 500ms or 2m: 10s unless given, and 24h at most
    #[arg(long, value_name = "DURATION", value_parser = duration::argument)]
    timeout: Option<Duration>,

    /// Do not wait for a server: exit with 3 at once if there is none
    #[arg(long)]
    if_served: bool,

    #[command(flatten)]
    print: PrintArgs,
}

/// What is to be asked, checked as far as that can be done without the file.
pub(crate) struct Task {
    request: Request,
    printer: Printer,
}

impl RequestArgs {
    pub(crate) fn check(self) -> Result<Task> {
        let subject = Subject::new(&self.subject)?;
        let headers = self.headers.read()?;
        let with_options = |mut request: Request| {
            if let Some(timeout) = self.timeout {
                request = request.timeout(timeout);
            }
            if self.if_served { request.if_served() } else { request }
        };
        // Options are checked before a body is waited for.
        with_options(Request::to(&subject, "")).into_parts()?;
        let request = Request::to(&subject, content::body(self.body)?).headers(headers);
        Ok(Task { request: with_options(request), printer: self.print.printer() })
    }
}

pub(crate) async fn run(bus: &dyn Messenger, task: Task, stop: &Stop) -> Result<()> {
    let Task { request, mut printer } = task;
    let stopped = || "told to stop before the reply had come".to_owned();
    stop.or_leave(stopped);
    if printer.wants_parts() {
        let replies = bus.call_stream(request).await?;
        // The timeout is the request's own.
        return match printer.follow(replies, stop, None).await? {
            None => Ok(()),
            Some(Cut::Stopped | Cut::TimeIsUp) => Err(Failure::failed(stopped())),
        };
    }
    tokio::select! {
        biased;
        () = stop.told() => Err(Failure::failed(stopped())),
        reply = bus.call(request) => match reply {
            // Whoever left without reading it has had the work done.
            Ok(reply) => printer.write(&reply).map(|_| ()),
            Err(error) => Err(printer.failed(&error)),
        },
    }
}
