//! Plain SQL clients write what the command streams.

use std::process::Command;

use crate::support::{Folder, skip};

const INSERT: &str = "
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], timeout=30)
with conn:
    conn.execute('INSERT INTO bus_events (subject, data) VALUES (?, ?)', ('orders.py', 'from python'))
    conn.execute('INSERT INTO bus_events (subject, data, headers) VALUES (?, ?, ?)',
                 ('orders.py', b'\\x00\\xff', 'Trace: 7\\n'))
conn.close()
";

fn python() -> Option<&'static str> {
    ["python3", "python"].into_iter().find(|name| {
        let tried = Command::new(name).args(["-c", "import sqlite3"]).output();
        tried.is_ok_and(|output| output.status.success())
    })
}

#[test]
fn rows_inserted_by_python_are_streamed() {
    let Some(python) = python() else {
        return skip("rows inserted by python: there is no python3 with its sqlite3 module");
    };
    let folder = Folder::new();
    let stream = folder.stream(&["orders.*", "--json", "--count", "2"]);
    let inserted = Command::new(python).args(["-c", INSERT]).arg(folder.db()).output().unwrap();
    assert!(inserted.status.success(), "{}", String::from_utf8_lossy(&inserted.stderr));
    let finished = stream.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let objects: Vec<serde_json::Value> =
        finished.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&objects[0]["subject"], &objects[0]["data"]), (&"orders.py".into(), &"from python".into()));
    assert_eq!(objects[1]["data_base64"], "AP8=");
    assert_eq!(objects[1]["headers"], serde_json::json!([["Trace", "7"]]));
}

#[test]
fn a_row_that_is_no_message_is_passed_over() {
    let folder = Folder::new();
    let stream = folder.stream(&[">", "--raw", "--count", "1"]);
    let host = rowbus::rusqlite::Connection::open(folder.db()).unwrap();
    host.execute("INSERT INTO bus_events (subject, data) VALUES ('not..valid', 'x')", []).unwrap();
    host.execute("INSERT INTO bus_events (subject, data) VALUES ('valid', 'y')", []).unwrap();
    let finished = stream.finish();
    assert_eq!((finished.code, finished.text()), (Some(0), "y\n"));
}
