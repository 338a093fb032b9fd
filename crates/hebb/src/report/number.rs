//! Numbers as text.

/// A value to four significant digits at most: `0.4188`, `37.6`, `50,000`,
/// `1.2e-7`.
pub(super) fn number(value: f64) -> String {
    let text = four_digits(value);
    match text.split_once('e') {
        Some((digits, power)) => format!("{}e{power}", without_zeros(digits)),
        None => without_zeros(&text).to_owned(),
    }
}

/// A value to four significant digits, idle zeros included, for numbers that
/// are read side by side: `0.4188`, `37.60`, `50,000`, `1.200e-7`.
pub(super) fn four_digits(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if (1e-4..1e7).contains(&size) {
        fixed(value, (3.0 - size.log10().floor()).max(0.0) as usize)
    } else {
        // Also the values that are not finite, which print as words.
        format!("{value:.3e}")
    }
}

/// A value with so many decimals, the thousands of a long one set apart.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let whole = text.find('.').unwrap_or(text.len());
    let digits = text[..whole].trim_start_matches('-').len();
    if !value.is_finite() || digits < 5 {
        return text;
    }
    let sign = whole - digits;
    let mut grouped = text[..sign].to_owned();
    for (i, digit) in text[sign..whole].chars().enumerate() {
        if i > 0 && (digits - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + &text[whole..]
}

/// A decimal fraction without the zeros at its end.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_side_by_side_keep_their_zeros() {
        assert_eq!([13.5, 15.094, 0.0].map(four_digits), ["13.50", "15.09", "0"]);
    }

    #[test]
    fn four_digits_are_kept_and_no_idle_zero() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.41876, "0.4188"),
            (37.60, "37.6"),
            (-2.5, "-2.5"),
            (100.0, "100"),
            (9999.96, "10,000"),
            (50_000.0, "50,000"),
            (-1_234_567.0, "-1,234,567"),
            (1.2e-7, "1.2e-7"),
            (3e12, "3e12"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text, "{value:?}");
        }
    }
}
