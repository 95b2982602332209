//! `rowbus job show`.

use std::io::{self, Write};

use clap::Args;
use rowbus::{Durable, JobId, JobInfo};

use crate::escape::Escaped;
use crate::failure::Result;
use crate::failures::{self, write_failures};
use crate::json;
use crate::start::rfc3339;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus job show 0199f1c4-5a3e-7c21-9d0b-6f4e8a7b1c2d
  rowbus job show 0199f1c4-5a3e-7c21-9d0b-6f4e8a7b1c2d --json | jq -r .state";

/// Show how a job fares
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ShowArgs {
    /// The id of the job
    id: String,

    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(bus: &dyn Durable, args: ShowArgs) -> Result<()> {
    let info = bus.job(JobId::from(args.id)).await?;
    let mut out = Output::new();
    let written =
        out.write(|out| if args.json { write_json(out, &info) } else { write_for_people(out, &info) })?;
    if written {
        out.flush()?;
    }
    Ok(())
}

fn write_for_people(out: &mut impl Write, info: &JobInfo) -> io::Result<()> {
    writeln!(out, "id        {}", Escaped(info.id.as_str().as_bytes()))?;
    writeln!(out, "subject   {}", Escaped(info.subject.as_bytes()))?;
    let told = if info.cancel_requested && !info.state.is_final() { ", told to end" } else { "" };
    writeln!(out, "state     {}{told}", info.state)?;
    writeln!(out, "attempts  {} of {}", info.attempt, info.max_attempts)?;
    writeln!(out, "priority  {}", info.priority)?;
    writeln!(out, "created   {}", rfc3339(info.created_at))?;
    if let Some(time) = info.run_at {
        writeln!(out, "runs at   {}", rfc3339(time))?;
    }
    if let Some(time) = info.finished_at {
        writeln!(out, "finished  {}", rfc3339(time))?;
    }
    write_failures(out, 10, &info.failures)
}

/// One object, its fields in one order; times that there are not are left out.
fn write_json(out: &mut impl Write, info: &JobInfo) -> io::Result<()> {
    out.write_all(b"{\"id\":")?;
    json::string(out, info.id.as_str())?;
    out.write_all(b",\"subject\":")?;
    json::string(out, &info.subject)?;
    let (attempt, most) = (info.attempt, info.max_attempts);
    write!(out, ",\"state\":\"{}\",\"attempt\":{attempt},\"max_attempts\":{most}", info.state)?;
    write!(out, ",\"priority\":{},\"created_at\":\"{}\"", info.priority, rfc3339(info.created_at))?;
    if let Some(time) = info.run_at {
        write!(out, ",\"run_at\":\"{}\"", rfc3339(time))?;
    }
    if let Some(time) = info.finished_at {
        write!(out, ",\"finished_at\":\"{}\"", rfc3339(time))?;
    }
    write!(out, ",\"cancel_requested\":{}", info.cancel_requested)?;
    failures::write_json(out, &info.failures)?;
    out.write_all(b"}\n")
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use rowbus::{Failure, JobState, Subject};

    use super::*;

    fn info() -> JobInfo {
        let created = DateTime::from_timestamp_millis(1_795_417_500_123).unwrap();
        let subject = Subject::new("mail.send").unwrap();
        let mut info = JobInfo::new("an-id".into(), subject, JobState::Scheduled, created);
        (info.attempt, info.max_attempts, info.run_at) = (1, 20, Some(created));
        info.failures = vec![Failure::new(1, created, "no \x1b route")];
        info
    }

    #[test]
    fn people_get_a_line_for_each_fact() {
        let mut out = Vec::new();
        write_for_people(&mut out, &info()).unwrap();
        let expected = "\
id        an-id
subject   mail.send
state     scheduled
attempts  1 of 20
priority  0
created   2026-11-23T07:05:00.123Z
runs at   2026-11-23T07:05:00.123Z
failed    attempt 1, 2026-11-23T07:05:00.123Z: no \\u{1b} route
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json_has_its_fields_in_one_order() {
        let mut out = Vec::new();
        write_json(&mut out, &info()).unwrap();
        let expected = "{\"id\":\"an-id\",\"subject\":\"mail.send\",\"state\":\"scheduled\",\"attempt\":1,\
                        \"max_attempts\":20,\"priority\":0,\"created_at\":\"2026-11-23T07:05:00.123Z\",\
                        \"run_at\":\"2026-11-23T07:05:00.123Z\",\"cancel_requested\":false,\"failures\":\
                        [{\"attempt\":1,\"at\":\"2026-11-23T07:05:00.123Z\",\"message\":\"no \\u001b route\"}]}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
