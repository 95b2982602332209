//! Durations as people write them: `500ms`, `10m`, `1h30m`, `7d`.

use std::time::Duration;

/// What a duration looks like, for messages about one that does not.
const LOOKS_LIKE: &str = "a duration has whole numbers with units, as in 500ms, 10s, 1h30m or 7d";

/// Between two looks at a file, at least: it has better to do.
const SHORTEST: Duration = Duration::from_millis(100);

const MILLIS_OF: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Reads a duration. `None` for what is none, or longer than can be counted.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let unit = &rest[digits..unit_end];
        let (_, factor) = MILLIS_OF.iter().find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.checked_mul(*factor)?)?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(Duration::from_millis(millis))
}

/// Writes a duration as it is read, with its two largest units: what is smaller says little.
pub(crate) fn written(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    let mut units = 0;
    // Weeks are read, and days are what people count in.
    for (unit, factor) in MILLIS_OF.iter().rev().skip(1) {
        let number = rest / factor;
        rest %= factor;
        if number > 0 {
            text += &format!("{number}{unit}");
        }
        units += usize::from(!text.is_empty());
        if units == 2 {
            break;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads a duration from the command line; one of nothing is a mistake.
pub(crate) fn argument(text: &str) -> Result<Duration, String> {
    match parse(text) {
        Some(duration) if duration.is_zero() => Err(format!("{LOOKS_LIKE}, and is more than nothing")),
        Some(duration) => Ok(duration),
        None => Err(LOOKS_LIKE.to_owned()),
    }
}

/// The same between two looks.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let interval = argument(text)?;
    if interval < SHORTEST { Err(format!("at least {SHORTEST:?}")) } else { Ok(interval) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_is_known_and_they_add_up() {
        let millis = |text: &str| parse(text).unwrap().as_millis();
        assert_eq!(millis("250ms"), 250);
        assert_eq!(millis("10s"), 10_000);
        assert_eq!(millis("10m"), 600_000);
        assert_eq!(millis("1h30m"), 5_400_000);
        assert_eq!(millis("7d"), millis("1w"));
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for text in ["250ms", "30s", "1h30m", "1s500ms", "45d", "2d3h"] {
            assert_eq!(written(parse(text).unwrap()), text);
        }
        assert_eq!(written(Duration::ZERO), "0s");
        assert_eq!(written(parse("1d5m7s").unwrap()), "1d");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "5x",
            "5s3",
            "99999999999999999999s",
            "999999999999999w",
            "5ß",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert!(
            argument("0s").unwrap_err().ends_with("as in 500ms, 10s, 1h30m or 7d, and is more than nothing")
        );
        assert!(argument("0.2s").unwrap_err().starts_with("a duration has whole numbers"));
        assert!(interval("99ms").is_err() && interval("100ms").is_ok());
    }
}
