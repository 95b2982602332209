//! results.json: the rows, in the order of the table.

use std::fs;
use std::path::Path;

use crate::compare::Row;

pub fn write(rows: &[Row], file: &Path) {
    fs::write(file, serde_json::to_string_pretty(rows).unwrap() + "\n").unwrap();
}
