//! From a detector's numbers to boxes.

use skin_assist_core::domain::NormalisedBox;

use crate::{pack::DetectorManifest, runtime::Tensor};

/// A lesion that was detected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// The box, cut at the image's edges.
    pub area: NormalisedBox,
    /// The box as the model gave it; it may reach beyond the image.
    pub raw: NormalisedBox,
    /// 0 to 1.
    pub score: f32,
}

/// Reads an answer in the layout of YOLOv8: `[1, 4 + classes, boxes]`, the rows being the centre's x and y, width and
/// height in pixels of the input, then one score a class. The greatest score counts. What is under the threshold is
/// dropped, then greedy non-maximum suppression, strongest first.
pub fn yolov8(answer: &Tensor, manifest: &DetectorManifest) -> Result<Vec<Detection>, &'static str> {
    let [1, rows, boxes] = *answer.shape else {
        return Err("the detector's answer has another shape than its manifest means");
    };
    if rows < 5 || boxes == 0 || answer.data.len() != rows * boxes {
        return Err("the detector's answer has another shape than its manifest means");
    }
    if !answer.data.iter().all(|value| value.is_finite()) {
        return Err("the detector's answer is not finite");
    }
    let value = |row: usize, index: usize| answer.data[row * boxes + index];
    let (width, height) = (manifest.input.width as f32, manifest.input.height as f32);
    let mut candidates = Vec::new();
    for index in 0..boxes {
        let score = (4..rows)
            .map(|row| value(row, index))
            .fold(f32::NEG_INFINITY, f32::max)
            .min(1.0);
        if score < manifest.score_threshold {
            continue;
        }
        let (box_width, box_height) = (value(2, index) / width, value(3, index) / height);
        let raw = NormalisedBox {
            x: value(0, index) / width - box_width / 2.0,
            y: value(1, index) / height - box_height / 2.0,
            width: box_width,
            height: box_height,
        };
        if let Some(area) = inside(&raw) {
            candidates.push(Detection { area, raw, score });
        }
    }
    // Stable: of equal scores the first stays first, so that the outcome does not depend on the sort.
    candidates.sort_by(|one, other| other.score.total_cmp(&one.score));
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in candidates {
        if kept.len() == manifest.max_detections {
            break;
        }
        let overlaps =
            |other: &Detection| candidate.raw.intersection_over_union(&other.raw) > manifest.nms_iou_threshold;
        if !kept.iter().any(overlaps) {
            kept.push(candidate);
        }
    }
    Ok(kept)
}

