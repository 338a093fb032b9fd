//! Which segments are worth writing again as one.

use std::ops::Range;

/// Most segments of a gallery at rest. A search reads each in turn, so this costs it little; every
/// open gallery holds a file open for each.
const MAX_SEGMENTS: usize = 16;
/// A segment is written again once more than this share of it was removed: 1 in so many.
const REMOVED_SHARE: usize = 4;

/// Segments that should become one, given the vectors stored and those still in the gallery of
/// each; nothing if all is well.
///
/// Neighbours only, so that the order of the gallery stays. From the end, a segment joins those
/// after it when it is no larger than all of them: a vector is written again only when its segment
/// at least doubles, so adding `n` in small commits writes each about `log2(n)` times at most.
pub(super) fn plan(segments: &[(usize, usize)]) -> Option<Range<usize>> {
    let worn = |&(stored, live): &(usize, usize)| (stored - live) * REMOVED_SHARE > stored;
    if let Some(i) = segments.iter().position(worn) {
        return Some(i..i + 1);
    }
    let len = segments.len();
    if len <= MAX_SEGMENTS {
        return None;
    }
    let (mut start, mut sum) = (len, 0);
    while start > 0 && (len - start < 2 || segments[start - 1].1 <= sum) {
        start -= 1;
        sum += segments[start].1;
    }
    Some(start..len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits of one size, as of a long run: few segments, and few vectors written again.
    #[test]
    fn many_commits_leave_few_segments_and_write_little_again() {
        for size in [1, 1000] {
            let (mut segments, mut written) = (Vec::new(), 0);
            for _ in 0..4096 {
                segments.push((size, size));
                while let Some(range) = plan(&segments) {
                    let live = segments[range.clone()].iter().map(|s| s.1).sum();
                    written += live;
                    segments.splice(range, [(live, live)]);
                }
                assert!(segments.len() <= MAX_SEGMENTS);
            }
            assert_eq!(segments.iter().map(|s| s.1).sum::<usize>(), 4096 * size);
            assert!(written < 12 * 4096 * size, "{written}");
        }
    }

    #[test]
    fn segments_much_of_which_was_removed_are_written_again() {
        assert_eq!(plan(&[(8, 8), (8, 6)]), None);
        assert_eq!(plan(&[(8, 8), (8, 5)]), Some(1..2));
        assert_eq!(plan(&[]), None);
    }
}
