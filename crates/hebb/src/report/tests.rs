//! Tests of whole reports: what comes in is untrusted, what goes out is well
//! formed and asks for nothing.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// Text that breaks out of a page which does not escape it.
const HOSTILE: &str =
    "</title></style><script>alert(1)</script><img src=x onerror='alert(2)'>\" onload=\"x &lt;";

fn thumb(label: &str, matches: Option<bool>) -> Thumb {
    Thumb {
        rgb: (0..2 * 3 * 3).collect(),
        width: 2,
        height: 3,
        label: Some(label.to_owned()),
        distance: Some(1.25),
        matches,
    }
}

/// A report with every kind of section and this text wherever text can be.
fn report(text: &str) -> Report {
    let owned = || text.to_owned();
    let (heading, caption) = (owned(), owned());
    Report {
        title: owned(),
        subtitle: owned(),
        sections: vec![
            Section::Text { heading: owned(), paragraphs: vec![owned(), String::new()] },
            Section::Table {
                heading: owned(),
                caption: owned(),
                columns: vec![owned(), "L1".into()],
                rows: vec![vec![owned(), "37.01".into()], vec![owned()]],
                best: vec![(0, 0), (0, 1)],
            },
            Section::Results {
                heading: owned(),
                caption: owned(),
                columns: vec![owned(), "L1".into()],
                groups: vec![ResultGroup {
                    name: owned(),
                    rows: vec![ResultRow {
                        name: owned(),
                        runs: owned(),
                        cells: vec![
                            Measured {
                                value: Some(owned()),
                                margin: Some(owned()),
                                runs: Some(owned()),
                                paper: Some(owned()),
                                best: true,
                            },
                            Measured::default(),
                        ],
                        ..ResultRow::default()
                    }],
                }],
            },
            Section::Panels {
                heading: owned(),
                caption: owned(),
                frame: Frame { x_label: owned(), y_label: owned(), ..Frame::default() },
                panels: vec![(
                    owned(),
                    vec![Series {
                        name: owned(),
                        points: vec![(1.0, 2.0), (2.0, 3.0)],
                        band: vec![(1.0, 1.5, 2.5), (2.0, 2.5, 3.5)],
                        marks: vec![(1.0, 2.2)],
                    }],
                )],
            },
            Section::Filters {
                heading: owned(),
                caption: owned(),
                kernel: 1,
                filters: vec![0.5; 9],
            },
            Section::Chart {
                heading: owned(),
                caption: owned(),
                x_label: owned(),
                y_label: owned(),
                log_y: true,
                series: vec![
                    Series {
                        name: owned(),
                        points: vec![(1.0, 0.1), (2.0, -1.0), (3.0, 0.2)],
                        ..Series::default()
                    },
                    Series::default(),
                ],
            },
            Section::Neighbours {
                heading: owned(),
                caption: owned(),
                rows: vec![
                    NeighbourRow {
                        query: thumb(text, None),
                        hits: vec![
                            thumb(text, Some(true)),
                            thumb(text, Some(false)),
                            Thumb::default(),
                        ],
                    },
                    NeighbourRow::default(),
                ],
            },
            Section::Bars { heading, caption, unit: owned(), bars: vec![(owned(), 1.0)] },
        ],
    }
}

/// The names of all elements and attributes of a page.
#[derive(Debug, PartialEq, Eq, Default)]
struct Names {
    elements: BTreeSet<String>,
    attributes: BTreeSet<String>,
}

/// Reads a page tag by tag and holds it to what XML asks and our own pages
/// keep: tags balanced, attribute values in quotes, no stray `<`.
fn names(page: &str) -> Names {
    const VOID: [&str; 3] = ["meta", "link", "img"];
    let mut names = Names::default();
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a document type");
    while let Some(start) = rest.find('<') {
        assert!(
            !rest[..start].contains('>') || open.last() == Some(&"style"),
            "stray >: {rest:.80}"
        );
        rest = &rest[start + 1..];
        if let Some(closing) = rest.strip_prefix('/') {
            let (name, after) = closing.split_once('>').expect("an end of the tag");
            assert_eq!(open.pop(), Some(name), "closing tag before {after:.80}");
            rest = after;
            continue;
        }
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).expect("an end of the name");
        let (name, mut tag) = rest.split_at(length);
        assert!(!name.is_empty(), "a stray < before {tag:.80}");
        names.elements.insert(name.to_owned());
        while let Some(attribute) = tag.strip_prefix(' ') {
            let (key, value) = attribute.split_once("=\"").expect("a quoted value");
            assert!(
                key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
                "attribute {key:?}"
            );
            names.attributes.insert(key.to_owned());
            tag = value.split_once('"').expect("a closing quote").1;
        }
        rest = tag.strip_prefix('>').unwrap_or_else(|| panic!("in {name}: {tag:.80}"));
        if !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    names
}

