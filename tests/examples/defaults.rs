//! The table of `docs/defaults.md` is `src/defaults.rs`.

#[test]
fn the_table_of_defaults_has_a_row_for_each_constant_in_the_same_order() {
    let constants = include_str!("../../src/defaults.rs").lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("pub const ")?.split_once(':')?;
        Some(name)
    });
    let rows = include_str!("../../docs/defaults.md").lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
        Some(name)
    });
    assert_eq!(rows.collect::<Vec<_>>(), constants.collect::<Vec<_>>());
}

#[test]
fn the_table_of_defaults_has_the_values_of_consumers() {
    use rowbus::defaults::*;
    let millis = |time: std::time::Duration| time.as_millis();
    assert_eq!((millis(ACK_WAIT), MAX_ACK_PENDING, MAX_DELIVER), (30_000, 1_000, 20));
    assert_eq!((millis(NACK_AT_LEAST), PENDING_COUNTED), (10, 10_000));
    assert_eq!((MAX_CONSUMER_NAME, MAX_CONSUMER_FILTERS), (255, 64));
}
