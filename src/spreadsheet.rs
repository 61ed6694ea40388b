//! Texts that are meant for spreadsheets.

/// Text that a spreadsheet takes for text: what could begin a formula gets an apostrophe in front.
/// Such a file is for reading; it is never read back as data.
pub fn harmless(text: &str) -> String {
    let text = text.replace('\0', "\u{fffd}");
    let begins = text
        .trim_start_matches(' ')
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if begins { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_starts_no_formula() {
        for text in ["+1", "-1", "@SUM(A1)", "\tx", "\r=x", "\n=x", "  =x"] {
            assert!(harmless(text).starts_with('\''), "{text:?}");
        }
        assert_eq!(harmless("a\0b"), "a\u{fffd}b");
        assert_eq!(harmless("a=b"), "a=b");
    }
}
