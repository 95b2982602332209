//! Numbers in few characters.

use std::time::Duration;

/// A count, with its thousands apart: `12,345`.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many a second, in six characters or less.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        rate if rate < 0.05 => "0".to_owned(),
        rate if rate < 9.95 => format!("{rate:.1}"),
        rate if rate < 9_999.5 => count(rate.round() as u64),
        rate if rate < 999_950.0 => format!("{:.1}k", rate / 1e3),
        rate => format!("{:.1}M", rate / 1e6),
    }
}

/// Bytes, in eight characters or so.
pub(super) fn bytes(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{value:.0} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A time in the unit that suits it: `0.4 ms`, `12 s`, `3 h`.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.as_micros() < 9_950 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        0 => format!("{} ms", time.as_millis()),
        1..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_rate_has_as_many_digits_as_say_something() {
        let rates = [0.0, 0.3, 9.94, 10.2, 1_234.0, 45_678.0, 999_999.0, 2_500_000.0];
        assert_eq!(rates.map(rate), ["0", "0.3", "9.9", "10", "1,234", "45.7k", "1.0M", "2.5M"]);
    }

    #[test]
    fn bytes_and_times_have_a_unit_that_fits() {
        assert_eq!([0.0, 1023.0, 1536.0, 5e6].map(bytes), ["0 B", "1023 B", "1.5 KiB", "4.8 MiB"]);
        let times =
            [400, 12_000, 3_000_000, 200_000_000, 10_000_000_000, 400_000_000_000].map(Duration::from_micros);
        assert_eq!(times.map(time), ["0.4 ms", "12 ms", "3 s", "3 min", "2 h", "4 d"]);
    }
}
