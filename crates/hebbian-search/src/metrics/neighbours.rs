//! Classification by a vote of the nearest neighbours.

use crate::exact::Hit;

/// The most frequent label among the first `k` hits that have one; among equally frequent labels,
/// the one whose first member is nearer. `None` if no hit has a label.
///
/// `labels` holds one entry per gallery vector; hits beyond it have no label.
#[must_use]
pub fn knn_classify(hits: &[Hit], labels: &[Option<u32>], k: usize) -> Option<u32> {
    // k is small, and in order of appearance, so that the first of the best is the nearest.
    let mut votes: Vec<(u32, usize)> = Vec::new();
    let labelled = hits.iter().filter_map(|hit| labels.get(hit.index).copied().flatten());
    for label in labelled.take(k) {
        match votes.iter_mut().find(|(seen, _)| *seen == label) {
            Some((_, count)) => *count += 1,
            None => votes.push((label, 1)),
        }
    }
    let most = votes.iter().map(|&(_, count)| count).max()?;
    votes.iter().find(|&&(_, count)| count == most).map(|&(label, _)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(labels: &[Option<u32>], k: usize) -> Option<u32> {
        let hits: Vec<Hit> =
            (0..labels.len()).map(|index| Hit { index, distance: index as f32 }).collect();
        knn_classify(&hits, labels, k)
    }

    #[test]
    fn majority_then_nearest() {
        let labels = [Some(7), Some(2), Some(2), Some(7), Some(2)];
        assert_eq!(classify(&labels, 1), Some(7));
        assert_eq!(classify(&labels, 3), Some(2));
        assert_eq!(classify(&labels, 4), Some(7), "two votes each; 7 is nearer");
        assert_eq!(classify(&labels, 100), Some(2));
    }

    #[test]
    fn hits_without_a_label_have_no_vote() {
        assert_eq!(classify(&[None, None, Some(3), Some(4)], 1), Some(3));
        assert_eq!(classify(&[None, None], 2), None);
        assert_eq!(classify(&[Some(1)], 0), None);
        assert_eq!(knn_classify(&[Hit { index: 9, distance: 0.0 }], &[Some(1)], 1), None);
    }
}
