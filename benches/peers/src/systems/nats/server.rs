//! A server of our own, for one measurement.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::install;
use crate::process::dies_with_us;

const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// Ended when dropped.
pub struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// On a free port, which the server picks and writes down, with its streams in this folder.
    pub fn start(folder: &Path) -> Self {
        let mut command = Command::new(install::server().expect("it was there when we began"));
        command.args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream"]);
        command.arg("--store_dir").arg(folder.join("store"));
        command.arg("--ports_file_dir").arg(folder).arg("--log").arg(folder.join("log"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = dies_with_us(&mut command).spawn().unwrap();
        // From here on it is ended whatever happens.
        let mut server = Self { child, address: String::new() };
        server.address = server.wait_for_ports(folder);
        server
    }

    fn wait_for_ports(&self, folder: &Path) -> String {
        let start = Instant::now();
        while start.elapsed() < STARTS_WITHIN {
            if let Some(address) = ports(folder) {
                return address;
            }
            sleep(Duration::from_millis(5));
        }
        panic!("no nats-server: {}", fs::read_to_string(folder.join("log")).unwrap_or_default());
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From `nats-server_PID.ports`, which may be half written.
fn ports(folder: &Path) -> Option<String> {
    let mut files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let file = files.find(|file| file.extension().is_some_and(|extension| extension == "ports"))?;
    let ports: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    Some(ports["nats"][0].as_str()?.to_owned())
}
