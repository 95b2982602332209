//! What came of it.

pub mod chart;
pub mod json;
pub mod table;
