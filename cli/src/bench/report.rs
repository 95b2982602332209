//! The result of a benchmark on standard output: for people, and for programs.

use std::io::{self, Write};
use std::time::Duration;

use rowbus::Durability;

use crate::bench::percentiles::Percentiles;

/// What was measured, and how. What does not belong to a benchmark is `None`, and is not written.
pub(crate) struct Report {
    pub(crate) work: &'static str,
    pub(crate) messages: u64,
    pub(crate) size: u32,
    pub(crate) publishers: Option<u64>,
    pub(crate) durability: Durability,
    pub(crate) delivery: Option<Delivery>,
    /// How long all of it took, where that tells a throughput.
    pub(crate) elapsed: Option<Duration>,
    pub(crate) latency: Option<Percentiles>,
}

/// How the time from process to process was measured.
pub(crate) struct Delivery {
    pub(crate) pause: Duration,
    pub(crate) clock: &'static str,
}

impl Report {
    pub(crate) fn write(&self, out: &mut impl Write, json: bool) -> io::Result<()> {
        if json { self.write_json(out) } else { self.write_for_people(out) }
    }

    fn write_for_people(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "work         {}", self.work)?;
        writeln!(out, "messages     {} of {} bytes", self.messages, self.size)?;
        if let Some(publishers) = self.publishers {
            writeln!(out, "publishers   {publishers}")?;
        }
        writeln!(out, "synchronous  {}", synchronous(self.durability))?;
        if let Some(Delivery { pause, clock }) = &self.delivery {
            writeln!(out, "measured     one way, by the {clock} clock, with a pause of {pause:?}")?;
        }
        if let Some(elapsed) = self.elapsed {
            let rates = (self.per_second(elapsed), self.megabytes_per_second(elapsed));
            writeln!(out, "throughput   {:.0} messages/s, {:.2} MB/s", rates.0, rates.1)?;
        }
        if let Some(times) = self.latency {
            let [p50, p90, p99, max] = [times.p50, times.p90, times.p99, times.max].map(micros);
            writeln!(out, "latency      p50 {p50} µs, p90 {p90} µs, p99 {p99} µs, max {max} µs")?;
        }
        Ok(())
    }

    /// By hand, so that the fields have a stable order, as those of messages have.
    fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { work, messages, size, .. } = self;
        write!(out, "{{\"work\":\"{work}\",\"messages\":{messages},\"size\":{size}")?;
        if let Some(publishers) = self.publishers {
            write!(out, ",\"publishers\":{publishers}")?;
        }
        write!(out, ",\"synchronous\":\"{}\"", synchronous(self.durability))?;
        if let Some(Delivery { pause, clock }) = &self.delivery {
            write!(out, ",\"pause_ms\":{},\"clock\":\"{clock}\"", pause.as_millis())?;
        }
        if let Some(elapsed) = self.elapsed {
            let rates = (self.per_second(elapsed), self.megabytes_per_second(elapsed));
            write!(out, ",\"seconds\":{:.6}", elapsed.as_secs_f64())?;
            write!(out, ",\"per_s\":{:.1},\"mb_per_s\":{:.3}", rates.0, rates.1)?;
        }
        if let Some(times) = self.latency {
            let [p50, p90, p99, max] = [times.p50, times.p90, times.p99, times.max].map(micros);
            write!(out, ",\"p50_us\":{p50},\"p90_us\":{p90},\"p99_us\":{p99},\"max_us\":{max}")?;
        }
        out.write_all(b"}\n")
    }

    fn per_second(&self, elapsed: Duration) -> f64 {
        // A clock that did not move between two readings must not make an infinite number of it, which JSON has not.
        self.messages as f64 / elapsed.as_secs_f64().max(1e-9)
    }

    /// Millions of bytes of payload.
    fn megabytes_per_second(&self, elapsed: Duration) -> f64 {
        self.per_second(elapsed) * f64::from(self.size) / 1e6
    }
}

/// What SQLite calls the level.
pub(crate) fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::Full => "FULL",
        _ => "NORMAL",
    }
}

fn micros(nanos: u64) -> String {
    format!("{:.1}", nanos as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(report: &Report, json: bool) -> String {
        let mut out = Vec::new();
        report.write(&mut out, json).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn publishing() -> Report {
        Report {
            work: "pub",
            messages: 1000,
            size: 500,
            publishers: Some(4),
            durability: Durability::Full,
            delivery: None,
            elapsed: Some(Duration::from_millis(250)),
            latency: Some(Percentiles { p50: 900, p90: 1_250, p99: 20_000, max: 3_000_000 }),
        }
    }

    #[test]
    fn people_get_a_line_for_each_thing() {
        let expected = "work         pub\n\
                        messages     1000 of 500 bytes\n\
                        publishers   4\n\
                        synchronous  FULL\n\
                        throughput   4000 messages/s, 2.00 MB/s\n\
                        latency      p50 0.9 µs, p90 1.2 µs, p99 20.0 µs, max 3000.0 µs\n";
        assert_eq!(written(&publishing(), false), expected);
    }

    #[test]
    fn units_are_in_the_names_and_what_was_not_measured_is_left_out() {
        let expected = "{\"work\":\"pub\",\"messages\":1000,\"size\":500,\"publishers\":4,\"synchronous\":\"FULL\",\
                        \"seconds\":0.250000,\"per_s\":4000.0,\"mb_per_s\":2.000,\
                        \"p50_us\":0.9,\"p90_us\":1.2,\"p99_us\":20.0,\"max_us\":3000.0}\n";
        assert_eq!(written(&publishing(), true), expected);
        let delivery = Some(Delivery { pause: Duration::from_millis(5), clock: "monotonic" });
        let latency = Report { work: "latency", publishers: None, elapsed: None, delivery, ..publishing() };
        let expected = "{\"work\":\"latency\",\"messages\":1000,\"size\":500,\"synchronous\":\"FULL\",\
                        \"pause_ms\":5,\"clock\":\"monotonic\",\
                        \"p50_us\":0.9,\"p90_us\":1.2,\"p99_us\":20.0,\"max_us\":3000.0}\n";
        assert_eq!(written(&latency, true), expected);
    }

    #[test]
    fn a_throughput_is_finite_even_if_the_clock_stood_still() {
        let report = Report { elapsed: Some(Duration::ZERO), ..publishing() };
        assert!(!written(&report, true).contains("inf"));
    }
}
