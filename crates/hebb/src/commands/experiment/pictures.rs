//! Pictures of an experiment's page: filters and nearest images.

use std::path::Path;

use anyhow::Result;
use hebbian::network::Model;
use hebbian_lab::retrieval::{Picture, Strip, strips_path};
use hebbian_lab::{CellResult, Summary};

use super::words::thousands;
use crate::report::{NeighbourRow, Section, Thumb};

/// The first layers of the first repetition.
pub(super) fn filters(summary: &Summary<'_>, out: &Path) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    let first = summary.experiment.seeds().first().copied();
    for method in &summary.experiment.methods {
        let stage =
            summary.stages.iter().find(|s| s.method == method.name && Some(s.seed) == first);
        let Some(stage) = stage else { continue };
        let folder = out.join("stages").join(&stage.id).join("model");
        if !folder.join("model.toml").is_file() {
            continue;
        }
        let model = Model::load(&folder)?;
        let Some(block) = model.network.blocks.first() else { continue };
        let learned = match stage.epochs {
            0 => "random".to_owned(),
            1 => format!("after an epoch of {} images", thousands(stage.images)),
            n => format!("after {n} epochs of {} images", thousands(stage.images)),
        };
        sections.push(Section::Filters {
            heading: format!("First layer: {}", method.name),
            caption: format!("The weights of L1, {learned}; each filter in its own range."),
            kernel: block.geometry.kernel,
            filters: block.weights.clone(),
        });
    }
    Ok(sections)
}

/// Neighbours found by each method, of the cell with the fewest labels.
pub(super) fn strips(summary: &Summary<'_>, out: &Path) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    for method in &summary.experiment.methods {
        let kept = |cell: &&CellResult| {
            let path = cell.id.as_ref().map(|id| strips_path(out, id));
            cell.method == method.name && path.is_some_and(|path| path.is_file())
        };
        let Some(cell) = summary.cells.iter().find(kept) else { continue };
        let Some(id) = &cell.id else { continue };
        let path = strips_path(out, id);
        let strips: Vec<Strip> = serde_json::from_str(&fs_err::read_to_string(&path)?)
            .map_err(|e| hebbian::Error::file(&path, e.to_string()))?;
        sections.push(Section::Neighbours {
            heading: format!("Nearest images: {}", method.name),
            caption: format!(
                "The first test image of some classes and the training images whose {} features \
                 are nearest, after fine-tuning with {} labels; seed {}.",
                cell.layer,
                thousands(cell.labels),
                cell.seed
            ),
            rows: strips.iter().map(neighbours).collect(),
        });
    }
    Ok(sections)
}

fn neighbours(strip: &Strip) -> NeighbourRow {
    let class = &strip.query.class;
    let hits = strip.hits.iter().map(|hit| Thumb {
        matches: hit.class.as_ref().zip(class.as_ref()).map(|(a, b)| a == b),
        ..thumb(hit)
    });
    NeighbourRow { query: thumb(&strip.query), hits: hits.collect() }
}

fn thumb(picture: &Picture) -> Thumb {
    Thumb {
        rgb: picture.pixels().unwrap_or_default(),
        width: picture.width,
        height: picture.height,
        label: picture.class.clone(),
        distance: picture.distance,
        matches: None,
    }
}
