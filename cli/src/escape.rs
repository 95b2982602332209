//! Text from elsewhere on a terminal: what could move the cursor, change colours or turn the line around is spelled out.

use std::fmt::{self, Write};

/// Shows bytes as text, with control characters as `\n`, `\u{1b}` and the like, and what is not UTF-8 as `\xff`.
///
/// A backslash stays as it is: bodies are mostly JSON, and this is for eyes, not for parsing.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some((at, special)) = rest.char_indices().find(|(_, c)| is_special(*c)) {
                f.write_str(&rest[..at])?;
                write_special(f, special)?;
                rest = &rest[at + special.len_utf8()..];
            }
            f.write_str(rest)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Control characters, line separators, and those that change the direction of what follows them.
fn is_special(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn write_special(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\0' => f.write_str("\\0"),
        c => {
            write!(f, "\\u{{{:x}", u32::from(c))?;
            f.write_char('}')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        Escaped(bytes).to_string()
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        let text = "{\"a\": \"größe \\n 👩\u{200d}🚀\"}";
        assert_eq!(escaped(text.as_bytes()), text);
    }

    #[test]
    fn what_a_terminal_would_act_on_is_spelled_out() {
        assert_eq!(escaped(b"\x1b[2J\r\n\t\0\x7f"), "\\u{1b}[2J\\r\\n\\t\\0\\u{7f}");
        assert_eq!(escaped("\u{9b}31m \u{202e}".as_bytes()), "\\u{9b}31m \\u{202e}");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_numbers() {
        assert_eq!(escaped(b"a\xff\xfeb\xe2\x82"), "a\\xff\\xfeb\\xe2\\x82");
    }
}
