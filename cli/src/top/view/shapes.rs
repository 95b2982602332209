//! Curves and bars of letters.

/// Not up to the full height: curves in lines below each other would run into one another.
const LEVELS: [char; 7] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇'];

/// A curve in one line, the newest value at its right end; what is not nothing can be seen.
pub(super) fn curve(values: impl ExactSizeIterator<Item = f64> + Clone, width: usize) -> String {
    let skipped = values.len().saturating_sub(width);
    let shown = values.skip(skipped);
    let peak = shown.clone().fold(0.0, f64::max);
    let missing = width - shown.len().min(width);
    let level = |value: f64| match value {
        value if value <= 0.0 || peak <= 0.0 => ' ',
        value => LEVELS[((value / peak * 7.0).ceil() as usize).clamp(1, 7) - 1],
    };
    " ".repeat(missing) + &shown.map(level).collect::<String>()
}

/// A bar that is filled by this share, from 0 to 1, in halves of a column, and the track that is left of it.
pub(super) fn bar(share: f64, width: usize) -> (String, String) {
    let halves = (share.clamp(0.0, 1.0) * width as f64 * 2.0).round() as usize;
    // What is not nothing can be seen.
    let halves = if share > 0.0 { halves.max(1).min(width * 2) } else { 0 };
    let filled = "━".repeat(halves / 2) + ["", "╸"][halves % 2];
    (filled, "─".repeat(width - halves.div_ceil(2)))
}

/// The share of a bar for a number that may be three or three million.
pub(super) fn share(number: u64, most: u64) -> f64 {
    // Ten and less are little, whatever the others are.
    (number as f64).ln_1p() / (most.max(1_000) as f64).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_at_the_right_and_shows_the_newest() {
        assert_eq!(curve([0.0, 1.0, 7.0, 4.0].into_iter(), 6), "   ▁▇▄");
        assert_eq!(curve([9.0, 4.0, 7.0].into_iter(), 2), "▄▇");
        assert_eq!(curve([0.0, 0.0].into_iter(), 2), "  ");
        assert_eq!(curve([0.001, 100.0].into_iter(), 2), "▁▇");
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        let drawn = [0.0, 0.001, 0.5, 0.6, 1.0, 7.0].map(|share| bar(share, 4));
        let drawn = drawn.map(|(filled, track)| filled + &track);
        assert_eq!(drawn, ["────", "╸───", "━━──", "━━╸─", "━━━━", "━━━━"]);
        assert_eq!(bar(1.0, 0), (String::new(), String::new()));
        assert_eq!((share(0, 5), share(1_000, 5), share(5_000, 5_000)), (0.0, 1.0, 1.0));
    }
}