#[test]
fn text_stays_text() {
    let (plain, hostile) = (report("airplane").to_html(), report(HOSTILE).to_html());
    let (plain, named) = (names(&plain), names(&hostile));
    assert_eq!(named, plain, "text has become elements or attributes");
    assert!(!plain.elements.contains("script"));
    assert!(plain.attributes.iter().all(|name| !name.starts_with("on")), "{plain:?}");
    assert!(hostile.contains("&lt;script&gt;alert(1)") && hostile.contains("&amp;lt;"));
}

#[test]
fn the_page_asks_for_nothing() {
    let page = report("airplane").to_html();
    assert!(page.contains(
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
         base-uri 'none'; form-action 'none'\""
    ));
    for address in page.split(" src=\"").skip(1) {
        assert!(address.starts_with("data:image/png;base64,"), "{address:.60}");
    }
    for address in page.split(" href=\"").skip(1) {
        assert!(address.starts_with('#') || address.starts_with("data:,"), "{address:.60}");
    }
    assert!(!page.contains("url(") && !page.contains("@import") && !page.contains("http:"));
}

#[test]
fn empty_reports_and_empty_sections_are_pages_too() {
    let page = Report::default().to_html();
    assert!(!page.contains("<nav"));
    names(&page);
    let none = String::new;
    let report = Report {
        sections: vec![
            Section::Text { heading: none(), paragraphs: vec![] },
            Section::Table {
                heading: none(),
                caption: none(),
                columns: vec![],
                rows: vec![],
                best: vec![(0, 0)],
            },
            Section::Results { heading: none(), caption: none(), columns: vec![], groups: vec![] },
            Section::Panels {
                heading: none(),
                caption: none(),
                frame: Frame::default(),
                panels: vec![(none(), vec![])],
            },
            Section::Filters { heading: none(), caption: none(), kernel: 0, filters: vec![] },
            Section::Chart {
                heading: none(),
                caption: none(),
                x_label: none(),
                y_label: none(),
                log_y: false,
                series: vec![],
            },
            Section::Neighbours { heading: none(), caption: none(), rows: vec![] },
            Section::Bars { heading: none(), caption: none(), unit: none(), bars: vec![] },
        ],
        ..Report::default()
    };
    let page = report.to_html();
    names(&page);
    assert_eq!(page.matches("<section").count(), 8);
    assert_eq!(page.matches("class=\"empty\"").count(), 6);
}

/// Real photographs come back from the page pixel by pixel.
#[test]
fn thumbs_are_lossless() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/data/cifar-10-lossless-subset/test_batch.bin"
    );
    let Ok(records) = std::fs::read(path) else {
        println!("skipped: {path} is not there");
        return;
    };
    // A record is a label, then a plane of 32 by 32 for each colour.
    let thumbs: Vec<Thumb> = records
        .chunks_exact(3073)
        .take(20)
        .map(|record| Thumb {
            rgb: (0..1024)
                .flat_map(|i| [0, 1, 2].map(|plane| record[1 + plane * 1024 + i]))
                .collect(),
            width: 32,
            height: 32,
            label: Some(record[0].to_string()),
            ..Thumb::default()
        })
        .collect();
    let row = NeighbourRow { query: thumbs[0].clone(), hits: thumbs[1..].to_vec() };
    let section = Section::Neighbours { heading: "n".into(), caption: "c".into(), rows: vec![row] };
    let page = Report { sections: vec![section], ..Report::default() }.to_html();
    names(&page);
    let files: Vec<_> = page.split("data:image/png;base64,").skip(1).collect();
    assert_eq!(files.len(), thumbs.len());
    for (file, thumb) in files.iter().zip(&thumbs) {
        let bytes = STANDARD.decode(file.split('"').next().unwrap()).unwrap();
        let picture = image::load_from_memory(&bytes).unwrap();
        assert_eq!(picture.to_rgb8().into_raw(), thumb.rgb);
    }
}
