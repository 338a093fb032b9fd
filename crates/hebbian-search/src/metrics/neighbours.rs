//! Classification by a vote of the nearest neighbours.

use crate::exact::Hit;

/// The most frequent label among the first `k` hits that have one; among equally frequent labels,
/// the one with the smaller sum of distances, and among those the one whose first member comes
/// first. `None` if no hit has a label.
///
/// `labels` holds one entry per gallery vector; hits beyond it have no label.
#[must_use]
pub fn knn_classify(hits: &[Hit], labels: &[Option<u32>], k: usize) -> Option<u32> {
    struct Vote {
        label: u32,
        count: usize,
        distance: f64,
    }
    // k is small, and in order of appearance, so that the first of equals comes first.
    let mut votes: Vec<Vote> = Vec::new();
    let labelled =
        hits.iter().filter_map(|hit| Some((labels.get(hit.index).copied()??, hit.distance)));
    for (label, distance) in labelled.take(k) {
        let distance = f64::from(distance);
        match votes.iter_mut().find(|vote| vote.label == label) {
            Some(vote) => {
                vote.count += 1;
                vote.distance += distance;
            }
            None => votes.push(Vote { label, count: 1, distance }),
        }
    }
    // Of equal minima, the first is taken.
    let better =
        |a: &&Vote, b: &&Vote| b.count.cmp(&a.count).then(a.distance.total_cmp(&b.distance));
    votes.iter().min_by(better).map(|vote| vote.label)
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
        assert_eq!(classify(&labels, 4), Some(7), "two votes and distance 3 each; 7 comes first");
        assert_eq!(classify(&labels, 100), Some(2));
        let labels = [Some(7), Some(2), Some(2), None, Some(7)];
        assert_eq!(classify(&labels, 4), Some(2), "two votes each; 2 is nearer, though not first");
    }

    #[test]
    fn hits_without_a_label_have_no_vote() {
        assert_eq!(classify(&[None, None, Some(3), Some(4)], 1), Some(3));
        assert_eq!(classify(&[None, None], 2), None);
        assert_eq!(classify(&[Some(1)], 0), None);
        assert_eq!(knn_classify(&[Hit { index: 9, distance: 0.0 }], &[Some(1)], 1), None);
    }
}
