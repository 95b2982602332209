//! A consumer on standard output.

use std::io::{self, Write};
use std::time::Duration;

use rowbus::{AckPolicy, ConsumerInfo, ConsumerSettings};

use crate::colour;
use crate::duration::written;
use crate::escape::Escaped;
use crate::failures::{self, write_failures};
use crate::json;
use crate::start::{Start, rfc3339};

/// What the names of fields take in front of what they say.
const WIDTH: usize = 20;

/// Whether it gets on, in a word or two.
pub(super) fn state(info: &ConsumerInfo) -> String {
    let words = match (info.stopped.is_some(), info.paused, info.members) {
        (true, true, _) => "stopped, paused",
        (true, false, _) => "stopped",
        (false, true, _) => "paused",
        (false, false, None) => "-",
        (false, false, Some(0)) => "idle",
        (false, false, Some(_)) => "active",
    };
    words.to_owned()
}

/// How many messages wait, of which only so many are counted.
pub(super) fn pending(info: &ConsumerInfo) -> String {
    format!("{}{}", info.num_pending, if info.num_pending_is_exact { "" } else { "+" })
}

/// A line for each fact.
pub(super) fn write_for_people(out: &mut impl Write, info: &ConsumerInfo) -> io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(out, "{:<WIDTH$}{value}", colour::faint(name));
    let settings = &info.settings;
    let filters: Vec<_> = settings.filters.iter().map(|filter| filter.as_str()).collect();
    line("name", &Escaped(info.name.as_bytes()).to_string())?;
    line("state", &state(info))?;
    if let Some(reason) = &info.stopped {
        line("stopped by", &Escaped(reason.as_bytes()).to_string())?;
    }
    if let Some(members) = info.members {
        line("members", &members.to_string())?;
    }
    line("filters", &filters.join(" "))?;
    line("created", &rfc3339(info.created_at))?;
    line("started from", &Start(settings.start).to_string())?;
    line("ack floor", &info.ack_floor.to_string())?;
    line("delivered", &info.delivered.to_string())?;
    line("pending", &pending(info))?;
    line("in flight", &info.num_ack_pending.to_string())?;
    line("redelivered", &info.num_redelivered.to_string())?;
    line("backing off", &info.num_backing_off.to_string())?;
    line("lag", &lag(info))?;
    write_settings(settings, line)?;
    write_failures(out, WIDTH, &info.failures)
}

fn lag(info: &ConsumerInfo) -> String {
    let sequences = if info.lag == 1 { "sequence" } else { "sequences" };
    match info.lag_millis {
        0 => format!("{} {sequences}", info.lag),
        millis => format!("{} {sequences}, {}", info.lag, written(Duration::from_millis(millis))),
    }
}

/// What can be set, without what the policy has no use for.
fn write_settings(
    settings: &ConsumerSettings,
    mut line: impl FnMut(&str, &str) -> io::Result<()>,
) -> io::Result<()> {
    line("policy", settings.ack_policy.as_str())?;
    if settings.ack_policy == AckPolicy::Explicit {
        line("ack wait", &written(settings.ack_wait))?;
        line("max ack pending", &settings.max_ack_pending.to_string())?;
    }
    line("max deliver", &settings.max_deliver.to_string())?;
    let [first, longest] = backoff(settings).map(|millis| written(Duration::from_millis(millis)));
    line("backoff", &if first == longest { first } else { format!("{first}, doubled up to {longest}") })?;
    line("on failure", &settings.on_failure.as_str().replace('_', "-"))?;
    let threshold = settings.inactive_threshold.map_or_else(|| "never".to_owned(), written);
    line("deleted if inactive", &threshold)
}

/// The first and the longest pause, in milliseconds.
fn backoff(settings: &ConsumerSettings) -> [u64; 2] {
    let backoff = settings.backoff;
    [backoff.first_millis(), backoff.longest_millis()].map(|millis| u64::try_from(millis).unwrap_or_default())
}

/// One object in a line.
pub(super) fn write_json(out: &mut impl Write, info: &ConsumerInfo) -> io::Result<()> {
    write_json_object(out, info)?;
    out.write_all(b"\n")
}

/// One object, its fields in one order, with the names of the library and units in them; what is not known, not
/// limited or has not happened is `null`.
pub(crate) fn write_json_object(out: &mut impl Write, info: &ConsumerInfo) -> io::Result<()> {
    let settings = &info.settings;
    out.write_all(b"{\"name\":")?;
    json::string(out, &info.name)?;
    write!(out, ",\"ack_policy\":\"{}\",\"filters\":[", settings.ack_policy)?;
    for (index, filter) in settings.filters.iter().enumerate() {
        out.write_all(if index == 0 { b"" } else { b"," })?;
        json::string(out, filter.as_str())?;
    }
    write!(out, "],\"created_at\":\"{}\"", rfc3339(info.created_at))?;
    write!(out, ",\"ack_floor\":{},\"delivered\":{}", info.ack_floor, info.delivered)?;
    write!(out, ",\"num_pending\":{}", info.num_pending)?;
    write!(out, ",\"num_pending_is_exact\":{}", info.num_pending_is_exact)?;
    write!(out, ",\"num_ack_pending\":{}", info.num_ack_pending)?;
    write!(out, ",\"num_redelivered\":{}", info.num_redelivered)?;
    write!(out, ",\"num_backing_off\":{}", info.num_backing_off)?;
    write!(out, ",\"lag\":{},\"lag_ms\":{}", info.lag, info.lag_millis)?;
    write!(out, ",\"members\":{}", number(info.members))?;
    write!(out, ",\"paused\":{},\"stopped\":", info.paused)?;
    match &info.stopped {
        Some(reason) => json::string(out, reason)?,
        None => out.write_all(b"null")?,
    }
    write_json_settings(out, settings)?;
    failures::write_json(out, &info.failures)?;
    out.write_all(b"}")
}

