//! What a pack may say, on ONNX files that do it, on each runtime: a DETR-like detector, a gate, weights of 16 and 8 bits,
//! large weights, a golden image.
//!
//! As in `runtime.rs`, ONNX Runtime takes part where `ORT_DYLIB_PATH` names its library.

mod support;

use std::{num::NonZeroUsize, path::PathBuf};

use bytes::Bytes;
use futures::executor::block_on;
use sha2::{Digest, Sha256};
use skin_assist_core::{
    domain::{Abstention, Concern, Findings, PhotoBytes, Route},
    ports::VisionModel,
};
use skin_assist_models::{
    PackVision, VisionOptions,
    pack::{EmbeddedPack, Pack},
    runtime::{Names, Runtime, Tensor},
    verify::{Verdict, verify},
};
use support::{fixture, runtimes};

fn input(side: u32) -> String {
    format!(
        "[model.input]\nname = \"image\"\nwidth = {side}\nheight = {side}\ncolour_order = \"rgb\"\nlayout = \"nchw\"\n\
         resize = \"stretch-triangle\"\nscale = 0.00392156862745098\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n"
    )
}

fn model(task: &str, file: &str, settings: &str, side: u32, output: &str) -> String {
    let hash = hex::encode(Sha256::digest(fixture(file)));
    format!(
        "[[model]]\ntask = \"{task}\"\nfile = \"{file}\"\nsha256 = \"{hash}\"\n{settings}\n{}[model.output]\n{output}\n",
        input(side)
    )
}

/// A pack of fixtures: what is before the classifier, and the classifier of red, green and blue.
fn pack(route: Route, before: &str, classifier: &str) -> Pack {
    let labels: String = [("red", "372244006"), ("green", "400096001"), ("blue", "9014002")]
        .map(|(id, code)| format!("[[model.labels]]\nid = \"{id}\"\ndisplay = \"{id}\"\nsnomed_ct = \"{code}\"\n"))
        .concat();
    let judge = model(
        "classifier",
        classifier,
        "temperature = 1.0\nabstain_below = 0.0",
        8,
        "name = \"logits\"\nlayout = \"logits\"",
    );
    let manifest = format!(
        "format_version = 1\nid = \"test\"\nversion = \"1\"\nroute = \"{route}\"\ntitle = \"Test\"\n\
         intended_use = \"Tests only.\"\n{before}{judge}{labels}"
    );
    let files: Vec<(&'static str, &'static [u8])> = [
        "classifier.onnx",
        "detector.onnx",
        "detr.onnx",
        "gate.onnx",
        "half.onnx",
        "half-weights.onnx",
        "eight-bits.onnx",
    ]
    .map(|name| (name, &*Box::leak(fixture(name).into_boxed_slice())))
    .to_vec();
    Pack::from_embedded(&EmbeddedPack {
        manifest: Box::leak(manifest.into_boxed_str()),
        files: Box::leak(files.into_boxed_slice()),
    })
    .unwrap_or_else(|error| panic!("{error}"))
}

fn look(runtime: &Runtime, pack: Pack, colour: [u8; 3]) -> Findings {
    let route = pack.route();
    let options = VisionOptions {
        workers: NonZeroUsize::MIN,
        ..VisionOptions::default()
    };
    let vision = PackVision::new(runtime, &[pack], options).unwrap_or_else(|error| panic!("{runtime:?}: {error}"));
    let image = image::RgbImage::from_pixel(64, 48, image::Rgb(colour));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG");
    let photo = PhotoBytes::new(Bytes::from(bytes.into_inner()));
    block_on(vision.look(route, &photo)).unwrap_or_else(|error| panic!("{runtime:?}: {error}"))
}

#[test]
fn a_detector_in_the_layout_of_detr_finds_boxes() {
    for runtime in runtimes("a detector in the layout of DETR") {
        let with = |activation: &str| {
            let settings = "score_threshold = 0.25\nnms_iou_threshold = 0.5\nmax_detections = 5\ncrop_margin = 1.2";
            let output =
                format!("name = \"boxes\"\nlayout = \"detr\"\nlogits = \"logits\"\nactivation = \"{activation}\"");
            let detector = model("detector", "detr.onnx", settings, 16, &output);
            look(&runtime, pack(Route::Solitary, &detector, "classifier.onnx"), [255; 3])
        };
        // Lesion against nothing, on white: logits 3 and -3, 1 and -1, -2 and 2.
        let findings = with("softmax");
        let found: Vec<_> = findings
            .regions
            .iter()
            .map(|region| (region.area, region.score))
            .collect();
        assert_eq!(found.len(), 2, "{runtime:?}: {findings:?}");
        let (area, score) = found[0];
        assert!(
            (score - 0.997_527).abs() < 1e-4 && (found[1].1 - 0.880_797).abs() < 1e-4,
            "{found:?}"
        );
        for (value, expected) in [
            (area.x, 0.125),
            (area.y, 0.125),
            (area.width, 0.25),
            (area.height, 0.25),
        ] {
            assert!((value - expected).abs() < 1e-5, "{found:?}");
        }
        // Each class for itself: the third box is there by its other class.
        assert_eq!(with("sigmoid").regions.len(), 3, "{runtime:?}");
    }
}

