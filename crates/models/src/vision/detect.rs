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
