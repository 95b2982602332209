//! Sizes as people write them: `500`, `64KiB`, `10MB`, `1GiB`.

/// What a size looks like, for messages about one that does not.
const LOOKS_LIKE: &str = "a size is a number of bytes, or has a unit, as in 64KiB, 10MB or 1GiB";

const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads a size from the command line; nothing is a mistake.
pub(crate) fn argument(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor);
    let bytes =
        number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| LOOKS_LIKE.to_owned())
}

/// Writes a size as it is read, where it is whole in a unit.
pub(crate) fn written(bytes: u64) -> String {
    let whole = UNITS
        .iter()
        .rev()
        .find(|(name, factor)| name.contains('i') && bytes > 0 && bytes.is_multiple_of(*factor));
    whole.map_or_else(|| bytes.to_string(), |(name, factor)| format!("{}{name}", bytes / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_are_bytes() {
        for (text, bytes) in
            [("17", 17), ("1GiB", 1 << 30), ("64kib", 65_536), ("10MB", 10_000_000), ("5b", 5)]
        {
            assert_eq!(argument(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "0", "GiB", "1.5GiB", "-1", "5x", "99999999999TiB", "1 KiB"] {
            assert!(argument(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_size_is_written_as_it_is_read() {
        for text in ["1GiB", "3KiB", "1000", "5TiB"] {
            assert_eq!(written(argument(text).unwrap()), text);
        }
    }
}