fn write_json_settings(out: &mut impl Write, settings: &ConsumerSettings) -> io::Result<()> {
    let [first, longest] = backoff(settings);
    write!(out, ",\"start\":\"{}\"", Start(settings.start).word())?;
    write!(out, ",\"ack_wait_ms\":{}", settings.ack_wait.as_millis())?;
    write!(out, ",\"max_ack_pending\":{}", settings.max_ack_pending)?;
    write!(out, ",\"max_deliver\":{}", settings.max_deliver)?;
    write!(out, ",\"backoff_ms\":{first},\"backoff_max_ms\":{longest}")?;
    write!(out, ",\"on_failure\":\"{}\"", settings.on_failure)?;
    write!(
        out,
        ",\"inactive_threshold_ms\":{}",
        number(settings.inactive_threshold.map(|time| time.as_millis()))
    )
}

fn number(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "null".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use rowbus::{Consumer, Failure, StartAt};

    use super::*;

    fn info(consumer: Consumer) -> ConsumerInfo {
        let created = DateTime::from_timestamp_millis(1_795_417_500_123).unwrap();
        let settings = consumer.into_parts().unwrap().resolve(None).unwrap();
        let mut info = ConsumerInfo::new("mailer", settings, created);
        (info.ack_floor, info.delivered, info.num_pending, info.lag) = (7, 9, 3, 5);
        (info.num_ack_pending, info.lag_millis) = (2, 90_000);
        info
    }

    fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn people_get_a_line_for_each_fact() {
        let mut info = info(Consumer::durable("mailer").filter("a.*").filter("b").from(StartAt::Sequence(3)));
        info.members = Some(1);
        let expected = "\
name                mailer
state               active
members             1
filters             a.* b
created             2026-11-23T07:05:00.123Z
started from        sequence 3
ack floor           7
delivered           9
pending             3
in flight           2
redelivered         0
backing off         0
lag                 5 sequences, 1m30s
policy              explicit
ack wait            30s
max ack pending     1000
max deliver         20
backoff             1s, doubled up to 1h
on failure          dead-letter
deleted if inactive never
";
        assert_eq!(text(|out| write_for_people(out, &info)), expected);
    }

    #[test]
    fn a_consumer_that_has_stopped_says_why() {
        let mut info = info(Consumer::durable("mailer").ack_policy(AckPolicy::Cumulative));
        info.stopped = Some("no \x1b route".to_owned());
        info.failures = vec![Failure::new(1, info.created_at, "no \x1b route")];
        let shown = text(|out| write_for_people(out, &info));
        assert!(
            shown.contains("\nstate               stopped\nstopped by          no \\u{1b} route\n"),
            "{shown}"
        );
        assert!(shown.contains("\non failure          stop\n") && !shown.contains("\nack wait"), "{shown}");
        let end = "\nfailed              attempt 1, 2026-11-23T07:05:00.123Z: no \\u{1b} route\n";
        assert!(shown.ends_with(end), "{shown}");
    }

    #[test]
    fn json_has_its_fields_in_one_order() {
        let threshold = Duration::from_secs(60);
        let mut info = info(Consumer::durable("mailer").from(StartAt::New).inactive_threshold(threshold));
        info.stopped = Some("no \x1b route".to_owned());
        let expected = "{\"name\":\"mailer\",\"ack_policy\":\"explicit\",\"filters\":[\">\"],\
            \"created_at\":\"2026-11-23T07:05:00.123Z\",\"ack_floor\":7,\"delivered\":9,\"num_pending\":3,\
            \"num_pending_is_exact\":true,\"num_ack_pending\":2,\"num_redelivered\":0,\"num_backing_off\":0,\
            \"lag\":5,\"lag_ms\":90000,\"members\":null,\"paused\":false,\"stopped\":\"no \\u001b route\",\
            \"start\":\"new\",\"ack_wait_ms\":30000,\"max_ack_pending\":1000,\"max_deliver\":20,\
            \"backoff_ms\":1000,\"backoff_max_ms\":3600000,\"on_failure\":\"dead_letter\",\
            \"inactive_threshold_ms\":60000,\"failures\":[]}\n";
        assert_eq!(text(|out| write_json(out, &info)), expected);
    }
}
