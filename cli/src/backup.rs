//! `rowbus backup`.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use rowbus::sqlite::{Archive, Backup, Migrate};
use rowbus::{ErrorKind, Messenger, SqliteBus};

use crate::failure::{Failure, Result};
use crate::json;
use crate::signals::Stop;
use crate::status::Status;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus backup app-2026-11-23.db --db app.db
  rowbus backup \"$(date +%F).db\" --json | jq .events";

/// Copy the file while others go on using it
///
/// The copy is one moment of the file, whole, with the tables of other programs in it, and private to this user. It can be
/// put in the file's place while no program has that open, or be opened elsewhere; jobs in it run once more where it is
/// served. Until it is whole it has a name that ends in .unfinished. A file that exists is not overwritten. A file of an older
/// version is copied as it is, and not migrated.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BackupArgs {
    /// The file to make
    file: PathBuf,

    /// Write a JSON object about the copy to standard output
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(db: &Path, args: BackupArgs, stop: &Stop, status: &Status) -> Result<()> {
    let opening = SqliteBus::builder(db).migrate(Migrate::NewFiles).create(false).open();
    match stop.unless_told(opening).await? {
        Ok(bus) => {
            let outcome = of_bus(&bus, &args, stop, status).await;
            let closed = bus.close().await;
            outcome?;
            Ok(closed?)
        }
        // A copy of before an update is wanted just then, and is of the version that the file has.
        Err(error) if error.kind() == ErrorKind::SchemaTooOld => match Archive::open(db) {
            Ok(archive) => of_older_file(archive, &args, stop, status).await,
            Err(_) => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

async fn of_older_file(archive: Archive, args: &BackupArgs, stop: &Stop, status: &Status) -> Result<()> {
    let (bar, target) = (bar(status)?, args.file.clone());
    let (shown, stopped) = (bar.clone(), stop.clone());
    let copied = tokio::task::spawn_blocking(move || {
        archive.backup(target, |copied, all| {
            shown.set_length(all);
            shown.set_position(copied);
            if stopped.is_told() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    });
    let copied = copied.await.map_err(|error| Failure::failed(format!("copying: {error}")))?;
    bar.finish_and_clear();
    if copied.is_err() && stop.is_told() {
        return Err(Failure::failed("told to stop; nothing is left of the copy"));
    }
    told(&copied?, args, status)
}

async fn of_bus(bus: &SqliteBus, args: &BackupArgs, stop: &Stop, status: &Status) -> Result<()> {
    let bar = bar(status)?;
    let shown = bar.clone();
    let copying = bus.backup_with(&args.file, move |copied, all| {
        shown.set_length(all);
        shown.set_position(copied);
    });
    let copied = tokio::select! {
        copied = copying => copied,
        () = stop.told() => return Err(Failure::failed("told to stop; nothing is left of the copy")),
    };
    bar.finish_and_clear();
    told(&copied?, args, status)
}

fn told(backup: &Backup, args: &BackupArgs, status: &Status) -> Result<()> {
    if args.json {
        let mut out = Output::new();
        if out.write(|out| write_json(out, backup))? {
            out.flush()?;
        }
    }
    let (events, bytes) = (backup.events, HumanBytes(backup.bytes));
    let events = if events == 1 { "1 event".to_owned() } else { format!("{events} events") };
    status.say(&format!("copied {} to {}: {events}, {bytes}", status.bus(), args.file.display()));
    Ok(())
}

fn bar(status: &Status) -> Result<ProgressBar> {
    if status.is_quiet() || !io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("copying {wide_bar} {bytes} of {total_bytes}, {eta} left");
    let style = style.map_err(|error| Failure::failed(format!("the progress bar: {error}")))?;
    Ok(ProgressBar::new(0).with_style(style))
}

fn write_json(out: &mut impl Write, backup: &Backup) -> io::Result<()> {
    out.write_all(b"{\"file\":")?;
    json::string(out, &backup.path.to_string_lossy())?;
    write!(out, ",\"bytes\":{},\"events\":{},\"newest\":{}", backup.bytes, backup.events, backup.newest)?;
    out.write_all(b",\"incarnation\":")?;
    json::string(out, &backup.incarnation)?;
    out.write_all(b"}\n")
}
