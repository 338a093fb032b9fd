//! Words and numbers of the page.

/// A word at the beginning of a sentence.
pub(super) fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// A number with its thousands set apart.
pub(super) fn thousands(n: usize) -> String {
    match n {
        0..1000 => n.to_string(),
        _ => format!("{},{:03}", thousands(n / 1000), n % 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart_however_many_there_are() {
        let text = [0, 999, 1000, 40_000, 1_281_167].map(thousands);
        assert_eq!(text, ["0", "999", "1,000", "40,000", "1,281,167"]);
    }
}
