//! What is kept of a failure, and the chance in when it is tried again.

/// The longest line that is kept of a failure, in bytes.
const LINE: usize = 1_000;

/// A line for the log of failed attempts.
pub(crate) fn line(attempt: i64, now: i64, message: &str) -> String {
    let mut end = message.len().min(LINE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let message: String =
        message[..end].chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    format!("{attempt} {now} {message}\n")
}

/// Any number.
pub(crate) fn rand() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_failure_is_one_line_and_not_too_long() {
        assert_eq!(line(3, 5, "it\nfailed\u{1b}"), "3 5 it failed \n");
        let long = line(1, 1, &"ü".repeat(1_000));
        assert!(long.len() <= LINE + 10 && long.ends_with("ü\n"));
    }
}
