//! `rowbus bench` over `--url`, on a real server.

use rowbus::testing::NatsServer;
use serde_json::Value;

use crate::support::{Finished, Folder, Running};

fn run(folder: &Folder, url: &str, line: &str) -> Finished {
    let mut command = folder.bare(&["--url", url, "bench"]);
    command.args(line.split(' '));
    Running::start(command).finish()
}

fn result(folder: &Folder, url: &str, line: &str) -> Value {
    let finished = run(folder, url, &format!("{line} --json --quiet"));
    assert_eq!((finished.code, &*finished.stderr), (Some(0), ""), "{finished:?}");
    serde_json::from_str(finished.text()).unwrap()
}

fn assert_empty(folder: &Folder) {
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_server_is_measured_without_a_file() {
    let Some(server) = NatsServer::start() else { return };
    let (folder, url) = (Folder::new(), server.url());
    for line in [
        "pub --messages 20 --publishers 3",
        "latency --messages 3 --pause 1ms",
        "rpc --messages 20 --callers 3",
    ] {
        let found = result(&folder, &url, line);
        assert_eq!((&found["server"], &found["synchronous"]), (&Value::from(&*url), &Value::Null));
        assert!(found["p50_us"].as_f64().unwrap() > 0.0, "{found}");
    }
    let told = run(&folder, &url, "pub --messages 5");
    assert!(told.stderr.starts_with("measuring on rowbus.bench."), "{told:?}");
    assert!(told.text().contains(&format!("\nserver       {url}\n")), "{told:?}");
    assert_empty(&folder);
}

#[test]
fn a_server_is_compared_with_sqlite_on_this_disk() {
    let Some(server) = NatsServer::start() else { return };
    let folder = Folder::new();
    let found = result(&folder, &server.url(), "rpc --messages 20 --compare raw");
    assert!(
        found["ratio"].as_f64().unwrap() > 0.0 && found["raw"]["p50_us"].as_f64().unwrap() > 0.0,
        "{found}"
    );
    assert_empty(&folder);
}

#[test]
fn what_needs_a_log_needs_a_stream() {
    let Some(server) = NatsServer::builder().jetstream(true).start() else { return };
    let folder = Folder::new();
    let stream = format!("{}?stream=BENCH&stream_subjects=rowbus.bench.>", server.url());
    for line in ["sub --messages 700", "queue --messages 50 --workers 4", "pub --messages 20"] {
        let found = result(&folder, &stream, line);
        assert!(found["per_s"].as_f64().unwrap() > 0.0, "{found}");
    }
    for line in ["sub --messages 700", "queue --messages 50"] {
        let refused = run(&folder, &server.url(), line);
        assert_eq!(refused.code, Some(2), "{line}: {refused:?}");
        assert!(refused.stderr.contains("core NATS keeps n"), "{line}: {refused:?}");
    }
    let nobody = run(&folder, "nats://127.0.0.1:1", "pub --messages 1");
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert_empty(&folder);
}

#[test]
fn a_second_process_is_not_told_of_a_password_where_all_can_read_it() {
    let Some(server) = NatsServer::start() else { return };
    let folder = Folder::new();
    let url = server.url().replace("nats://", "nats://ann:secret@");
    let mut command = folder.bare(&["bench", "latency", "--messages", "1000000"]);
    command.env("ROWBUS_URL", &url);
    let mut running = Running::start(command);
    assert!(running.stderr_line().starts_with("measuring on "));
    let seconds = || -> Vec<String> {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let commands =
            processes.map(|process| std::fs::read(process.path().join("cmdline")).unwrap_or_default());
        let commands = commands.map(|command| String::from_utf8_lossy(&command).into_owned());
        commands.filter(|command| command.contains("\0receive\0rowbus.bench.")).collect()
    };
    if cfg!(target_os = "linux") {
        let own = format!("\0rowbus.bench.{}-", running.id());
        crate::support::until("the second process", || {
            seconds().iter().any(|command| command.contains(&own))
        });
        assert!(seconds().iter().all(|command| !command.contains("secret")));
    }
    running.signal("INT");
    assert_eq!(running.finish().code, Some(1));
}