/// What of a box lies in the image; none when nothing does.
fn inside(raw: &NormalisedBox) -> Option<NormalisedBox> {
    let (left, top) = (raw.x.clamp(0.0, 1.0), raw.y.clamp(0.0, 1.0));
    let (right, bottom) = (
        (raw.x + raw.width).clamp(0.0, 1.0),
        (raw.y + raw.height).clamp(0.0, 1.0),
    );
    (right > left && bottom > top).then_some(NormalisedBox {
        x: left,
        y: top,
        width: right - left,
        height: bottom - top,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{ColourOrder, ModelFile, ModelInput};

    fn manifest(max_detections: usize) -> DetectorManifest {
        DetectorManifest {
            file: ModelFile {
                name: String::new(),
                sha256: String::new(),
                output: String::new(),
            },
            input: ModelInput {
                name: String::new(),
                width: 200,
                height: 100,
                colour_order: ColourOrder::Rgb,
                scale: 1.0,
                mean: [0.0; 3],
                std: [1.0; 3],
            },
            score_threshold: 0.5,
            nms_iou_threshold: 0.45,
            max_detections,
            crop_margin: 1.0,
        }
    }

    /// An answer of boxes given as centre x, centre y, width, height and scores.
    fn answer<const ROWS: usize>(boxes: &[[f32; ROWS]]) -> Tensor {
        let data = (0..ROWS)
            .flat_map(|row| boxes.iter().map(move |values| values[row]))
            .collect();
        Tensor {
            shape: vec![1, ROWS, boxes.len()],
            data,
        }
    }

    #[test]
    fn boxes_become_fractions_of_the_image_strongest_first() {
        let answer = answer(&[
            [50.0, 25.0, 20.0, 10.0, 0.6],
            [150.0, 75.0, 40.0, 30.0, 0.9],
            [9.0, 9.0, 9.0, 9.0, 0.49],
        ]);
        let found = yolov8(&answer, &manifest(10)).expect("boxes");
        assert_eq!(found.len(), 2);
        let area = found[0].area;
        for (value, expected) in [(area.x, 0.65), (area.y, 0.6), (area.width, 0.2), (area.height, 0.3)] {
            assert!((value - expected).abs() < 1e-6, "{area:?}");
        }
        assert!((found[1].area.x - 0.2).abs() < 1e-6 && (found[1].area.height - 0.1).abs() < 1e-6);
        assert!(found[0].score > found[1].score);
    }

    #[test]
    fn of_overlapping_boxes_the_strongest_stays() {
        // The second overlaps the first by 1/2 to 3/2 (0.33), the third overlaps it by 9/11 (0.82).
        let boxes = [
            [50.0, 50.0, 20.0, 20.0, 0.8],
            [60.0, 50.0, 20.0, 20.0, 0.7],
            [52.0, 50.0, 20.0, 20.0, 0.9],
        ];
        let found = yolov8(&answer(&boxes), &manifest(10)).expect("boxes");
        // The third wins over the first; the second overlaps it by 12/28 (0.43) and stays.
        let scores: Vec<f32> = found.iter().map(|detection| detection.score).collect();
        assert_eq!(scores, [0.9, 0.7]);
        assert_eq!(yolov8(&answer(&boxes), &manifest(1)).expect("boxes").len(), 1);
    }

    #[test]
    fn the_best_class_gives_the_score() {
        let found = yolov8(&answer(&[[50.0, 50.0, 20.0, 20.0, 0.1, 0.75, 0.3]]), &manifest(10)).expect("boxes");
        assert!((found[0].score - 0.75).abs() < 1e-6);
    }

    #[test]
    fn boxes_are_cut_at_the_edges_and_those_outside_are_dropped() {
        let boxes = [
            [195.0, 5.0, 20.0, 20.0, 0.9],
            [300.0, 50.0, 20.0, 20.0, 0.9],
            [50.0, 50.0, -20.0, 20.0, 0.9],
        ];
        let found = yolov8(&answer(&boxes), &manifest(10)).expect("boxes");
        assert_eq!(found.len(), 1);
        let area = found[0].area;
        assert!((area.x + area.width - 1.0).abs() < 1e-6 && area.y.abs() < 1e-6);
        assert!((area.height - 0.15).abs() < 1e-6, "{area:?}");
        assert!((found[0].raw.height - 0.2).abs() < 1e-6);
    }

    #[test]
    fn equal_scores_stay_in_order() {
        let boxes: Vec<_> = (0..9_u8)
            .map(|index| [f32::from(index) * 20.0 + 10.0, 50.0, 8.0, 8.0, 0.7])
            .collect();
        let found = yolov8(&answer(&boxes), &manifest(9)).expect("boxes");
        assert!(found.windows(2).all(|pair| pair[0].area.x < pair[1].area.x));
    }

    #[test]
    fn other_shapes_and_what_is_not_a_number_are_no_answer() {
        let wrong = |shape: &[usize], data: Vec<f32>| {
            yolov8(
                &Tensor {
                    shape: shape.to_vec(),
                    data,
                },
                &manifest(1),
            )
            .is_err()
        };
        assert!(wrong(&[1, 4, 2], vec![0.0; 8]), "no class");
        assert!(wrong(&[2, 5, 1], vec![0.0; 10]), "a batch");
        assert!(wrong(&[1, 5], vec![0.0; 5]), "two dimensions");
        assert!(wrong(&[1, 5, 0], Vec::new()), "no candidates");
        assert!(wrong(&[1, 5, 2], vec![0.0; 9]), "a number missing");
        assert!(wrong(&[1, 5, 1], vec![0.0, 0.0, f32::NAN, 0.0, 0.0]), "not a number");
        assert!(wrong(&[1, 5, 1], vec![0.0, 0.0, 0.0, 0.0, f32::INFINITY]), "infinite");
    }
}
