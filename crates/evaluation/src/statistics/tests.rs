//! Against values that were worked out by hand.

use super::*;

fn case(truth: usize, ranked: &[(usize, f32)]) -> Case {
    Case {
        truth,
        ranked: ranked.to_vec(),
        is_abstained: ranked.is_empty(),
    }
}

/// Class 0 three times: right, second, no answer. Class 1 twice: right, right. Class 2 once: taken for 1.
fn six() -> Vec<Case> {
    vec![
        case(0, &[(0, 0.9), (1, 0.1), (2, 0.0)]),
        case(0, &[(1, 0.6), (0, 0.3), (2, 0.1)]),
        case(0, &[]),
        case(1, &[(1, 0.8), (0, 0.1), (2, 0.1)]),
        case(1, &[(1, 0.5), (2, 0.3), (0, 0.2)]),
        case(2, &[(1, 0.4), (0, 0.35), (2, 0.25)]),
    ]
}

fn close(value: Option<f64>, expected: f64) {
    let value = value.expect("it is defined");
    assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
}

#[test]
fn shares_of_right_answers() {
    let cases = six();
    let cases: Vec<&Case> = cases.iter().collect();
    close(top_k(&cases, 1), 3.0 / 6.0);
    close(top_k(&cases, 2), 4.0 / 6.0);
    close(top_k(&cases, 3), 5.0 / 6.0);
    close(sensitivity(&cases, 0), 1.0 / 3.0);
    close(sensitivity(&cases, 1), 1.0);
    close(sensitivity(&cases, 2), 0.0);
    // Of the four that are not of class 1, two were taken for it.
    close(specificity(&cases, 1), 2.0 / 4.0);
    close(specificity(&cases, 0), 1.0);
    close(balanced_accuracy(&cases, 3), (1.0 / 3.0 + 1.0 + 0.0) / 3.0);
    // A class that does not occur does not count.
    close(balanced_accuracy(&cases, 4), (1.0 / 3.0 + 1.0 + 0.0) / 3.0);
    assert_eq!(sensitivity(&cases, 3), None);
    assert_eq!(top_k(&[], 1), None);
    assert_eq!(balanced_accuracy(&[], 3), None);
}

#[test]
fn the_area_under_the_curve_counts_pairs() {
    let cases = six();
    let cases: Vec<&Case> = cases.iter().collect();
    // Class 0: answered positives 0.9 and 0.3; negatives 0.1, 0.2, 0.35. Pairs won: 3 and 2 of 6.
    close(auroc(&cases, 0), 5.0 / 6.0);
    // Class 2: positive 0.25; negatives 0.0, 0.1, 0.1, 0.3: three of four.
    close(auroc(&cases, 2), 3.0 / 4.0);
    let ties = [
        case(0, &[(0, 0.5)]),
        case(1, &[(1, 0.5), (0, 0.5)]),
        case(1, &[(1, 0.9), (0, 0.1)]),
    ];
    let ties: Vec<&Case> = ties.iter().collect();
    close(auroc(&ties, 0), 0.75);
    assert_eq!(auroc(&cases[..3], 0), None, "nothing to compare with");
}

#[test]
fn calibration_is_the_distance_of_confidence_and_accuracy() {
    let cases = six();
    let cases: Vec<&Case> = cases.iter().collect();
    let found = calibration(&cases, 2).unwrap();
    // Below a half: 0.4, wrong. From a half on: 0.9 right, 0.6 wrong, 0.8 right, 0.5 right.
    assert_eq!(found.bins.iter().map(|bin| bin.cases).collect::<Vec<_>>(), [1, 4]);
    close(Some(found.bins[0].confidence), 0.4);
    close(Some(found.bins[0].accuracy), 0.0);
    close(Some(found.bins[1].confidence), 0.7);
    close(Some(found.bins[1].accuracy), 0.75);
    close(Some(found.expected_error), (0.4 + 4.0 * 0.05) / 5.0);
    let sure = [case(0, &[(0, 1.0)])];
    let sure: Vec<&Case> = sure.iter().collect();
    assert_eq!(
        calibration(&sure, 10).unwrap().bins[0].cases,
        1,
        "a confidence of 1 has a bin"
    );
    assert_eq!(calibration(&[], 10), None);
}

