//! Horizontal bars.

use maud::{Markup, html};

use super::number::number;
use super::page::figure;

/// One bar a line, its name before it and its value behind it.
pub(super) fn section(caption: &str, unit: &str, bars: &[(String, f64)]) -> Markup {
    let longest = bars.iter().map(|bar| bar.1).filter(|v| v.is_finite()).fold(0.0, f64::max);
    let share = |value: f64| {
        if value.is_finite() && value > 0.0 { value / longest * 100.0 } else { 0.0 }
    };
    let content = html! {
        @if bars.is_empty() { p.empty { "There is nothing to show." } }
        @else {
            table.bars { tbody {
                @for (name, value) in bars { tr {
                    th scope="row" { (name) }
                    td.track { div.bar style={ "width:" (format!("{:.2}", share(*value))) "%" } {} }
                    td.number { (number(*value)) " " span.unit { (unit) } }
                } }
            } }
        }
    };
    figure(content, caption, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shares_of_the_longest() {
        let values = [2.0, 0.5, 0.0, -3.0, f64::NAN, f64::INFINITY];
        let bars: Vec<_> = values.iter().map(|&v| (v.to_string(), v)).collect();
        let page = section("", "s", &bars).into_string();
        let widths: Vec<_> =
            page.split("width:").skip(1).filter_map(|s| s.split('%').next()).collect();
        assert_eq!(widths, ["100.00", "25.00", "0.00", "0.00", "0.00", "0.00"]);
        assert!(page.contains("NaN") && page.contains("inf") && page.contains("-3"));
        assert!(section("", "s", &[]).into_string().contains("nothing to show"));
    }
}