#[test]
fn a_letterbox_keeps_the_aspect_ratio_and_its_boxes_are_those_of_the_photo() {
    for runtime in runtimes("a letterbox") {
        for filter in ["triangle", "bilinear"] {
            let settings = "score_threshold = 0.25\nnms_iou_threshold = 0.5\nmax_detections = 5\ncrop_margin = 1.0";
            let output = "name = \"detections\"\nlayout = \"yolov8\"";
            let detector = model("detector", "detector.onnx", settings, 16, output)
                .replace("stretch-triangle", &format!("letterbox-{filter}"));
            // 64 × 48 pixels become 16 × 12, with two rows of grey above and below.
            let findings = look(&runtime, pack(Route::Solitary, &detector, "classifier.onnx"), [255; 3]);
            // Brightness scales the scores: three quarters of white and one of grey.
            let brightness = 0.75 + 0.25 * 114.0 / 255.0;
            let scores: Vec<f32> = findings.regions.iter().map(|region| region.score).collect();
            assert!((scores[0] - 0.9 * brightness).abs() < 1e-3, "{scores:?}");
            assert!(
                (findings.image.quality.brightness - 1.0).abs() < 1e-3,
                "grey counts as photo"
            );
            // In the detector's pixels from (2, 2) to (6, 6), that is from (2, 0) to (6, 4) of 16 × 12.
            let area = findings.regions[0].area;
            for (value, expected) in [
                (area.x, 0.125),
                (area.y, 0.0),
                (area.width, 0.25),
                (area.height, 1.0 / 3.0),
            ] {
                assert!((value - expected).abs() < 1e-4, "{filter}: {area:?}");
            }
        }
    }
    // For others than detectors there is none.
    let settings = "kinds = [\"a\", \"b\"]\naccepts = [\"a\"]\nleast = 0.8";
    let gate = model(
        "gate",
        "gate.onnx",
        settings,
        8,
        "name = \"logits\"\nlayout = \"logits\"",
    );
    let refused = std::panic::catch_unwind(|| {
        pack(
            Route::Widespread,
            &gate.replace("stretch-triangle", "letterbox-triangle"),
            "classifier.onnx",
        )
    });
    assert!(refused.is_err());
}

#[test]
fn a_gate_lets_the_accepted_kind_pass_and_no_other() {
    for runtime in runtimes("a gate") {
        let settings = "kinds = [\"clinical\", \"other\"]\naccepts = [\"clinical\"]\nleast = 0.8";
        let gate = model(
            "gate",
            "gate.onnx",
            settings,
            8,
            "name = \"logits\"\nlayout = \"logits\"",
        );
        let of = |colour| look(&runtime, pack(Route::Widespread, &gate, "classifier.onnx"), colour);
        let passed = of([255, 40, 40]);
        assert_eq!((passed.abstention, passed.concerns.len()), (None, 0), "{runtime:?}");
        assert_eq!(passed.ranked[0].label.id, "red");
        let refused = of([40, 40, 255]);
        assert_eq!(refused.abstention, Some(Abstention::OutOfDistribution), "{runtime:?}");
        assert_eq!(refused.concerns, [Concern::WrongKind]);
        assert!(refused.ranked.is_empty());
    }
}

