//! `rowbus bridge`, against a real server.

use std::process::Command;

use rowbus::testing::NatsServer;

use crate::support::{Folder, Running};

fn server() -> Option<NatsServer> {
    NatsServer::builder().jetstream(true).start()
}

#[test]
fn what_there_is_is_forwarded_once_and_how_it_went_is_told() {
    let Some(server) = server() else { return };
    let folder = Folder::new();
    for number in 0..3 {
        folder.publish("orders.created", format!("order {number}").as_bytes());
    }
    let url = server.url();
    let bridge =
        ["bridge", "--to", &url, "--filter", "orders.>", "--stream", "ORDERS", "--create-stream", "--once"];
    let first = folder.run(&bridge);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.stderr.contains("stopped up to event 3, stream ORDERS, 3 forwarded"), "{first:?}");
    assert!(first.stdout.is_empty());
    folder.publish("orders.created", b"one more");
    let second = folder.run(&[&bridge[..], &["--json"]].concat());
    assert_eq!(second.code, Some(0), "{second:?}");
    let last = second.stderr.lines().last().unwrap();
    let told: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!((told["state"].as_str(), told["position"].as_u64()), (Some("stopped"), Some(4)));
    assert_eq!((told["forwarded"].as_u64(), told["last_error"].is_null()), (Some(1), true));
    let shown = folder.run(&["consumer", "ls"]);
    assert!(shown.text().contains("bridge:default"), "{shown:?}");
}

#[test]
fn what_cannot_be_forwarded_in_time_is_exit_code_3_and_says_why() {
    let Some(server) = server() else { return };
    let folder = Folder::new();
    folder.publish("orders.created", b"");
    let url = server.url();
    let bridge = ["bridge", "--to", &url, "--filter", "orders.>", "--once", "--wait", "500ms"];
    let finished = folder.run(&bridge);
    assert_eq!(finished.code, Some(3), "{finished:?}");
    assert!(finished.stderr.contains("there is no stream for orders.>"), "{finished:?}");
}

#[test]
fn a_server_that_cannot_be_reached_is_waited_for() {
    let Some(mut server) = server() else { return };
    let folder = Folder::new();
    folder.publish("orders.created", b"");
    let url = server.url();
    server.stop();
    let args =
        ["bridge", "--to", &url, "--filter", "orders.>", "--stream", "ORDERS", "--create-stream", "--once"];
    let mut running = Running::start(folder.command(&args));
    loop {
        let line = running.stderr_line();
        if line.contains("waiting") {
            assert!(line.contains("no connection"), "{line}");
            break;
        }
    }
    server.restart();
    let finished = running.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[cfg(unix)]
#[test]
fn a_bridge_that_is_told_to_stop_says_how_far_it_came() {
    let Some(server) = server() else { return };
    let folder = Folder::new();
    folder.publish("orders.created", b"");
    let url = server.url();
    let args = ["bridge", "--to", &url, "--filter", "orders.>", "--stream", "ORDERS", "--create-stream"];
    let mut running = Running::start(folder.command(&args));
    while !running.stderr_line().contains("stream ORDERS") {}
    let pid = running.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let finished = running.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stderr.contains("stopped up to event 1"), "{finished:?}");
}

#[test]
fn a_mistake_of_usage_is_told_before_a_file_is_made() {
    let wrong: [&[&str]; 5] = [
        &["bridge", "--to", "nats://127.0.0.1:1"],
        &["bridge", "--to", "nats://127.0.0.1:1", "--filter", "a..b"],
        &["bridge", "--to", "nats://127.0.0.1:1", "--filter", "a.>", "--create-stream"],
        &["bridge", "--to", "nats://127.0.0.1:1", "--filter", "a.>", "--name", "a b"],
        &["bridge", "--to", "http://127.0.0.1:1", "--filter", "a.>", "--once"],
    ];
    for args in &wrong[..4] {
        let folder = Folder::new();
        let finished = folder.run(args);
        assert_eq!(finished.code, Some(2), "{args:?}: {finished:?}");
        assert!(!folder.db().exists(), "{args:?}");
    }
    let finished = Folder::new().run(wrong[4]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
}
