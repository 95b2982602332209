//! The log beside a file: which pages it has in a newer version.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// What was committed and has not reached the database file.
#[derive(Debug, Default)]
pub(super) struct Wal {
    pub(super) page_size: usize,
    /// Where the newest version of a page begins.
    pub(super) pages: HashMap<u32, u64>,
    /// The pages of the database after the last commit.
    pub(super) count: u32,
}

const HEADER: usize = 32;
const FRAME: usize = 24;

impl Wal {
    /// Reads the log as far as its checksums hold, which is what SQLite would recover; `None` if there is nothing.
    pub(super) fn read(mut file: &File) -> Option<Self> {
        let mut header = [0; HEADER];
        file.seek(SeekFrom::Start(0)).ok()?;
        file.read_exact(&mut header).ok()?;
        let magic = word(&header, 0);
        if magic & !1 != 0x377f_0682 {
            return None;
        }
        let sum = if magic & 1 == 1 { u32::from_be_bytes } else { u32::from_le_bytes };
        let page_size = word(&header, 8) as usize;
        if !page_size.is_power_of_two() || !(512..=65536).contains(&page_size) {
            return None;
        }
        let mut check = checksum((0, 0), &header[..24], sum);
        if check != (word(&header, 24), word(&header, 28)) {
            return None;
        }
        let mut wal = Self { page_size, ..Self::default() };
        let mut frame = vec![0; FRAME + page_size];
        let (mut begun, mut at) = (Vec::new(), HEADER as u64);
        while file.read_exact(&mut frame).is_ok() && frame[8..16] == header[16..24] {
            check = checksum(checksum(check, &frame[..8], sum), &frame[FRAME..], sum);
            if check != (word(&frame, 16), word(&frame, 20)) {
                break;
            }
            begun.push((word(&frame, 0), at + FRAME as u64));
            let committed = word(&frame, 4);
            if committed > 0 {
                wal.count = committed;
                wal.pages.extend(begun.drain(..));
            }
            at += frame.len() as u64;
        }
        (wal.count > 0).then_some(wal)
    }

    /// The last page that it has.
    pub(super) fn last(&self) -> u32 {
        self.pages.keys().max().copied().unwrap_or(0)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn checksum(before: (u32, u32), bytes: &[u8], word: fn([u8; 4]) -> u32) -> (u32, u32) {
    let (mut one, mut two) = before;
    for pair in bytes.chunks_exact(8) {
        let (first, second) = pair.split_at(4);
        let read = |half: &[u8]| half.try_into().map_or(0, word);
        one = one.wrapping_add(read(first)).wrapping_add(two);
        two = two.wrapping_add(read(second)).wrapping_add(one);
    }
    (one, two)
}
