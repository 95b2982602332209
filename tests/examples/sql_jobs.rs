//! The examples of `docs/sql.md` about jobs.

use rowbus::rusqlite::types::Value;
use rowbus::{Durable, DurableExt, ErrorKind, Job, JobState};

use crate::page::Place;
use crate::sql::RunSql;

/// The id of the page's examples.
const JOB: &str = "01a208ca-079c-7241-b64f-9f267175e9cf";

/// The same for an example of jobs.
pub(crate) async fn check_jobs(place: &Place, name: &str, code: &str, run: RunSql<'_>) {
    let text = |sql: &str| place.sql().query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let number = |sql: &str| place.sql().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let insert = "INSERT INTO bus_requests (id, subject, data) VALUES";
    match name {
        "enqueue" => {
            run(place, code);
            let mail = place.serve_mail().await;
            let id = text("SELECT id FROM bus_requests");
            assert_eq!(place.reply(&id).await.unwrap().text(), Some("sent to: ada"));
            mail.stop().await.unwrap();
        }
        "enqueue-later" => {
            run(place, code);
            let id = text("SELECT id FROM bus_requests");
            assert_eq!(text("SELECT state FROM bus_requests"), "ready");
            let mail = place.serve_mail().await;
            place
                .until("a server has come to it", || text("SELECT state FROM bus_requests") == "scheduled")
                .await;
            let info = place.bus.job(id.clone().into()).await.unwrap();
            assert_eq!((info.state, info.priority, info.max_attempts), (JobState::Scheduled, 5, 3));
            assert!(info.run_at.unwrap() > info.created_at);
            place.sql().execute("UPDATE bus_requests SET run_at = 1", []).unwrap();
            assert_eq!(place.reply(&id).await.unwrap().headers().get("Trace"), Some("7f2c"));
            mail.stop().await.unwrap();
        }
        "enqueue-once" => {
            run(place, code);
            run(place, code);
            assert_eq!(number("SELECT count(*) FROM bus_requests"), 1);
            let again = place.bus.enqueue(Job::new("mail.send", "").unique("welcome:42")).await.unwrap();
            assert!(again.is_duplicate());
            let mail = place.serve_mail().await;
            again.reply().await.unwrap();
            run(place, code);
            assert_eq!(number("SELECT count(*) FROM bus_requests"), 2);
            mail.stop().await.unwrap();
        }
        "job-state" | "job-reply" => {
            place.sql().execute(&format!("{insert} ('{JOB}', 'mail.send', 'to: bob')"), []).unwrap();
            run(place, code);
            let mail = place.serve_mail().await;
            assert_eq!(place.reply(JOB).await.unwrap().text(), Some("sent to: bob"));
            let conn = place.sql();
            let rows = |sql: &str, columns: usize| -> Vec<Vec<Option<String>>> {
                let mut statement = conn.prepare(sql.trim()).unwrap();
                assert_eq!(statement.column_count(), columns);
                let row = |row: &rowbus::rusqlite::Row<'_>| {
                    (0..columns).map(|at| row.get::<_, Value>(at).map(told)).collect()
                };
                statement.query_map([], row).unwrap().map(rowbus::rusqlite::Result::unwrap).collect()
            };
            let some = |text: &str| Some(text.to_owned());
            if name == "job-state" {
                let found = rows(code, 5).remove(0);
                assert_eq!(found[..3], [some("done"), some("2"), some("20")]);
                let errors = found[4].clone().unwrap();
                assert!(errors.starts_with("1 ") && errors.ends_with(" not yet\n"), "{errors}");
            } else {
                let (row, parts) = code.split_once(';').unwrap();
                let expected = [some("done"), some("sent to: bob"), None, some("not yet"), some("E_SOON")];
                assert_eq!(rows(row, 5), [expected.to_vec()]);
                let parts = rows(parts, 4);
                let of = |attempt: &str| vec![some(attempt), some("1"), some("on its way"), None];
                assert_eq!(parts, [of("1"), of("2")]);
            }
            mail.stop().await.unwrap();
        }
        "dead-letters" => {
            place.sql().execute(&format!("{insert} ('{JOB}', 'mail.send', 'to: nobody')"), []).unwrap();
            let mail = place.serve_mail().await;
            assert_eq!(place.reply(JOB).await.unwrap_err().kind(), ErrorKind::Handler);
            run(place, code);
            let found = place.sql().query_row(code, [], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                ))
            });
            assert_eq!(found.unwrap(), (1, JOB.to_owned(), "to: nobody".to_owned(), "failed".to_owned()));
            mail.stop().await.unwrap();
        }
        "pause" => {
            let mail = place.serve_mail().await;
            run(place, code);
            run(place, code);
            // Behind it in another subject, to be done first.
            let held = place.bus.enqueue(Job::new("mail.send", "to: ada")).await.unwrap();
            let other = place.bus.enqueue(Job::new("mail.print", "to: ada")).await.unwrap();
            other.reply().await.unwrap();
            assert_eq!(held.info().await.unwrap().state, JobState::Ready);
            place.bus.resume("mail.send".parse().unwrap()).await.unwrap();
            held.reply().await.unwrap();
            mail.stop().await.unwrap();
        }
        "resume" => {
            place.bus.pause("mail.send".parse().unwrap()).await.unwrap();
            let held = place.bus.enqueue(Job::new("mail.send", "to: ada")).await.unwrap();
            let mail = place.serve_mail().await;
            run(place, code);
            // By looking: nobody has rung.
            assert_eq!(place.reply(held.id().as_str()).await.unwrap().text(), Some("sent to: ada"));
            mail.stop().await.unwrap();
        }
        other => panic!("{other:?}"),
    }
}

/// A value as text, so that rows of any columns can be compared.
pub(crate) fn told(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Integer(integer) => Some(integer.to_string()),
        Value::Text(text) => Some(text),
        other => panic!("{other:?}"),
    }
}
