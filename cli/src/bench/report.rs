//! The result of a benchmark on standard output: for people, and for programs.

use std::io::{self, Write};
use std::time::Duration;

use rowbus::Durability;

use crate::address::Address;
use crate::bench::args::Measure;
use crate::bench::clock;
use crate::bench::measured::{Measured, Times};
use crate::escape::Escaped;
use crate::json;

/// What was measured, and how. What does not belong to a benchmark is `None`, and is not written.
pub(crate) struct Report {
    work: &'static str,
    messages: u64,
    size: u32,
    /// How many did it at once, by their name.
    at_once: Option<(&'static str, u64)>,
    at: At,
    delivery: Option<Delivery>,
    bus: Measured,
    /// The same work on bare SQLite.
    raw: Option<Measured>,
}

/// How the time from process to process was measured.
struct Delivery {
    pause: Duration,
    clock: &'static str,
}

/// Where the bus is.
enum At {
    Disk(Durability),
    /// The server as it may be shown.
    Server(String),
}

/// For whom it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    People { has_histogram: bool },
    Json,
}

impl Report {
    pub(crate) fn of(work: &Measure, address: &Address, bus: Measured, raw: Option<Measured>) -> Self {
        let (name, messages, size, at_once) = match work {
            Measure::Pub(args) => ("pub", args.messages, args.size, Some(("publishers", args.publishers()))),
            Measure::Sub(args) => ("sub", args.messages, args.size, None),
            Measure::Latency(args) => ("latency", args.messages, args.size, None),
            Measure::Rpc(args) => ("rpc", args.messages, args.size, Some(("callers", args.callers()))),
            Measure::Queue(args) => ("queue", args.messages, args.size, Some(("workers", args.workers))),
        };
        let delivery = match work {
            Measure::Latency(args) => Some(Delivery { pause: args.pause, clock: clock::NAME }),
            _ => None,
        };
        let at = match address {
            Address::File { .. } => At::Disk(work.durability()),
            Address::Server(_) => At::Server(address.shown()),
        };
        Self { work: name, messages, size, at_once, at, delivery, bus, raw }
    }

    pub(crate) fn write(&self, out: &mut impl Write, look: Look) -> io::Result<()> {
        match look {
            Look::Json => self.write_json(out),
            Look::People { has_histogram } => self.write_for_people(out, has_histogram),
        }
    }

    fn write_for_people(&self, out: &mut impl Write, has_histogram: bool) -> io::Result<()> {
        writeln!(out, "work         {}", self.work)?;
        writeln!(out, "messages     {} of {} bytes", self.messages, self.size)?;
        if let Some((who, count)) = self.at_once {
            writeln!(out, "{who:<12} {count}")?;
        }
        match &self.at {
            At::Disk(durability) => writeln!(out, "synchronous  {}", synchronous(*durability))?,
            At::Server(server) => writeln!(out, "server       {}", Escaped(server.as_bytes()))?,
        }
        if let Some(Delivery { pause, clock }) = &self.delivery {
            writeln!(out, "measured     one way, by the {clock} clock, with a pause of {pause:?}")?;
        }
        self.write_side(out, ["throughput", "latency"], &self.bus)?;
        if let Some(raw) = &self.raw {
            self.write_side(out, ["raw SQLite"; 2], raw)?;
            if let Some(ratio) = self.bus.ratio(raw) {
                writeln!(out, "ratio        {ratio:.2}, where 1 is as fast as raw SQLite")?;
            }
        }
        match &self.bus.latency {
            Some(times) if has_histogram => {
                writeln!(out)?;
                times.histogram.write(out)
            }
            _ => Ok(()),
        }
    }

    fn write_side(&self, out: &mut impl Write, names: [&str; 2], side: &Measured) -> io::Result<()> {
        let [throughput, latency] = names;
        if let Some(elapsed) = side.elapsed {
            let rates = (self.per_second(elapsed), self.megabytes_per_second(elapsed));
            writeln!(out, "{throughput:<12} {:.0} messages/s, {:.2} MB/s", rates.0, rates.1)?;
        }
        if let Some(times) = &side.latency {
            let [p50, p90, p99, max] = micros(times);
            writeln!(out, "{latency:<12} p50 {p50} µs, p90 {p90} µs, p99 {p99} µs, max {max} µs")?;
        }
        Ok(())
    }

