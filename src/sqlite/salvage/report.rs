//! What came out of a damaged file, and what did not.

use std::path::PathBuf;

/// A file that was made of a damaged one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// Where it is.
    pub path: PathBuf,
    /// Pages that the damaged file has.
    pub pages: u64,
    /// Of these, in order, those that should be of a table or an index and are none, whoever's they are.
    pub damaged: Vec<u32>,
    /// Pages of which nothing says what they were for, and that are no rows: they may have held anything.
    pub unknown: u64,
    /// The tables of the bus, each of them.
    pub tables: Vec<SalvagedTable>,
    /// The policies of retention were not all to be read. None was taken over, since one that is lost may have kept what the
    /// others remove: the new file keeps every event until policies are set anew.
    pub policies_lost: bool,
    /// How long dead letters are kept was not to be read: the new file keeps them for ever until that is set anew.
    pub dead_letter_age_lost: bool,
    /// Jobs on pages of which nothing says that they still counted, which may have been done already: they are among the dead
    /// letters, with the reason `salvaged`, and run when they are requeued.
    pub doubtful_jobs: u64,
}

/// A table of the bus, of a damaged file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvagedTable {
    /// As it is called.
    pub name: &'static str,
    /// Rows that came out.
    pub rows: u64,
    /// Of these, those on pages of which nothing says that they still counted: where the file's map of its pages is damaged, rows
    /// that were removed before may be among them.
    pub unsure: u64,
    /// Pages of the table that are damaged.
    pub damaged: u64,
    /// Rows that are known to have been there, and are lost.
    pub lost: u64,
    /// The ids of those, each range with its ends, as far as rows have ids.
    pub lost_ids: Vec<(i64, i64)>,
    /// No more than that was lost.
    pub is_certain: bool,
    /// If it is not certain: where ids are missing, which may have been of rows that are lost or have been removed long ago.
    pub missing_ids: Vec<(i64, i64)>,
    /// Rows that could be read, and that the new file's tables refuse.
    pub refused: u64,
}

impl Salvaged {
    /// Whether nothing of the bus was lost, which damage to an index or to unused pages does not do.
    pub fn is_whole(&self) -> bool {
        self.tables.iter().all(SalvagedTable::is_whole) && !self.policies_lost && !self.dead_letter_age_lost
    }
}

impl SalvagedTable {
    /// Whether nothing of this table was lost.
    pub fn is_whole(&self) -> bool {
        self.is_certain && self.lost == 0 && self.refused == 0
    }
}

/// Numbers in rising order as ranges. Two that follow on each other in `all` are of the same range.
pub(super) fn ranges(numbers: &[i64]) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    ranges
}

/// What is missing from 1 to `newest` among numbers in rising order.
pub(super) fn gaps(numbers: &[i64], newest: i64) -> Vec<(i64, i64)> {
    let (mut gaps, mut next) = (Vec::new(), 1);
    for number in numbers.iter().copied().chain([newest.saturating_add(1)]) {
        if number > next {
            gaps.push((next, number - 1));
        }
        next = next.max(number.saturating_add(1));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_gaps_have_both_their_ends() {
        assert_eq!(ranges(&[1, 2, 3, 5, 8, 9]), [(1, 3), (5, 5), (8, 9)]);
        assert_eq!(gaps(&[2, 3, 7], 9), [(1, 1), (4, 6), (8, 9)]);
        assert_eq!(gaps(&[1, 2], 2), []);
    }
}