#[test]
fn the_abstention_curve_drops_the_least_confident_first() {
    let cases = six();
    let cases: Vec<&Case> = cases.iter().collect();
    let curve = abstention_curve(&cases, 100);
    let found: Vec<(f64, f64)> = curve.iter().map(|point| (point.coverage, point.accuracy)).collect();
    let expected = [(5, 3), (4, 3), (3, 2), (2, 2), (1, 1)];
    assert_eq!(found.len(), expected.len());
    for ((coverage, accuracy), (spoken, right)) in found.into_iter().zip(expected) {
        close(Some(coverage), f64::from(spoken) / 6.0);
        close(Some(accuracy), f64::from(right) / f64::from(spoken));
    }
    assert!(abstention_curve(&cases, 2).len() <= 2);
    assert!(abstention_curve(&[], 10).is_empty());
}

fn area(x: f32, y: f32, width: f32, height: f32) -> NormalisedBox {
    NormalisedBox { x, y, width, height }
}

#[test]
fn a_lesion_is_found_once_and_by_the_strongest() {
    let truth = [area(0.0, 0.0, 0.2, 0.2), area(0.5, 0.5, 0.2, 0.2)];
    let detections = [
        (area(0.0, 0.0, 0.2, 0.2), 0.5),
        (area(0.01, 0.0, 0.2, 0.2), 0.9),
        (area(0.8, 0.8, 0.1, 0.1), 0.7),
        (area(0.5, 0.5, 0.2, 0.12), 0.6),
    ];
    assert_eq!(
        matched(&detections, &truth, 0.5),
        [(0.9, true), (0.7, false), (0.6, true), (0.5, false)]
    );
    assert_eq!(
        matched(&detections[3..], &truth, 0.7),
        [(0.6, false)],
        "six tenths are too little"
    );
    assert_eq!(matched(&[], &truth, 0.5), []);
}

#[test]
fn average_precision_is_the_area_of_the_example() {
    // Hit, miss, hit of three lesions: recall 1/3 at precision 1, 2/3 at precision 2/3; the third is never found.
    let detections = [(0.9, true), (0.8, false), (0.7, true)];
    close(average_precision(&detections, 3), 1.0 / 3.0 + (1.0 / 3.0) * (2.0 / 3.0));
    // A miss first: the better precision at a higher recall counts for the lower one too.
    let detections = [(0.9, false), (0.8, true), (0.7, true)];
    close(average_precision(&detections, 2), 2.0 / 3.0);
    close(average_precision(&[], 2), 0.0);
    assert_eq!(average_precision(&[], 0), None);
}

#[test]
fn intervals_hold_the_value_and_are_repeatable() {
    let cases: Vec<Case> = (0..200)
        .map(|number| case(0, &[(usize::from(number % 4 == 0), 0.9)]))
        .collect();
    let cases: Vec<&Case> = cases.iter().collect();
    let interval = |seed| bootstrap(&cases, 1000, seed, |cases| top_k(cases, 1)).unwrap();
    let found = interval(7);
    close(Some(found.value), 0.75);
    // The normal approximation: 0.75 +- 1.96 sqrt(0.75 0.25 / 200) = 0.69 to 0.81.
    assert!(
        (found.low - 0.69).abs() < 0.015 && (found.high - 0.81).abs() < 0.015,
        "{found:?}"
    );
    assert_eq!(found, interval(7));
    assert_ne!(found, interval(8));
    // Fewer cases, a wider interval; none that varies, none at all.
    let few = bootstrap(&cases[..20], 1000, 7, |cases| top_k(cases, 1)).unwrap();
    assert!(few.high - few.low > found.high - found.low);
    let same = bootstrap(&cases[1..4], 1000, 7, |cases| top_k(cases, 1)).unwrap();
    assert_eq!((same.low, same.value, same.high), (1.0, 1.0, 1.0));
    assert_eq!(bootstrap(&[], 1000, 7, |cases| top_k(cases, 1)), None);
}
