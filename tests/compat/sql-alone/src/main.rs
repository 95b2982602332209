//! `rowbus::sql` alone renders a publish and a job for a driver of the host's choice.

use rowbus::sql::{self, Statement, Value};
use rowbus::{ErrorKind, Job, Publish};

fn main() -> Result<(), rowbus::Error> {
    let publish = Publish::new("orders.created", "one pizza").header("Trace", "7f2c");
    let Statement { sql, params, .. } = sql::publish(publish, 1_700_000_000_000)?;

    let expected =
        "INSERT INTO bus_events (subject, data, headers, created_at, message_id) VALUES (?1, ?2, ?3, ?4, ?5)";
    assert_eq!(sql, expected);
    let [subject, data, headers, created_at, message_id] = params.as_slice() else {
        panic!("five parameters, not {params:?}");
    };
    assert_eq!(*subject, Value::Text("orders.created".into()));
    assert_eq!(*data, Value::Blob(b"one pizza".to_vec()));
    assert!(
        matches!(headers, Value::Text(text) if text.contains("Trace") && text.contains("7f2c")),
        "{headers:?}"
    );
    assert_eq!(*created_at, Value::Integer(1_700_000_000_000));
    assert_eq!(*message_id, Value::Null);

    // What the bus refuses, the statement refuses.
    let invalid = sql::publish(Publish::new("orders..created", ""), 0).unwrap_err();
    assert!(matches!(invalid.kind(), ErrorKind::InvalidSubject), "{invalid}");

    let job = sql::enqueue(Job::new("mail.send", "to: ada").priority(5), 1_700_000_000_000)?;
    assert_eq!(job.sql, sql::INSERT_PLAIN_JOB);
    assert_eq!(job.params.first(), Some(&Value::Text("mail.send".into())));
    assert_eq!(job.params.last(), Some(&Value::Blob(b"to: ada".to_vec())));
    let unique = sql::enqueue(Job::new("mail.send", "").unique("welcome:ada"), 0).unwrap_err();
    assert!(matches!(unique.kind(), ErrorKind::Unsupported), "{unique}");

    println!(
        "rowbus alone: a publish is one statement with {} parameters, a job one with {}",
        params.len(),
        job.params.len()
    );
    Ok(())
}
