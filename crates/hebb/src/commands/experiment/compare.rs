//! `hebb experiment compare`

use anyhow::{Result, bail};
use hebbian_lab::{Comparison, markdown};
use serde_json::json;

use super::{report::kept, unusable};
use crate::cli::ExperimentCompareArgs;
use crate::commands::shared::print_json;
use crate::ui::say;

/// Prints what changed, and fails where it is more than allowed.
pub fn run(args: &ExperimentCompareArgs) -> Result<()> {
    let (before, earlier) = kept(&args.before)?;
    let (after, later) = kept(&args.after)?;
    let found = Comparison::new(&before, &after);
    if found.is_empty() {
        let problem = format!("has no cell in common with {}", earlier.display());
        return Err(unusable(&later, problem));
    }
    if args.json {
        print_json(&as_json(&found))?;
    } else {
        for (of, path, by) in [("Earlier", &earlier, &found.by[0]), ("Later", &later, &found.by[1])]
        {
            let by = by.as_ref().map(|by| format!(", by {by}")).unwrap_or_default();
            say!("{of}: {}{by}", path.display());
        }
        say!("\n{}", markdown::compared(&found).trim_end());
    }
    let (most, largest) = (args.within.unwrap_or(f64::INFINITY), found.largest());
    if largest.largest.abs() > most {
        bail!("{}: {:+.2} points, more than {most} apart", largest.of, largest.largest);
    }
    Ok(())
}

fn as_json(found: &Comparison) -> serde_json::Value {
    let places = found.places.iter().map(|place| {
        json!({
            "fraction": place.fraction,
            "method": place.method,
            "layer": place.layer,
            "n": place.points.n(),
            "mean": place.points.mean,
            "half_width": place.points.half_width,
        })
    });
    json!({
        "places": places.collect::<Vec<_>>(),
        "accuracy": found.accuracy,
        "rankings": found.rankings,
        "probes": found.probes,
        "only_before": found.only_before,
        "only_after": found.only_after,
        "settings": found.settings,
        "other_inputs": found.other_inputs,
    })
}
