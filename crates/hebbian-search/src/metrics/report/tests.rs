//! Reports against rankings worked out by hand.

use super::*;
use crate::Matrix;

/// On a line: labels a b a b a at 0, 1, 2, 3, 4, then one without a label at 5.
fn gallery() -> (Matrix, Vec<Option<u32>>) {
    let labels = vec![Some(0), Some(1), Some(0), Some(1), Some(0), None];
    (Matrix::new(1, (0..6).map(|i| i as f32).collect()).unwrap(), labels)
}

fn options(ks: &[usize], truncate: Option<usize>) -> EvaluateOptions {
    EvaluateOptions { ks: ks.to_vec(), truncate }
}

fn evaluate_line(
    queries: &[f32],
    labels: &[Option<u32>],
    options: &EvaluateOptions,
) -> RetrievalReport {
    let (gallery, gallery_labels) = gallery();
    let queries = Matrix::new(1, queries.to_vec()).unwrap();
    let mut before = 0;
    let report =
        evaluate(&gallery, &gallery_labels, &queries, labels, None, options, |done, all| {
            assert!(before <= done && done <= all && all == queries.len());
            before = done;
        });
    assert_eq!(before, queries.len());
    report.unwrap()
}

#[test]
fn one_query_by_hand() {
    // From -1 the ranking is a b a b a and then the one without a label.
    let report = evaluate_line(&[-1.0], &[Some(0)], &options(&[2, 4], None));
    let at = |i: usize| &report.mean_average_precision[i];
    let (at_2, at_4, at_6) = (1.0, 1.0 + 2.0 / 3.0, 1.0 + 2.0 / 3.0 + 3.0 / 5.0);
    assert_eq!((at(0).k, at(0).whole_gallery), (2, false));
    assert_eq!([at(0).retrieved, at(0).truncated, at(0).relevant], [at_2, at_2 / 2.0, at_2 / 3.0]);
    assert_eq!(
        [at(1).retrieved, at(1).truncated, at(1).relevant],
        [at_4 / 2.0, at_4 / 3.0, at_4 / 3.0]
    );
    assert_eq!((at(2).k, at(2).whole_gallery), (6, true));
    assert_eq!([at(2).retrieved, at(2).truncated, at(2).relevant], [at_6 / 3.0; 3]);
    assert_eq!(
        report.precision,
        [PrecisionAt { k: 2, precision: 0.5 }, PrecisionAt { k: 4, precision: 0.5 },]
    );
    assert_eq!((report.gallery, report.gallery_without_label, report.ranked), (6, 1, 6));
}

#[test]
fn queries_without_label_or_relevant_item_are_counted_not_averaged() {
    let labels = [Some(0), None, Some(9), Some(1)];
    let report = evaluate_line(&[-1.0, 0.0, 0.0, -1.0], &labels, &options(&[1], Some(4)));
    assert_eq!((report.queries, report.evaluated), (4, 2));
    assert_eq!((report.without_label, report.without_relevant), (1, 1));
    assert_eq!(report.precision, [PrecisionAt { k: 1, precision: 0.5 }]);
    // b is at ranks 2 and 4, and there is no more of it.
    let expected = ((1.0 + 2.0 / 3.0) / 2.0 + (1.0 / 2.0 + 2.0 / 4.0) / 2.0) / 2.0;
    let last = report.mean_average_precision.last().unwrap();
    assert_eq!((last.k, last.whole_gallery), (4, false));
    assert!((last.retrieved - expected).abs() < 1e-15);
}

#[test]
fn a_query_does_not_find_itself() {
    let (matrix, labels) = gallery();
    let own: Vec<usize> = (0..matrix.len()).collect();
    let report =
        evaluate(&matrix, &labels, &matrix, &labels, Some(&own), &options(&[1], None), |_, _| {})
            .unwrap();
    // Nearest to each is a neighbour on the line, always of another label.
    assert_eq!(report.precision, [PrecisionAt { k: 1, precision: 0.0 }]);
    assert_eq!((report.evaluated, report.ranked, report.self_excluded), (5, 5, true));
    assert!(report.mean_average_precision.last().unwrap().whole_gallery);
    let report =
        evaluate(&matrix, &labels, &matrix, &labels, None, &options(&[1], None), |_, _| {})
            .unwrap();
    assert_eq!(report.precision, [PrecisionAt { k: 1, precision: 1.0 }]);
}

#[test]
fn depths_beyond_the_gallery_and_empty_sides() {
    let report = evaluate_line(&[-1.0], &[Some(0)], &options(&[100], None));
    assert_eq!(report.precision, [PrecisionAt { k: 100, precision: 0.03 }]);
    assert_eq!(
        report.mean_average_precision[0].relevant,
        report.mean_average_precision[1].relevant
    );
    let report = evaluate_line(&[], &[], &options(&[1], None));
    assert_eq!((report.queries, report.precision[0].precision), (0, 0.0));
    let none = Matrix::new(1, vec![]).unwrap();
    let report =
        evaluate(&none, &[], &none, &[], Some(&[]), &options(&[], None), |_, _| {}).unwrap();
    assert_eq!(report.ranked, 0);
}

#[test]
fn options_and_labels_are_checked() {
    let (matrix, labels) = gallery();
    let refused = |gallery_labels: &[_], query_labels: &[_], options| {
        evaluate(&matrix, gallery_labels, &matrix, query_labels, None, &options, |_, _| {})
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&labels[1..], &labels, options(&[], None)),
        "there are 5 gallery labels instead of 6; give one for each row"
    );
    assert!(refused(&labels, &labels[1..], options(&[], None)).contains("query labels"));
    assert!(refused(&labels, &labels, options(&[0], None)).contains("k is 0"));
    assert!(refused(&labels, &labels, options(&[5], Some(4))).contains("k is 5"));
}

