//! The pages of a file that nobody has open, read without SQLite.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::sqlite::disk::beside;
use crate::sqlite::salvage::record::Encoding;
use crate::sqlite::salvage::wal::Wal;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Page sizes to try where the file does not say its own, the likeliest first.
const SIZES: [usize; 8] = [4096, 1024, 2048, 8192, 16384, 32768, 65536, 512];

/// What the first page says of the file, if it is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) first_free: u32,
    pub(super) has_map: bool,
}

/// A file, with the log beside it.
#[derive(Debug)]
pub(super) struct Pages {
    file: File,
    log: Option<(File, Wal)>,
    pub(super) size: usize,
    /// Bytes of a page that SQLite uses.
    pub(super) usable: usize,
    /// How many pages there are.
    pub(super) count: u32,
    pub(super) encoding: Encoding,
    pub(super) header: Option<Header>,
}

impl Pages {
    /// `guess` counts the pages of such a file that look like some of a bus, where the file cannot say its page size.
    pub(super) fn open(file: File, path: &Path, guess: impl Fn(&Self) -> usize) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let log = File::open(beside(path, "-wal")).ok();
        let log = log.and_then(|file| Wal::read(&file).map(|wal| (file, wal)));
        let mut pages =
            Self { file, log, size: 512, usable: 512, count: 1, encoding: Encoding::Utf8, header: None };
        let known = pages.log.as_ref().map(|(_, wal)| wal.page_size);
        pages.set_size(known.unwrap_or(512), 0, length);
        // The first bytes are the same for every page size.
        let first = pages.read(1).filter(|page| page.starts_with(MAGIC));
        let Some(first) = first else {
            let size = known.unwrap_or_else(|| {
                let score = |size: &&usize| {
                    pages.set_size(**size, 0, length);
                    guess(&pages)
                };
                // Of those that are as good, the likeliest.
                SIZES.iter().rev().max_by_key(score).copied().unwrap_or(SIZES[0])
            });
            pages.set_size(size, 0, length);
            return Ok(pages);
        };
        let size = match u16::from_be_bytes([first[16], first[17]]) {
            1 => 65536,
            size => usize::from(size),
        };
        let is_size = size.is_power_of_two() && size >= 512;
        pages.set_size(
            if is_size { size } else { known.unwrap_or(SIZES[0]) },
            usize::from(first[20]),
            length,
        );
        pages.encoding = match word(&first, 56) {
            2 => Encoding::Utf16Le,
            3 => Encoding::Utf16Be,
            _ => Encoding::Utf8,
        };
        pages.header = Some(Header { first_free: word(&first, 32), has_map: word(&first, 52) > 0 });
        // What lies behind the end that the file knows of is no part of it any more.
        let said = word(&first, 28);
        if pages.log.is_none() && said > 0 && word(&first, 24) == word(&first, 92) {
            pages.count = pages.count.min(said);
        }
        Ok(pages)
    }

    fn set_size(&mut self, size: usize, reserved: usize, length: u64) {
        (self.size, self.usable) = (size, size.saturating_sub(reserved).max(480));
        let count = u32::try_from(length / size as u64).unwrap_or(u32::MAX);
        // A page is in one of the two.
        self.count = self.log.as_ref().map_or(count, |(_, wal)| wal.count.min(wal.last().max(count)));
    }

    /// A page, as far as the disk gives it out.
    pub(super) fn read(&self, number: u32) -> Option<Vec<u8>> {
        if number == 0 || number > self.count {
            return None;
        }
        let mut page = vec![0; self.size];
        let newer = self.log.as_ref().and_then(|(file, wal)| Some((file, *wal.pages.get(&number)?)));
        let (mut file, at) = newer.unwrap_or((&self.file, u64::from(number - 1) * self.size as u64));
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut page)).ok()?;
        Some(page)
    }

    /// The page that holds SQLite's locks, and never anything else.
    pub(super) fn lock_page(&self) -> u32 {
        u32::try_from(0x4000_0000 / self.size).unwrap_or(u32::MAX - 1) + 1
    }
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
}
