//! A payload as lines: as text, or as the numbers of its bytes.

use crate::escape::Escaped;

/// Bytes in one line of numbers.
const LINE: usize = 16;
/// Lines of one payload: who wants more of it takes `rowbus sub --raw`.
const MOST: usize = 2_000;

/// How payloads are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Show {
    /// As text if it is UTF-8.
    #[default]
    Text,
    Hex,
}

impl Show {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Text => Self::Hex,
            Self::Hex => Self::Text,
        }
    }

    /// The payload in lines of this width.
    pub(super) fn lines(self, payload: &[u8], width: usize) -> Vec<String> {
        let mut lines: Vec<_> = match std::str::from_utf8(payload) {
            Ok(text) if self == Self::Text => {
                text.split('\n').flat_map(|line| wrapped(line, width.max(1))).take(MOST + 1).collect()
            }
            _ => payload
                .chunks(LINE)
                .enumerate()
                .map(|(at, bytes)| hex(at * LINE, bytes))
                .take(MOST + 1)
                .collect(),
        };
        if lines.len() > MOST {
            lines.truncate(MOST);
            lines.push(format!("… of {} bytes", payload.len()));
        }
        lines
    }
}

fn wrapped(line: &str, width: usize) -> Vec<String> {
    let line = Escaped(line.as_bytes()).to_string();
    let characters: Vec<_> = line.chars().collect();
    if characters.is_empty() {
        return vec![String::new()];
    }
    characters.chunks(width).map(|chunk| chunk.iter().collect()).collect()
}

/// `00000010  6f 6e 65 …  one…`
fn hex(at: usize, bytes: &[u8]) -> String {
    let mut text = format!("{at:08x} ");
    for place in 0..LINE {
        text += if place % 8 == 0 { " " } else { "" };
        text += &bytes.get(place).map_or("   ".to_owned(), |byte| format!("{byte:02x} "));
    }
    text.push(' ');
    text.extend(bytes.iter().map(|byte| match byte {
        0x20..=0x7e => char::from(*byte),
        _ => '.',
    }));
    text
}

/// The beginning of a payload, in one line.
pub(super) fn preview(payload: &[u8], width: usize) -> String {
    // A character has four bytes at most: where one is cut in two, it lies beyond what is seen.
    Escaped(&payload[..payload.len().min(width * 4)]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_in_its_lines_and_what_a_terminal_would_act_on_is_spelled_out() {
        assert_eq!(Show::Text.lines(b"one\n\ntwo\x1b[2J", 80), ["one", "", "two\\u{1b}[2J"]);
        assert_eq!(Show::Text.lines("äöüß".as_bytes(), 3), ["äöü", "ß"]);
        assert_eq!(Show::Text.lines(b"", 3), [""]);
    }

    #[test]
    fn what_is_no_text_or_was_asked_for_is_shown_as_numbers() {
        let line = "00000000  ff 00 1b 41                                       ...A";
        assert_eq!(Show::Text.lines(b"\xff\x00\x1bA", 80), [line]);
        assert_eq!(
            Show::Hex.lines(&[b'x'; 17], 80)[1],
            "00000010  78                                                x"
        );
    }

    #[test]
    fn a_payload_ends_somewhere() {
        let lines = Show::Text.lines(&b"x\n".repeat(5_000), 80);
        assert_eq!((lines.len(), lines[MOST].as_str()), (MOST + 1, "… of 10000 bytes"));
    }

    #[test]
    fn a_preview_is_one_line() {
        assert_eq!(preview(b"{\"a\":1}\n\x07", 20), "{\"a\":1}\\n\\u{7}");
        assert_eq!(preview(b"\xff\xfe", 20), "\\xff\\xfe");
        assert_eq!(preview("ä".repeat(100).as_bytes(), 3).chars().count(), 6);
    }
}
