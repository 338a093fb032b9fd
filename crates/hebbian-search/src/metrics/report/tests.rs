//! Reports against rankings worked out by hand.

use super::*;
use crate::Matrix;

/// On a line: labels a b a b a at 0, 1, 2, 3, 4, then one without a label at 5.
fn gallery() -> (Matrix, Vec<Option<u32>>) {
    let labels = vec![Some(0), Some(1), Some(0), Some(1), Some(0), None];
    (Matrix::new(1, (0..6).map(|i| i as f32).collect()).unwrap(), labels)
}

fn options(ks: &[usize], truncate: Option<usize>, exclude_self: bool) -> EvaluateOptions {
    EvaluateOptions { ks: ks.to_vec(), truncate, exclude_self }
}

fn evaluate_line(
    queries: &[f32],
    labels: &[Option<u32>],
    options: &EvaluateOptions,
) -> RetrievalReport {
    let (gallery, gallery_labels) = gallery();
    let queries = Matrix::new(1, queries.to_vec()).unwrap();
    let mut calls = 0;
    let report = evaluate(&gallery, &gallery_labels, &queries, labels, options, |done, all| {
        calls += 1;
        assert_eq!((done, all), (calls, queries.len()));
    });
    assert_eq!(calls, queries.len());
    report.unwrap()
}

#[test]
fn one_query_by_hand() {
    // From -1 the ranking is a b a b a and then the one without a label.
    let report = evaluate_line(&[-1.0], &[Some(0)], &options(&[2, 4], None, false));
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
    let report = evaluate_line(&[-1.0, 0.0, 0.0, -1.0], &labels, &options(&[1], Some(4), false));
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
    let report =
        evaluate(&matrix, &labels, &matrix, &labels, &options(&[1], None, true), |_, _| {})
            .unwrap();
    // Nearest to each is a neighbour on the line, always of another label.
    assert_eq!(report.precision, [PrecisionAt { k: 1, precision: 0.0 }]);
    assert_eq!((report.evaluated, report.ranked, report.self_excluded), (5, 5, true));
    assert!(report.mean_average_precision.last().unwrap().whole_gallery);
    let report =
        evaluate(&matrix, &labels, &matrix, &labels, &options(&[1], None, false), |_, _| {})
            .unwrap();
    assert_eq!(report.precision, [PrecisionAt { k: 1, precision: 1.0 }]);
}

#[test]
fn depths_beyond_the_gallery_and_empty_sides() {
    let report = evaluate_line(&[-1.0], &[Some(0)], &options(&[100], None, false));
    assert_eq!(report.precision, [PrecisionAt { k: 100, precision: 0.03 }]);
    assert_eq!(
        report.mean_average_precision[0].relevant,
        report.mean_average_precision[1].relevant
    );
    let report = evaluate_line(&[], &[], &options(&[1], None, false));
    assert_eq!((report.queries, report.precision[0].precision), (0, 0.0));
    let none = Matrix::new(1, vec![]).unwrap();
    let report = evaluate(&none, &[], &none, &[], &options(&[], None, true), |_, _| {}).unwrap();
    assert_eq!(report.ranked, 0);
}

#[test]
fn options_and_labels_are_checked() {
    let (matrix, labels) = gallery();
    let refused = |gallery_labels: &[_], query_labels: &[_], options| {
        evaluate(&matrix, gallery_labels, &matrix, query_labels, &options, |_, _| {})
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&labels[1..], &labels, options(&[], None, false)),
        "there are 5 gallery labels instead of 6; give one for each row"
    );
    assert!(refused(&labels, &labels[1..], options(&[], None, false)).contains("query labels"));
    assert!(refused(&labels, &labels, options(&[0], None, false)).contains("k is 0"));
    assert!(refused(&labels, &labels, options(&[5], Some(4), false)).contains("k is 5"));
}

#[test]
fn the_report_says_in_words_what_it_holds() {
    let report = evaluate_line(&[-1.0], &[Some(0)], &options(&[2], None, false));
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
        let options = options(&[2], truncate, false);
        evaluate(&gallery, &labels, &query, &[Some(0)], &options, |_, _| {}).unwrap()
    };
    let whole = report(None);
    assert_eq!(whole.precision[0].precision, 0.0);
    let by_index = (1.0 / 3.0 + 2.0 / 4.0 + 3.0 / 5.0) / 3.0;
    assert!((whole.mean_average_precision[1].relevant - by_index).abs() < 1e-15);
    let expected = whole.expected_over_ties.unwrap();
    assert_eq!((expected.tied, expected.precision[0].precision), (0.8, 0.5));
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
    let report = evaluate_line(&[-1.0, 9.0], &[Some(0), Some(1)], &options(&[2], Some(3), false));
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
