//! Records as pages hold them: numbers of variable length, and typed values behind a header.

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Value {
    pub(super) fn as_int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { std::str::from_utf8(text).ok() } else { None }
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// How a file encodes its texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    Utf8,
    Utf16Le,
    Utf16Be,
}

impl Encoding {
    fn text(self, bytes: &[u8]) -> Vec<u8> {
        let unit = match self {
            Self::Utf8 => return bytes.to_vec(),
            Self::Utf16Le => u16::from_le_bytes,
            Self::Utf16Be => u16::from_be_bytes,
        };
        let units = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(unit));
        char::decode_utf16(units)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect::<String>()
            .into_bytes()
    }
}

/// A number of 1 to 9 bytes, and how many these are.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((number << 8 | u64::from(*byte), 9));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, at + 1));
        }
    }
    None
}

/// The values of a record that fills `payload` exactly; else it is none.
pub(super) fn decode(payload: &[u8], encoding: Encoding) -> Option<Vec<Value>> {
    let (length, mut at) = varint(payload)?;
    let header = payload.get(..usize::try_from(length).ok()?)?;
    let mut body = payload.get(header.len()..)?;
    let mut values = Vec::new();
    while at < header.len() {
        let (kind, length) = varint(&header[at..])?;
        at += length;
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let bytes = body.get(..size)?;
        body = &body[size..];
        values.push(match kind {
            0 => Value::Null,
            8 | 9 => Value::Int(kind as i64 - 8),
            7 => Value::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
            1..=6 => Value::Int(int(bytes)),
            _ if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
            _ => Value::Text(encoding.text(bytes)),
        });
    }
    (at == header.len() && body.is_empty()).then_some(values)
}

fn int(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_of_each_length_are_read() {
        assert_eq!(varint(&[0x7f, 1]), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0x00]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0x80; 3]), None);
        assert_eq!((int(&[0xff]), int(&[0x80, 0]), int(&[0x7f, 0xff])), (-1, -32768, 32767));
    }

    #[test]
    fn a_record_fills_its_bytes_or_is_none() {
        let record = [4, 0, 1, 17, 0xfe, b'h', b'i'];
        assert_eq!(
            decode(&record, Encoding::Utf8),
            Some(vec![Value::Null, Value::Int(-2), Value::Text(b"hi".to_vec())])
        );
        assert_eq!(decode(&record[..6], Encoding::Utf8), None);
        assert_eq!(decode(&[2, 10], Encoding::Utf8), None);
    }

    proptest! {
        #[test]
        fn decoding_anything_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes, Encoding::Utf16Le);
        }
    }
}
