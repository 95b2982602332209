//! The `rowbus` command.
fn main() {}
