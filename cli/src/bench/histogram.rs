//! How times are spread, in a few lines for people.

use std::io::{self, Write};

/// Columns of the longest bar.
const WIDTH: u64 = 40;
/// The ends of buckets within a power of ten.
const STEPS: [u64; 3] = [1, 2, 5];

/// How many times were of about which length: buckets end at 1, 2, 5, 10, … nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    /// The end of each bucket that is not empty, and of those between them, and how many are in it.
    buckets: Vec<(u64, u64)>,
}

impl Histogram {
    /// Of times that are sorted.
    pub(crate) fn of(sorted: &[u64]) -> Self {
        let mut buckets = Vec::new();
        let mut rest = sorted;
        let ends = (0..19).flat_map(|power| STEPS.map(|step| step * 10_u64.pow(power)));
        for end in ends {
            let count = rest.partition_point(|nanos| *nanos <= end);
            rest = &rest[count..];
            if count > 0 || !buckets.is_empty() {
                buckets.push((end, count as u64));
            }
            if rest.is_empty() {
                break;
            }
        }
        Self { buckets }
    }

    /// A line for each bucket.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let most = self.buckets.iter().map(|(_, count)| *count).max().unwrap_or_default();
        for (end, count) in &self.buckets {
            // What is not nothing can be seen.
            let bar = "█".repeat((count * WIDTH).div_ceil(most.max(1)) as usize);
            writeln!(
                out,
                "{:>11}  {bar}{}{count}",
                format!("≤ {}", length(*end)),
                if *count > 0 { " " } else { "" }
            )?;
        }
        Ok(())
    }
}

fn length(nanos: u64) -> String {
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{} µs", nanos / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", nanos / 1_000_000),
        _ => format!("{} s", nanos / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_in_buckets_without_a_hole() {
        let mut out = Vec::new();
        let times = [900, 1_000, 150_000, 150_001, 200_000, 400_000, 3_000_000_000];
        let histogram = Histogram::of(&times);
        assert_eq!(histogram.buckets.first(), Some(&(1_000, 2)));
        assert_eq!(histogram.buckets.last(), Some(&(5_000_000_000, 1)));
        assert_eq!(histogram.buckets.iter().map(|(_, count)| count).sum::<u64>(), 7);
        histogram.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(&format!("   ≤ 200 µs  {} 3\n", "█".repeat(40))), "{text}");
        assert!(
            text.contains("   ≤ 100 µs  0\n") && text.contains(&format!("≤ 5 s  {} 1\n", "█".repeat(14))),
            "{text}"
        );
    }

    #[test]
    fn nothing_and_a_century_are_counted_too() {
        assert_eq!(Histogram::of(&[]), Histogram::default());
        assert_eq!(Histogram::of(&[0]).buckets, [(1, 1)]);
        assert_eq!(Histogram::of(&[u64::MAX / 4]).buckets.len(), 1);
    }
}
