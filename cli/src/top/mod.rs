//! `rowbus top`: what happens in a file, drawn as it happens.
//!
//! `collect` and `wake` look at the file and tell; `state` takes what is told, and `keys` what is pressed; `view` draws the state
//! and nothing else. Each can be tested without the others.

mod collect;
mod keys;
mod numbers;
mod payload;
mod requeue;
mod series;
mod snapshot;
mod state;
mod subjects;
mod terminal;
mod view;
mod wake;
mod wanted;

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use rowbus::sqlite::Inspector;
use tokio::sync::{mpsc, oneshot};

use crate::duration;
use crate::failure::{Failure, Result};
use crate::screen;
use crate::signals::Stop;
use crate::top::collect::{Ask, Collector};
use crate::top::keys::Deed;
use crate::top::state::State;
use crate::top::terminal::Screen;
use crate::top::wake::Gate;

const EXAMPLES: &str = "\
Examples:
  rowbus top
  rowbus top --interval 250ms
  rowbus top --read-only --db /media/backup/app.db";

/// What is told and not yet drawn; whoever tells waits for room.
const TOLD: usize = 64;
/// How long a look that is under way is waited for at the end: a file that is locked keeps it for five seconds.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Watch the file live: subjects, consumers, jobs, dead letters, peers
///
/// It looks at the file each second; of what was published it reads subjects and sizes only, and no more of them than is quick.
/// To measure how long events take to wake a process it has the file open itself, as a peer named "rowbus top". The
/// key ? shows the others.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopArgs {
    /// Between two looks, as in 250ms or 5s
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::interval)]
    interval: Duration,

    /// Only look: be no peer, measure no wakes, requeue nothing
    #[arg(long)]
    read_only: bool,

    /// Panic with the screen taken, so that a test sees what becomes of it
    #[cfg(debug_assertions)]
    #[arg(long, hide = true)]
    panic: bool,
}

pub(crate) async fn run(args: TopArgs, db: &Path) -> Result<()> {
    // What is wrong from the beginning is told in a line, and not on a screen that says nothing else.
    let path = db.to_owned();
    let first = tokio::task::spawn_blocking(move || Inspector::open(path).map(drop)).await;
    first.map_err(|error| Failure::failed(format!("looking at the file: {error}")))??;
    if !screen::is_there() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "top draws on a terminal, and here is none; `rowbus stats --watch` writes lines",
        ));
    }

    let stop = Stop::listen()?;
    stop.or_leave(|| {
        terminal::give_back();
        "told to stop, and still at work".to_owned()
    });
    let gate = Gate::default();
    let (tell, told) = mpsc::channel(TOLD);
    let (ask, asked) = std::sync::mpsc::channel();
    let collector = Collector::new(db, args.interval, gate.clone(), tell.clone());
    // A thread that the runtime does not wait for at its end.
    let (looks, last_look) = oneshot::channel::<()>();
    let look = move || {
        let _until_it_ends = looks;
        collector.run(&asked);
    };
    let thread = std::thread::Builder::new().name("collector".to_owned()).spawn(look);
    thread.map_err(|error| Failure::failed(format!("starting a thread: {error}")))?;
    let (stop_waking, stopped) = oneshot::channel();
    let wakes = (!args.read_only)
        .then(|| tokio::spawn(wake::measure(db.to_owned(), gate.clone(), tell.clone(), stopped)));

    let screen = Screen::take()?;
    #[cfg(debug_assertions)]
    assert!(!args.panic, "asked to panic");
    let state = State::new(&db.display().to_string(), args.read_only);
    let requeue = requeue::Requeue { db: db.to_owned(), gate, tell };
    let outcome = Top { screen, state, ask, requeue }.run(told, stop).await;

    drop(stop_waking);
    if let Some(wakes) = wakes {
        let _ = tokio::time::timeout(LAST_LOOK, wakes).await;
    }
    // Its thread only reads, and ends with the process if it has to.
    let _ = tokio::time::timeout(LAST_LOOK, last_look).await;
    outcome
}

struct Top {
    screen: Screen,
    state: State,
    ask: std::sync::mpsc::Sender<Ask>,
    requeue: requeue::Requeue,
}

impl Top {
    /// Draws and listens to keys until it is enough.
    async fn run(mut self, mut told: mpsc::Receiver<collect::Told>, stop: Stop) -> Result<()> {
        let mut keys = EventStream::new();
        let mut requeues = tokio::task::JoinSet::new();
        loop {
            self.screen.draw(&self.state)?;
            tokio::select! {
                biased;
                () = stop.told() => return Ok(()),
                event = keys.next() => match event {
                    Some(Ok(Event::Key(key))) => match self.state.press(key) {
                        Deed::Nothing => {}
                        Deed::Quit => return Ok(()),
                        Deed::Ask(ask) => self.ask(ask)?,
                        Deed::Requeue(id) => drop(requeues.spawn(self.requeue.clone().run(id))),
                    },
                    // Another size is drawn with the next picture, which is now.
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(Failure::failed(format!("reading keys: {error}"))),
                    None => return Ok(()),
                },
                news = told.recv() => {
                    let Some(news) = news else { return Ok(()) };
                    self.state.hear(news);
                }
                Some(_) = requeues.join_next() => self.ask(Ask::Look)?,
            }
        }
    }

    fn ask(&self, ask: Ask) -> Result<()> {
        // It has ended only if it has panicked, which it has told by itself.
        self.ask.send(ask).map_err(|_| Failure::failed("looking at the file has come to an end"))
    }
}
