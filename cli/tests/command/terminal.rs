//! Running the command on a terminal of its own, and reading what is on the screen.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtyPair, PtySize, native_pty_system};
use vt100::{Parser, Screen};

use crate::support::{Folder, PATIENCE, VARIABLES};

/// A terminal with the command on it, which is killed when this is dropped.
pub struct Terminal {
    pair: PtyPair,
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<Parser>>,
    /// How the terminal was set before the command had it.
    before: String,
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

fn number(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// How the terminal treats what is typed, in words.
fn settings(master: &(dyn MasterPty + Send)) -> String {
    let settings = master.get_termios().unwrap();
    format!("{:?} {:?} {:?}", settings.input_flags, settings.output_flags, settings.local_flags)
}

impl Terminal {
    /// Starts the command on this folder's bus, on a terminal of so many columns and rows.
    pub fn start(folder: &Folder, args: &[&str], columns: u16, rows: u16) -> Self {
        Self::start_with(folder, args, columns, rows, &[])
    }

    /// The same with these in its environment.
    pub fn start_with(
        folder: &Folder,
        args: &[&str],
        columns: u16,
        rows: u16,
        environment: &[(&str, &str)],
    ) -> Self {
        let says = size(columns, rows);
        Self::open(folder, args, says, says, environment)
    }

    /// On a terminal that says that it is of one size, and shows what another one would, of columns and rows.
    pub fn saying(folder: &Folder, args: &[&str], says: (u16, u16), shows: (u16, u16)) -> Self {
        Self::open(folder, args, size(says.0, says.1), size(shows.0, shows.1), &[])
    }

    fn open(
        folder: &Folder,
        args: &[&str],
        says: PtySize,
        shows: PtySize,
        environment: &[(&str, &str)],
    ) -> Self {
        let pair = native_pty_system().openpty(says).unwrap();
        let before = settings(&*pair.master);
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_rowbus"));
        command.args(["--db", "bus.db"]);
        command.args(args);
        command.cwd(folder.path());
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color");
        for (name, value) in environment {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        let keys = pair.master.take_writer().unwrap();
        let screen = Arc::new(Mutex::new(Parser::new(number(shows.rows), number(shows.cols), 0)));
        let (mut output, shown) = (pair.master.try_clone_reader().unwrap(), Arc::clone(&screen));
        // It ends with the terminal.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..count]);
            }
        });
        Self { pair, child, keys, screen, before }
    }

    pub fn id(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(number(rows), number(columns));
        self.pair.master.resize(size(columns, rows)).unwrap();
    }

    /// What is on the screen.
    pub fn screen(&self) -> Screen {
        self.screen.lock().unwrap().screen().clone()
    }

    pub fn text(&self) -> String {
        self.screen().contents()
    }

    /// Waits until the screen is like that, and returns what is on it.
    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}\n{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all of this is on the screen.
    #[track_caller]
    pub fn until_it_has(&self, parts: &[&str]) -> String {
        self.until(&format!("{parts:?}"), |text| parts.iter().all(|part| text.contains(part)))
    }

    /// Waits for the end of the command, and gives its exit code.
    #[track_caller]
    pub fn finish(&mut self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            assert!(Instant::now() < deadline, "the command has not ended\n{}", self.text());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The terminal is as it was: it shows what was there before, its cursor, and treats keys as ever.
    #[track_caller]
    pub fn assert_given_back(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.screen().alternate_screen() || self.screen().hide_cursor() {
            assert!(Instant::now() < deadline, "the screen was not given back\n{}", self.text());
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(settings(&*self.pair.master), self.before);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
