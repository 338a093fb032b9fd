//! `hebb gallery duplicates`

use anyhow::Result;
use hebbian::error::Error;
use hebbian_search::{Gallery, Vectors, near_duplicates, squared_distance, suggest_threshold};
use serde::Serialize;

use crate::cli::DuplicatesArgs;
use crate::commands::shared::print_json;
use crate::ui::{Progress, say};

#[derive(Serialize)]
struct Found {
    threshold: f32,
    suggested: bool,
    images: usize,
    groups: Vec<Vec<Member>>,
}

#[derive(Serialize)]
struct Member {
    id: String,
    label: Option<String>,
    /// To the first of the group.
    distance: f32,
}

/// Prints groups of images that are nearly the same.
pub fn run(args: &DuplicatesArgs) -> Result<()> {
    if args.threshold.is_some_and(|t| !(t.is_finite() && t >= 0.0)) {
        return Err(Error::config("--threshold", "must be a distance from 0 on").into());
    }
    let gallery = Gallery::open(&args.of.gallery)?;
    let suggested = match args.threshold {
        Some(_) => None,
        None => suggest_threshold(&gallery)?,
    };
    let threshold = args.threshold.or(suggested).unwrap_or(0.0);
    if suggested.is_some() {
        eprintln!(
            "threshold {threshold}: a quarter of the median distance to the nearest other image; \
             choose another with --threshold"
        );
    }
    let mut progress = Progress::default();
    let groups = near_duplicates(&gallery, threshold, progress.counter("comparing"))?;
    let groups = groups.iter().map(|rows| members(&gallery, rows)).collect::<Result<Vec<_>>>()?;
    let images = groups.iter().map(Vec::len).sum();
    let found = Found { threshold, suggested: suggested.is_some(), images, groups };
    if args.of.json {
        return print_json(&found);
    }
    for (i, group) in found.groups.iter().enumerate() {
        say!("group {}", i + 1);
        for member in group {
            say!("  {:<9.3} {}", member.distance, member.id);
        }
    }
    say!(
        "{} of {} images are in {} groups within {threshold}",
        found.images,
        gallery.len(),
        found.groups.len()
    );
    Ok(())
}

fn members(gallery: &Gallery, rows: &[usize]) -> Result<Vec<Member>> {
    let (mut first, mut vector) = (Vec::new(), Vec::new());
    gallery.read(rows[0], 1, &mut first)?;
    let mut members = Vec::with_capacity(rows.len());
    for &row in rows {
        gallery.read(row, 1, &mut vector)?;
        let item = gallery.item(row).cloned().unwrap_or_default();
        let distance = squared_distance(&first, &vector).sqrt() as f32;
        members.push(Member { id: item.id, label: item.label, distance });
    }
    Ok(members)
}
