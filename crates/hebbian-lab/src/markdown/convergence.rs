//! Accuracy after each epoch of pre-training.

use super::escaped;
use crate::Summary;
use crate::grid::percent;

/// Accuracy of the linear classifiers after each epoch, where there are any.
pub(super) fn table(summary: &Summary<'_>) -> String {
    let Some(asked) = &summary.experiment.convergence else { return String::new() };
    let probes = |method: &String| summary.convergence(method).to_vec();
    let last = summary.methods.iter().flat_map(probes).map(|probe| probe.epoch).max();
    let Some(last) = last else { return String::new() };
    let epochs: Vec<String> = (0..=last).map(|epoch| epoch.to_string()).collect();
    let mut text = format!(
        "\nEpoch by epoch: {} accuracy, %, of a linear classifier on the layer's features as they \
         are, trained with {}% of the labels; first repetition; at 0 the weights are random and the \
         normalisation has not seen an image yet.\n\n| layer | method | {} |\n|---|---|{}\n",
        summary.experiment.judged_on(),
        percent(asked.fraction),
        epochs.join(" | "),
        "---|".repeat(epochs.len())
    );
    for layer in summary.probed() {
        for method in &summary.methods {
            let own = || summary.convergence(method).iter().filter(|probe| probe.layer == *layer);
            if own().next().is_none() {
                continue;
            }
            let at = |epoch: usize| own().find(|probe| probe.epoch == epoch);
            let cells = (0..=last).map(|epoch| {
                at(epoch).map_or("–".into(), |probe| format!("{:.2}", 100.0 * probe.accuracy))
            });
            let cells: Vec<String> = cells.collect();
            text += &format!("| {layer} | {} | {} |\n", escaped(method), cells.join(" | "));
        }
    }
    text
}
