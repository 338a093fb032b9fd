//! Queries and their nearest neighbours as rows of pictures.

use image::ExtendedColorType;
use maud::{Markup, html};

use super::number::four_digits;
use super::page::figure;
use super::picture::{data_address, png};
use super::{NeighbourRow, Thumb};

/// Pictures up to this side are enlarged pixel by pixel, not smoothed.
const SMALL: usize = 96;

/// One row a query: the query, set apart, then its hits.
pub(super) fn section(caption: &str, rows: &[NeighbourRow]) -> Markup {
    let judged = rows.iter().flat_map(|row| &row.hits).any(|hit| hit.matches.is_some());
    let content = html! {
        @if rows.is_empty() { p.empty { "There are no queries to show." } }
        @if judged {
            p.key {
                span.same { (sign(true)) " same class as the query" }
                span.other { (sign(false)) " other class" }
            }
        }
        @for (i, row) in rows.iter().enumerate() {
            div.neighbours role="group" aria-label={ "Query " (i + 1) } {
                (thumb(&row.query, "query"))
                ol.hits { @for hit in &row.hits { li { (thumb(hit, "hit")) } } }
            }
        }
    };
    figure(content, caption, None)
}

/// The glyph of a judged hit, so that colour is not its only sign.
fn sign(same: bool) -> Markup {
    let glyph = if same { "✓" } else { "✗" };
    html! { span.sign aria-hidden="true" { (glyph) } }
}

fn thumb(thumb: &Thumb, role: &str) -> Markup {
    let judgement = match thumb.matches {
        Some(true) => "same",
        Some(false) => "other",
        None => "",
    };
    let label = thumb.label.as_deref().unwrap_or("no label");
    let alt = match thumb.matches {
        Some(true) => format!("{role}: {label}, same class"),
        Some(false) => format!("{role}: {label}, other class"),
        None => format!("{role}: {label}"),
    };
    let file = png(&thumb.rgb, thumb.width, thumb.height, ExtendedColorType::Rgb8);
    let scaling = if thumb.width.max(thumb.height) <= SMALL { "small" } else { "" };
    html! {
        figure class={ "thumb " (role) " " (judgement) } {
            div.picture {
                @match file {
                    Some(file) => {
                        img class=(scaling) src=(data_address(&file)) alt=(alt)
                            width=(thumb.width) height=(thumb.height);
                    }
                    None => { div.missing role="img" aria-label=(alt) { "no picture" } }
                }
                @if let Some(same) = thumb.matches { (sign(same)) }
            }
            figcaption {
                @if role == "query" { span.role { "query" } }
                @if let Some(distance) = thumb.distance {
                    span.distance title="distance to the query" { (four_digits(f64::from(distance))) }
                }
                // Names may be written from right to left, or pretend to be.
                @if let Some(label) = &thumb.label { bdi.label title=(label) { (label) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(matches: Option<bool>) -> Thumb {
        Thumb { rgb: vec![9; 12], width: 2, height: 2, matches, ..Thumb::default() }
    }

    #[test]
    fn judged_hits_carry_a_sign_beside_the_colour() {
        let hits = vec![hit(Some(true)), hit(Some(false)), hit(None)];
        let page = section("", &[NeighbourRow { query: hit(None), hits }]).into_string();
        // One of each in the key, one of each on the pictures.
        assert_eq!((page.matches('✓').count(), page.matches('✗').count()), (2, 2));
        assert!(page.contains("no label, same class") && page.contains("no label, other class"));
    }

    #[test]
    fn without_labels_there_is_no_key() {
        let row = NeighbourRow { query: hit(None), hits: vec![hit(None)] };
        assert!(!section("", &[row]).into_string().contains('✓'));
    }

    #[test]
    fn pixels_of_a_wrong_length_leave_an_empty_frame() {
        let query = Thumb { rgb: vec![0; 5], width: 2, height: 2, ..Thumb::default() };
        let page = section("", &[NeighbourRow { query, hits: Vec::new() }]).into_string();
        assert!(page.contains("no picture") && !page.contains("<img"));
    }
}
