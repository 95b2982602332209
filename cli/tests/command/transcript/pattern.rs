//! A line of a page, in which `…` stands for anything.

/// Whether the page may show this line so.
pub fn matches(pattern: &str, line: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('…') else { return pattern == line };
    let Some(mut line) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = rest.split('…').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = line.find(part) else { return false };
        line = &line[at + part.len()..];
    }
    line.ends_with(last)
}

#[test]
fn an_ellipsis_stands_for_anything_and_all_else_for_itself() {
    for (pattern, line) in
        [("a", "a"), ("a…c", "ac"), ("a…c", "abbc"), ("…b…", "abc"), ("…", ""), ("a… b…c", "ax b bc")]
    {
        assert!(matches(pattern, line), "{pattern} {line}");
    }
    for (pattern, line) in
        [("a", "ab"), ("a…c", "abcd"), ("a…a", "a"), ("…b…c", "acb"), ("", "a"), ("a…b…b", "ab")]
    {
        assert!(!matches(pattern, line), "{pattern} {line}");
    }
}
