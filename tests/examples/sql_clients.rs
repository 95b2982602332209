//! The examples of `docs/sql.md` for other clients: Python, and the shell.

use std::process::Command;

use rowbus::Messenger;

use crate::page::{Place, blocks};
use crate::run;

pub(crate) fn by_python(place: &Place, sql: &str) {
    let script = "import sqlite3, sys\n\
                  db = sqlite3.connect('app.db', timeout=60, isolation_level=None)\n\
                  db.execute('PRAGMA wal_autocheckpoint = 0')\n\
                  db.executescript(sys.argv[1])\n";
    let python = python().expect("the caller has looked");
    run(Command::new(python).args(["-c", script, sql]).current_dir(place.folder.path()));
}

pub(crate) fn python() -> Option<&'static str> {
    let has_sqlite = |python: &&str| {
        let tried = Command::new(python).args(["-c", "import sqlite3"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    ["python3", "python"].into_iter().find(has_sqlite)
}

#[tokio::test]
async fn the_python_examples_do_what_the_page_says() {
    let Some(python) = python() else {
        return eprintln!("skipped: there is no Python with its sqlite3 module");
    };
    let python = |place: &Place, code: &str| {
        run(Command::new(python).args(["-c", code]).current_dir(place.folder.path()))
    };
    for block in blocks().iter().filter(|block| block.language == "python") {
        let place = Place::new().await;
        match block.name {
            "python-publish" => {
                python(&place, &block.code);
                let messages = place.first(3).await;
                let subjects: Vec<&str> = messages.iter().map(|message| message.subject().as_str()).collect();
                assert_eq!(subjects, ["orders.created", "orders.paid", "orders.shipped"]);
                assert_eq!(messages[0].text(), Some("one pizza"));
                assert_eq!(
                    (&messages[1].payload()[..], messages[1].headers().get("Trace")),
                    (&[0, 255][..], Some("7f2c"))
                );
            }
            "python-read" => {
                place.publish(&[("a", "one"), ("b", "two")]).await.unwrap();
                place
                    .sql()
                    .execute("INSERT INTO bus_events (subject, data) VALUES ('c', 'grün')", [])
                    .unwrap();
                let printed = "1 a 3\n2 b 3\n3 c 5\n";
                assert_eq!(python(&place, &block.code), printed);
                // Without a bus that has the file open, too.
                place.bus.close().await.unwrap();
                assert_eq!(python(&place, &block.code), printed);
            }
            other => panic!("docs/sql.md has an example {other:?} that nothing here checks"),
        }
    }
}

#[tokio::test]
async fn the_shell_examples_do_what_the_page_says() {
    let found = |name: &str| Command::new(name).arg("--version").output().is_ok();
    if !found("sqlite3") || !found("sh") {
        return eprintln!("skipped: there is no sqlite3 shell");
    }
    for block in blocks().iter().filter(|block| block.language == "sh") {
        assert_eq!(block.name, "shell", "nothing here checks it");
        let place = Place::new().await;
        let printed = run(Command::new("sh").args(["-c", &block.code]).current_dir(place.folder.path()));
        assert!(printed.ends_with("1|orders.created|one pizza\n"), "{printed}");
        assert_eq!(place.bodies(1).await, ["one pizza"]);
    }
}