    /// By hand, so that the fields have a stable order, as those of messages have.
    fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { work, messages, size, .. } = self;
        write!(out, "{{\"work\":\"{work}\",\"messages\":{messages},\"size\":{size}")?;
        if let Some((who, count)) = self.at_once {
            write!(out, ",\"{who}\":{count}")?;
        }
        match &self.at {
            At::Disk(durability) => write!(out, ",\"synchronous\":\"{}\"", synchronous(*durability))?,
            At::Server(server) => {
                out.write_all(b",\"server\":")?;
                json::string(out, server)?;
            }
        }
        if let Some(Delivery { pause, clock }) = &self.delivery {
            write!(out, ",\"pause_ms\":{},\"clock\":\"{clock}\"", pause.as_millis())?;
        }
        write!(out, ",{}", self.fields(&self.bus).join(","))?;
        if let Some(raw) = &self.raw {
            write!(out, ",\"raw\":{{{}}}", self.fields(raw).join(","))?;
            if let Some(ratio) = self.bus.ratio(raw) {
                write!(out, ",\"ratio\":{ratio:.3}")?;
            }
        }
        out.write_all(b"}\n")
    }

    /// What one side has done, field by field.
    fn fields(&self, side: &Measured) -> Vec<String> {
        let mut fields = Vec::new();
        if let Some(elapsed) = side.elapsed {
            fields.push(format!("\"seconds\":{:.6}", elapsed.as_secs_f64()));
            fields.push(format!("\"per_s\":{:.1}", self.per_second(elapsed)));
            fields.push(format!("\"mb_per_s\":{:.3}", self.megabytes_per_second(elapsed)));
        }
        if let Some(times) = &side.latency {
            let names = ["p50_us", "p90_us", "p99_us", "max_us"];
            fields
                .extend(names.iter().zip(micros(times)).map(|(name, micros)| format!("\"{name}\":{micros}")));
        }
        fields
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

fn micros(times: &Times) -> [String; 4] {
    let times = times.percentiles;
    [times.p50, times.p90, times.p99, times.max].map(|nanos| format!("{:.1}", nanos as f64 / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEOPLE: Look = Look::People { has_histogram: false };

    fn written(report: &Report, look: Look) -> String {
        let mut out = Vec::new();
        report.write(&mut out, look).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn publishing() -> Report {
        Report {
            work: "pub",
            messages: 1000,
            size: 500,
            at_once: Some(("publishers", 4)),
            at: At::Disk(Durability::Full),
            delivery: None,
            bus: Measured::of(Some(Duration::from_millis(250)), vec![900, 900, 20_000]),
            raw: None,
        }
    }

    #[test]
    fn people_get_a_line_for_each_thing() {
        let expected = "work         pub\n\
                        messages     1000 of 500 bytes\n\
                        publishers   4\n\
                        synchronous  FULL\n\
                        throughput   4000 messages/s, 2.00 MB/s\n\
                        latency      p50 0.9 µs, p90 20.0 µs, p99 20.0 µs, max 20.0 µs\n";
        assert_eq!(written(&publishing(), PEOPLE), expected);
        let raw = Some(Measured::of(Some(Duration::from_millis(200)), Vec::new()));
        let compared = "raw SQLite   5000 messages/s, 2.50 MB/s\n\
                        ratio        0.80, where 1 is as fast as raw SQLite\n";
        assert_eq!(written(&Report { raw, ..publishing() }, PEOPLE), expected.to_owned() + compared);
        let drawn = written(&publishing(), Look::People { has_histogram: true });
        let drawn = drawn.strip_prefix(expected).unwrap();
        assert!(drawn.starts_with(&format!("\n     ≤ 1 µs  {} 2\n", "█".repeat(40))), "{drawn}");
    }

    #[test]
    fn units_are_in_the_names_and_what_was_not_measured_is_left_out() {
        let expected = "{\"work\":\"pub\",\"messages\":1000,\"size\":500,\"publishers\":4,\"synchronous\":\"FULL\",\
                        \"seconds\":0.250000,\"per_s\":4000.0,\"mb_per_s\":2.000,\
                        \"p50_us\":0.9,\"p90_us\":20.0,\"p99_us\":20.0,\"max_us\":20.0}\n";
        assert_eq!(written(&publishing(), Look::Json), expected);
        let delivery = Some(Delivery { pause: Duration::from_millis(5), clock: "monotonic" });
        let bus = Measured::of(None, vec![900, 900, 20_000]);
        let raw = Some(Measured::of(None, vec![1800]));
        let latency = Report { work: "latency", at_once: None, delivery, bus, raw, ..publishing() };
        let expected = "{\"work\":\"latency\",\"messages\":1000,\"size\":500,\"synchronous\":\"FULL\",\
                        \"pause_ms\":5,\"clock\":\"monotonic\",\
                        \"p50_us\":0.9,\"p90_us\":20.0,\"p99_us\":20.0,\"max_us\":20.0,\
                        \"raw\":{\"p50_us\":1.8,\"p90_us\":1.8,\"p99_us\":1.8,\"max_us\":1.8},\"ratio\":2.000}\n";
        assert_eq!(written(&latency, Look::Json), expected);
    }

    #[test]
    fn a_throughput_is_finite_even_if_the_clock_stood_still() {
        let report = Report { bus: Measured::of(Some(Duration::ZERO), Vec::new()), ..publishing() };
        assert!(!written(&report, Look::Json).contains("inf"));
    }
}