#[test]
fn weights_of_16_and_8_bits_run_on_each_runtime() {
    for runtime in runtimes("weights of 16 and 8 bits") {
        let name = runtime.describe().name;
        // Logits four times the mean of red, of green and a half more, of blue; 8 bits are coarser.
        for (file, tolerance) in [
            ("half-weights.onnx", 1e-3),
            ("half.onnx", 1e-2),
            ("eight-bits.onnx", 3e-2),
        ] {
            let names = Names {
                input: "image",
                output: "logits",
            };
            let loaded = runtime.load(&fixture(file), names);
            let model = loaded.unwrap_or_else(|error| panic!("{name}, {file}: {error}"));
            let mut session = model.session().expect("a session");
            let answer = session
                .run(&levels())
                .unwrap_or_else(|error| panic!("{name}, {file}: {error}"));
            for (value, expected) in answer.data.iter().zip([4.0, 1.5, 2.0]) {
                assert!(
                    (value - expected).abs() <= tolerance,
                    "{name}, {file}: {:?}",
                    answer.data
                );
            }
            let findings = look(&runtime, pack(Route::Widespread, "", file), [255, 0, 51]);
            assert_eq!(findings.ranked[0].label.id, "red", "{name}, {file}");
        }
    }
}

/// 1, 0.25 and 0.5 in red, green and blue.
fn levels() -> Tensor {
    let data = [1.0, 0.25, 0.5]
        .iter()
        .flat_map(|level| std::iter::repeat_n(*level, 64))
        .collect();
    Tensor {
        shape: vec![1, 3, 8, 8],
        data,
    }
}

#[test]
fn the_reference_packs_pass_their_golden_images_on_each_runtime() {
    let runtimes = runtimes("golden images");
    for route in Route::ALL {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../models/reference-{route}"));
        let report = verify(&folder, &runtimes);
        let golden: Vec<_> = report
            .checks
            .iter()
            .filter(|check| check.what.starts_with("golden image, "))
            .collect();
        assert_eq!(golden.len(), runtimes.len(), "{report:?}");
        for check in golden {
            assert_eq!(
                check.verdict,
                Verdict::Passed,
                "{route}, {}: {}",
                check.what,
                check.says
            );
        }
    }
}

/// The classifier with 5 MB of weights more, all ones but for a two at the end, whose greatest is added to its numbers.
fn heavy_classifier() -> Vec<u8> {
    fn put(message: &mut Vec<u8>, number: u64, content: &[u8]) {
        for mut value in [number << 3 | 2, content.len() as u64] {
            while value >= 0x80 {
                message.push(value as u8 | 0x80);
                value >>= 7;
            }
            message.push(value as u8);
        }
        message.extend_from_slice(content);
    }
    let node = |inputs: &[&str], output: &str, operator: &str| {
        let mut node = Vec::new();
        for input in inputs {
            put(&mut node, 1, input.as_bytes());
        }
        put(&mut node, 2, output.as_bytes());
        put(&mut node, 4, operator.as_bytes());
        node
    };
    let mut weights = 1.0_f32.to_le_bytes().repeat(3 * 420_000);
    let last = weights.len() - 4;
    weights[last..].copy_from_slice(&2.0_f32.to_le_bytes());
    // Three rows of 420,000 numbers of 32 bits.
    let mut tensor = vec![0x08, 3, 0x08, 0xA0, 0xD1, 0x19, 0x10, 1];
    put(&mut tensor, 8, b"weights");
    put(&mut tensor, 9, &weights);
    let mut graph = Vec::new();
    put(&mut graph, 5, &tensor);
    put(&mut graph, 1, &node(&["weights"], "greatest", "ReduceMax"));
    put(&mut graph, 1, &node(&["logits", "greatest"], "more", "Add"));
    let mut output = Vec::new();
    put(&mut output, 1, b"more");
    // A tensor of 32-bit numbers, 1 × 3.
    put(
        &mut output,
        2,
        &[0x0A, 12, 0x08, 1, 0x12, 8, 0x0A, 2, 0x08, 1, 0x0A, 2, 0x08, 3],
    );
    put(&mut graph, 12, &output);
    // A second graph adds to the first: so does protobuf with fields of one message.
    let mut model = fixture("classifier.onnx");
    put(&mut model, 7, &graph);
    model
}

#[test]
fn a_model_of_some_megabytes_keeps_all_its_weights() {
    // rten takes a second graph for the only one.
    for runtime in runtimes("a model of some megabytes").into_iter().skip(1) {
        let names = Names {
            input: "image",
            output: "more",
        };
        let model = runtime
            .load(&heavy_classifier(), names)
            .unwrap_or_else(|error| panic!("{runtime:?}: {error}"));
        // More sessions than the one that loading leaves: they are opened anew.
        let mut sessions = [(); 3].map(|()| model.session().expect("a session"));
        for session in &mut sessions {
            let answer = session.run(&levels()).expect("an answer");
            for (value, expected) in answer.data.iter().zip([6.0, 3.5, 4.0]) {
                assert!((value - expected).abs() < 1e-5, "{:?}", answer.data);
            }
        }
    }
}
