//! The server that tests start, and what they do where there is none.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use rowbus::testing::NatsServer;

use crate::{PATIENCE, assert_works, connect};

/// Tells this program, started again, that it is the child of one of these tests.
const CHILD: &str = "ROWBUS_NATS_CHILD";

fn is_there(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_server_keeps_its_port_and_its_store_when_it_is_killed_and_restarted() {
    let Some(mut server) = NatsServer::builder().jetstream(true).start() else { return };
    let (port, pid) = (server.port(), server.pid());
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let config =
        jetstream::stream::Config { name: "KEPT".into(), subjects: vec!["a".into()], ..Default::default() };
    context.create_stream(config).await.unwrap();
    context.publish("a", "kept".into()).await.unwrap().await.unwrap();
    server.kill();
    assert!(server.pid().is_none());
    server.restart();
    assert_eq!((server.port(), server.pid() != pid), (port, true));
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let stream = context.get_stream("KEPT").await.unwrap();
    assert_eq!(stream.get_raw_message(1).await.unwrap().payload, "kept");
}

#[tokio::test]
async fn servers_are_apart_from_each_other_and_end_when_they_are_dropped() {
    let (Some(one), Some(other)) = (NatsServer::start(), NatsServer::start()) else { return };
    assert_ne!(one.port(), other.port());
    assert_works(&connect(&one).await).await;
    assert_works(&connect(&other).await).await;
    let address = one.address();
    drop(one);
    assert!(TcpStream::connect(address).is_err());
}

/// What the children of the tests below do.
#[test]
fn a_child_starts_a_server() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    if let Some(server) = NatsServer::start() {
        println!("pid {}", server.pid().unwrap());
        std::thread::park();
    }
}

fn child(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", "nats_server::a_child_starts_a_server"]);
    command.env(CHILD, "1").env_remove("ROWBUS_REQUIRE_NATS");
    command
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_dies_with_the_process_of_its_test() {
    if !NatsServer::is_there() {
        return;
    }
    let mut child = child(&env::current_exe().unwrap());
    let mut child = child.arg("--nocapture").stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = lines.map_while(Result::ok).find_map(|line| line.rsplit_once("pid ")?.1.parse().ok()).unwrap();
    assert!(is_there(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    until("the end of the server", || !is_there(pid));
}

/// This program in a folder where no server can be found from.
fn elsewhere(require: Option<&str>, named: Option<&Path>) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("tests");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    let mut command = child(&program);
    command.env("PATH", folder.path()).env_remove("ROWBUS_NATS_SERVER").env("RUST_BACKTRACE", "0");
    command.envs(require.map(|require| ("ROWBUS_REQUIRE_NATS", require)));
    command.envs(named.map(|named| ("ROWBUS_NATS_SERVER", named)));
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let mut said = String::new();
    (&output.stderr[..]).read_to_string(&mut said).unwrap();
    said + &String::from_utf8_lossy(&output.stdout)
}

#[test]
fn where_there_is_no_server_tests_are_skipped_loudly_and_fail_where_one_is_required() {
    let skipped = elsewhere(None, None);
    assert!(skipped.status.success(), "{}", said(&skipped));
    assert!(said(&skipped).contains("SKIPPED: no nats-server of 2.10 or later"), "{}", said(&skipped));
    let required = elsewhere(Some("1"), None);
    assert!(!required.status.success() && said(&required).contains("no nats-server"), "{}", said(&required));
    let wrong = elsewhere(None, Some(Path::new("/bin/true")));
    assert!(!wrong.status.success() && said(&wrong).contains("ROWBUS_NATS_SERVER is"), "{}", said(&wrong));
}