#[test]
fn the_report_says_in_words_what_it_holds() {
    let report = evaluate_line(&[-1.0], &[Some(0)], &options(&[2], None));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["ties"], "by index in the gallery");
    assert_eq!(
        json["definitions"]["relevant"],
        "divided by the relevant items in the gallery (standard)"
    );
    for denominator in ApDenominator::ALL {
        let name = serde_json::to_value(denominator).unwrap();
        let first = &report.mean_average_precision[0];
        assert_eq!(
            json["mean_average_precision"][0][name.as_str().unwrap()],
            first.get(denominator)
        );
    }
}

#[test]
fn ties_are_broken_by_index_and_in_expectation() {
    // Four at one distance, of which the third and fourth are relevant, then a fifth, relevant.
    let gallery = Matrix::new(1, vec![1.0, 1.0, 1.0, 1.0, 2.0]).unwrap();
    let labels = [Some(1), Some(1), Some(0), Some(0), Some(0)];
    let query = Matrix::new(1, vec![0.0]).unwrap();
    let report = |truncate| {
        let options = options(&[2], truncate);
        evaluate(&gallery, &labels, &query, &[Some(0)], None, &options, |_, _| {}).unwrap()
    };
    let whole = report(None);
    assert_eq!(whole.precision[0].precision, 0.0);
    let by_index = (1.0 / 3.0 + 2.0 / 4.0 + 3.0 / 5.0) / 3.0;
    assert!((whole.mean_average_precision[1].relevant - by_index).abs() < 1e-15);
    let expected = whole.expected_over_ties.unwrap();
    assert_eq!((expected.tied, expected.precision[0].precision), (2.0 / 3.0, 0.5));
    // Two relevant among four ranks: six places they may take, each as likely.
    let places = [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)];
    let sum = |(a, b): (u32, u32)| 1.0 / f64::from(a) + 2.0 / f64::from(b) + 3.0 / 5.0;
    let mean = places.into_iter().map(sum).sum::<f64>() / 6.0 / 3.0;
    assert!((expected.mean_average_precision[1].relevant - mean).abs() < 1e-15);
    // What a cut ranking leaves out may be tied with what it holds.
    assert_eq!(report(Some(3)).expected_over_ties, None);
}

#[test]
fn the_published_protocol_is_a_truncated_ranking() {
    // Rankings cut at the images of a class (3), queries of each class: precision over what was
    // retrieved, and over the smaller of k and the images of a class.
    let (_, labels) = gallery();
    let report = evaluate_line(&[-1.0, 9.0], &[Some(0), Some(1)], &options(&[2], Some(3)));
    assert_eq!(labels.iter().filter(|l| **l == Some(0)).count(), 3);
    let at = |i: usize| &report.mean_average_precision[i];
    // a b a and, from the other end, none a b.
    let (first, second) = (1.0 + 2.0 / 3.0, 1.0 / 3.0);
    assert_eq!((at(1).k, at(1).whole_gallery), (3, false));
    assert!((at(1).retrieved - (first / 2.0 + second / 1.0) / 2.0).abs() < 1e-15);
    assert!((at(1).truncated - (first / 3.0 + second / 2.0) / 2.0).abs() < 1e-15);
    assert!((at(0).retrieved - (1.0 + 0.0) / 2.0).abs() < 1e-15);
    assert!((at(0).truncated - (1.0 / 2.0 + 0.0) / 2.0).abs() < 1e-15);
}

/// However the queries are cut, the parts add up to the whole: to the same counts, and to the
/// same means but for the order of additions.
#[test]
fn parts_of_the_queries_add_up() {
    let (matrix, labels) = gallery();
    let own: Vec<usize> = (0..matrix.len()).collect();
    for truncate in [None, Some(3)] {
        let options = options(&[2], truncate);
        let sums = |from: usize, to: usize| {
            let queries = Matrix::new(1, matrix.as_slice()[from..to].to_vec()).unwrap();
            let (known, asked) = ((&matrix as _, &labels[..]), (&queries as _, &labels[from..to]));
            RetrievalSums::over(known, asked, Some(&own[from..to]), &options, |_, _| {}).unwrap()
        };
        let whole = sums(0, 6);
        for (a, b) in [(0, 6), (1, 4), (2, 2), (3, 5)] {
            let mut parts = sums(0, a);
            parts.add(&sums(a, b)).unwrap();
            parts.add(&sums(b, 6)).unwrap();
            let (found, expected) = (parts.report(), whole.report());
            assert_eq!(
                (found.queries, found.evaluated, found.without_label, found.without_relevant),
                (6, expected.evaluated, expected.without_label, expected.without_relevant)
            );
            let pairs = found.mean_average_precision.iter().zip(&expected.mean_average_precision);
            for (found, expected) in pairs {
                assert!((found.relevant - expected.relevant).abs() < 1e-15, "{a} {b}");
                assert!((found.truncated - expected.truncated).abs() < 1e-15, "{a} {b}");
            }
            // A file of them brings back every bit.
            let text = toml::to_string(&parts).unwrap();
            assert_eq!(toml::from_str::<RetrievalSums>(&text).unwrap(), parts);
        }
        let other = EvaluateOptions { ks: vec![1], truncate };
        let known = (&matrix as _, &labels[..]);
        let other = RetrievalSums::over(known, known, Some(&own), &other, |_, _| {}).unwrap();
        assert!(sums(0, 1).add(&other).unwrap_err().to_string().contains("parts"));
    }
    let known = (&matrix as _, &labels[..]);
    let beyond = RetrievalSums::over(known, known, Some(&[6; 6]), &options(&[], None), |_, _| {});
    assert!(beyond.unwrap_err().to_string().contains("only 6"));
}
