//! From a detector's numbers to boxes.

use skin_assist_core::domain::NormalisedBox;

use super::classify::softmax;
use crate::{
    pack::{Activation, DetectorHead, DetectorManifest},
    preprocess::Content,
    runtime::Tensor,
};

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

/// Reads a detector's answers as its manifest says. `content` is where the photo is in a letterboxed input: boxes become those
/// of the photo, and what lies beside it is dropped before the strongest are chosen.
pub fn boxes(
    answers: &[Tensor],
    manifest: &DetectorManifest,
    content: Option<Content>,
) -> Result<Vec<Detection>, &'static str> {
    let mut candidates = match (&manifest.head, answers) {
        (DetectorHead::Yolov8, [answer, ..]) => yolov8(answer, manifest)?,
        (DetectorHead::Detr { activation, .. }, [boxes, logits, ..]) => detr(boxes, logits, *activation, manifest)?,
        _ => return Err("the detector gives fewer outputs than its manifest names"),
    };
    if let Some(content) = content {
        candidates.retain_mut(|candidate| {
            candidate.raw = content.in_photo(candidate.raw, &manifest.input);
            let area = inside(&candidate.raw);
            candidate.area = area.unwrap_or(candidate.area);
            area.is_some()
        });
    }
    Ok(strongest(candidates, manifest))
}

/// Reads answers in the layout of DETR (Carion et al., ECCV 2020): boxes `[1, boxes, 4]` as centre, width and height in
/// fractions, and logits `[1, boxes, classes]`. Then as with YOLOv8.
fn detr(
    boxes: &Tensor,
    logits: &Tensor,
    activation: Activation,
    manifest: &DetectorManifest,
) -> Result<Vec<Detection>, &'static str> {
    let ([1, count, 4], [1, same, classes]) = (&*boxes.shape, &*logits.shape) else {
        return Err(OTHER_SHAPE);
    };
    let least_classes = if activation == Activation::Softmax { 2 } else { 1 };
    if count != same
        || *classes < least_classes
        || boxes.data.len() != count * 4
        || logits.data.len() != count * classes
    {
        return Err(OTHER_SHAPE);
    }
    if !boxes.data.iter().chain(&logits.data).all(|value| value.is_finite()) {
        return Err("the detector's answer is not finite");
    }
    let mut candidates = Vec::new();
    for (corners, logits) in boxes.data.chunks_exact(4).zip(logits.data.chunks_exact(*classes)) {
        let greatest = |values: &[f32]| values.iter().copied().fold(0.0, f32::max);
        let score = match activation {
            Activation::Sigmoid => greatest(
                &logits
                    .iter()
                    .map(|logit| 1.0 / (1.0 + (-logit).exp()))
                    .collect::<Vec<_>>(),
            ),
            // The last class means that there is nothing.
            Activation::Softmax => greatest(&softmax(logits, 1.0)[..classes - 1]),
        };
        let raw = NormalisedBox {
            x: corners[0] - corners[2] / 2.0,
            y: corners[1] - corners[3] / 2.0,
            width: corners[2],
            height: corners[3],
        };
        if score >= manifest.score_threshold
            && let Some(area) = inside(&raw)
        {
            candidates.push(Detection { area, raw, score });
        }
    }
    Ok(candidates)
}

const OTHER_SHAPE: &str = "the detector's answer has another shape than its manifest means";

/// Reads an answer in the layout of YOLOv8: `[1, 4 + classes, boxes]`, the rows being the centre's x and y, width and
/// height in pixels of the input, then one score a class. The greatest score counts; what is under the threshold is
/// dropped.
fn yolov8(answer: &Tensor, manifest: &DetectorManifest) -> Result<Vec<Detection>, &'static str> {
    let [1, rows, boxes] = *answer.shape else {
        return Err(OTHER_SHAPE);
    };
    if rows < 5 || boxes == 0 || answer.data.len() != rows * boxes {
        return Err(OTHER_SHAPE);
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
    Ok(candidates)
}

/// Greedy non-maximum suppression, strongest first.
fn strongest(mut candidates: Vec<Detection>, manifest: &DetectorManifest) -> Vec<Detection> {
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
    kept
}

/// What of a box lies in the image; none when nothing does.
pub(super) fn inside(raw: &NormalisedBox) -> Option<NormalisedBox> {
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
    use crate::pack::{ColourOrder, ModelFile, ModelInput, Resize, WithoutLesion};

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
                resize: Resize::Triangle,
                colour_order: ColourOrder::Rgb,
                scale: 1.0,
                mean: [0.0; 3],
                std: [1.0; 3],
            },
            score_threshold: 0.5,
            nms_iou_threshold: 0.45,
            max_detections,
            crop_margin: 1.0,
            head: DetectorHead::Yolov8,
            without_lesion: WithoutLesion::Abstain,
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

    /// What is found of an answer of YOLOv8 in a photo that fills the input.
    fn all_in(answer: &Tensor, manifest: &DetectorManifest) -> Result<Vec<Detection>, &'static str> {
        boxes(std::slice::from_ref(answer), manifest, None)
    }

    #[test]
    fn boxes_beside_the_photo_take_no_place_of_those_on_it() {
        let mut manifest = manifest(1);
        manifest.input.resize = Resize::LetterboxTriangle;
        // A square photo in the middle of an input that is twice as wide as high: from 50 to 150.
        let content = Content::of((300, 300), &manifest.input);
        assert!(content.is_some());
        let answer = answer(&[[20.0, 50.0, 20.0, 20.0, 0.9], [100.0, 50.0, 20.0, 20.0, 0.6]]);
        let found = boxes(&[answer], &manifest, content).expect("boxes");
        assert_eq!(found.len(), 1);
        assert!((found[0].score - 0.6).abs() < 1e-6, "{found:?}");
        assert!((found[0].area.x - 0.4).abs() < 1e-6 && (found[0].area.width - 0.2).abs() < 1e-6);
    }

    #[test]
    fn boxes_become_fractions_of_the_image_strongest_first() {
        let answer = answer(&[
            [50.0, 25.0, 20.0, 10.0, 0.6],
            [150.0, 75.0, 40.0, 30.0, 0.9],
            [9.0, 9.0, 9.0, 9.0, 0.49],
        ]);
        let found = all_in(&answer, &manifest(10)).expect("boxes");
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
        let found = all_in(&answer(&boxes), &manifest(10)).expect("boxes");
        // The third wins over the first; the second overlaps it by 12/28 (0.43) and stays.
        let scores: Vec<f32> = found.iter().map(|detection| detection.score).collect();
        assert_eq!(scores, [0.9, 0.7]);
        assert_eq!(all_in(&answer(&boxes), &manifest(1)).expect("boxes").len(), 1);
    }

    #[test]
    fn the_best_class_gives_the_score() {
        let found = all_in(&answer(&[[50.0, 50.0, 20.0, 20.0, 0.1, 0.75, 0.3]]), &manifest(10)).expect("boxes");
        assert!((found[0].score - 0.75).abs() < 1e-6);
    }

    #[test]
    fn boxes_are_cut_at_the_edges_and_those_outside_are_dropped() {
        let boxes = [
            [195.0, 5.0, 20.0, 20.0, 0.9],
            [300.0, 50.0, 20.0, 20.0, 0.9],
            [50.0, 50.0, -20.0, 20.0, 0.9],
        ];
        let found = all_in(&answer(&boxes), &manifest(10)).expect("boxes");
        assert_eq!(found.len(), 1);
        let area = found[0].area;
        assert!((area.x + area.width - 1.0).abs() < 1e-6 && area.y.abs() < 1e-6);
        assert!((area.height - 0.15).abs() < 1e-6, "{area:?}");
        assert!((found[0].raw.height - 0.2).abs() < 1e-6);
    }

    #[test]
    fn a_detr_gives_boxes_in_fractions_and_logits() {
        let tensor = |shape: &[usize], data: &[f32]| Tensor {
            shape: shape.to_vec(),
            data: data.to_vec(),
        };
        let boxes_ = tensor(
            &[1, 3, 4],
            &[0.5, 0.5, 0.2, 0.4, 0.2, 0.2, 0.1, 0.1, 0.9, 0.9, 0.4, 0.4],
        );
        let with = |activation| DetectorManifest {
            head: DetectorHead::Detr {
                logits: "logits".into(),
                activation,
            },
            ..manifest(10)
        };
        // Sigmoid: 0.88, 0.5 and 0.27 of the better class.
        let logits = tensor(&[1, 3, 2], &[2.0, -1.0, 0.0, -3.0, -1.0, -2.0]);
        let found = boxes(&[boxes_.clone(), logits.clone()], &with(Activation::Sigmoid), None).expect("boxes");
        assert_eq!(found.len(), 2);
        assert!(
            (found[0].score - 0.880_797).abs() < 1e-5 && (found[0].area.x - 0.4).abs() < 1e-6,
            "{found:?}"
        );
        assert!((found[0].area.height - 0.4).abs() < 1e-6);
        // Softmax over lesion and nothing: 0.95, 0.95 and 0.73.
        let found = boxes(&[boxes_.clone(), logits.clone()], &with(Activation::Softmax), None).expect("boxes");
        assert_eq!(found.len(), 3);
        assert!((found[0].score - 0.952_574).abs() < 1e-5, "{found:?}");
        let edge = found
            .iter()
            .find(|detection| detection.raw.x > 0.6)
            .expect("the one at the corner");
        assert!((edge.area.x + edge.area.width - 1.0).abs() < 1e-6, "cut at the edge");
        for wrong in [
            vec![boxes_.clone()],
            vec![boxes_.clone(), tensor(&[1, 2, 2], &[0.0; 4])],
            vec![boxes_.clone(), tensor(&[1, 3, 1], &[0.0; 3])],
            vec![boxes_, tensor(&[1, 3, 2], &[f32::NAN; 6])],
        ] {
            assert!(boxes(&wrong, &with(Activation::Softmax), None).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn equal_scores_stay_in_order() {
        let boxes: Vec<_> = (0..9_u8)
            .map(|index| [f32::from(index) * 20.0 + 10.0, 50.0, 8.0, 8.0, 0.7])
            .collect();
        let found = all_in(&answer(&boxes), &manifest(9)).expect("boxes");
        assert!(found.windows(2).all(|pair| pair[0].area.x < pair[1].area.x));
    }

    #[test]
    fn other_shapes_and_what_is_not_a_number_are_no_answer() {
        let wrong = |shape: &[usize], data: Vec<f32>| {
            all_in(
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
